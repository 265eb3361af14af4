"""How quickly and how well each model relaxes the same starting structures."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.data import ReportData, as_number, as_text, is_true
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.sections.before_after import make_before_after
from heo_core.reporting.sections.benchmark_titles import KIND_TITLES, describe_benchmark, make_key
from heo_core.reporting.sections.cells import make_count_cell, make_error_cell
from heo_core.reporting.sections.own_relaxations import make_own_relaxations
from heo_core.reporting.wording import count_nouns

_LISTED = 200


def build_relaxation(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the course and the end of every relaxation, by benchmark, and those of a user's own structures."""
    lead = (
        "How quickly and how well each model relaxes atoms and cell from the same starting structures. Convergence is "
        "judged on the final state; one force call is one evaluation of the model. A softer potential needs fewer "
        "calls, so read speed together with where the structures end."
    )
    blocks: list[Block] = []
    for benchmark in dict.fromkeys(data.relaxations["benchmark"].astype(str)):
        rows = data.relaxations[data.relaxations["benchmark"] == benchmark]
        kind = str(rows["kind"].iloc[0])
        blocks.append(Heading(KIND_TITLES.get(kind, kind), describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_course_panels(data, rows, styles, benchmark)))
        ends = _make_end_panels(data, rows, styles, benchmark)
        if ends:
            blocks.append(Panels(ends))
        blocks.extend(make_before_after(f"relaxed-{make_key(benchmark)}", rows, data.relaxed_cells, styles))
        unfinished = _make_unfinished_table(rows, benchmark)
        if unfinished.rows:
            blocks.append(unfinished)
    if not blocks:
        text = "No relaxations are stored for these models."
        blocks.append(Missing(text, "heo evaluate --benchmark rattle-relax --benchmark substitution-relax"))
    blocks.extend(make_own_relaxations(data, styles))
    return Section("relaxation", "Relaxation", lead, blocks)


def _make_course_panels(
    data: ReportData, rows: pd.DataFrame, styles: Mapping[str, ModelStyle], benchmark: str
) -> list[Panel]:
    key = make_key(benchmark)
    lines = _describe_lines(rows)
    fmax = _find_fmax(data, benchmark)
    limit = "" if fmax is None else f" Dotted: the limit, {fmax * 1000:g} meV/Å."
    panels = [
        Panel(
            f"convergence-{key}",
            "Success at N force calls.",
            "Share of all structures that have converged by then; a failed one never does.",
            figures.plot_convergence(rows, styles),
        ),
        Panel(
            f"fmax-{key}",
            "Largest force.",
            f"{lines}{limit}",
            figures.plot_fmax_descent(rows, styles, fmax),
        ),
        Panel(
            f"descent-{key}",
            "Energy.",
            f"Each model's own, above its final one. {lines}",
            figures.plot_energy_descent(rows, styles),
        ),
    ]
    metrics = data.metrics[(data.metrics["benchmark"] == benchmark) & data.metrics["name"].isin(list(figures.RATES))]
    if _has_numbers(metrics, "value"):
        caption = "With 95 % intervals (Wilson), which take structures as independent: a little too narrow."
        panels.insert(1, Panel(f"rates-{key}", "Convergence rate.", caption, figures.plot_rates(metrics, styles)))
    return panels


def _describe_lines(rows: pd.DataFrame) -> str:
    """Return what the lines of a course are, how many of them are drawn and how many relaxations are left out."""
    drawn = figures.choose_courses(rows)
    most = int(drawn.groupby("label").size().max()) if len(drawn) else 0
    few = f" ({figures.MAX_LINES} of {most:,})" if most > figures.MAX_LINES else ""
    n_wrecked = int(pd.to_numeric(rows["fmax_ev_per_ang"], errors="coerce").isna().sum())
    without = f" Without {count_nouns(n_wrecked, 'relaxation')} that failed before a final state." if n_wrecked else ""
    whose = "the median of all" if few else "their median"
    return f"Thin lines are structures{few}, the thick line is {whose}.{without}"


def _find_fmax(data: ReportData, benchmark: str) -> float | None:
    for params in data.benchmarks.loc[data.benchmarks["benchmark"] == benchmark, "params"]:
        if isinstance(params, dict) and isinstance(params.get("relax"), dict):
            return as_number(params["relax"].get("fmax"))
    return None


def _make_end_panels(
    data: ReportData, rows: pd.DataFrame, styles: Mapping[str, ModelStyle], benchmark: str
) -> list[Panel]:
    key = make_key(benchmark)
    panels = []
    if _has_numbers(rows, "displacement_rmsd_ang"):
        # A rattled structure has one to come back to; a substituted crystal has its start alone.
        has_target = str(rows["kind"].iloc[0]) == "rattle-relax"
        title = "Distance from the reference." if has_target else "Distance from the start."
        caption = "Periodic images and drift removed. Lines join the same structure."
        figure = figures.plot_displacement(rows, styles)
        panels.append(Panel(f"displacement-{key}", title, caption, figure))
        caption = "How many structures end within a distance" + (
            " of their reference: further left is better." if has_target else " of where they started."
        )
        figure = figures.plot_rmsd_distribution(rows, styles, title="Displacement RMSD (Å)")
        panels.append(Panel(f"rmsd-{key}", "Distribution of that distance.", caption, figure))
    if _has_numbers(rows, "rmsd_normalized"):
        caption = (
            "As Matbench Discovery has it: after the best match of the two cells, over the cube root of the volume per "
            "atom; 1 where nothing matches."
        )
        figure = figures.plot_rmsd_distribution(rows, styles, "rmsd_normalized", "Normalised RMSD (no unit)")
        panels.append(Panel(f"rmsd-normalized-{key}", "Normalised RMSD.", caption, figure))
    if _has_numbers(rows, "volume_change_fraction"):
        caption = "Of the cell while relaxing, with its sign. Lines join the same structure."
        panels.append(Panel(f"volume-{key}", "Volume change.", caption, figures.plot_volume_change(rows, styles)))
    if data.baseline and figures.compute_energy_differences(rows, data.baseline):
        caption = (
            "Every model's relaxed cells are given to one reference model; below zero the candidate found the lower, "
            "better relaxed cell. The band is the 95 % interval of the mean."
        )
        figure = figures.plot_paired_energy_differences(rows, styles, data.baseline, _find_intervals(data, benchmark))
        panels.append(Panel(f"paired-energy-{key}", "Paired energy differences.", caption, figure))
    return panels


def _find_intervals(data: ReportData, benchmark: str) -> dict[str, tuple[float, float]]:
    intervals = {}
    for label in data.candidates:
        row = data.find_comparison(label, benchmark, "reference_energy_mean_ev_per_atom")
        low, high = (None, None) if row is None else (as_number(row["ci_low"]), as_number(row["ci_high"]))
        if low is not None and high is not None:
            intervals[label] = (low, high)
    return intervals


def _make_unfinished_table(rows: pd.DataFrame, benchmark: str) -> Table:
    done = is_true(rows["converged"])
    columns = [
        Column("Model", numeric=False),
        Column("Formula", numeric=False),
        Column("Case", numeric=False),
        Column("Force calls"),
        Column("Largest force", "meV/Å"),
        Column("Why", numeric=False),
    ]
    body = [
        Row(
            [
                Cell(str(row["label"])),
                Cell(str(row["formula_reduced"]), formula=True),
                Cell(str(row["case_id"]), code=True),
                make_count_cell(row["force_calls"]),
                make_error_cell(row["fmax_ev_per_ang"]),
                Cell(as_text(row["failure"]) or "not converged within the force calls allowed"),
            ],
            structure=str(row["case_id"]),
        )
        for row in rows[~done].head(_LISTED).to_dict("records")
    ]
    title, n_all = "Structures that failed or did not converge", int((~done).sum())
    title += f": {_LISTED} of {n_all:,}" if n_all > _LISTED else ""
    return Table(f"unfinished-{make_key(benchmark)}", title, columns, body, folded=True)


def _has_numbers(rows: pd.DataFrame, column: str) -> bool:
    return bool(pd.to_numeric(rows[column], errors="coerce").notna().any())
