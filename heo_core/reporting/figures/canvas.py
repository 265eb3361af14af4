"""What all figures share: the empty figure, points with hover text, reference lines, ticks, rows ready to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from heo_core.reporting.palette import (
    AXIS,
    FONT,
    GRID,
    INK,
    MUTED,
    SPLIT_COLOURS,
    ModelStyle,
    formula_markup,
    get_style,
    plain,
)

Styles = Mapping[str, ModelStyle]
Array = NDArray[np.float32]

MAX_POINTS = 2000
HOVER_ID = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>"


def make_layout() -> go.Layout:
    """Return the layout of every figure: no title, legend in a row above the axes, quiet grid."""
    axis = {
        "gridcolor": GRID,
        "linecolor": AXIS,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": AXIS,
        "tickfont": {"size": 11.5},
        "automargin": True,
        "title": {"standoff": 8, "font": {"size": 12.5}},
    }
    return go.Layout(
        template=None,
        autosize=True,
        font={"family": FONT, "size": 12.5, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 14, "t": 34, "b": 48},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
            "bgcolor": "rgba(0,0,0,0)",
            "traceorder": "normal",
            "tracegroupgap": 0,
        },
        hoverlabel={
            "bgcolor": "#FFFFFF",
            "bordercolor": AXIS,
            "font": {"family": FONT, "size": 12, "color": INK},
            "align": "left",
            "namelength": -1,
        },
        hovermode="closest",
        modebar={"orientation": "v", "bgcolor": "rgba(255,255,255,0.85)", "color": AXIS, "activecolor": INK},
        xaxis=axis,
        yaxis=axis,
    )


def make_figure(x_title: str, y_title: str) -> go.Figure:
    """Return an empty figure with titled axes; titles carry the units."""
    figure = go.Figure(layout=make_layout())
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure


def by_label(frame: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Rows of each model, in the order in which the models first appear."""
    for label in dict.fromkeys(frame["label"]):
        yield str(label), frame[frame["label"] == label]


def by_split(structures: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Rows of each split: train, validation, test, then any other."""
    known = list(SPLIT_COLOURS)
    for split in sorted(
        structures["split"].unique(), key=lambda name: known.index(name) if name in known else len(known)
    ):
        yield str(split), structures[structures["split"] == split]


def with_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Rows in which all these columns are finite numbers."""
    numbers = frame[list(columns)].apply(pd.to_numeric, errors="coerce").astype(float)
    return frame.assign(**{str(name): numbers[name] for name in numbers})[np.isfinite(numbers.to_numpy()).all(axis=1)]


def to_array(values: pd.Series, factor: float = 1.0) -> Array:
    """Return the values times a factor in single precision, which halves the page; NaN for what is no number."""
    return np.asarray(pd.to_numeric(values, errors="coerce").to_numpy(dtype=float) * factor, dtype=np.float32)


def thin_out(rows: pd.DataFrame, size: pd.Series) -> pd.DataFrame:
    """At most MAX_POINTS rows: the largest tenth of them, the others evenly spaced; a page must stay small."""
    if len(rows) <= MAX_POINTS:
        return rows
    order = np.argsort(-size.to_numpy(dtype=float), kind="stable")
    largest, rest = order[: MAX_POINTS // 10], order[MAX_POINTS // 10 :]
    evenly = rest[np.linspace(0, len(rest) - 1, MAX_POINTS - len(largest)).astype(int)]
    return rows.iloc[np.sort(np.concatenate([largest, evenly]))]


def spread_places(n_rows: int, most: int = MAX_POINTS) -> NDArray[np.int64]:
    """At most so many places from the first row to the last, evenly spaced."""
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(np.int64))


def hover_ids(rows: pd.DataFrame) -> list[list[str]]:
    """Return formula and id of each row, for `HOVER_ID`."""
    identifier = "immutable_id" if "immutable_id" in rows.columns else "case_id"
    return [[formula_markup(f), plain(i)] for f, i in zip(rows["formula_reduced"], rows[identifier], strict=True)]


def describe_points(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what the page's script must know of `hover_ids`: their names, and the view of the database to ask."""
    view = "prediction_error" if "energy_predicted_ev_per_atom" in rows.columns else "any_structure"
    return {"columns": ["formula", "id"], "view": view}


def add_points(
    figure: go.Figure,
    label: str,
    styles: Styles,
    rows: pd.DataFrame,
    *,
    x: Array,
    y: Array,
    numbers: str,
    size: int = 6,
) -> None:
    """Add one model's points, one a row; numbers is the last line of the hover text."""
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name=plain(label),
        marker=make_marker(get_style(styles, label), size),
        customdata=hover_ids(rows),
        meta=describe_points(rows),
        hovertemplate=f"{HOVER_ID}{numbers}<extra>{plain(label)}</extra>",
    )


def make_marker(style: ModelStyle, size: int) -> dict[str, Any]:
    """Return a model's marker; a filled one has a thin white rim, so that neighbours stay apart."""
    rim = {"width": 1.5} if style.symbol.endswith("-open") else {"width": 0.7, "color": "#FFFFFF"}
    return {"color": style.colour, "symbol": style.symbol, "size": size, "opacity": 0.9, "line": rim}


def add_diagonal(figure: go.Figure, low: float, high: float) -> None:
    """Add the line on which a prediction is right."""
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        name="perfect",
        line={"color": MUTED, "dash": "dot", "width": 1.5},
        hoverinfo="skip",
    )


def mark_zero(figure: go.Figure) -> None:
    """Draw the line y = 0 in ink."""
    figure.update_yaxes(zeroline=True, zerolinecolor=INK, zerolinewidth=1)


def use_log_axis(axis: Any, values: Any) -> None:
    """Make an axis logarithmic over the positive ones of these values, with plain numbers at its ticks."""
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    if not numbers.size:
        return
    low, high = float(np.log10(numbers.min())), float(np.log10(numbers.max()))
    margin = max(0.04 * (high - low), 0.03)
    decades = np.arange(np.floor(low - margin), np.ceil(high + margin) + 1)
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    axis.update(
        type="log",
        range=[low - margin, high + margin],
        tickvals=ticks,
        ticktext=[f"{tick:g}" if tick < 1e6 else f"{tick:.0e}" for tick in ticks],
    )
