"""Supercells: a cell repeated along its own vectors."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from heo_core.records import Array, Structure
from heo_core.structures.perturb import remove_labels

Repeat = tuple[int, int, int]


def repeat(structure: Structure, repeats: Repeat) -> Structure:
    """Repeat the cell along its three vectors; atoms of one cell stay together, in their order; labels are dropped."""
    shifts = np.array(list(product(*(range(n) for n in repeats))), dtype=np.float64) @ structure.lattice
    return replace(
        remove_labels(structure),
        lattice=structure.lattice * np.array(repeats)[:, None],
        positions=(shifts[:, None, :] + structure.positions).reshape(-1, 3),
        species=structure.species * len(shifts),
    )


def find_near_cubic_repeats(lattice: Array, n_atoms: int, min_atoms: int) -> Repeat:
    """Repeats of a cell of n_atoms that hold at least min_atoms, in a shape as near to a cube as repeats alone allow.

    The direction in which the cell is thinnest (distance between opposite faces) is repeated once more until there
    are enough atoms, so there are fewer than 2 min_atoms, or n_atoms if that is more. lattice (3, 3), rows are
    vectors, Å.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    repeats = [1, 1, 1]
    while n_atoms * repeats[0] * repeats[1] * repeats[2] < min_atoms:
        # Rounded, so that the noise of a file's last digits does not decide between equal heights.
        repeats[int(np.argmin(np.round(heights * repeats, 6)))] += 1
    return repeats[0], repeats[1], repeats[2]
