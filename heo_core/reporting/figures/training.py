"""How errors fell during training."""

from __future__ import annotations

from typing import Literal

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
}


def plot_training_curves(
    epochs: pd.DataFrame,
    training_runs: pd.DataFrame,
    styles: Styles,
    quantity: Literal["loss", "forces", "energy"],
    yardstick: float | None = None,
    yardstick_name: str = "",
) -> go.Figure:
    """Error by epoch of every run; epoch 0 is the foundation model and the ring marks the epoch that was kept.

    The legend names the lines of a single run; with several it names the runs, and the caption must name the lines.
    yardstick: an error to beat, in the unit of the database, drawn as a dashed line.
    """
    title, factor, lines = _LINES[quantity]
    figure = make_figure("Epoch (0 = before training)", title)
    several = len(set(epochs["label"])) > 1
    for label, run in by_label(epochs):
        rows, style = run.sort_values("epoch"), get_style(styles, label)
        for column, name, dash in lines:
            if len(with_numbers(rows, column)):
                curve = _make_curve(rows["epoch"], to_array(rows[column], factor), style)
                curve.update(
                    name=plain(label) if several else name,
                    line_dash=dash,
                    showlegend=not several or column == lines[0][0],
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
    _scale_errors(figure, logarithmic=quantity == "loss")
    return figure


def _find_best_epoch(training_runs: pd.DataFrame, label: str) -> float | None:
    found = training_runs.loc[training_runs["label"] == label, "best_epoch"]
    return as_number(found.iloc[0]) if len(found) else None


def _make_curve(epochs: pd.Series, errors: Array, style: ModelStyle) -> go.Scatter:
    return go.Scatter(
        x=epochs.tolist(),
        y=errors,
        mode="lines+markers",
        line={"color": style.colour, "width": 2},
        marker={"size": 5},
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
    """Errors start at zero, unless a loss falls so far that only a logarithmic axis shows its end."""
    values = np.concatenate([trace.y for trace in figure.data]) if figure.data else np.array([])
    positive = values[np.isfinite(values) & (values > 0)]
    if logarithmic and positive.size and positive.max() / positive.min() > _LOG_FROM_RATIO:
        use_log_axis(figure.layout.yaxis, positive)
    else:
        figure.update_yaxes(rangemode="tozero")
