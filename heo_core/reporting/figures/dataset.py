"""What the dataset holds and what was rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from heo_core.reporting.elements import N_COLUMNS, N_ROWS, POSITIONS
from heo_core.reporting.figures.canvas import (
    HOVER_ID,
    by_split,
    hover_ids,
    make_figure,
    make_layout,
    spread_places,
    to_array,
    with_numbers,
)
from heo_core.reporting.palette import INK, MUTED, SEQUENTIAL, SPLIT_COLOURS, plain

_SMALLEST_FORCE_MEV = 0.1


def plot_element_counts(structures: pd.DataFrame) -> go.Figure:
    """Periodic table coloured by the number of structures with each element; oxygen does not set the scale."""
    counts = pd.Series([element for elements in structures["elements"] for element in elements]).value_counts()
    values = {str(element): int(count) for element, count in counts.items()}
    scale = max((count for element, count in values.items() if element != "O"), default=1)
    return plot_periodic_table(values, "structures", float(scale))


def plot_periodic_table(values: Mapping[str, float], unit: str, largest: float | None = None) -> go.Figure:
    """Heat map of one value by element; elements without one stay blank. largest: value of the darkest colour."""
    grid, blank = (np.full((N_ROWS, N_COLUMNS), np.nan, dtype=np.float32) for _ in range(2))
    texts, symbols, blanks = (np.full((N_ROWS, N_COLUMNS), "", dtype=object) for _ in range(3))
    for symbol, place in POSITIONS.items():
        if symbol in values:
            grid[place], symbols[place] = values[symbol], symbol
            texts[place] = f'{symbol}<br><span style="font-size:9px">{values[symbol]:.4g}</span>'
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
        zmin=0,
        zmax=largest,
        colorscale=[list(stop) for stop in SEQUENTIAL],
        textfont={"size": 13},
        hoverongaps=False,
        hovertemplate=f"<b>%{{customdata}}</b> %{{z:.4~g}} {unit}<extra></extra>",
        colorbar={
            "title": {"text": unit, "side": "top", "font": {"size": 12}},
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


def plot_rejections(rejections: pd.DataFrame) -> go.Figure:
    """Rows that each rule rejected, the most on top."""
    figure = make_figure("Rows rejected", "")
    rows = with_numbers(rejections, "n_rejected").sort_values("n_rejected")
    if len(rows):
        counts = rows["n_rejected"].astype(int)
        figure.add_bar(
            x=counts.tolist(),
            y=[plain(rule) for rule in rows["rule"]],
            orientation="h",
            marker_color=SPLIT_COLOURS["validation"],
            text=[f"{count:,}" for count in counts],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x} rows<extra></extra>",
        )
    figure.update_yaxes(type="category", showgrid=False, title=None, ticks="")
    figure.update_layout(margin={"r": 48, "t": 8}, bargap=0.35)
    return figure


def plot_composition(structures: pd.DataFrame) -> go.Figure:
    """Structures by number of different elements, stacked by split."""
    numbers = with_numbers(structures, "n_elements")["n_elements"]
    low, high = (numbers.min(), numbers.max()) if len(numbers) else (1, 1)
    figure = _plot_histogram(structures, "n_elements", np.arange(low - 0.5, high + 1), "Different elements", "elements")
    figure.update_xaxes(dtick=1)
    return figure


def plot_cell_sizes(structures: pd.DataFrame) -> go.Figure:
    """Structures by number of atoms in the cell, stacked by split."""
    sizes = with_numbers(structures, "n_atoms")["n_atoms"]
    last = sizes.max() if len(sizes) else 1
    edges = np.linspace(0, np.ceil((last + 1) / 10) * 10, 21)
    return _plot_histogram(structures, "n_atoms", edges, "Atoms in the cell", "atoms")


def plot_reference_forces(structures: pd.DataFrame, end_point_fmax: float = 0.05) -> go.Figure:
    """Largest reference force of each structure; left of the line (eV/Å) are relaxed end points."""
    forces = with_numbers(structures, "fmax_ev_per_ang")
    logarithms = np.log10(np.clip(1000 * forces["fmax_ev_per_ang"].to_numpy(), _SMALLEST_FORCE_MEV, None))
    last = np.ceil(logarithms.max()) if logarithms.size else 2
    edges = np.arange(-1.2, last + 0.1, 0.2)
    shown = forces.assign(logarithm=logarithms)
    figure = _plot_histogram(shown, "logarithm", edges, "Largest reference force (meV/Å)", "")
    for trace in figure.data:
        trace.hovertemplate = f"%{{y}} structures<extra>{trace.name}</extra>"
    ticks = range(-1, int(last) + 1)
    figure.update_xaxes(tickvals=list(ticks), ticktext=["≤ 0.1" if tick == -1 else f"{10**tick:g}" for tick in ticks])
    figure.add_vline(x=float(np.log10(end_point_fmax * 1000)), line={"color": INK, "width": 1, "dash": "dot"})
    return figure


def plot_map(structures: pd.DataFrame) -> go.Figure:
    """Each structure where its composition stands among the others; axes have no meaning of their own."""
    figure = make_figure("First coordinate, no unit", "Second coordinate, no unit")
    placed = with_numbers(structures, "map_x", "map_y")
    for split, rows in by_split(placed.iloc[spread_places(len(placed))]):
        figure.add_scatter(
            x=to_array(rows["map_x"]),
            y=to_array(rows["map_y"]),
            mode="markers",
            name=plain(split),
            marker={"color": SPLIT_COLOURS.get(split, MUTED), "size": 5, "line": {"width": 0.4, "color": "#FFFFFF"}},
            customdata=hover_ids(rows),
            hovertemplate=f"{HOVER_ID}<extra>{plain(split)}</extra>",
        )
    figure.update_xaxes(showticklabels=False, ticks="")
    figure.update_yaxes(showticklabels=False, ticks="")
    return figure


def _plot_histogram(
    structures: pd.DataFrame, column: str, edges: NDArray[np.float64], title: str, unit: str
) -> go.Figure:
    figure = make_figure(title, "Structures")
    for split, rows in by_split(with_numbers(structures, column)):
        counts, _ = np.histogram(rows[column].to_numpy(), bins=edges)
        figure.add_bar(
            x=((edges[:-1] + edges[1:]) / 2).tolist(),
            y=counts.tolist(),
            width=float(edges[1] - edges[0]) * (0.8 if len(edges) < 12 else 0.92),
            name=plain(split),
            marker_color=SPLIT_COLOURS.get(split, MUTED),
            hovertemplate=f"%{{y}} structures, %{{x:.0f}} {unit}<extra>{plain(split)}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(showgrid=False)
    return figure
