"""The headline numbers of every model, and every metric of every benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from heo_core.reporting.blocks import Block, Cell, Column, Missing, Row, Section, Table
from heo_core.reporting.cautions import list_marks
from heo_core.reporting.comparison import find_change
from heo_core.reporting.data import ReportData, as_text
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.quantities import QUANTITIES, format_significant, get_quantity
from heo_core.reporting.sections.benchmark_titles import KIND_SECTIONS, KIND_TITLES, make_key
from heo_core.reporting.sections.cells import NONE, make_change_cell, make_metric_cell, make_yardstick_cell

_HEADLINES: dict[str, tuple[str, ...]] = {
    "energy-forces": (
        "forces_rmse_ev_per_ang",
        "forces_skill",
        "forces_softening_slope",
        "energy_rmse_ev_per_atom",
    ),
    "off-equilibrium": (
        "forces_rmse_ev_per_ang",
        "forces_softening_slope",
        "energy_offset_removed_rmse_ev_per_atom",
    ),
    "forgetting-holdout": ("forces_rmse_ev_per_ang", "energy_offset_removed_rmse_ev_per_atom"),
    "equation-of-state": ("equilibrium_volume_mae_fraction", "bulk_modulus_mae_fraction"),
    "rattle-relax": ("convergence_rate", "success_at_100", "displacement_rmsd_mean_ang"),
    "substitution-relax": ("convergence_rate", "success_at_100", "reference_energy_mean_ev_per_atom"),
    "physics": ("energy_drift_mae_ev_per_atom_per_ps", "volume_curve_smooth_rate", "repulsive_rate"),
}
_COST = "Cost"


def build_leaderboard(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the headline numbers of every model and, folded, every metric."""
    lead = (
        "Headline numbers of every model, the baseline first, with 95 % intervals below. Bold marks the best model "
        "of a column; whether it is really better is for the paired comparison above. Click a heading to sort, a "
        "benchmark to see what is behind it."
    )
    blocks: list[Block] = []
    if data.metrics.empty:
        blocks.append(Missing("No model has been evaluated yet, so there are no numbers to rank.", "heo evaluate"))
    else:
        blocks.append(_make_leaderboard(data, styles))
        blocks.extend(_make_metric_tables(data))
    return Section("leaderboard", "Leaderboard", lead, blocks)


def _headline_columns(data: ReportData) -> list[tuple[str, str]]:
    known = set(zip(data.metrics["benchmark"], data.metrics["name"], strict=True))
    return [
        (benchmark, name)
        for kind, names in _HEADLINES.items()
        for benchmark in data.benchmarks_of_kind(kind)
        for name in names
        if (benchmark, name) in known
    ]


def _make_leaderboard(data: ReportData, styles: Mapping[str, ModelStyle]) -> Table:
    wanted = _headline_columns(data)
    columns, links = [Column("Model", numeric=False)], {_COST: "training"}
    kinds = dict(zip(data.metrics["benchmark"], data.metrics["kind"], strict=True))
    for benchmark, name in wanted:
        quantity, kind = get_quantity(name), str(kinds[benchmark])
        group = KIND_TITLES.get(kind, kind)
        if len(data.benchmarks_of_kind(kind)) > 1:
            group = f"{group} · {benchmark}"
        columns.append(Column(quantity.title, quantity.unit, group, quantity.meaning))
        links[group] = KIND_SECTIONS.get(kind, "")
    shared, about = _find_shared_benchmarks(data), "seconds of training, all tries together; none for a published model"
    columns.append(Column("Training", "s", _COST, about))
    columns.append(Column("Evaluation", "s", _COST, f"wall time of the {len(shared)} benchmarks that all models ran"))
    labels = [str(label) for label in data.models["label"]]
    best = {key: _find_best(data, labels, *key) for key in wanted}
    rows = [
        Row(
            [Cell(label, _describe_role(data, label))]
            + [make_metric_cell(data, label, b, name, best=best[b, name] == label) for b, name in wanted]
            + [*_make_cost_cells(data, label, shared)],
            colour=styles[label].colour,
        )
        for label in labels
    ]
    rows.extend(_make_yardsticks(data, wanted))
    return Table("leaderboard-table", "", columns, rows, links={group: key for group, key in links.items() if key})


def _find_shared_benchmarks(data: ReportData) -> set[str]:
    """Benchmarks that every model of the report ran to the end: only over them can cost be compared."""
    ran = data.evaluations.groupby("benchmark")["label"].nunique()
    return set(ran.index[ran == len(data.models)].astype(str))


def _make_cost_cells(data: ReportData, label: str, shared: set[str]) -> Iterator[Cell]:
    runs = data.training_runs[data.training_runs["label"] == label]
    yield _make_time_cell(runs["train_s"], runs["device"])
    rows = data.evaluations[(data.evaluations["label"] == label) & data.evaluations["benchmark"].isin(shared)]
    yield _make_time_cell(rows["wall_s"], rows["device"])


def _make_time_cell(seconds: pd.Series, devices: pd.Series) -> Cell:
    """Sum of the times, with the devices below: a time says nothing without them. A dash where one is not known."""
    known = pd.to_numeric(seconds, errors="coerce")
    if known.empty or known.isna().any():
        return Cell(NONE)
    total = float(known.sum())
    return Cell(format_significant(total), ", ".join(dict.fromkeys(devices.dropna().astype(str))), total)


def _describe_role(data: ReportData, label: str) -> str:
    row = data.models[data.models["label"] == label].iloc[0]
    parent = as_text(row["parent"])
    role = "baseline" if label == data.baseline else f"child of {parent}" if parent else str(row["role"])
    scale = as_text(row["energy_scale"])
    scales = [f"energies on the scale {scale}"] if scale is not None and _has_two_scales(data) else []
    return ", ".join([role, *scales, *dict(list_marks(data)).get(label, [])])


def _has_two_scales(data: ReportData) -> bool:
    return len(set(data.models["energy_scale"].dropna())) > 1


def _find_best(data: ReportData, labels: list[str], benchmark: str, name: str) -> str | None:
    better = get_quantity(name).better
    values = {label: value for label in labels if (value := data.find_metric(label, benchmark, name)) is not None}
    if better is None or len(values) < 2 or len(set(values.values())) == 1:
        return None
    if name == "energy_rmse_ev_per_atom" and _has_two_scales(data):
        return None  # whose scale the labels have decides, not the model
    if better == "one":
        return min(values, key=lambda label: abs(values[label] - 1))
    return min(values, key=lambda label: values[label] if better == "lower" else -values[label])


_YARDSTICKS = (
    ("Zero force everywhere", {"forces_rmse_ev_per_ang": "zero_force_rmse_ev_per_ang"}),
    ("Mean energy by composition", {"energy_rmse_ev_per_atom": "mean_energy_baseline_rmse_ev_per_atom"}),
)


def _make_yardsticks(data: ReportData, wanted: list[tuple[str, str]]) -> list[Row]:
    """Rows for the predictions that need no model, where their error is known."""
    rows = []
    for title, replaced in _YARDSTICKS:
        cells = [make_yardstick_cell(data, benchmark, replaced.get(name)) for benchmark, name in wanted]
        if any(cell.order is not None for cell in cells):
            rows.append(Row([Cell(title, "yardstick, no model"), *cells, Cell(""), Cell("")], aside=True))
    return rows


def _make_metric_tables(data: ReportData) -> Iterator[Table]:
    """Every metric of every benchmark, folded away."""
    labels = [str(label) for label in data.models["label"]]
    order = list(_HEADLINES)
    by_benchmark = [(str(benchmark), rows) for benchmark, rows in data.metrics.groupby("benchmark", sort=False)]
    by_benchmark.sort(key=lambda pair: order.index(kind) if (kind := pair[1]["kind"].iloc[0]) in order else len(order))
    for benchmark, rows in by_benchmark:
        names = list(dict.fromkeys(rows["name"].astype(str)))
        names.sort(key=lambda name: list(QUANTITIES).index(name) if name in QUANTITIES else len(QUANTITIES))
        columns = [Column("Metric", numeric=False), Column("Unit", numeric=False)]
        columns += [Column(label) for label in labels]
        columns += [Column(f"{label} − baseline") for label in data.candidates]
        yield Table(
            f"metrics-{make_key(str(benchmark))}",
            f"All metrics of {benchmark}",
            columns,
            [_make_metric_row(data, str(benchmark), name, labels, rows) for name in names],
            folded=True,
        )


def _make_metric_row(data: ReportData, benchmark: str, name: str, labels: list[str], rows: pd.DataFrame) -> Row:
    quantity = get_quantity(name, str(rows.loc[rows["name"] == name, "unit"].iloc[0]))
    cells = [Cell(quantity.title, quantity.meaning), Cell(quantity.unit)]
    cells += [make_metric_cell(data, label, benchmark, name) for label in labels]
    cells += [_make_difference_cell(data, candidate, benchmark, name) for candidate in data.candidates]
    return Row(cells)


def _make_difference_cell(data: ReportData, candidate: str, benchmark: str, name: str) -> Cell:
    change = find_change(data, benchmark, candidate, name)
    return Cell(NONE) if change is None else make_change_cell(change)
