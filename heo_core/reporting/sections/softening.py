"""What a finetuning cost: stiffness away from equilibrium, and what was forgotten."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from heo_core.evaluation.assessment import Outcome, describe_limit
from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.comparison import find_outcomes, list_judged_benchmarks, make_change
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.quantities import format_number
from heo_core.reporting.sections.benchmark_titles import KIND_TITLES, describe_benchmark, make_key
from heo_core.reporting.sections.cells import NONE, make_change_cell, make_significant_cell
from heo_core.reporting.sections.energy_forces import make_force_panels
from heo_core.reporting.sections.group_errors import make_group_blocks

_ASSESSED_KINDS = ("off-equilibrium", "forgetting-holdout", "equation-of-state")
_N_CURVES = 6


def build_softening(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return what finetuning cost: the checks against the baseline, and the curves behind them."""
    lead = (
        "What a finetuning can cost. On relaxed structures a softer potential looks better than it is, so stiffness is "
        "measured on cells away from equilibrium; and simple oxides, which no high-entropy dataset holds, show what "
        "was forgotten. Limits are on the change from the baseline."
    )
    blocks: list[Block] = []
    missing = [kind for kind in _ASSESSED_KINDS if not list_judged_benchmarks(data, kind)]
    if data.candidates and len(missing) < len(_ASSESSED_KINDS):
        blocks.append(_make_check_table(data, styles))
    if missing:
        words = " and ".join(KIND_TITLES[kind].lower() for kind in missing)
        command = " ".join(["heo evaluate", *(f"--benchmark {kind}" for kind in missing)])
        blocks.append(Missing(f"Not measured: {words}.", command))
    for benchmark in data.benchmarks_of_kind("off-equilibrium"):
        parity = make_force_panels(data, styles, benchmark)
        if parity:
            blocks += [Heading(KIND_TITLES["off-equilibrium"], describe_benchmark(data, benchmark)), Panels(parity)]
        blocks += make_group_blocks(data, styles, benchmark)
    names = data.benchmarks_of_kind("equation-of-state")
    for benchmark in names:
        points = data.curve_points[data.curve_points["benchmark"] == benchmark]
        if points.empty:
            continue
        suffix = f"-{make_key(benchmark)}" if len(names) > 1 else ""
        blocks.append(Heading(KIND_TITLES["equation-of-state"], describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_curve_panels(points, styles, suffix), size="small"))
        blocks.append(_make_material_table(data, benchmark, suffix))
    return Section("softening", "Softening and forgetting", lead, blocks)


def _make_check_table(data: ReportData, styles: Mapping[str, ModelStyle]) -> Table:
    """One row a candidate and check: both values, the difference with its interval, the limit, the verdict."""
    columns = [
        Column("Model", numeric=False),
        Column("Measured", numeric=False),
        Column("Unit", numeric=False),
        Column("Baseline"),
        Column("This model"),
        Column("Difference", hint="paired, with its 95 % interval"),
        Column("Limit", numeric=False),
        Column("Verdict", numeric=False),
    ]
    rows = [
        _make_check_row(candidate, outcome, styles)
        for candidate in data.candidates
        for outcome in find_outcomes(data, candidate)
        if outcome.is_known
    ]
    caption = "A limit is passed only when the interval of the difference excludes zero."
    return Table("softening-checks", "Each model against the baseline, with the limits", columns, rows, caption)


def _make_check_row(candidate: str, outcome: Outcome, styles: Mapping[str, ModelStyle]) -> Row:
    check, values = outcome.check, (outcome.parent, outcome.child)
    change = make_change(check.metric, outcome.difference or 0.0, 0, (outcome.ci_low, outcome.ci_high), values)
    verdict = "within"
    if outcome.is_beyond:
        verdict = "beyond the limit"
    elif outcome.ci_low is None or outcome.ci_high is None:
        verdict = "not decided: no interval"
    elif _is_past(outcome):
        verdict = "beyond the limit, not decided"
    return Row(
        [
            Cell(candidate),
            Cell(check.subject),
            Cell(check.unit),
            *(Cell(format_number(n, change.decimals), order=n) for n in (change.before, change.after) if n is not None),
            make_change_cell(change),
            Cell(describe_limit(check)),
            Cell(verdict, best=outcome.is_beyond),
        ],
        colour=styles[candidate].colour,
    )


def _is_past(outcome: Outcome) -> bool:
    """Whether the values lie beyond the limit; they count when the interval of their difference excludes zero, too."""
    sure = replace(outcome, ci_low=outcome.difference, ci_high=outcome.difference)
    return sure.is_beyond


def _make_curve_panels(points: pd.DataFrame, styles: Mapping[str, ModelStyle], suffix: str) -> list[Panel]:
    """Curves of a few oxides: those on which a model lies furthest from the reference, and those where all fit best."""
    order = figures.rank_materials(points)
    half = _N_CURVES // 2
    chosen = order if len(order) <= _N_CURVES else [*order[:half], *order[-half:]]
    captions = ["Black: the labels. Each curve counts from its value at the reference's relaxed volume."]
    captions += ["Among those that fit worst."] * (half - 1) + ["Among those that fit best."] * half
    return [
        Panel(
            f"curve-{make_key(material)}{suffix}",
            f"{material}.",
            captions[i],
            figures.plot_volume_curve(points, styles, material),
            height=300,
        )
        for i, material in enumerate(chosen)
    ]


def _make_material_table(data: ReportData, benchmark: str, suffix: str) -> Table:
    curves = data.volume_curves[data.volume_curves["benchmark"] == benchmark]
    labels = [label for label in data.models["label"].astype(str) if label in set(curves["label"])]
    columns = [Column("Material", numeric=False), Column("V", "Å³/atom", "reference"), Column("B", "GPa", "reference")]
    for label in labels:
        columns += [Column("V error", "%", label), Column("B error", "%", label), Column("Curve", "meV/atom", label)]
    by_key = {(str(r["material"]), str(r["label"])): r for r in curves.to_dict("records")}
    rows = []
    for material in dict.fromkeys(curves["material"].astype(str)):
        found = [by_key.get((material, label)) for label in labels]
        about = next(row for row in found if row is not None)
        reference = (about["reference_volume_ang3_per_atom"], about["reference_bulk_modulus_gpa"])
        cells = [Cell(material), *(make_significant_cell(value) for value in reference)]
        for row in found:
            cells += _make_material_cells(row)
        rows.append(Row(cells))
    title = "Equilibrium volume and bulk modulus of every oxide"
    return Table(f"materials{suffix}", title, columns, rows, folded=True)


def _make_material_cells(row: Mapping[Hashable, Any] | None) -> list[Cell]:
    if row is None:
        return [Cell(NONE)] * 3
    cells: list[Cell] = []
    for name, factor in (
        ("equilibrium_volume_error_fraction", 100),
        ("bulk_modulus_error_fraction", 100),
        ("energy_volume_rmse_ev_per_atom", 1000),
    ):
        number = as_number(row[name])
        if number is None:
            cells.append(Cell(NONE, "" if cells else as_text(row["failure"]) or ""))
        else:
            shown = number * factor
            cells.append(Cell(format_number(shown, 1, signed=name.endswith("fraction")), order=shown))
    return cells
