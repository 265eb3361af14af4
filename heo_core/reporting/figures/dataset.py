"""What the dataset holds and what was rejected."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from heo_core.reporting.figures.canvas import (
    by_split,
    make_figure,
    with_numbers,
)
from heo_core.reporting.figures.periodic_table import plot_periodic_table
from heo_core.reporting.palette import INK, MUTED, SPLIT_COLOURS, plain

_SMALLEST_FORCE_MEV = 0.1


def plot_element_counts(structures: pd.DataFrame) -> go.Figure:
    """Periodic table coloured by the number of structures with each element; oxygen does not set the scale."""
    counts = pd.Series([element for elements in structures["elements"] for element in elements]).value_counts()
    values = {str(element): int(count) for element, count in counts.items()}
    scale = max((count for element, count in values.items() if element != "O"), default=1)
    return plot_periodic_table(values, "structures", float(scale))


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
            customdata=[plain(rule) for rule in rows["rule"]],
            meta={"series": "", "columns": ["rule"]},
            hovertemplate="%{y}: %{x} rows<extra></extra>",
        )
    figure.update_yaxes(type="category", showgrid=False, ticks="")
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


def plot_entropy(structures: pd.DataFrame, high_entropy_r: float = 1.5) -> go.Figure:
    """Entropy per site of the most disordered cation sublattice; right of the line (R) oxides count as high-entropy."""
    entropies = with_numbers(structures, "entropy_sublattice_r")["entropy_sublattice_r"]
    last = max(float(entropies.max()) if len(entropies) else 0.0, high_entropy_r)
    # Tenths, so that no bar lies on both sides of the line; a value on an edge belongs to the bar right of it.
    edges = np.arange(np.floor(10 * last) + 2) / 10
    figure = _plot_histogram(structures, "entropy_sublattice_r", edges, "Configurational entropy (R per site)", "R")
    for trace in figure.data:
        trace.customdata = [f"{low:.1f} to {low + 0.1:.1f} R" for low in edges[:-1]]
        trace.hovertemplate = f"%{{y}} structures, %{{customdata}}<extra>{trace.name}</extra>"
    figure.add_vline(x=high_entropy_r, line={"color": INK, "width": 1, "dash": "dot"})
    return figure


def plot_most_frequent(structures: pd.DataFrame, column: str, title: str, n: int = 14) -> go.Figure:
    """Structures by what a column says (a name), stacked by split: the n most frequent, the others in one bar."""
    named = structures.dropna(subset=[column])
    frequent = named[column].astype(str).value_counts()
    kept = list(frequent.index[:n])
    n_others = len(frequent) - len(kept)
    others = f"{n_others} others"
    order = [*kept, *([others] if n_others else [])]
    groups = named[column].astype(str).where(named[column].astype(str).isin(kept), others)
    figure = make_figure("Structures", "")
    for split, rows in by_split(named):
        counts = groups.loc[rows.index].value_counts()
        figure.add_bar(
            x=[int(counts.get(name, 0)) for name in order],
            y=[plain(name) for name in order],
            orientation="h",
            name=plain(split),
            marker_color=SPLIT_COLOURS.get(split, MUTED),
            hovertemplate=f"%{{y}}: %{{x}} structures<extra>{plain(split)}</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.3)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, ticks="", title={"text": title})
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
