"""Predicted against reference energies and forces."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from heo_core.reporting.figures.canvas import (
    HOVER_ID,
    Array,
    Styles,
    add_diagonal,
    add_points,
    by_label,
    describe_points,
    hover_ids,
    make_figure,
    make_marker,
    mark_zero,
    spread_places,
    to_array,
    use_log_axis,
    with_numbers,
)
from heo_core.reporting.palette import ModelStyle, get_style, mix, plain

MAX_SCATTER_COMPONENTS = 300
MAX_SCATTER_STRUCTURES = 1000
_MAX_STEPS = 400
_N_BINS = 61
_N_OUTLIERS = 60
_ENERGIES = ("energy_reference_ev_per_atom", "energy_predicted_ev_per_atom")
_COMPONENTS = ("reference_ev_per_ang", "predicted_ev_per_ang")


def plot_energy_parity(predictions: pd.DataFrame, styles: Styles) -> go.Figure:
    """Predicted against reference energy; the line is a perfect model.

    One point a structure; of one model with more than MAX_SCATTER_STRUCTURES a density with its outliers.
    """
    figure = make_figure("Reference energy (eV/atom)", "Predicted energy (eV/atom)")
    drawn = with_numbers(predictions, *_ENERGIES)
    for label, every in by_label(drawn):
        x, y = (to_array(every[column]) for column in _ENERGIES)
        rows = _choose_points(figure, every, x, y, styles, label)
        x, y = (to_array(rows[column]) for column in _ENERGIES)
        add_points(figure, label, styles, rows, x=x, y=y, numbers="reference %{x:.4f}, predicted %{y:.4f} eV/atom")
    if len(drawn):
        values = drawn[list(_ENERGIES)].to_numpy()
        add_diagonal(figure, float(values.min()), float(values.max()))
    return figure


def plot_energy_residuals(predictions: pd.DataFrame, styles: Styles) -> go.Figure:
    """Predicted minus reference energy against the reference: the errors that a parity plot is too coarse to show.

    Points or a density, as `plot_energy_parity`.
    """
    figure = make_figure("Reference energy (eV/atom)", "Predicted − reference (meV/atom)")
    for label, every in by_label(with_numbers(predictions, *_ENERGIES)):
        x, y = to_array(every[_ENERGIES[0]]), to_array(_energy_errors(every), 1000)
        rows = _choose_points(figure, every, x, y, styles, label)
        x, y = to_array(rows[_ENERGIES[0]]), to_array(_energy_errors(rows), 1000)
        add_points(figure, label, styles, rows, x=x, y=y, numbers="error %{y:+.1f} meV/atom at %{x:.3f} eV/atom")
    mark_zero(figure)
    return figure


def compute_energy_slopes(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the least-squares slope of predicted on reference energy of each model, an intercept allowed.

    A model whose reference energies are all alike has none.
    """
    slopes: dict[str, float] = {}
    for label, rows in by_label(with_numbers(predictions, *_ENERGIES)):
        reference, predicted = (rows[column].to_numpy(dtype=float) for column in _ENERGIES)
        away = reference - reference.mean()
        if np.any(np.abs(away) > 1e-6):
            slopes[label] = float(away @ predicted / (away @ away))
    return slopes


def _choose_points(
    figure: go.Figure, rows: pd.DataFrame, x: Array, y: Array, styles: Styles, label: str
) -> pd.DataFrame:
    """Return the structures to draw as points: all when few, else the worst ones above a density of all."""
    if len(rows) <= MAX_SCATTER_STRUCTURES:
        return rows
    # The frame leaves out a wild row in a hundred, which stands as a point.
    edges = [np.linspace(*_widen(np.quantile(values, (0.005, 0.995))), _N_BINS + 1) for values in (x, y)]
    figure.add_trace(_make_density(x, y, edges[0], edges[1], get_style(styles, label), "structures"))
    return rows.iloc[np.sort(np.argsort(-_energy_errors(rows).abs().to_numpy(dtype=float))[:_N_OUTLIERS])]


def _widen(bounds: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(bound) for bound in bounds)
    margin = 0.05 * (high - low) or 1e-3
    return low - margin, high + margin


def _energy_errors(predictions: pd.DataFrame) -> pd.Series:
    reference, predicted = (pd.to_numeric(predictions[column], errors="coerce") for column in _ENERGIES)
    return predicted - reference


def plot_force_parity(
    force_components: pd.DataFrame, styles: Styles, label: str, slope: float | None = None
) -> go.Figure:
    """Predicted against reference force components of one model: points when few, else a density with outliers.

    The axes are the same for every model of the frame. slope is drawn as a line through the origin beside the perfect
    one.
    """
    figure = make_figure("Reference force component (meV/Å)", "Predicted force component (meV/Å)")
    everything = with_numbers(force_components, *_COMPONENTS)
    rows = everything[everything["label"] == label]
    if rows.empty:
        return figure
    style = get_style(styles, label)
    x, y = (to_array(rows[column], 1000) for column in _COMPONENTS)
    limit = _force_limit(everything)
    shown = np.arange(len(rows))
    if len(rows) > MAX_SCATTER_COMPONENTS:
        edges = np.linspace(-limit, limit, _N_BINS + 1)
        figure.add_trace(_make_density(x, y, edges, edges, style, "components"))
        shown = np.sort(np.argsort(-np.abs(x - y))[:_N_OUTLIERS])
    figure.add_scatter(
        x=x[shown],
        y=y[shown],
        mode="markers",
        name=plain(label),
        showlegend=False,
        marker=make_marker(style, 5),
        customdata=hover_ids(rows.iloc[shown]),
        meta={**describe_points(rows), "view": "prediction_error"},
        hovertemplate=f"{HOVER_ID}reference %{{x:.1f}}, predicted %{{y:.1f}} meV/Å<extra></extra>",
    )
    add_diagonal(figure, -limit, limit)
    if slope is not None:
        figure.add_trace(_make_slope(slope, limit, style))
    figure.update_xaxes(range=[-limit, limit])
    figure.update_yaxes(range=[-limit, limit])
    return figure


def count_outside_force_parity(force_components: pd.DataFrame, label: str) -> int:
    """Components of one model that lie outside the frame of `plot_force_parity`."""
    everything = with_numbers(force_components, *_COMPONENTS)
    rows = everything[everything["label"] == label]
    largest = np.abs(rows[list(_COMPONENTS)].to_numpy()).max(axis=1, initial=0) * 1000
    return int((largest > _force_limit(everything)).sum())


def _force_limit(components: pd.DataFrame) -> float:
    """Half width of the frame, meV/Å: it holds 99.5 % of the values, so that one wild row does not hide all others."""
    values = np.abs(components[list(_COMPONENTS)].to_numpy())
    return max(1.0, float(np.quantile(values, 0.995)) * 1000 * 1.05) if values.size else 1.0


def _make_density(
    x: Array, y: Array, x_edges: NDArray[np.float64], y_edges: NDArray[np.float64], style: ModelStyle, counted: str
) -> go.Heatmap:
    counts, _, _ = np.histogram2d(y, x, bins=(y_edges, x_edges))
    x_centres, y_centres = (((edges[:-1] + edges[1:]) / 2).astype(np.float32) for edges in (x_edges, y_edges))
    ticks = [10**power for power in range(8) if 10**power <= max(counts.max(), 1)]
    return go.Heatmap(
        x=x_centres,
        y=y_centres,
        z=np.log10(np.where(counts > 0, counts, np.nan)).astype(np.float32),
        customdata=counts.astype(np.int32),
        meta={"columns": [counted]},
        colorscale=style.colourscale,
        zmin=0,
        hoverongaps=False,
        colorbar={
            "title": {"text": counted, "side": "right", "font": {"size": 11}},
            "tickvals": [float(np.log10(tick)) for tick in ticks],
            "ticktext": [f"{tick:,}" for tick in ticks],
            "thickness": 9,
            "outlinewidth": 0,
            "tickfont": {"size": 11},
        },
        hovertemplate=f"%{{customdata}} {counted} near<br>%{{x:.5~g}}, %{{y:.5~g}}<extra></extra>",
    )


def _make_slope(slope: float, limit: float, style: ModelStyle) -> go.Scatter:
    return go.Scatter(
        x=[-limit, limit],
        y=[-limit * slope, limit * slope],
        mode="lines",
        name=f"slope {slope:.3f}",
        line={"color": mix(style.colour, "#000000", 0.6), "width": 1.8},
        hoverinfo="skip",
    )


_ERRORS = {
    "forces": ("Force RMSE of a structure (meV/Å)", "meV/Å"),
    "energy": ("Absolute energy error of a structure (meV/atom)", "meV/atom"),
}


def plot_error_distribution(
    predictions: pd.DataFrame, styles: Styles, quantity: Literal["forces", "energy"]
) -> go.Figure:
    """Share of all structures with an error below x: further left is better, whatever a few outliers do to a mean.

    One that failed never has a small error: the curve ends below 100 %.
    """
    title, unit = _ERRORS[quantity]
    figure = make_figure(title, "Structures with a smaller error (%)")
    errors = _energy_errors(predictions).abs() if quantity == "energy" else predictions["forces_rmse_ev_per_ang"]
    drawn = with_numbers(predictions.assign(error=errors), "error")
    n_all = predictions["label"].value_counts()
    for label, every in by_label(drawn):
        rows, n = every.sort_values("error"), int(n_all[label])
        kept = spread_places(len(rows), _MAX_STEPS)
        style = get_style(styles, label)
        figure.add_scatter(
            x=to_array(rows["error"], 1000)[kept],
            y=(100 * (kept + 1) / n).astype(np.float32),
            mode="lines",
            name=plain(label),
            line={"color": style.colour, "dash": style.dash, "width": 2.2, "shape": "hv"},
            customdata=hover_ids(rows.iloc[kept]),
            meta=describe_points(rows),
            hovertemplate=f"{HOVER_ID}%{{x:.1f}} {unit}; %{{y:.0f}} % of {n:,} are not larger"
            f"<extra>{plain(label)}</extra>",
        )
    use_log_axis(figure.layout.xaxis, 1000 * drawn["error"])
    figure.update_yaxes(range=[0, 103])
    return figure
