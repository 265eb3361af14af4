"""How closely each model follows the reference energies and forces."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.data import ReportData
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.sections.benchmark_titles import describe_benchmark, make_key
from heo_core.reporting.sections.cells import make_count_cell, make_error_cell

_WORST = 10


def build_energy_forces(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the errors of energies and forces on structures that were not trained on."""
    lead = "How closely each model follows the reference energies and forces on structures that it was not trained on."
    blocks: list[Block] = []
    drawn = set(data.predictions["benchmark"].astype(str))
    for benchmark in (name for name in data.benchmarks_of_kind("energy-forces") if name in drawn):
        rows = data.predictions[data.predictions["benchmark"] == benchmark]
        blocks.append(Heading(describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_energy_panels(rows, styles, make_key(benchmark))))
        worst = _make_worst_table(data, rows, benchmark)
        if worst.rows:
            blocks.append(worst)
    parity = make_force_panels(data, styles, "energy-forces")
    if blocks and parity:
        blocks.insert(2, Panels(parity))
    if not blocks:
        blocks.append(Missing("No predictions are stored for these models.", "heo evaluate"))
    return Section("energy-forces", "Energies and forces", lead, blocks)


def _make_energy_panels(rows: pd.DataFrame, styles: Mapping[str, ModelStyle], key: str) -> list[Panel]:
    return [
        Panel(
            f"error-forces-{key}",
            "Distribution of the force error.",
            "Each curve says how many structures have a smaller error: further left is better, and a few outliers "
            "cannot hide the rest.",
            figures.plot_error_distribution(rows, styles, "forces"),
        ),
        Panel(
            f"error-energy-{key}",
            "Distribution of the energy error.",
            "The same for the absolute error of the energy per atom.",
            figures.plot_error_distribution(rows, styles, "energy"),
        ),
        Panel(
            f"energy-parity-{key}",
            "Energy parity.",
            "One point a structure; on the dotted line a prediction is right.",
            figures.plot_energy_parity(rows, styles),
        ),
        Panel(
            f"energy-residuals-{key}",
            "Energy error against energy.",
            "The same points with the reference taken off. A slope or a shift is a systematic error.",
            figures.plot_energy_residuals(rows, styles),
        ),
    ]


def make_force_panels(data: ReportData, styles: Mapping[str, ModelStyle], kind: str) -> list[Panel]:
    """Return the force parity of every model on the benchmarks of a kind."""
    benchmarks = data.benchmarks_of_kind(kind)
    components = data.force_components[data.force_components["benchmark"].isin(benchmarks)]
    panels = []
    for label in dict.fromkeys(components["label"].astype(str)):
        found = [data.find_metric(label, benchmark, "forces_softening_slope") for benchmark in benchmarks]
        slope = next((value for value in found if value is not None), None)
        n_outside = figures.count_outside_force_parity(components, label)
        outside = f" {n_outside:,} components lie outside the frame." if n_outside else ""
        soft = (
            "" if slope is None else " The solid line is the softening slope: flatter than the dotted one is too soft."
        )
        n = int((components["label"] == label).sum())
        panels.append(
            Panel(
                f"force-parity-{kind}-{make_key(label)}",
                f"Force parity of {label}.",
                f"{n:,} force components.{soft}{outside}",
                figures.plot_force_parity(components, styles, label, slope),
                height=380,
            )
        )
    return panels


def _make_worst_table(data: ReportData, rows: pd.DataFrame, benchmark: str) -> Table:
    """Return the structures with the largest force error of any model, with every model's error."""
    labels = [label for label in data.models["label"].astype(str) if label in set(rows["label"])]
    errors = rows.assign(error=pd.to_numeric(rows["forces_rmse_ev_per_ang"], errors="coerce"))
    table = errors.pivot_table(index="structure_id", columns="label", values="error", sort=False)
    worst = table.max(axis=1).sort_values(ascending=False).head(_WORST).index
    about = rows.drop_duplicates("structure_id").set_index("structure_id")
    columns = [Column("Formula", numeric=False), Column("Id", numeric=False), Column("Atoms")]
    columns += [Column(label, "meV/Å", "Force RMSE of the structure") for label in labels]
    body = [
        Row(
            [
                Cell(str(about.loc[identifier, "formula_reduced"]), formula=True),
                Cell(str(about.loc[identifier, "immutable_id"]), code=True),
                make_count_cell(about.loc[identifier, "n_atoms"]),
                *(make_error_cell(table.loc[identifier].get(label)) for label in labels),
            ]
        )
        for identifier in worst
    ]
    return Table(f"worst-{make_key(benchmark)}", "Structures with the largest force errors", columns, body, folded=True)
