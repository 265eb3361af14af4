"""What the models were trained on: sources, chemistry, splits and what was left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Choice, Column, Facts, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.cautions import compute_end_point_share
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.figures.canvas import MAX_POINTS, by_split
from heo_core.reporting.quantities import format_number
from heo_core.reporting.scenes import choose_samples
from heo_core.reporting.sections.cells import NONE, make_count_cell
from heo_core.reporting.viewer import Drawing, Scene, View, Viewer

_HIGH_ENTROPY_R = 1.5


def build_dataset(data: ReportData) -> Section:
    """Return what the dataset holds, how it was split and what was left out."""
    blocks: list[Block] = []
    if data.dataset is None and data.structures.empty:
        blocks.append(Missing("No dataset belongs to these models.", "heo curate --source sample --name sample"))
        return Section("dataset", "Dataset", "", blocks)
    blocks.extend(_make_dataset_facts(data))
    if len(data.structures):
        blocks.append(_make_source_table(data.structures))
        blocks.append(Panels([_make_element_panel(data.structures)], size="wide"))
        blocks.append(Panels(_make_composition_panels(data.structures)))
        blocks.append(Panels(_make_crystal_panels(data.structures)))
        blocks.extend(_make_map(data))
        blocks.extend(_make_sample_viewer(data))
    else:
        blocks.append(Missing("The structures of the dataset are not in the database.", "heo curate"))
    if len(data.splits):
        blocks.append(_make_split_table(data.splits))
    if len(data.rejections):
        panel = Panel(
            "rejections",
            "Rejected rows by rule.",
            "A row counts at the first rule that it breaks.",
            figures.plot_rejections(data.rejections),
            height=90 + 34 * len(data.rejections),
        )
        blocks.append(Panels([panel], size="full"))
        blocks.append(_make_rejection_table(data.rejections))
    return Section("dataset", "Dataset", _describe_dataset(data), blocks)


def _describe_dataset(data: ReportData) -> str:
    if data.dataset is None:
        return ""
    kept, scanned = as_number(data.dataset.get("n_kept")), as_number(data.dataset.get("n_scanned"))
    if kept is None or scanned is None:
        return ""
    kind = {"surrogate": "labelled by a surrogate potential, not DFT", "dft": "labelled by DFT"}
    labels = kind.get(str(data.dataset.get("label_kind")), "")
    return f"{kept:,.0f} of {scanned:,.0f} rows read were kept{f', {labels}' if labels else ''}."


def _make_dataset_facts(data: ReportData) -> Iterator[Block]:
    if data.dataset is None:
        yield Missing("The description of the dataset is not in the database.", "heo curate")
        return
    names = {"label": "Dataset", "source_uri": "Source", "source_revision": "Revision", "licence": "Licence"}
    rows = [(title, as_text(data.dataset.get(name)) or NONE) for name, title in names.items()]
    rows.append(("Labels", ", ".join(str(name) for name in data.dataset.get("functionals") or []) or NONE))
    rows.append(("Citation", as_text(data.dataset.get("citation")) or NONE))
    yield Facts("", rows)


def _make_element_panel(structures: pd.DataFrame) -> Panel:
    caption = "Number of structures that contain each element. Oxygen stands in all of them and does not set the scale."
    return Panel("elements", "Elements.", caption, figures.plot_element_counts(structures), height=430)


def _make_source_table(structures: pd.DataFrame) -> Table:
    """Structures of each source by split."""
    splits = [split for split, _ in by_split(structures)]
    counts = structures.groupby(["source", "split"]).size()
    columns = [
        Column("Source", numeric=False),
        *(Column(split) for split in splits),
        Column("All"),
        Column("Share", "%"),
    ]
    rows = []
    for source, n in structures["source"].value_counts().items():
        cells = [make_count_cell(counts.get((source, split), 0)) for split in splits]
        share = 100 * n / len(structures)
        cells += [make_count_cell(n), Cell(format_number(share, 1), order=share)]
        rows.append(Row([Cell(str(source)), *cells]))
    return Table("sources", "Sources", columns, rows)


def _make_composition_panels(structures: pd.DataFrame) -> list[Panel]:
    panels = [
        Panel("composition", "Number of elements.", "By split.", figures.plot_composition(structures), height=300),
        Panel("cell-sizes", "Cell sizes.", "By split.", figures.plot_cell_sizes(structures), height=300),
    ]
    entropies = pd.to_numeric(structures["entropy_sublattice_r"], errors="coerce").dropna()
    if len(entropies):
        above = format_number(100 * float((entropies >= _HIGH_ENTROPY_R).mean()), 0)
        caption = (
            f"Of the most disordered cation sublattice. {above} % reach the {_HIGH_ENTROPY_R} R of the dotted line, "
            "from which on an oxide is called high-entropy."
        )
        figure = figures.plot_entropy(structures, _HIGH_ENTROPY_R)
        panels.insert(1, Panel("entropy", "Configurational entropy.", caption, figure, height=300))
    share = compute_end_point_share(structures)
    if share is not None:
        relaxed = f" {format_number(100 * share, 0)} % lie left of the line at 50 meV/Å: relaxed end points."
        figure = figures.plot_reference_forces(structures)
        panels.append(Panel("reference-forces", "Largest reference forces.", f"By split.{relaxed}", figure, height=300))
    return panels


def _make_crystal_panels(structures: pd.DataFrame) -> list[Panel]:
    """Space groups and parent crystals, where they are known."""
    panels = []
    for key, column, title, caption in (
        (
            "space-groups",
            "space_group_symbol",
            "Space groups.",
            "Of the cells as they are: different cations on equivalent sites lower the symmetry.",
        ),
        (
            "prototypes",
            "prototype",
            "Parent crystals.",
            "With all cations made alike; structures of no known parent are left out.",
        ),
    ):
        n = min(structures[column].nunique(), 15)
        if n:
            figure = figures.plot_most_frequent(structures, column, title.removesuffix("s."))
            panels.append(Panel(key, title, caption, figure, height=110 + 20 * n))
    return panels


def _make_map(data: ReportData) -> Iterator[Block]:
    structures = data.structures
    if not structures["map_x"].notna().any():
        return
    method = str(structures["map_method"].dropna().iloc[0]).upper()
    caption = (
        f"Near means alike: mean magpie vectors of the elements, brought to two dimensions by {method}. Where the test "
        "split stands apart from the training split, a test error tells of new chemistry."
    )
    errors = {
        str(label): dict(zip(rows["structure_id"], rows["forces_rmse_ev_per_ang"], strict=True))
        for label, rows in data.predictions.groupby("label", sort=False)
    }
    n_all = int(structures[["map_x", "map_y"]].notna().all(axis=1).sum())
    if n_all > MAX_POINTS:
        caption += f" {MAX_POINTS:,} of {n_all:,} structures are drawn, evenly chosen."
    choices = [Choice(*change) for change in figures.recolour_map(structures, errors)]
    figure = figures.plot_map(structures)
    yield Panels([Panel("map", "Chemistry of the dataset.", caption, figure, 500, choices)], size="full")


def _make_sample_viewer(data: ReportData) -> Iterator[Block]:
    rows = data.structures.set_index("structure_id")
    cells = {row["structure_id"]: row for row in data.sample_cells.to_dict("records")}
    scenes = [
        Scene(
            reason,
            str(rows.loc[key, "formula_reduced"]),
            str(rows.loc[key, "immutable_id"]),
            [_make_view(rows.loc[key], cells[key])],
        )
        for key, reason in choose_samples(data.structures).items()
        if key in cells
    ]
    if scenes:
        caption = (
            "Drag to turn, with Ctrl and the wheel to zoom; point at an atom to name it. Each cation is joined to the "
            "oxygens around it; atoms on a face of the cell are drawn on both sides."
        )
        yield Viewer("samples", "Structures of the dataset.", caption, scenes)


def _make_view(row: pd.Series, cell: Mapping[Hashable, Any]) -> View:
    numbers = (
        ("Atoms", "n_atoms", 1.0, 0, ""),
        ("Elements", "n_elements", 1.0, 0, ""),
        ("Entropy", "entropy_sublattice_r", 1.0, 2, " R per site"),
        ("Volume", "volume_per_atom_ang3", 1.0, 2, " Å³/atom"),
        ("Energy", "energy_ev_per_atom", 1.0, 3, " eV/atom"),
        ("Largest force", "fmax_ev_per_ang", 1000.0, 1, " meV/Å"),
    )
    facts = [("Formula", str(row["formula_reduced"])), ("Id", str(row["immutable_id"]))]
    facts += [("Source", f"{row['source']}, {row['split']} split")]
    facts += [
        ("Space group", as_text(row["space_group_symbol"]) or NONE),
        ("Parent crystal", as_text(row["prototype"]) or NONE),
    ]
    for name, column, factor, decimals, unit in numbers:
        number = as_number(row[column])
        facts.append((name, NONE if number is None else format_number(number * factor, decimals) + unit))
    return View("As it was curated", facts, Drawing(cell["lattice_ang"], cell["positions_ang"], cell["species"]))


def _make_split_table(splits: pd.DataFrame) -> Table:
    columns = [Column("Split", numeric=False), Column("Structures"), Column("Formulas"), Column("Chemical systems")]
    rows = [
        Row(
            [
                Cell(str(row["split"])),
                *(make_count_cell(row[name]) for name in ("n_structures", "n_formulas", "n_chemical_systems")),
            ]
        )
        for row in splits.to_dict("records")
    ]
    return Table("splits", "Splits", columns, rows)


def _make_rejection_table(rejections: pd.DataFrame) -> Table:
    columns = [Column("Rule", numeric=False), Column("Rejected"), Column("Examples", numeric=False)]
    rows = [
        Row(
            [
                Cell(str(row["rule"])),
                make_count_cell(row["n_rejected"]),
                Cell(_list_words(row["example_ids"]), code=True),
            ]
        )
        for row in rejections.to_dict("records")
    ]
    return Table("rejection-examples", "Rejected rows, with examples", columns, rows, folded=True)


def _list_words(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else as_text(value) or NONE
