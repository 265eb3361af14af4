"""One value by element, in the shape of the periodic table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from heo_core.reporting.elements import N_COLUMNS, N_ROWS, POSITIONS
from heo_core.reporting.figures.canvas import make_layout
from heo_core.reporting.palette import SEQUENTIAL, plain
from heo_core.reporting.quantities import format_significant


def plot_periodic_table(
    values: Mapping[str, float],
    unit: str,
    largest: float | None = None,
    counts: Mapping[str, int] | None = None,
) -> go.Figure:
    """Heat map of one value by element; elements without one stay blank.

    largest: value of the darkest colour. counts: structures behind each value, told when it is pointed at.
    """
    grid, blank = (np.full((N_ROWS, N_COLUMNS), np.nan, dtype=np.float32) for _ in range(2))
    texts, symbols, blanks, hovers = (np.full((N_ROWS, N_COLUMNS), "", dtype=object) for _ in range(4))
    for symbol, place in POSITIONS.items():
        if symbol in values:
            grid[place], symbols[place] = values[symbol], symbol
            value = values[symbol]
            shown = f"{value:,}" if isinstance(value, int) else format_significant(value)
            texts[place] = f'{symbol}<br><span style="font-size:9px">{shown}</span>'
            behind = f", {counts[symbol]:,} structures" if counts and symbol in counts else ""
            hovers[place] = f"<b>{symbol}</b> {shown} {plain(unit)}{behind}"
        else:
            blank[place], blanks[place] = 0.0, symbol
    figure = go.Figure(layout=make_layout())
    gaps: dict[str, Any] = {"xgap": 3, "ygap": 3, "texttemplate": "%{text}"}
    figure.add_heatmap(
        z=blank,
        text=blanks.tolist(),
        colorscale=[[0, "#F5F6F8"], [1, "#F5F6F8"]],
        showscale=False,
        hoverinfo="skip",
        textfont={"color": "#A3ABB3", "size": 12},
        **gaps,
    )
    figure.add_heatmap(
        z=grid,
        text=texts.tolist(),
        customdata=symbols.tolist(),
        meta={"columns": ["element"], "value": unit},
        zmin=0,
        zmax=largest,
        colorscale=[list(stop) for stop in SEQUENTIAL],
        textfont={"size": 13},
        hoverongaps=False,
        hovertext=hovers.tolist(),
        hovertemplate="%{hovertext}<extra></extra>",
        colorbar={
            "title": {"text": plain(unit), "side": "top", "font": {"size": 12}},
            "orientation": "h",
            "x": 0.4,
            "y": 0.86,
            "len": 0.36,
            "thickness": 9,
            "outlinewidth": 0,
            "tickfont": {"size": 11},
        },
        **gaps,
    )
    figure.update_xaxes(visible=False, fixedrange=True)
    figure.update_yaxes(visible=False, fixedrange=True, autorange="reversed")
    figure.update_layout(margin={"l": 0, "r": 0, "t": 4, "b": 4})
    return figure
