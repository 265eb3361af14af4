"""Supercells: a cell repeated along its own vectors, or along others that its lattice has."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array, Structure
from heo_core.structures.perturb import remove_labels

Repeat = tuple[int, int, int]
Matrix = tuple[Repeat, Repeat, Repeat]


def make_supercell(structure: Structure, supercell: Repeat | Matrix) -> Structure:
    """Repeat a cell or transform it by a matrix, whichever is given; labels are dropped. InputError as `transform`."""
    if isinstance(supercell[0], int):
        return repeat(structure, supercell)
    return transform(structure, supercell)


def repeat(structure: Structure, repeats: Repeat) -> Structure:
    """Repeat the cell along its three vectors; atoms of one cell stay together, in their order; labels are dropped."""
    shifts = np.array(list(product(*(range(n) for n in repeats))), dtype=np.float64) @ structure.lattice
    return replace(
        remove_labels(structure),
        lattice=structure.lattice * np.array(repeats)[:, None],
        positions=(shifts[:, None, :] + structure.positions).reshape(-1, 3),
        species=structure.species * len(shifts),
    )


def transform(structure: Structure, matrix: Matrix) -> Structure:
    """Make the cell whose edges are the rows of a matrix (determinant n > 0) times the structure's; labels are dropped.

    n times the atoms: the n images of the first atom come first, then those of the second. InputError without a volume.
    """
    rows = np.array(matrix)
    n_cells = round(float(np.linalg.det(rows)))
    if n_cells <= 0:
        msg = f"supercell matrix {rows.tolist()} has the determinant {n_cells}; allowed: above 0"
        raise InputError(msg)
    # Every cell that a corner-to-corner box of the new cell touches, then those whose corner lies in it.
    corners = np.array(list(product((0, 1), repeat=3))) @ rows
    box = [range(low, high + 1) for low, high in zip(corners.min(axis=0), corners.max(axis=0), strict=True)]
    cells = np.array(list(product(*box)), dtype=np.float64)
    fractional = np.round(cells @ np.linalg.inv(rows), 9)
    shifts = cells[((fractional >= 0) & (fractional < 1)).all(axis=1)] @ structure.lattice
    return replace(
        remove_labels(structure),
        lattice=rows @ structure.lattice,
        positions=(structure.positions[:, None, :] + shifts).reshape(-1, 3),
        species=tuple(symbol for symbol in structure.species for _ in range(n_cells)),
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
