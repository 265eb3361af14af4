"""How closely each model follows the reference energies and forces."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.quantities import format_number
from heo_core.reporting.sections.benchmark_titles import describe_benchmark, make_key
from heo_core.reporting.sections.cells import NONE, make_count_cell, make_error_cell
from heo_core.reporting.sections.group_errors import make_group_blocks
from heo_core.reporting.wording import join_words

_LISTED = 300


def build_energy_forces(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the errors of energies and forces on structures that were not trained on."""
    lead = "How closely each model follows the reference energies and forces on structures that it was not trained on."
    blocks: list[Block] = []
    drawn = set(data.predictions["benchmark"].astype(str))
    for benchmark in (name for name in data.benchmarks_of_kind("energy-forces") if name in drawn):
        rows = data.predictions[data.predictions["benchmark"] == benchmark]
        blocks.append(Heading(describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_energy_panels(rows, styles, make_key(benchmark))))
        parity = make_force_panels(data, styles, benchmark)
        if parity:
            blocks.append(Panels(parity))
        blocks += make_group_blocks(data, styles, benchmark)
        table = _make_structure_table(rows, benchmark)
        if table.rows:
            blocks.append(table)
    if not blocks:
        blocks.append(Missing("No predictions are stored for these models.", "heo evaluate"))
    return Section("energy-forces", "Energies and forces", lead, blocks)


def _make_energy_panels(rows: pd.DataFrame, styles: Mapping[str, ModelStyle], key: str) -> list[Panel]:
    return [
        Panel(
            f"error-forces-{key}",
            "Distribution of the force error.",
            "Each curve says how many of all structures have a smaller error: further left is better, and a few "
            "outliers cannot hide the rest. A failed structure never has a small one: the curve ends below 100 %.",
            figures.plot_error_distribution(rows, styles, "forces"),
        ),
        Panel(
            f"error-energy-{key}",
            "Distribution of the energy error.",
            "The same for the absolute error of the energy per atom.",
            figures.plot_error_distribution(rows, styles, "energy"),
        ),
        *_make_parity_panels(rows, styles, key),
    ]


def _make_parity_panels(rows: pd.DataFrame, styles: Mapping[str, ModelStyle], key: str) -> Iterator[Panel]:
    """All models in one picture; each in its own where densities would hide one another."""
    parts = [("", key, rows)]
    if rows.groupby("label").size().max() > figures.MAX_SCATTER_STRUCTURES:
        parts = [(f" of {label}", f"{key}-{make_key(str(label))}", own) for label, own in rows.groupby("label")]
    for whose, name, own in parts:
        slopes = join_words([f"{slope:.3f} ({label})" for label, slope in figures.compute_energy_slopes(own).items()])
        points = "Right on the dotted line" if whose else "One point a structure, right on the dotted line"
        caption = f"{points}. Slope: {slopes}." if slopes else f"{points}."
        yield Panel(f"energy-parity-{name}", f"Energy parity{whose}.", caption, figures.plot_energy_parity(own, styles))
        yield Panel(
            f"energy-residuals-{name}",
            f"Energy error against energy{whose}.",
            "The same with the reference taken off. A slope or a shift is a systematic error.",
            figures.plot_energy_residuals(own, styles),
        )


def make_force_panels(data: ReportData, styles: Mapping[str, ModelStyle], benchmark: str) -> list[Panel]:
    """Return the force parity of every model on a benchmark."""
    components = data.force_components[data.force_components["benchmark"] == benchmark]
    panels = []
    for label in dict.fromkeys(components["label"].astype(str)):
        slope = data.find_metric(label, benchmark, "forces_softening_slope")
        n_outside = figures.count_outside_force_parity(components, label)
        outside = f" {n_outside:,} of them lie outside the frame." if n_outside else ""
        soft = (
            "" if slope is None else " The solid line is the softening slope: flatter than the dotted one is too soft."
        )
        panels.append(
            Panel(
                f"force-parity-{make_key(benchmark)}-{make_key(label)}",
                f"Force parity of {label}.",
                f"{_count_components(data, components, benchmark, label)}.{outside}{soft}",
                figures.plot_force_parity(components, styles, label, slope),
                height=380,
            )
        )
    return panels


def _count_components(data: ReportData, components: pd.DataFrame, benchmark: str, label: str) -> str:
    """Return "4,000 force components", or of how many they are a sample."""
    n = int((components["label"] == label).sum())
    rows = data.predictions[(data.predictions["benchmark"] == benchmark) & (data.predictions["label"] == label)]
    known = pd.to_numeric(rows["forces_rmse_ev_per_ang"], errors="coerce").notna()
    n_all = 3 * int(pd.to_numeric(rows.loc[known, "n_atoms"]).sum())
    return f"A sample of {n:,} of {n_all:,} force components" if n_all > n else f"{n:,} force components"


def _make_structure_table(rows: pd.DataFrame, benchmark: str) -> Table:
    """Return the structures that failed and those with the largest force errors, with every model's errors."""
    labels = list(dict.fromkeys(rows["label"].astype(str)))
    errors = pd.to_numeric(rows["forces_rmse_ev_per_ang"], errors="coerce").mask(rows["failure"].notna(), np.inf)
    worst = errors.groupby(rows["structure_id"], sort=False).max().fillna(0.0).sort_values(ascending=False)
    by_key = {(row["structure_id"], str(row["label"])): row for row in rows.to_dict("records")}
    columns = [Column("Formula", numeric=False), Column("Id", numeric=False), Column("Atoms")]
    for label in labels:
        columns += [Column("Force RMSE", "meV/Å", label), Column("Energy error", "meV/atom", label)]
    body = []
    for identifier in worst.index[:_LISTED]:
        found = [by_key.get((identifier, label)) for label in labels]
        about = next(row for row in found if row is not None)
        name = str(about["immutable_id"])
        cells = [Cell(str(about["formula_reduced"]), formula=True), Cell(name, code=True)]
        cells.append(make_count_cell(about["n_atoms"]))
        for row in found:
            cells += _make_structure_cells(row)
        body.append(Row(cells, structure=name))
    title = (
        "Errors of every structure" if len(worst) <= _LISTED else f"The {_LISTED} worst of {len(worst):,} structures"
    )
    caption = (
        "Those that failed first, then by the largest force error of any model. Energy error: predicted − reference."
    )
    return Table(f"structures-{make_key(benchmark)}", title, columns, body, caption, folded=True)


def _make_structure_cells(row: Mapping[Hashable, Any] | None) -> list[Cell]:
    if row is None:
        return [Cell(NONE)] * 2
    if as_text(row["failure"]):
        return [Cell(NONE, str(row["failure"])), Cell(NONE)]
    energies = as_number(row["energy_predicted_ev_per_atom"]), as_number(row["energy_reference_ev_per_atom"])
    predicted, reference = energies
    error = None if predicted is None or reference is None else 1000 * (predicted - reference)
    shown = Cell(NONE) if error is None else Cell(format_number(error, 1, signed=True), order=error)
    return [make_error_cell(row["forces_rmse_ev_per_ang"]), shown]
