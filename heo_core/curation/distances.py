"""Whether two atoms of a periodic cell are too close, for many cells at once."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from ase.geometry import minkowski_reduce
from matscipy.neighbours import neighbour_list  # type: ignore[import-untyped]

from heo_core.curation.row_batch import Bools, Ints
from heo_core.records import Array

# Pairs of atoms looked at in one step: keeps the arrays in the processor's cache.
_PAIRS_PER_STEP = 200_000
# Above this many atoms a neighbour list is quicker than all pairs, and takes far less memory.
_MOST_SITES_IN_PAIRS = 1000
_FIRST_CUTOFF_ANG = 1.5


def find_close_pairs(lattices: Array, positions: Array, n_sites: Ints, distance: float) -> Bools:
    """(n,): whether two atoms of a cell, or an atom and its own image, are closer than distance, Å.

    lattices (n, 3, 3), rows are the lattice vectors, Å, not singular; positions (sum of n_sites, 3), Cartesian, Å.
    """
    # Two atoms closer than the distance differ by less than distance/height along each axis. Where every height is more
    # than twice the distance that is less than a half, so that the image which rounding picks is the one.
    inverses = np.linalg.inv(lattices)
    reach = distance * np.linalg.norm(inverses, axis=1)
    is_roomy = reach.max(axis=1) < 0.5
    starts = np.concatenate([[0], np.cumsum(n_sites)])
    found = np.zeros(len(lattices), dtype=bool)
    is_large = n_sites > _MOST_SITES_IN_PAIRS
    for row in np.flatnonzero(is_large):
        cell_positions = positions[starts[row] : starts[row + 1]]
        cell = {"cell": lattices[row], "positions": cell_positions, "pbc": np.ones(3, dtype=bool)}
        found[row] = len(neighbour_list("i", cutoff=distance, **cell)) > 0
    for size in np.unique(n_sites[is_roomy & ~is_large]):
        rows = np.flatnonzero(is_roomy & (n_sites == size))
        first, second = np.triu_indices(size, k=1)
        step = max(1, _PAIRS_PER_STEP // max(len(first), 1))
        for chunk in np.array_split(rows, math.ceil(len(rows) / step)):
            fractional = positions[starts[chunk][:, None] + np.arange(size)] @ inverses[chunk]
            found[chunk] = _find_in_cells(fractional, lattices[chunk], reach[chunk], first, second, distance)
    for row in np.flatnonzero(~is_roomy & ~is_large):
        cell_positions = positions[starts[row] : starts[row + 1]]
        found[row] = compute_smallest_distance(lattices[row], cell_positions) < distance
    return found


def compute_smallest_distance(lattice: Array, positions: Array) -> float:
    """Smallest distance between two atoms, periodic images included, Å. lattice (3, 3), positions (n, 3)."""
    if len(positions) > _MOST_SITES_IN_PAIRS:
        return _find_smallest_in_list(lattice, positions)
    reduced, _ = minkowski_reduce(lattice)
    inverse = np.linalg.inv(reduced)
    fractional = positions @ inverse
    separation = fractional[:, None, :] - fractional[None, :, :]
    separation -= np.round(separation)
    nearest = np.linalg.norm(separation @ reduced, axis=2)
    np.fill_diagonal(nearest, math.inf)
    smallest = float(nearest.min())
    # What is closer than half of every height is the image that rounding picks; only else the others are looked at.
    if smallest < 0.5 / np.linalg.norm(inverse, axis=0).max():
        return smallest
    for shift in product((-1.0, 0.0, 1.0), repeat=3):
        distances = np.linalg.norm((separation + shift) @ reduced, axis=2)
        if not any(shift):
            np.fill_diagonal(distances, math.inf)
        smallest = min(smallest, float(distances.min()))
    return smallest


def _find_smallest_in_list(lattice: Array, positions: Array) -> float:
    """Do the same by neighbour lists that reach twice as far each time, until there is a neighbour."""
    cutoff = _FIRST_CUTOFF_ANG
    while True:
        distances = neighbour_list("d", cutoff=cutoff, cell=lattice, positions=positions, pbc=np.ones(3, dtype=bool))
        if len(distances):
            return float(distances.min())
        cutoff *= 2


def _find_in_cells(
    fractional: Array, lattices: Array, reach: Array, first: Ints, second: Ints, distance: float
) -> Bools:
    """(g,) from g cells of equal size: fractional (g, size, 3), lattices (g, 3, 3), reach (g, 3), and the pairs."""
    # Few pairs are close along one axis, and fewer along two: what is left after three is worth a distance. Along the
    # first, where all pairs are looked at, half the digits are enough, with some room for what they lose.
    along = (fractional[:, :, 2] - np.floor(fractional[:, :, 2])).astype(np.float32)
    rough = along.take(first, axis=1)
    rough -= along.take(second, axis=1)
    rough -= np.rint(rough)
    cells, pairs = np.nonzero(np.abs(rough) < (reach[:, 2, None] + 1e-5).astype(np.float32))
    for axis in (1, 0):
        apart = fractional[cells, first[pairs], axis] - fractional[cells, second[pairs], axis]
        near = np.abs(apart - np.rint(apart)) < reach[cells, axis]
        cells, pairs = cells[near], pairs[near]
    apart = fractional[cells, first[pairs]] - fractional[cells, second[pairs]]
    apart -= np.rint(apart)
    distances = np.linalg.norm(np.einsum("pi,pij->pj", apart, lattices[cells]), axis=1)
    found = np.zeros(len(fractional), dtype=bool)
    found[cells[distances < distance]] = True
    return found
