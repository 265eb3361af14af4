"""The training runs, epoch by epoch, and the errors on every split."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from heo_core.reporting import figures
from heo_core.reporting.blocks import Block, Cell, Column, Heading, Missing, Panel, Panels, Row, Section, Table
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.palette import ModelStyle
from heo_core.reporting.quantities import get_quantity
from heo_core.reporting.sections.benchmark_titles import make_key
from heo_core.reporting.sections.cells import (
    NONE,
    make_count_cell,
    make_error_cell,
    make_metric_cell,
    make_significant_cell,
    make_yardstick_cell,
)

_SPLIT_ERRORS = (
    "forces_rmse_ev_per_ang",
    "forces_mae_ev_per_ang",
    "energy_rmse_ev_per_atom",
    "energy_mae_ev_per_atom",
)


def build_training(data: ReportData, styles: Mapping[str, ModelStyle]) -> Section:
    """Return the curves of every training run and the errors on every split."""
    lead = (
        "Errors on the validation split after each epoch. Epoch 0 is the foundation model before any step, with "
        "the energies of single atoms (E0s) of the training; the ring marks the epoch that was kept."
    )
    blocks: list[Block] = []
    if data.epochs.empty:
        blocks.append(Missing("No epoch of a training run is stored for these models.", "heo finetune"))
    else:
        blocks.append(Panels(_make_training_panels(data, styles)))
    splits = _make_split_table_of_errors(data, styles)
    if splits.rows:
        blocks.append(splits)
    if len(data.training_runs):
        blocks.append(_make_run_table(data.training_runs))
    for sweep, trials in data.trials.groupby("sweep", sort=False):
        blocks += _make_sweep_blocks(data, str(sweep), trials, styles)
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
        *_make_rate_panel(*args),
    ]


def _make_rate_panel(epochs: pd.DataFrame, runs: pd.DataFrame, styles: Mapping[str, ModelStyle]) -> list[Panel]:
    if epochs["lr"].isna().all():
        return []
    caption = "Size of the steps; it falls where the validation loss no longer does, or by the schedule of the run."
    return [Panel("training-rate", "Learning rate.", caption, figures.plot_training_curves(epochs, runs, styles, "lr"))]


def _make_sweep_blocks(
    data: ReportData, sweep: str, trials: pd.DataFrame, styles: Mapping[str, ModelStyle]
) -> list[Block]:
    """Every trial of a sweep together, and by strategy."""
    key, n_ended = make_key(sweep), int((trials["state"] == "completed").sum())
    text = f"{n_ended} of {len(trials)} trials completed. Coloured: models of this report."
    heading = Heading(f"Sweep {sweep}", text)
    epochs = data.trial_epochs[data.trial_epochs["label"].isin(trials["label"])]
    curves = "Force RMSE on the validation split of every trial, dashed by strategy; hover for its parameters."
    columns = "Force RMSE of each trial's best epoch on the validation split; the line is the median of the strategy."
    panels = [
        Panel(f"trials-{key}", "All trials.", curves, figures.plot_trials(trials, epochs, styles)),
        Panel(f"strategies-{key}", "By strategy.", columns, figures.plot_strategies(trials, styles)),
    ]
    return [heading, Panels([panel for panel in panels if panel.figure.data]), _make_trial_table(trials, key, styles)]


def _make_trial_table(trials: pd.DataFrame, key: str, styles: Mapping[str, ModelStyle]) -> Table:
    columns = [
        Column("Trial", numeric=False),
        Column("Strategy", numeric=False),
        Column("State", numeric=False),
        Column("Searched", numeric=False),
        Column("Score", hint="robust validation score, lower is better"),
        Column("Best epoch"),
        Column("Force RMSE", "meV/Å"),
        Column("Energy RMSE", "meV/atom"),
        Column("Time", "s"),
    ]
    rows = [
        Row(
            [
                Cell(str(trial["label"])),
                Cell(as_text(trial["strategy"]) or NONE),
                Cell(as_text(trial["state"]) or NONE, as_text(trial["failure"]) or ""),
                Cell(", ".join(f"{name} = {value}" for name, value in (trial["params"] or {}).items()) or NONE),
                make_significant_cell(trial["score"]),
                make_count_cell(trial["best_epoch"]),
                make_error_cell(trial["forces_rmse_ev_per_ang"]),
                make_error_cell(trial["energy_rmse_ev_per_atom"]),
                make_count_cell(trial["train_s"]),
            ],
            colour=styles[str(trial["label"])].colour if str(trial["label"]) in styles else None,
        )
        for trial in trials.to_dict("records")
    ]
    return Table(f"trials-table-{key}", "Every trial of the sweep", columns, rows, folded=True)


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
        split = Cell(data.find_split(benchmark) or NONE, benchmark)
        for label in data.models["label"].astype(str):
            cells = [make_metric_cell(data, label, benchmark, name) for name in _SPLIT_ERRORS]
            if any(cell.order is not None for cell in cells):
                rows.append(Row([split, Cell(label), *cells], colour=styles[label].colour))
        for title, replaced in (
            ("zero force", ("zero_force_rmse_ev_per_ang", "zero_force_mae_ev_per_ang", None, None)),
            ("mean energy by composition", (None, None, "mean_energy_baseline_rmse_ev_per_atom", None)),
        ):
            cells = [make_yardstick_cell(data, benchmark, name) for name in replaced]
            rows.append(Row([split, Cell(title, "yardstick, no model"), *cells], aside=True))
    caption = "Training errors far below the others mean overfitting."
    return Table("split-errors", "Errors on each split, computed here and not by the trainer", columns, rows, caption)


def _make_run_table(runs: pd.DataFrame) -> Table:
    columns = [
        Column("Model", numeric=False),
        Column("Started from", numeric=False),
        Column("Dataset", numeric=False),
        Column("Strategy", numeric=False),
        Column("State", numeric=False),
        Column("Trained on", "structures"),
        Column("Validation", "structures"),
        Column("Kept epoch"),
        Column("Training", "s"),
        Column("Device", numeric=False),
    ]
    rows = [
        Row(
            [
                *(Cell(as_text(run[name]) or NONE) for name in ("label", "foundation", "dataset", "strategy")),
                Cell(as_text(run["state"]) or NONE, as_text(run["failure"]) or ""),
                *(make_count_cell(run[name]) for name in ("n_train", "n_validation", "best_epoch", "train_s")),
                Cell(as_text(run["device"]) or NONE),
            ]
        )
        for run in runs.to_dict("records")
    ]
    return Table("training-runs", "Training runs", columns, rows)
