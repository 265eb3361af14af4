"""Mixtures of cations in equal shares, and cells of them: exact, compact, each in an order of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np

from heo_core.elements import SYMBOLS
from heo_core.params import StabilityParams
from heo_core.records import Array, Structure
from heo_core.structures.perturb import rattle
from heo_core.structures.prototypes import Occupation, Prototype, get_prototype
from heo_core.structures.sqs import fill_sqs
from heo_core.structures.substitution import fill
from heo_core.structures.supercell import transform

# Face-centred prototypes are repeated in their primitive cell: most numbers of cations are none of their cube's.
_FACE_CENTRED = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
_PRIMITIVE = {"rocksalt": _FACE_CENTRED, "fluorite": _FACE_CENTRED}
_SAME_PLACE = 1e-6
_SEARCHED = 6  # a lattice vector that a compact cell could have for an edge is at most so many primitive ones long


def list_mixtures(params: StabilityParams) -> list[tuple[str, ...]]:
    """All combinations of n of the cations, each in the order of atomic numbers."""
    return list(combinations(params.cations, params.n))


def name_mixture(cations: tuple[str, ...]) -> str:
    """Symbols one after the other: MgCoNiCuZn."""
    return "".join(cations)


def get_mixed_sublattice(params: StabilityParams) -> str:
    """Name of the sublattice that the mixtures fill."""
    names = get_prototype(params.prototype).per_formula
    return next(name for name in names if name not in params.rest)


def make_occupation(cations: tuple[str, ...], params: StabilityParams) -> Occupation:
    """Equal shares of the cations on the mixed sublattice, and what is said for the other."""
    rest = {name: {element: 1.0} for name, element in params.rest.items()}
    filled = rest | {get_mixed_sublattice(params): dict.fromkeys(sorted(cations), 1 / len(cations))}
    return {name: filled[name] for name in get_prototype(params.prototype).per_formula}


def make_cell(cations: tuple[str, ...], number: int, params: StabilityParams) -> Structure:
    """Return the cell of this number of a mixture, rattled.

    Of the numbers of formula units in which the shares are whole, the largest with at most n_atoms atoms is taken, or
    else the smallest; of the cells with so many, one whose shortest vector is longest. InputError for an element
    without radius or charge, and for sqs without icet.
    """
    prototype = get_prototype(params.prototype)
    occupation = make_occupation(cations, params)
    n_formulas = count_formulas(len(cations), prototype, get_mixed_sublattice(params), params.n_atoms)
    parent = make_compact_parent(prototype, occupation, n_formulas)
    rng = np.random.default_rng([params.seed, number, *(SYMBOLS.index(cation) for cation in cations)])
    if params.filling == "sqs":
        cell = fill_sqs(parent, occupation, params.sqs_steps, rng)
    else:
        cell = fill(parent, occupation, params.filling, rng)
    cell = rattle(cell, params.rattle_ang, rng)
    return replace(cell, immutable_id=f"{name_mixture(cations)}-{params.prototype}/cell-{number}")


def count_formulas(n_cations: int, prototype: Prototype, sublattice: str, n_atoms: int) -> int:
    """Count the formula units of a cell of at most n_atoms in which the cations share the sublattice evenly.

    Where even the fewest are too many atoms, these.
    """
    per_formula = prototype.per_formula
    atoms = sum(per_formula.values()) + prototype.anions_per_formula
    fewest = next(k for k in range(1, n_cations + 1) if k * per_formula[sublattice] % n_cations == 0)
    return max(1, n_atoms // (fewest * atoms)) * fewest


def make_compact_parent(prototype: Prototype, occupation: Occupation, n_formulas: int) -> Structure:
    """Cell of so many formula units, with names of sublattices for cations, at the start lattice of an occupation.

    Atoms: sublattice by sublattice, then all anions. n_formulas: a multiple of those in the prototype's primitive cell.
    """
    conventional = prototype.compute_lattice(occupation)
    primitive = _PRIMITIVE.get(prototype.name, np.eye(3)) @ conventional
    parts = [(part.name, part.sites) for part in prototype.sublattices] + [(prototype.anion, prototype.anion_sites)]
    sites: list[Array] = []
    labels: list[str] = []
    for name, fractional in parts:
        found = _keep_different(fractional @ conventional @ np.linalg.inv(primitive))
        sites.append(found)
        labels += [name] * len(found)
    cell = Structure(primitive, np.concatenate(sites) @ primitive, tuple(labels), prototype.name, "generated")
    n_in_primitive = labels.count(prototype.anion) // prototype.anions_per_formula
    shape = tuple(map(tuple, (primitive / np.linalg.norm(primitive[0])).round(9).tolist()))
    matrix = _find_compact_matrix(shape, n_formulas // n_in_primitive)
    return transform(cell, matrix)  # type: ignore[arg-type]


def _keep_different(sites: Array) -> Array:
    """Fractional sites (n, 3), those that lie a lattice vector apart once."""
    kept: list[Array] = []
    for site in sites % 1.0:
        if all(np.abs(site - other - np.round(site - other)).max() > _SAME_PLACE for other in kept):
            kept.append(site)
    return np.array(kept)


@cache
def _find_compact_matrix(shape: tuple[tuple[float, ...], ...], n_cells: int) -> tuple[tuple[int, ...], ...]:
    """Whole-number matrix (determinant n_cells) of the supercell of a lattice whose shortest vector is longest.

    All sublattices of this index are compared, each by its Hermite normal form; the edges are Minkowski-reduced.
    """
    from ase.geometry.minkowski_reduction import minkowski_reduce

    lattice = np.array(shape)
    steps = np.arange(-_SEARCHED, _SEARCHED + 1)
    vectors = np.array([v for v in product(steps, repeat=3) if any(v)])
    lengths = np.linalg.norm(vectors @ lattice, axis=1)
    order = np.argsort(lengths, kind="stable")
    vectors, lengths = vectors[order], lengths[order].round(6)
    best, found = -1.0, np.eye(3, dtype=int)
    for rows in _list_hermite_forms(n_cells):
        within = vectors @ np.linalg.inv(rows)
        is_member = (np.abs(within - np.round(within)) < _SAME_PLACE).all(axis=1)
        shortest = lengths[int(np.argmax(is_member))] if is_member.any() else float(lengths[-1])
        if shortest > best:
            best, found = float(shortest), rows
    _, reduction = minkowski_reduce(found @ lattice)
    matrix = reduction @ found
    if np.linalg.det(matrix) < 0:
        matrix = -matrix
    return tuple(tuple(int(x) for x in row) for row in matrix)


def _list_hermite_forms(n: int) -> list[Any]:
    """One upper triangular matrix for each sublattice of index n: a·d·f = n, b < d, c and e < f."""
    forms = []
    for a, d, f in product(range(1, n + 1), repeat=3):
        if a * d * f == n:
            forms += [np.array([[a, b, c], [0, d, e], [0, 0, f]]) for b in range(d) for c in range(f) for e in range(f)]
    return forms
