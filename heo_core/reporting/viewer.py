"""A viewer of the page: structures to turn in three dimensions, chosen from a list, their words beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

_SMALLEST_VOLUME_ANG3 = 1e-3


@dataclass(frozen=True)
class Drawing:
    """Cell and atoms to draw: lattice (3, 3) with rows as vectors and positions (n, 3) in Å, one symbol an atom."""

    lattice_ang: Sequence[Sequence[float]]
    positions_ang: Sequence[Sequence[float]]
    species: Sequence[str]

    def to_json(self) -> dict[str, Any] | None:
        """Return lattice, fractional coordinates and species with as many digits as a picture has.

        None where a wrecked cell has numbers that are not finite, or no volume.
        """
        lattice, positions = (np.asarray(rows, dtype=float) for rows in (self.lattice_ang, self.positions_ang))
        if not (np.isfinite(lattice).all() and np.isfinite(positions).all()):
            return None
        if abs(np.linalg.det(lattice)) < _SMALLEST_VOLUME_ANG3:
            return None
        fractional = np.linalg.solve(lattice.T, positions.T).T
        symbols = sorted(set(self.species))
        return {
            "lattice": np.round(lattice, 3).tolist(),
            "positions": (np.round(fractional, 4) + 0.0).ravel().tolist(),  # + 0.0: no minus zero
            "symbols": symbols,
            "species": [symbols.index(symbol) for symbol in self.species],
        }


@dataclass(frozen=True)
class View:
    """One drawing with its words: a heading, and names with values below it. drawing is None: there is nothing to draw.

    colour: of the model that it belongs to.
    """

    title: str
    facts: list[tuple[str, str]]
    drawing: Drawing | None
    colour: str | None = None


@dataclass(frozen=True)
class Scene:
    """One choice of the list: views side by side that turn together. group: heading in the list."""

    group: str
    formula: str
    identifier: str
    views: list[View]


@dataclass(frozen=True)
class Viewer:
    """Scenes to choose from, the first one shown; key is part of an HTML id."""

    key: str
    title: str
    caption: str
    scenes: list[Scene]
    kind: str = field(default="viewer", init=False)

    @property
    def groups(self) -> Iterator[tuple[str, list[tuple[int, Scene]]]]:
        """Neighbouring scenes of one group, each with its place among all."""
        for group, members in groupby(enumerate(self.scenes), key=lambda pair: pair[1].group):
            yield group, list(members)

    def to_json(self) -> list[list[dict[str, Any] | None]]:
        """Return what the page's script draws: scenes of views; None where there is nothing to draw."""
        return [[None if view.drawing is None else view.drawing.to_json() for view in s.views] for s in self.scenes]
