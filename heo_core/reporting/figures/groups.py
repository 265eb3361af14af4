"""Errors by element, by number of elements and by source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.figures.canvas import Styles, by_label, make_figure, make_marker, to_array, with_numbers
from heo_core.reporting.figures.periodic_table import plot_periodic_table
from heo_core.reporting.palette import get_style, plain
from heo_core.reporting.quantities import get_quantity

_GROUPINGS = {"n_elements": "Different elements", "source": "Source"}


def plot_element_errors(group_metrics: pd.DataFrame, label: str, name: str) -> go.Figure:
    """Periodic table of one model's value of a metric by element; the colours are the same for every model."""
    quantity = get_quantity(name)
    everything = with_numbers(group_metrics[_is(group_metrics, "element", name)], "value")
    rows = everything[everything["label"] == label]
    values = dict(zip(rows["group_name"].astype(str), rows["value"] * quantity.factor, strict=True))
    counts = dict(zip(rows["group_name"].astype(str), rows["n"].astype(int), strict=True))
    # A single element with few atoms must not make all others look alike.
    largest = float(everything["value"].quantile(0.95)) * quantity.factor if len(everything) else None
    figure = plot_periodic_table(values, quantity.unit, largest, counts)
    figure.data[-1].meta = {"columns": ["element"], "value": f"{quantity.title} ({quantity.unit})"}
    return figure


def plot_group_errors(group_metrics: pd.DataFrame, styles: Styles, grouping: str, name: str) -> go.Figure:
    """Every model's value of a metric by source or by number of elements, side by side.

    Each model of the frame has one trace, empty where it has no value, and each group its place, whatever the metric:
    figures of two metrics differ in their numbers alone.
    """
    quantity = get_quantity(name)
    figure = make_figure(_GROUPINGS[grouping], f"{quantity.title} ({quantity.unit})")
    drawn = with_numbers(group_metrics[_is(group_metrics, grouping, name)], "value")
    known = group_metrics.loc[group_metrics["grouping"] == grouping, "group_name"].astype(str)
    groups = sorted(set(known), key=lambda group: (len(group), group))
    labels = [label for label, _ in by_label(group_metrics)]
    for i, label in enumerate(labels):
        rows = drawn[drawn["label"] == label]
        shift = 0.5 * (i - (len(labels) - 1) / 2) / len(labels)
        places = np.array([groups.index(str(group)) + shift for group in rows["group_name"]], dtype=np.float32)
        figure.add_scatter(
            x=places,
            y=to_array(rows["value"], quantity.factor),
            mode="markers",
            name=plain(label),
            showlegend=len(rows) > 0,
            marker=make_marker(get_style(styles, label), 10),
            customdata=[[plain(group), int(n)] for group, n in zip(rows["group_name"], rows["n"], strict=True)],
            meta={"columns": ["group", "structures"]},
            hovertemplate=f"<b>%{{customdata[0]}}</b> %{{y:.4~g}} {quantity.unit}, %{{customdata[1]:,}} structures"
            f"<extra>{plain(label)}</extra>",
        )
    figure.update_xaxes(
        tickvals=list(range(len(groups))),
        ticktext=[plain(group) for group in groups],
        range=[-0.6, max(len(groups), 1) - 0.4],
        showgrid=False,
    )
    figure.update_yaxes(rangemode="tozero")
    return figure


def _is(rows: pd.DataFrame, grouping: str, name: str) -> pd.Series:
    return (rows["grouping"] == grouping) & (rows["name"] == name)
