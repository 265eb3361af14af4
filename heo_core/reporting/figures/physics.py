"""What must hold for any potential: one well over the volume, repulsion at short range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from heo_core.reporting.figures.canvas import Styles, by_label, make_figure, mark_zero
from heo_core.reporting.palette import get_style, plain

_BOND_ANG = 1.4  # metal-oxygen bonds are as long or longer


def plot_physics_curve(curves: pd.DataFrame, styles: Styles, kind: str, subject: str) -> go.Figure:
    """Energy of an oxide over its volume ("volume-curve") or of a pair over its distance ("repulsion"), a line a model.

    curves: of one benchmark. Energies are above the lowest of the oxide; above that of the bond, the lowest of the pair
    at 1.4 Å or beyond.
    """
    if kind == "volume-curve":
        figure = make_figure("Volume (Å³/atom)", "Energy above the lowest (meV/atom)")
        numbers = "%{y:.1f} meV/atom at %{x:.2f} Å³/atom"
    else:
        figure = make_figure("Distance (Å)", "Energy above the bond's (eV)")
        numbers = "%{y:.2f} eV at %{x:.1f} Å"
    for label, (x, y) in list_physics_curves(curves, kind, subject).items():
        style = get_style(styles, label)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=plain(label),
            line={"color": style.colour, "dash": style.dash, "width": 2.2},
            marker={"color": style.colour, "symbol": style.symbol, "size": 6},
            hovertemplate=f"{numbers}<extra>{plain(label)}</extra>",
        )
    mark_zero(figure)
    return figure


def list_physics_curves(curves: pd.DataFrame, kind: str, subject: str) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return x and y of every model's curve, as `plot_physics_curve` draws them; None: no energy."""
    of_kind = curves[curves["kind"] == kind]
    return {label: _make_curve(rows[rows["subject"] == subject], kind) for label, rows in by_label(of_kind)}


def _make_curve(rows: pd.DataFrame, kind: str) -> tuple[list[Any], list[Any]]:
    points = rows.sort_values("x")
    x = pd.to_numeric(points["x"], errors="coerce").to_numpy(dtype=float)
    energies = pd.to_numeric(points["energy_ev"], errors="coerce").to_numpy(dtype=float)
    if kind == "volume-curve":
        energies = 1000 * energies / points["n_atoms"].to_numpy(dtype=float)
    basis = energies if kind == "volume-curve" else energies[x >= _BOND_ANG]
    if not np.isfinite(basis).any():
        return [], []
    heights = energies - np.nanmin(basis)
    return np.round(x, 3).tolist(), [round(value, 4) if np.isfinite(value) else None for value in heights.tolist()]
