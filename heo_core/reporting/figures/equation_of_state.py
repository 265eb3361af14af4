"""Energy against volume of binary oxides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.figures.canvas import Styles, by_label, make_figure, to_array
from heo_core.reporting.palette import INK, get_style, plain


def plot_volume_curve(points: pd.DataFrame, styles: Styles, material: str) -> go.Figure:
    """E(V) - E(V of the reference) of one material of one benchmark: the reference as black points, a line a model."""
    figure = make_figure("Volume (Å³/atom)", "E(V) − E(V of labels) (meV/atom)")
    rows = points[points["material"] == material]
    for label, own in by_label(rows):
        curve = own.sort_values("volume_ang3_per_atom")
        x = to_array(curve["volume_ang3_per_atom"])
        if not figure.data:
            figure.add_scatter(
                x=x,
                y=to_array(_from_middle(curve, "energy_reference_ev_per_atom"), 1000),
                mode="markers",
                name="reference",
                marker={"color": INK, "size": 7, "symbol": "circle"},
                hovertemplate="%{y:.1f} meV/atom at %{x:.2f} Å³/atom<extra>reference</extra>",
            )
        y = _from_middle(curve, "energy_predicted_ev_per_atom")
        if y.notna().any():
            style = get_style(styles, label)
            figure.add_scatter(
                x=x,
                y=to_array(y, 1000),
                mode="lines",
                name=plain(label),
                line={"color": style.colour, "dash": style.dash, "width": 2.2},
                hovertemplate=f"%{{y:.1f}} meV/atom at %{{x:.2f}} Å³/atom<extra>{plain(label)}</extra>",
            )
    return figure


def rank_materials(points: pd.DataFrame) -> list[str]:
    """Materials by how far the models' curves lie from the reference's, the furthest first."""
    deviations: dict[str, list[float]] = {}
    for (material, _), rows in points.groupby(["material", "label"], sort=False):
        reference, predicted = (_from_middle(rows, f"energy_{name}_ev_per_atom") for name in ("reference", "predicted"))
        deviation = float(np.sqrt(np.mean((predicted - reference) ** 2)))
        if np.isfinite(deviation):
            deviations.setdefault(str(material), []).append(deviation)
    return sorted(deviations, key=lambda material: -max(deviations[material]))


def _from_middle(rows: pd.DataFrame, column: str) -> pd.Series:
    """Energies less the one at the volume nearest to the reference's relaxed volume."""
    values = pd.to_numeric(rows[column], errors="coerce")
    middle = int((pd.to_numeric(rows["volume_factor"], errors="coerce") - 1).abs().to_numpy().argmin())
    return values - values.iloc[middle]
