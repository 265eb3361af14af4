"""The sections of the page, from the report's data; a part without data says what is missing and how to make it."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import pandas as pd

from heo_core.evaluation.assessment import Outcome, describe_limit
from heo_core.reporting import figures
from heo_core.reporting.answer import Statement, compute_statements
from heo_core.reporting.blocks import (
    Answer,
    Block,
    Cell,
    Column,
    Facts,
    Heading,
    Interval,
    Missing,
    Panel,
    Panels,
    Row,
    Section,
    Table,
)
from heo_core.reporting.cautions import compute_end_point_share
from heo_core.reporting.comparison import find_outcomes
from heo_core.reporting.data import ReportData, as_number, as_text, is_true
from heo_core.reporting.palette import ModelStyle, assign_styles
from heo_core.reporting.quantities import (
    QUANTITIES,
    choose_decimals,
    format_number,
    format_significant,
    get_difference_quantity,
    get_quantity,
)

KIND_TITLES = {
    "energy-forces": "Energies and forces",
    "off-equilibrium": "Off equilibrium",
    "forgetting-holdout": "Simple oxides, held out",
    "equation-of-state": "Equations of state of binary oxides",
    "rattle-relax": "Rattled and relaxed again",
    "substitution-relax": "Random substitution, relaxed",
}
_NONE = "–"
_WORST = 10

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
}


def build_sections(data: ReportData) -> list[Section]:
    """Every section after the warnings, in the order of the page."""
    styles = assign_styles(data.models)
    return [
        _build_leaderboard(data, styles),
        _build_softening(data, styles),
        _build_training(data, styles),
        _build_energy_forces(data, styles),
        _build_relaxation(data, styles),
        _build_dataset(data),
        _build_methods(data),
    ]


# -- answer ------------------------------------------------------------------------------------------------------------


def build_answers(data: ReportData, statements: list[Statement] | None = None) -> list[Block]:
    """Return the statements grouped by benchmark, each with a picture of its interval; or what is missing for them."""
    statements = compute_statements(data) if statements is None else statements
    if not statements:
        return [_explain_no_answer(data)]
    grouped: dict[tuple[str, str], list[Statement]] = {}
    for statement in statements:
        grouped.setdefault((statement.kind, statement.benchmark), []).append(statement)
    blocks: list[Block] = [
        Answer(
            KIND_TITLES.get(kind, kind), _describe_benchmark(data, benchmark), [(s, _draw_interval(s)) for s in found]
        )
        for (kind, benchmark), found in grouped.items()
    ]
    if any(statement.verdict == "missing" for statement in statements):
        blocks.append(
            Missing("Some comparisons are missing: not every model was evaluated on every benchmark.", "heo evaluate")
        )
    return blocks


def _explain_no_answer(data: ReportData) -> Missing:
    if data.models.empty:
        return Missing("No model stands in this report.", "heo finetune --dataset sample --foundation heo-mini")
    if not data.candidates:
        return Missing("There is only one model, so there is nothing to compare it with.", "heo finetune")
    return Missing("No model has been evaluated yet.", "heo evaluate")


def _describe_benchmark(data: ReportData, benchmark: str) -> str:
    rows = data.benchmarks[data.benchmarks["benchmark"] == benchmark]
    n = as_number(rows["n_cases"].iloc[0]) if len(rows) else None
    return benchmark if n is None else f"{benchmark} · {n:,.0f} structures"


def _draw_interval(statement: Statement) -> Interval | None:
    low, value, high = statement.ci_low, statement.difference, statement.ci_high
    if low is None or value is None or high is None:
        return None
    reach = max(abs(low), abs(high), abs(value)) * 1.12 or 1.0
    first, middle, last = (round(100 + 100 * number / reach, 1) for number in (low, value, high))
    return Interval(first, middle, last, better_left=get_quantity(statement.metric).better == "lower")


# -- leaderboard -------------------------------------------------------------------------------------------------------


def _build_leaderboard(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    lead = (
        "Headline numbers of every model, the baseline first, with 95 % intervals below. Bold marks the best model "
        "of a column; whether it is really better is for the paired comparison above. Click a heading to sort."
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
    columns = [Column("Model", numeric=False)]
    for benchmark, name in wanted:
        quantity = get_quantity(name)
        columns.append(Column(quantity.title, quantity.unit, benchmark, quantity.meaning))
    labels = [str(label) for label in data.models["label"]]
    best = {key: _find_best(data, labels, *key) for key in wanted}
    rows = [
        Row(
            [Cell(label, _describe_role(data, label))]
            + [_make_metric_cell(data, label, b, name, best=best[b, name] == label) for b, name in wanted],
            colour=styles[label].colour,
        )
        for label in labels
    ]
    rows.extend(_make_yardsticks(data, wanted))
    return Table("leaderboard-table", "", columns, rows)


def _describe_role(data: ReportData, label: str) -> str:
    row = data.models[data.models["label"] == label].iloc[0]
    parent = as_text(row["parent"])
    return "baseline" if label == data.baseline else f"child of {parent}" if parent else str(row["role"])


def _find_best(data: ReportData, labels: list[str], benchmark: str, name: str) -> str | None:
    better = get_quantity(name).better
    values = {label: value for label in labels if (value := data.find_metric(label, benchmark, name)) is not None}
    if better is None or len(values) < 2 or len(set(values.values())) == 1:
        return None
    if better == "one":
        return min(values, key=lambda label: abs(values[label] - 1))
    return min(values, key=lambda label: values[label] if better == "lower" else -values[label])


def _make_metric_cell(data: ReportData, label: str, benchmark: str, name: str, *, best: bool = False) -> Cell:
    rows = data.metrics
    found = rows[(rows["label"] == label) & (rows["benchmark"] == benchmark) & (rows["name"] == name)]
    value = as_number(found["value"].iloc[0]) if len(found) else None
    if value is None:
        return Cell(_NONE)
    low, high = as_number(found["ci_low"].iloc[0]), as_number(found["ci_high"].iloc[0])
    quantity = get_quantity(name, str(found["unit"].iloc[0]))
    value *= quantity.factor
    if low is None or high is None:
        return Cell(format_significant(value), order=value, best=best)
    low, high = low * quantity.factor, high * quantity.factor
    decimals = choose_decimals((high - low) / 2) if high > low else choose_decimals(abs(value))
    interval = f"{format_number(low, decimals)} to {format_number(high, decimals)}"
    return Cell(format_number(value, decimals), interval, value, best)


_YARDSTICKS = (
    ("Zero force everywhere", {"forces_rmse_ev_per_ang": "zero_force_rmse_ev_per_ang"}),
    ("Mean energy by composition", {"energy_rmse_ev_per_atom": "mean_energy_baseline_rmse_ev_per_atom"}),
)


def _make_yardsticks(data: ReportData, wanted: list[tuple[str, str]]) -> list[Row]:
    """Rows for the predictions that need no model, where their error is known."""
    rows = []
    for title, replaced in _YARDSTICKS:
        cells = [_make_yardstick_cell(data, benchmark, replaced.get(name)) for benchmark, name in wanted]
        if any(cell.order is not None for cell in cells):
            rows.append(Row([Cell(title, "yardstick, no model"), *cells], aside=True))
    return rows


def _make_yardstick_cell(data: ReportData, benchmark: str, name: str | None) -> Cell:
    for label in data.models["label"] if name else ():
        value = data.find_metric(str(label), benchmark, str(name))
        if value is not None:
            shown = value * get_quantity(str(name)).factor
            return Cell(format_significant(shown), order=shown)
    return Cell("")


def _make_metric_tables(data: ReportData) -> Iterator[Table]:
    """Every metric of every benchmark, folded away."""
    labels = [str(label) for label in data.models["label"]]
    for benchmark, rows in data.metrics.groupby("benchmark", sort=False):
        names = list(dict.fromkeys(rows["name"].astype(str)))
        names.sort(key=lambda name: list(QUANTITIES).index(name) if name in QUANTITIES else len(QUANTITIES))
        columns = [Column("Metric", numeric=False), Column("Unit", numeric=False)]
        columns += [Column(label) for label in labels]
        columns += [Column(f"{label} − baseline") for label in data.candidates]
        yield Table(
            f"metrics-{_key(str(benchmark))}",
            f"All metrics of {benchmark}",
            columns,
            [_make_metric_row(data, str(benchmark), name, labels, rows) for name in names],
            folded=True,
        )


def _make_metric_row(data: ReportData, benchmark: str, name: str, labels: list[str], rows: pd.DataFrame) -> Row:
    quantity = get_quantity(name, str(rows.loc[rows["name"] == name, "unit"].iloc[0]))
    cells = [Cell(quantity.title, quantity.meaning), Cell(quantity.unit)]
    cells += [_make_metric_cell(data, label, benchmark, name) for label in labels]
    cells += [_make_difference_cell(data, candidate, benchmark, name) for candidate in data.candidates]
    return Row(cells)


def _make_difference_cell(data: ReportData, candidate: str, benchmark: str, name: str) -> Cell:
    rows = data.comparisons
    found = rows[(rows["candidate"] == candidate) & (rows["benchmark"] == benchmark) & (rows["name"] == name)]
    value = as_number(found["value"].iloc[0]) if len(found) else None
    if value is None:
        return Cell(_NONE)
    quantity = get_difference_quantity(name, str(found["unit"].iloc[0]))
    low, high = as_number(found["ci_low"].iloc[0]), as_number(found["ci_high"].iloc[0])
    value *= quantity.factor
    if low is None or high is None:
        return Cell(format_number(value, choose_decimals(abs(value)), signed=True), order=value)
    decimals = choose_decimals((high - low) / 2 * quantity.factor)
    bounds = [format_number(bound * quantity.factor, decimals, signed=True) for bound in (low, high)]
    return Cell(format_number(value, decimals, signed=True), f"{bounds[0]} to {bounds[1]}", value)


# -- softening and forgetting ------------------------------------------------------------------------------------------

_ASSESSED_KINDS = ("off-equilibrium", "forgetting-holdout", "equation-of-state")
_N_CURVES = 6


def _build_softening(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    lead = (
        "What a finetuning can cost. On relaxed structures a softer potential looks better than it is, so stiffness is "
        "measured on cells away from equilibrium; and simple oxides, which no high-entropy dataset holds, show what "
        "was forgotten. Limits are on the change from the baseline."
    )
    blocks: list[Block] = []
    missing = [kind for kind in _ASSESSED_KINDS if not data.benchmarks_of_kind(kind)]
    if data.candidates and len(missing) < len(_ASSESSED_KINDS):
        blocks.append(_make_check_table(data, styles))
    if missing:
        words = " and ".join(KIND_TITLES[kind].lower() for kind in missing)
        command = " ".join(["heo evaluate", *(f"--benchmark {kind}" for kind in missing)])
        blocks.append(Missing(f"Not measured: {words}.", command))
    parity = _make_force_panels(data, styles, "off-equilibrium")
    if parity:
        blocks += [Heading(KIND_TITLES["off-equilibrium"], _describe_kind(data, "off-equilibrium")), Panels(parity)]
    if len(data.curve_points):
        blocks.append(Heading(KIND_TITLES["equation-of-state"], _describe_kind(data, "equation-of-state")))
        blocks.append(Panels(_make_curve_panels(data, styles), size="small"))
        blocks.append(_make_material_table(data))
    return Section("softening", "Softening and forgetting", lead, blocks)


def _describe_kind(data: ReportData, kind: str) -> str:
    return " and ".join(_describe_benchmark(data, name) for name in data.benchmarks_of_kind(kind))


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
    check = outcome.check
    numbers = [None if value is None else value * check.factor for value in (outcome.parent, outcome.child)]
    verdict = "within"
    if outcome.is_beyond:
        verdict = "beyond the limit"
    elif outcome.ci_low is None or outcome.ci_high is None:
        verdict = "not decided: no interval"
    return Row(
        [
            Cell(candidate),
            Cell(check.subject),
            Cell(check.unit),
            *(Cell(_NONE) if n is None else Cell(format_significant(n), order=n) for n in numbers),
            _make_outcome_cell(outcome),
            Cell(describe_limit(check)),
            Cell(verdict, best=outcome.is_beyond),
        ],
        colour=styles[candidate].colour,
    )


def _make_outcome_cell(outcome: Outcome) -> Cell:
    if outcome.difference is None:
        return Cell(_NONE)
    difference = outcome.difference * outcome.check.factor
    if outcome.ci_low is None or outcome.ci_high is None:
        return Cell(format_number(difference, choose_decimals(abs(difference)), signed=True), order=difference)
    low, high = (bound * outcome.check.factor for bound in (outcome.ci_low, outcome.ci_high))
    decimals = min(3, choose_decimals((high - low) / 2))
    ends = " to ".join(format_number(bound, decimals, signed=True) for bound in (low, high))
    return Cell(format_number(difference, decimals, signed=True), ends, difference)


def _make_curve_panels(data: ReportData, styles: Mapping[str, ModelStyle]) -> list[Panel]:
    """Curves of a few oxides: those on which a model lies furthest from the reference, and those where all fit best."""
    order = figures.rank_materials(data.curve_points)
    half = _N_CURVES // 2
    chosen = order if len(order) <= _N_CURVES else [*order[:half], *order[-half:]]
    captions = ["Black: the labels. Each curve counts from its value at the reference's relaxed volume."]
    captions += ["Among those that fit worst."] * (half - 1) + ["Among those that fit best."] * half
    return [
        Panel(
            f"curve-{_key(material)}",
            f"{material}.",
            captions[i],
            figures.plot_volume_curve(data.curve_points, styles, material),
            height=300,
        )
        for i, material in enumerate(chosen)
    ]


def _make_material_table(data: ReportData) -> Table:
    labels = [label for label in data.models["label"].astype(str) if label in set(data.volume_curves["label"])]
    columns = [Column("Material", numeric=False), Column("V", "Å³/atom", "reference"), Column("B", "GPa", "reference")]
    for label in labels:
        columns += [Column("V error", "%", label), Column("B error", "%", label), Column("Curve", "meV/atom", label)]
    by_key = {(str(r["material"]), str(r["label"])): r for r in data.volume_curves.to_dict("records")}
    rows = []
    for material in dict.fromkeys(data.volume_curves["material"].astype(str)):
        found = [by_key.get((material, label)) for label in labels]
        about = next(row for row in found if row is not None)
        reference = (about["reference_volume_ang3_per_atom"], about["reference_bulk_modulus_gpa"])
        cells = [Cell(material), *(_make_significant_cell(value) for value in reference)]
        for row in found:
            cells += _make_material_cells(row)
        rows.append(Row(cells))
    return Table("materials", "Equilibrium volume and bulk modulus of every oxide", columns, rows, folded=True)


def _make_significant_cell(value: object) -> Cell:
    number = as_number(value)
    return Cell(_NONE) if number is None else Cell(format_significant(number), order=number)


def _make_material_cells(row: Mapping[Hashable, Any] | None) -> list[Cell]:
    if row is None:
        return [Cell(_NONE)] * 3
    cells: list[Cell] = []
    for name, factor in (
        ("equilibrium_volume_error_fraction", 100),
        ("bulk_modulus_error_fraction", 100),
        ("energy_volume_rmse_ev_per_atom", 1000),
    ):
        number = as_number(row[name])
        if number is None:
            cells.append(Cell(_NONE, "" if cells else as_text(row["failure"]) or ""))
        else:
            cells.append(Cell(format_number(number * factor, 1, signed=name.endswith("fraction")), order=number))
    return cells


# -- training ----------------------------------------------------------------------------------------------------------


def _build_training(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    lead = (
        "Errors on the validation split after each epoch. Epoch 0 is the foundation model before any step, the "
        "ring marks the epoch "
        "that was kept."
    )
    blocks: list[Block] = []
    if data.epochs.empty:
        blocks.append(Missing("No epoch of a training run is stored for these models.", "heo finetune"))
    else:
        blocks.append(Panels(_make_training_panels(data, styles), size="small"))
    splits = _make_split_table_of_errors(data, styles)
    if splits.rows:
        blocks.append(splits)
    if len(data.training_runs):
        blocks.append(_make_run_table(data.training_runs))
    return Section("training", "Training", lead, blocks)


def _make_training_panels(data: ReportData, styles: Mapping[str, ModelStyle]) -> list[Panel]:
    args = (data.epochs, data.training_runs, styles)
    labels = list(dict.fromkeys(data.epochs["label"].astype(str)))
    whose, errors, losses = f"Of {labels[0]} on", "", ""
    if len(labels) > 1:
        whose, errors, losses = "On", " Solid: RMSE, dotted: MAE.", " Solid: validation, dotted: training."
    zero, mean = (
        _find_yardstick(data, "validation", name)
        for name in ("zero_force_rmse_ev_per_ang", "mean_energy_baseline_rmse_ev_per_atom")
    )
    forces = figures.plot_training_curves(*args, "forces", zero, "zero force")
    energy = figures.plot_training_curves(*args, "energy", mean, "mean by composition")
    loss = figures.plot_training_curves(*args, "loss")
    forces_line = "" if zero is None else " Dashed: RMSE of predicting no force at all."
    energy_line = "" if mean is None else " Dashed: RMSE of a mean energy by composition."
    return [
        Panel("training-forces", "Force error.", f"{whose} the validation split.{errors}{forces_line}", forces),
        Panel("training-energy", "Energy error.", f"{whose} the validation split.{errors}{energy_line}", energy),
        Panel("training-loss", "Loss.", f"What the training minimises.{losses}", loss),
    ]


_SPLIT_ERRORS = (
    "forces_rmse_ev_per_ang",
    "forces_mae_ev_per_ang",
    "energy_rmse_ev_per_atom",
    "energy_mae_ev_per_atom",
)


def _find_yardstick(data: ReportData, split: str, name: str) -> float | None:
    """Error of knowing nothing on a split; None where it was not evaluated, or on more than one dataset."""
    rows = data.metrics[(data.metrics["kind"] == "energy-forces") & (data.metrics["name"] == name)]
    found = {
        str(row["benchmark"]): as_number(row["value"])
        for row in rows.to_dict("records")
        if data.find_split(str(row["benchmark"])) == split
    }
    return next(iter(found.values())) if len(found) == 1 else None


def _make_split_table_of_errors(data: ReportData, styles: Mapping[str, ModelStyle]) -> Table:
    """Errors of every model on every split of its dataset, beside those of knowing nothing; no row for one split."""
    names = dict.fromkeys(str(name) for name in data.metrics.loc[data.metrics["kind"] == "energy-forces", "benchmark"])
    order = ("train", "validation", "test")
    benchmarks = sorted(names, key=lambda name: order.index(data.find_split(name) or "test"))
    columns = [Column("Split", numeric=False), Column("Predicted by", numeric=False)]
    columns += [Column(get_quantity(name).title, get_quantity(name).unit) for name in _SPLIT_ERRORS]
    rows: list[Row] = []
    for benchmark in benchmarks if len(benchmarks) > 1 else []:
        split = Cell(data.find_split(benchmark) or _NONE, benchmark)
        for label in data.models["label"].astype(str):
            cells = [_make_metric_cell(data, label, benchmark, name) for name in _SPLIT_ERRORS]
            if any(cell.order is not None for cell in cells):
                rows.append(Row([split, Cell(label), *cells], colour=styles[label].colour))
        for title, replaced in (
            ("zero force", ("zero_force_rmse_ev_per_ang", "zero_force_mae_ev_per_ang", None, None)),
            ("mean energy by composition", (None, None, "mean_energy_baseline_rmse_ev_per_atom", None)),
        ):
            cells = [_make_yardstick_cell(data, benchmark, name) for name in replaced]
            rows.append(Row([split, Cell(title, "yardstick, no model"), *cells]))
    caption = "Training errors far below the others mean overfitting."
    return Table("split-errors", "Errors on each split, computed here and not by the trainer", columns, rows, caption)


def _make_run_table(runs: pd.DataFrame) -> Table:
    columns = [
        Column("Model", numeric=False),
        Column("Started from", numeric=False),
        Column("Dataset", numeric=False),
        Column("Strategy", numeric=False),
        Column("State", numeric=False),
        Column("Training", "structures"),
        Column("Validation", "structures"),
        Column("Kept epoch"),
        Column("Time", "s"),
        Column("Device", numeric=False),
    ]
    rows = [
        Row(
            [
                *(Cell(as_text(run[name]) or _NONE) for name in ("label", "foundation", "dataset", "strategy")),
                Cell(as_text(run["state"]) or _NONE, as_text(run["failure"]) or ""),
                *(_make_count_cell(run[name]) for name in ("n_train", "n_validation", "best_epoch", "wall_s")),
                Cell(as_text(run["device"]) or _NONE),
            ]
        )
        for run in runs.to_dict("records")
    ]
    return Table("training-runs", "Training runs", columns, rows)


def _make_count_cell(value: object) -> Cell:
    number = as_number(value)
    return Cell(_NONE) if number is None else Cell(format_number(number, 0), order=number)


# -- energies and forces -----------------------------------------------------------------------------------------------


def _build_energy_forces(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    lead = "How closely each model follows the reference energies and forces on structures that it was not trained on."
    blocks: list[Block] = []
    drawn = set(data.predictions["benchmark"].astype(str))
    for benchmark in (name for name in data.benchmarks_of_kind("energy-forces") if name in drawn):
        rows = data.predictions[data.predictions["benchmark"] == benchmark]
        blocks.append(Heading(_describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_energy_panels(rows, styles, _key(benchmark))))
        worst = _make_worst_table(data, rows, benchmark)
        if worst.rows:
            blocks.append(worst)
    parity = _make_force_panels(data, styles, "energy-forces")
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


def _make_force_panels(data: ReportData, styles: Mapping[str, ModelStyle], kind: str) -> list[Panel]:
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
                f"force-parity-{kind}-{_key(label)}",
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
                _make_count_cell(about.loc[identifier, "n_atoms"]),
                *(_make_error_cell(table.loc[identifier].get(label)) for label in labels),
            ]
        )
        for identifier in worst
    ]
    return Table(f"worst-{_key(benchmark)}", "Structures with the largest force errors", columns, body, folded=True)


def _make_error_cell(value: object) -> Cell:
    number = as_number(value)
    return Cell(_NONE) if number is None else Cell(format_significant(1000 * number), order=number)


# -- relaxation --------------------------------------------------------------------------------------------------------


def _build_relaxation(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    lead = (
        "How quickly and how well each model relaxes atoms and cell from the same starting structures. Convergence "
        "is judged on the "
        "final state; one force call is one evaluation of the model. A softer potential needs fewer calls, so read "
        "speed together "
        "with where the structures end."
    )
    blocks: list[Block] = []
    for benchmark in dict.fromkeys(data.relaxations["benchmark"].astype(str)):
        rows = data.relaxations[data.relaxations["benchmark"] == benchmark]
        kind = str(rows["kind"].iloc[0])
        blocks.append(Heading(KIND_TITLES.get(kind, kind), _describe_benchmark(data, benchmark)))
        blocks.append(Panels(_make_course_panels(data, rows, styles, benchmark), size="small"))
        ends = _make_end_panels(data, rows, styles, benchmark)
        if ends:
            blocks.append(Panels(ends))
        unfinished = _make_unfinished_table(rows, benchmark)
        if unfinished.rows:
            blocks.append(unfinished)
    if not blocks:
        text = "No relaxations are stored for these models."
        blocks.append(Missing(text, "heo evaluate --benchmark rattle-relax --benchmark substitution-relax"))
    return Section("relaxation", "Relaxation", lead, blocks)


def _make_course_panels(
    data: ReportData, rows: pd.DataFrame, styles: Mapping[str, ModelStyle], benchmark: str
) -> list[Panel]:
    key = _key(benchmark)
    lines = "Thin lines are structures, the thick line is their median."
    fmax = _find_fmax(data, benchmark)
    limit = "" if fmax is None else f" Dotted: the limit, {fmax * 1000:g} meV/Å."
    return [
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


def _find_fmax(data: ReportData, benchmark: str) -> float | None:
    for params in data.benchmarks.loc[data.benchmarks["benchmark"] == benchmark, "params"]:
        if isinstance(params, dict) and isinstance(params.get("relax"), dict):
            return as_number(params["relax"].get("fmax"))
    return None


def _make_end_panels(
    data: ReportData, rows: pd.DataFrame, styles: Mapping[str, ModelStyle], benchmark: str
) -> list[Panel]:
    key = _key(benchmark)
    panels = []
    if _has_numbers(rows, "displacement_rmsd_ang"):
        caption = "To the reference structure, periodic images and drift removed. Lines join the same structure."
        panels.append(
            Panel(
                f"displacement-{key}", "Distance from the reference.", caption, figures.plot_displacement(rows, styles)
            )
        )
    if _has_numbers(rows, "volume_change_fraction"):
        caption = "Of the cell while relaxing, with its sign. Lines join the same structure."
        panels.append(Panel(f"volume-{key}", "Volume change.", caption, figures.plot_volume_change(rows, styles)))
    if data.baseline and figures.compute_energy_differences(rows, data.baseline):
        caption = (
            "Every model's relaxed cells are given to one reference model; below zero the candidate found the "
            "lower, better relaxed "
            "cell. The band is the 95 % interval of the mean."
        )
        figure = figures.plot_paired_energy_differences(rows, styles, data.baseline, _find_intervals(data, benchmark))
        panels.append(Panel(f"paired-energy-{key}", "Paired energy differences.", caption, figure))
    return panels


def _find_intervals(data: ReportData, benchmark: str) -> dict[str, tuple[float, float]]:
    rows = data.comparisons
    rows = rows[(rows["benchmark"] == benchmark) & (rows["name"] == "reference_energy_mean_ev_per_atom")]
    bounds = {
        str(row["candidate"]): (as_number(row["ci_low"]), as_number(row["ci_high"])) for row in rows.to_dict("records")
    }
    return {label: (low, high) for label, (low, high) in bounds.items() if low is not None and high is not None}


def _make_unfinished_table(rows: pd.DataFrame, benchmark: str) -> Table:
    done = is_true(rows["converged"]) & rows["failure"].isna()
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
                _make_count_cell(row["force_calls"]),
                _make_error_cell(row["fmax_ev_per_ang"]),
                Cell(as_text(row["failure"]) or "not converged within the force calls allowed"),
            ]
        )
        for row in rows[~done].head(200).to_dict("records")
    ]
    return Table(
        f"unfinished-{_key(benchmark)}", "Structures that failed or did not converge", columns, body, folded=True
    )


# -- dataset -----------------------------------------------------------------------------------------------------------


def _build_dataset(data: ReportData) -> Section:
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
    rows = [(title, as_text(data.dataset.get(name)) or _NONE) for name, title in names.items()]
    rows.append(("Labels", ", ".join(str(name) for name in data.dataset.get("functionals") or []) or _NONE))
    rows.append(("Citation", as_text(data.dataset.get("citation")) or _NONE))
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
                *(_make_count_cell(row[name]) for name in ("n_structures", "n_formulas", "n_chemical_systems")),
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
                _make_count_cell(row["n_rejected"]),
                Cell(_list_words(row["example_ids"]), code=True),
            ]
        )
        for row in rejections.to_dict("records")
    ]
    return Table("rejection-examples", "Rejected rows, with examples", columns, rows, folded=True)


# -- methods -----------------------------------------------------------------------------------------------------------


def _build_methods(data: ReportData) -> Section:
    lead = (
        "Everything needed to make these numbers again: models, hashes, parameters, versions, licences and citations."
    )
    blocks: list[Block] = [*_make_model_facts(data)]
    for run in data.training_runs.to_dict("records"):
        blocks.append(Facts(f"Training of {run['label']}: parameters", flatten(run["params"]), folded=True))
        blocks.append(Facts(f"Training of {run['label']}: versions", flatten(run["versions"]), folded=True))
        if isinstance(run["left_out"], dict) and run["left_out"]:
            blocks.append(Facts(f"Training of {run['label']}: rows left out", flatten(run["left_out"]), folded=True))
    if data.dataset is not None:
        blocks.append(
            Facts(
                f"Curation of {data.dataset.get('label')}: parameters", flatten(data.dataset.get("params")), folded=True
            )
        )
    for row in data.benchmarks.to_dict("records"):
        about = [("kind", str(row["kind"])), ("version", str(row["version"])), ("structures", str(row["n_cases"]))]
        about.append(("reference", as_text(row["reference"]) or "none"))
        blocks.append(Facts(f"Benchmark {row['benchmark']}", about + flatten(row["params"]), folded=True))
    blocks.append(_make_glossary(data))
    blocks.append(Facts("This page", [("made", f"{data.generated_at:%Y-%m-%d %H:%M} UTC"), ("heo", data.heo_version)]))
    return Section("methods", "Methods", lead, blocks)


def _make_model_facts(data: ReportData) -> Iterator[Block]:
    if data.models.empty:
        yield Missing("No model stands in this report.", "heo finetune")
    names = {
        "role": "Role",
        "family": "Family",
        "parent": "Parent",
        "dataset": "Trained on",
        "licence": "Licence",
        "n_elements": "Elements known",
        "created_at": "Made",
        "sha256": "SHA-256",
    }
    for model in data.models.to_dict("records"):
        yield Facts(f"Model {model['label']}", [(title, _fact(model[name])) for name, title in names.items()])


def _fact(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    number = as_number(value) if isinstance(value, float) else None
    return f"{number:g}" if number is not None else as_text(value) or _NONE


def _make_glossary(data: ReportData) -> Facts:
    names = [name for name in QUANTITIES if name in set(data.metrics["name"])]
    rows = [(QUANTITIES[name].title, QUANTITIES[name].meaning) for name in names]
    paired = (
        "candidate minus baseline on the structures that both models answered; its 95 % interval comes from "
        "resampling whole groups of them (chemical systems, or cells). An interval that includes zero decides nothing."
    )
    return Facts("What the numbers mean", [*rows, ("Paired difference", paired)], folded=True)


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested dict as (dotted name, text) pairs in their order; none for anything but a dict."""
    if not isinstance(value, Mapping):
        return []
    pairs: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            pairs.extend(flatten(item, f"{prefix}{name}."))
        else:
            pairs.append(
                (
                    f"{prefix}{name}",
                    item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str),
                )
            )
    return pairs


# -- pieces ------------------------------------------------------------------------------------------------------------


def _has_numbers(rows: pd.DataFrame, column: str) -> bool:
    return bool(pd.to_numeric(rows[column], errors="coerce").notna().any())


def _list_words(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else as_text(value) or _NONE


def _key(name: str) -> str:
    """Return a name as part of an HTML id: letters, digits and hyphens, everything else by its code point."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign == "-") else f".{ord(sign):x}." for sign in name)
