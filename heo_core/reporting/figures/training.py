"""How errors fell during training, of single runs and of the trials of a sweep."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.data import as_number
from heo_core.reporting.figures.canvas import Array, Styles, by_label, make_figure, to_array, use_log_axis, with_numbers
from heo_core.reporting.palette import MUTED, ModelStyle, get_style, plain

_LOG_FROM_RATIO = 8
_KEPT = "kept epoch"

# quantity: (title of the axis, factor, (column, name, dash) of each line; the first is the one that the ring marks)
_LINES: dict[str, tuple[str, float, tuple[tuple[str, str, str], ...]]] = {
    "loss": ("Loss (no unit)", 1.0, (("validation_loss", "validation", "solid"), ("train_loss", "training", "dot"))),
    "forces": (
        "Force error (meV/Å)",
        1000.0,
        (("forces_rmse_ev_per_ang", "RMSE", "solid"), ("forces_mae_ev_per_ang", "MAE", "dot")),
    ),
    "energy": (
        "Energy error (meV/atom)",
        1000.0,
        (("energy_rmse_ev_per_atom", "RMSE", "solid"), ("energy_mae_ev_per_atom", "MAE", "dot")),
    ),
    "lr": ("Learning rate (no unit)", 1.0, (("lr", "learning rate", "solid"),)),
}
_STRATEGIES = ("naive", "replay", "freeze", "lora", "scratch")
_STRATEGY_DASHES = dict(zip(_STRATEGIES, ("dot", "solid", "dash", "dashdot", "longdash"), strict=True))
_STRATEGY_SYMBOLS = dict(zip(_STRATEGIES, ("x-thin-open", "circle", "square", "diamond", "triangle-up"), strict=True))


def plot_training_curves(
    epochs: pd.DataFrame,
    training_runs: pd.DataFrame,
    styles: Styles,
    quantity: Literal["loss", "forces", "energy", "lr"],
    yardstick: float | None = None,
    yardstick_name: str = "",
) -> go.Figure:
    """Error or learning rate by epoch of every run; epoch 0 is the foundation model, the ring the epoch that was kept.

    The legend names the lines of a single run; with several it names the runs, and the caption must name the lines.
    yardstick: an error to beat, in the unit of the database, drawn as a dashed line.
    """
    title, factor, lines = _LINES[quantity]
    figure = make_figure("Epoch (0 = before training)", title)
    several = len(set(epochs["label"])) > 1
    strategies = {str(run["label"]): run["strategy"] for run in training_runs.to_dict("records")}
    for label, run in by_label(epochs):
        rows, style = run.sort_values("epoch"), get_style(styles, label)
        for column, name, dash in lines:
            if len(with_numbers(rows, column)):
                curve = _make_curve(rows["epoch"], to_array(rows[column], factor), style)
                curve.update(
                    name=_name_run(label, strategies.get(label)) if several else name,
                    line_dash=dash,
                    showlegend=not several or column == lines[0][0],
                    meta={"series": plain(f"{label} {name}")},
                    hovertemplate=f"epoch %{{x}}: %{{y:.4~g}}<extra>{plain(label)} {name}</extra>",
                )
                figure.add_trace(curve)
        kept = with_numbers(rows[rows["epoch"] == _find_best_epoch(training_runs, label)], lines[0][0])
        if len(kept):
            figure.add_trace(_make_ring(kept["epoch"], to_array(kept[lines[0][0]], factor), style))
            figure.data[-1].showlegend = not several
    last = as_number(pd.to_numeric(epochs["epoch"], errors="coerce").max()) or 1
    figure.update_xaxes(dtick=max(1, int(last) // 8), range=[-0.04 * last, 1.04 * last])
    if yardstick is not None:
        figure.add_scatter(
            x=[0, last],
            y=np.asarray([yardstick * factor] * 2, dtype=np.float32),
            mode="lines",
            name=plain(yardstick_name),
            line={"color": MUTED, "dash": "dash", "width": 1.5},
            hovertemplate=f"{plain(yardstick_name)}: %{{y:.4~g}}<extra></extra>",
        )
    _scale_errors(figure, logarithmic=quantity in ("loss", "lr"))
    if quantity == "lr":
        figure.update_yaxes(tickformat=".1e")
    return figure


def _name_run(label: str, strategy: object) -> str:
    return plain(f"{label} · {strategy}" if strategy in _STRATEGIES else label)


def plot_trials(trials: pd.DataFrame, trial_epochs: pd.DataFrame, styles: Styles) -> go.Figure:
    """Force error by epoch of every trial of a sweep, dashed by strategy; those in `styles` have their colour."""
    figure = make_figure("Epoch (0 = before training)", "Force RMSE (meV/Å)")
    named: set[str] = set()
    about = {str(trial["label"]): trial for trial in trials.to_dict("records")}
    drawn = with_numbers(trial_epochs, "forces_rmse_ev_per_ang")
    # The models of the report last, above the others.
    for label, rows in sorted(by_label(drawn), key=lambda pair: pair[0] in styles):
        curve = rows.sort_values("epoch")
        strategy = str(about[label]["strategy"])
        style = styles.get(label)
        figure.add_scatter(
            x=curve["epoch"].tolist(),
            y=to_array(curve["forces_rmse_ev_per_ang"], 1000),
            mode="lines",
            name=plain(label if style else strategy),
            line={
                "color": style.colour if style else MUTED,
                "dash": _STRATEGY_DASHES.get(strategy, "solid"),
                "width": 2.6 if style else 1.1,
            },
            showlegend=style is not None or strategy not in named,
            hovertemplate=f"epoch %{{x}}: %{{y:.4~g}}<extra>{_describe_trial(about[label])}</extra>",
        )
        if style is None:
            named.add(strategy)
    _scale_errors(figure, logarithmic=True)
    return figure


def plot_strategies(trials: pd.DataFrame, styles: Styles) -> go.Figure:
    """Force error of each trial's best epoch on the validation split, one column a strategy; the line is the median."""
    figure = make_figure("Strategy", "Force RMSE (meV/Å)")
    ended = with_numbers(trials, "forces_rmse_ev_per_ang")
    names = [name for name in _STRATEGIES if name in set(ended["strategy"])]
    for place, strategy in enumerate(names):
        rows = ended[ended["strategy"] == strategy]
        offsets = np.linspace(-0.18, 0.18, len(rows)) if len(rows) > 1 else np.zeros(1)
        errors = to_array(rows["forces_rmse_ev_per_ang"], 1000)
        known = [styles.get(str(label)) for label in rows["label"]]
        figure.add_scatter(
            x=(place + offsets).astype(np.float32),
            y=errors,
            mode="markers",
            name=strategy,
            showlegend=False,
            marker={
                "symbol": _STRATEGY_SYMBOLS[strategy],
                "size": [11 if style else 8 for style in known],
                "color": [style.colour if style else MUTED for style in known],
                "line": {"width": 1.2, "color": [style.colour if style else MUTED for style in known]},
            },
            customdata=[_describe_trial(trial) for trial in rows.to_dict("records")],
            meta={"columns": ["trial"]},
            hovertemplate="%{customdata}<br>%{y:.4~g}<extra></extra>",
        )
        figure.add_scatter(
            x=[place - 0.26, place + 0.26],
            y=[float(np.median(errors))] * 2,
            mode="lines",
            line={"color": MUTED, "width": 2.5},
            name="median",
            showlegend=False,
            hovertemplate=f"median of {len(rows)}: %{{y:.4~g}}<extra>{strategy}</extra>",
        )
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=names, range=[-0.6, max(len(names), 1) - 0.4], showgrid=False
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(margin={"t": 12})
    return figure


def _describe_trial(trial: Mapping[Hashable, Any]) -> str:
    searched = trial["params"] if isinstance(trial["params"], dict) else {}
    shown = {name: f"{value:.3g}" if isinstance(value, float) else value for name, value in searched.items()}
    return plain(", ".join([str(trial["label"]), *(f"{name} {value}" for name, value in shown.items())]))


def _find_best_epoch(training_runs: pd.DataFrame, label: str) -> float | None:
    found = training_runs.loc[training_runs["label"] == label, "best_epoch"]
    return as_number(found.iloc[0]) if len(found) else None


def _make_curve(epochs: pd.Series, errors: Array, style: ModelStyle) -> go.Scatter:
    return go.Scatter(
        x=epochs.tolist(),
        y=errors,
        mode="lines+markers",
        line={"color": style.colour, "width": 2},
        marker={"size": 6, "symbol": style.symbol},
    )


def _make_ring(epochs: pd.Series, errors: Array, style: ModelStyle) -> go.Scatter:
    return go.Scatter(
        x=epochs.tolist(),
        y=errors,
        mode="markers",
        name=_KEPT,
        marker={"symbol": "circle-open", "size": 14, "color": style.colour, "line": {"width": 2}},
        hovertemplate=f"{_KEPT}: %{{x}}<extra></extra>",
    )


def _scale_errors(figure: go.Figure, *, logarithmic: bool) -> None:
    """Errors start at zero, unless they fall so far that only a logarithmic axis shows their end."""
    values = np.concatenate([trace.y for trace in figure.data]) if figure.data else np.array([])
    positive = values[np.isfinite(values) & (values > 0)]
    if logarithmic and positive.size and positive.max() / positive.min() > _LOG_FROM_RATIO:
        use_log_axis(figure.layout.yaxis, positive)
    else:
        figure.update_yaxes(rangemode="tozero")
