"""The picture of a dataset's chemistry, and what its points may be coloured by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.figures.canvas import (
    HOVER_ID,
    by_split,
    describe_points,
    hover_ids,
    make_figure,
    spread_places,
    to_array,
    with_numbers,
)
from heo_core.reporting.palette import MUTED, SPLIT_COLOURS, plain

_SPLIT_SYMBOLS = {"train": "circle", "validation": "square", "test": "diamond"}
_MAP_NUMBERS = (
    ("Number of elements", "n_elements", 1.0, ""),
    ("Configurational entropy", "entropy_sublattice_r", 1.0, "R per site"),
    ("Atoms in the cell", "n_atoms", 1.0, ""),
    ("Volume", "volume_per_atom_ang3", 1.0, "Å³/atom"),
    ("Reference energy", "energy_ev_per_atom", 1.0, "eV/atom"),
    ("Largest reference force", "fmax_ev_per_ang", 1000.0, "meV/Å"),
)
_MAP_NAMES = (("Parent crystal", "prototype"), ("Source", "source"))
_N_NAMES = 7
_FAINT = 0.12
_NAME_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#C6CDD4")


def plot_map(structures: pd.DataFrame) -> go.Figure:
    """Each structure where its composition stands among the others; axes have no meaning of their own."""
    figure = make_figure("First coordinate, no unit", "Second coordinate, no unit")
    splits = list(by_split(_place(structures)))
    for split, rows in splits:
        figure.add_scatter(
            x=to_array(rows["map_x"]),
            y=to_array(rows["map_y"]),
            mode="markers",
            name=plain(split),
            legendgroup=plain(split),
            showlegend=False,
            marker=_make_marker(split),
            customdata=hover_ids(rows),
            meta=describe_points(rows),
            hovertemplate=f"{HOVER_ID}<extra>{plain(split)}</extra>",
        )
    for split, _ in splits:  # a legend that keeps its colours, whatever the points are coloured by
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=plain(split),
            legendgroup=plain(split),
            marker=_make_marker(split),
            hoverinfo="skip",
        )
    bar = {"orientation": "h", "x": 0.5, "y": -0.12, "yanchor": "top", "len": 0.8, "thickness": 10, "outlinewidth": 0}
    bar["tickfont"] = {"size": 11}
    figure.update_layout(coloraxis={"colorscale": "Cividis", "showscale": False, "colorbar": bar})
    figure.update_xaxes(showticklabels=False, ticks="")
    figure.update_yaxes(showticklabels=False, ticks="")
    return figure


def _make_marker(split: str) -> dict[str, Any]:
    return {
        "color": SPLIT_COLOURS.get(split, MUTED),
        "symbol": _SPLIT_SYMBOLS.get(split, "cross"),
        "size": 7,
        "line": {"width": 0.4, "color": "#FFFFFF"},
    }


type Recolouring = tuple[str, dict[str, list[Any]], dict[str, Any]]


def recolour_map(structures: pd.DataFrame, errors: Mapping[str, Mapping[Any, float]]) -> list[Recolouring]:
    """Return what `plot_map` may be coloured by: name, change of its first traces (a split each), of the layout.

    errors: force error (eV/Å) by structure_id, by the name of the model; structures without one turn faint.
    """
    placed = _place(structures)
    splits = [(split, rows) for split, rows in by_split(placed)]
    colours = [SPLIT_COLOURS.get(split, MUTED) for split, _ in splits]
    templates = [f"{HOVER_ID}<extra>{plain(split)}</extra>" for split, _ in splits]
    by_split_alone: dict[str, list[Any]] = {
        "marker.color": colours,
        "marker.coloraxis": [None] * len(splits),
        "marker.opacity": [1] * len(splits),
        "meta": [describe_points(rows) for _, rows in splits],
        "hovertemplate": templates,
    }
    found: list[Recolouring] = [("Split", by_split_alone, {"coloraxis.showscale": False})]
    for name, column, factor, unit in _MAP_NUMBERS:
        values = pd.to_numeric(placed[column], errors="coerce") * factor
        if len(values.dropna().unique()) > 1:
            found.append(_colour_by_number(name, unit, values, splits))
    for model, known in errors.items():
        values = pd.to_numeric(placed["structure_id"].map(known), errors="coerce") * 1000
        if values.notna().any():
            found.append(_colour_by_number(f"Force error of {model}", "meV/Å", values, splits))
    for name, column in _MAP_NAMES:
        if len(placed[column].dropna().unique()) > 1:
            found.append(_colour_by_name(name, placed[column], splits))
    return found


def _place(structures: pd.DataFrame) -> pd.DataFrame:
    placed = with_numbers(structures, "map_x", "map_y")
    return placed.iloc[spread_places(len(placed))]


def _colour_by_number(name: str, unit: str, values: pd.Series, splits: list[tuple[str, pd.DataFrame]]) -> Recolouring:
    """Colour from the 2nd to the 98th percentile, so that one outlier does not take all of the scale."""
    low, high = np.nanpercentile(values.to_numpy(dtype=float), [2, 98])
    templates = [
        f"{HOVER_ID}{plain(name)}: %{{marker.color:.4~g}} {unit}<extra>{plain(split)}</extra>" for split, _ in splits
    ]
    title = plain(name) + (f" ({unit})" if unit else "")
    colours = [[None if pd.isna(v) else float(f"{v:.5g}") for v in values.loc[rows.index]] for _, rows in splits]
    return (
        name,
        {
            "marker.color": colours,
            "marker.coloraxis": ["coloraxis"] * len(splits),
            # A point without a number would be black.
            "marker.opacity": [[_FAINT if colour is None else 1 for colour in part] for part in colours],
            "meta": [describe_points(rows) | {"colour": title} for _, rows in splits],
            "hovertemplate": templates,
        },
        {
            "coloraxis.showscale": True,
            "coloraxis.colorscale": "Cividis",
            "coloraxis.cmin": float(low),
            "coloraxis.cmax": float(high) if high > low else float(low) + 1,
            "coloraxis.colorbar.title": {"text": title, "side": "bottom", "font": {"size": 12}},
            "coloraxis.colorbar.tickvals": None,
            "coloraxis.colorbar.ticktext": None,
        },
    )


def _colour_by_name(name: str, values: pd.Series, splits: list[tuple[str, pd.DataFrame]]) -> Recolouring:
    """Colour by the most frequent names; all others, and what has none, share the last colour."""
    texts = values.astype(str).where(values.notna(), "none known")
    names = [str(text) for text in texts.value_counts().index[:_N_NAMES]]
    n_others = texts.nunique() - len(names)
    labels = [*names, *([f"{n_others} others"] if n_others else [])]
    codes = texts.map({text: code for code, text in enumerate(names)}).fillna(len(names)).astype(int)
    scale = [[(code + end) / len(labels), _NAME_COLOURS[code]] for code in range(len(labels)) for end in (0, 1)]
    templates = [f"{HOVER_ID}<extra>{plain(split)}</extra>" for split, _ in splits]
    return (
        name,
        {
            "marker.color": [codes.loc[rows.index].tolist() for _, rows in splits],
            "marker.coloraxis": ["coloraxis"] * len(splits),
            "marker.opacity": [1] * len(splits),
            "meta": [
                describe_points(rows) | {"colour": plain(name), "names": [plain(label) for label in labels]}
                for _, rows in splits
            ],
            "hovertemplate": templates,
        },
        {
            "coloraxis.showscale": True,
            "coloraxis.colorscale": scale,
            "coloraxis.cmin": -0.5,
            "coloraxis.cmax": len(labels) - 0.5,
            "coloraxis.colorbar.title": {"text": plain(name), "side": "bottom", "font": {"size": 12}},
            "coloraxis.colorbar.tickvals": list(range(len(labels))),
            "coloraxis.colorbar.ticktext": [plain(label) for label in labels],
        },
    )
