"""What the models were trained on: sources, chemistry, splits and what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Facts, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.cautions import compute_end_point_share
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.quantities import format_number
from heo_core.reporting.sections.cells import NONE, make_count_cell


def build_dataset(data: ReportData) -> Section:
    """Return what the dataset holds, how it was split and what was left out."""
    blocks: list[Block] = []
    if data.dataset is None and data.structures.empty:
        blocks.append(Missing("No dataset belongs to these models.", "heo curate --source sample --name sample"))
        return Section("dataset", "Dataset", "", blocks)
    blocks.extend(_make_dataset_facts(data))
    if len(data.structures):
        blocks.append(Panels([_make_element_panel(data.structures)], size="wide"))
        blocks.append(Panels(_make_composition_panels(data.structures), size="small"))
        if data.structures["map_x"].notna().any():
            blocks.append(Panels([_make_map_panel(data.structures)], size="full"))
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


def _make_composition_panels(structures: pd.DataFrame) -> list[Panel]:
    share = compute_end_point_share(structures)
    relaxed = f" {format_number(100 * (share or 0), 0)} % lie left of the line at 50 meV/Å: relaxed end points."
    panels = [
        Panel("composition", "Number of elements.", "By split.", figures.plot_composition(structures), height=300),
        Panel("cell-sizes", "Cell sizes.", "By split.", figures.plot_cell_sizes(structures), height=300),
    ]
    if share is not None:
        figure = figures.plot_reference_forces(structures)
        panels.append(Panel("reference-forces", "Largest reference forces.", f"By split.{relaxed}", figure, height=300))
    return panels


def _make_map_panel(structures: pd.DataFrame) -> Panel:
    method = str(structures["map_method"].dropna().iloc[0]).upper()
    caption = (
        f"Near means alike: mean magpie vectors of the elements, brought to two dimensions by {method}. Where the test "
        "split stands apart from the training split, a test error tells of new chemistry."
    )
    return Panel("map", "Chemistry of the dataset.", caption, figures.plot_map(structures), height=430)


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
