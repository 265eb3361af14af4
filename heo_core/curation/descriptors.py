"""What kind of oxide a structure is: its composition, its cation sublattices and how mixed they are, its prototype.

The parent crystal of a structure is the same cell with all cations made alike. Its symmetry says which sites would be
the same but for the element that happens to sit there; those sites are a sublattice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import moyopy
import numpy as np
from ase.geometry import minkowski_reduce

from heo_core.curation.composition import (
    compute_cation_entropy_r,
    compute_electronegativity_spread,
    compute_equimolarity_deviation,
    compute_radius_mismatch_percent,
)
from heo_core.records import Array, Structure
from heo_core.structures.symmetry import find_symmetry

_ANION = "O"
SYMPREC_ANG = 0.01

# Rising tolerances at which a parent is looked for, and the largest cells for which each is tried. An ordered oxide
# shows its order at 0.05 Å; random displacements of 0.05 Å are looked through at 0.3, those of 0.1 Å at 0.5 to 0.7.
# Near the displacements a search is slow: 0.7 Å took 38 s for 512 atoms displaced by 0.15 Å, and 0.2 Å 3 s for 1,000.
# Where the tolerance comes near the distances between atoms or the edges, or is loose in a very long cell, a search may
# never end. Atoms 1.6 Å apart in a cell with edges from 3.2 Å on allow all tolerances.
_LARGEST_SYMPREC_PER_DISTANCE = 0.45
_LARGEST_SYMPREC_PER_EDGE = 0.22
_LARGEST_SYMPREC_TIMES_ASPECT_ANG = 10.0
_LEAST_DISTANCE_ANG = 0.1
# No oxide is near these (BeO has 7 Å³ an atom), and in cells below them even a tight search may never end.
_LEAST_VOLUME_PER_ATOM_ANG3 = 3.0
_LEAST_EDGE_ANG = 2.0
_BLOCK = 256  # rows of a distance matrix held at once
_PARENT_SYMPRECS_ANG = ((0.05, 1000), (0.2, 300), (0.3, 1000), (0.5, 1000), (0.7, 100))
# Without a prototype to confirm it, a match at 0.7 Å is no evidence.
_LOOSEST_UNCONFIRMED_ANG = 0.5
# Space groups 1 to 9 have at most one operation beside the identity and the translations.
_LAST_POOR_SPACE_GROUP = 9

# A regular tetrahedron has 4 and an octahedron 6, and distortion only lowers them: of octahedral sites in cells of a
# known prototype 95 % lie in 4.1 to 6.0, of the large A sites of perovskites and of Ruddlesden-Popper oxides above 6.2.
_COORDINATION_BOUNDS = (4.1, 6.3)


@dataclass(frozen=True)
class Sublattice:
    """Sites that are one site of the parent crystal.

    sites: their indices in the structure. per_formula: how many of them a formula unit of the parent has (B of ABO3:
    1, of the spinel AB2O4: 2).
    """

    sites: tuple[int, ...]
    cations: Mapping[str, int]
    per_formula: int

    @property
    def entropy_r(self) -> float:
        """Configurational entropy per site of this sublattice, in units of R."""
        return float(compute_cation_entropy_r(list(self.cations.values())))


@dataclass(frozen=True)
class ParentCrystal:
    """The crystal that a structure would be if its cations were alike.

    symprec_ang: the tolerance at which it was found; None, like its space group, when no search succeeded.
    """

    prototype: str | None
    space_group_number: int | None
    symprec_ang: float | None
    sublattices: tuple[Sublattice, ...]


@dataclass(frozen=True)
class Descriptors:
    """What is known of a structure without a potential. None where there is no such number.

    cation_fractions: over everything but oxygen, all sublattices pooled; sums to 1. n_cations: different cations.
    entropy_pooled_r: per cation, as if all shared one lattice. entropy_sublattice_r: per site of the most disordered
    sublattice. entropy_per_formula_r: Σ a_k S_k, a_k sites of sublattice k per formula unit of the parent crystal,
    where that is a known prototype: the formula unit of a cell with a vacancy would be the whole cell.
    All entropies in units of R = 8.314 J/mol/K. equimolarity_deviation: largest |x - 1/n|, pooled.
    radius_mismatch_percent and electronegativity_spread: pooled; see `composition`.
    space_group_number, space_group_symbol: of the cell as it is, symprec 0.01 Å.
    prototype, parent_space_group_number: of the parent crystal; see `find_parent_crystal`.
    """

    cation_fractions: dict[str, float]
    n_cations: int
    entropy_pooled_r: float
    entropy_sublattice_r: float
    entropy_per_formula_r: float | None
    equimolarity_deviation: float
    radius_mismatch_percent: float | None
    electronegativity_spread: float | None
    space_group_number: int | None
    space_group_symbol: str | None
    prototype: str | None
    parent_space_group_number: int | None


def describe(structure: Structure) -> Descriptors:
    """Describe a structure; never raises for a valid one, whatever its symmetry."""
    cations = _count_cations(structure)
    counts = list(cations.values())
    n_sites = sum(counts)
    fractions = {element: count / n_sites for element, count in cations.items()}
    largest_symprec = _find_largest_symprec(structure)
    parent = _find_parent_crystal(structure, largest_symprec)
    is_searchable = largest_symprec >= SYMPREC_ANG
    as_it_is = find_symmetry(structure, structure.species, SYMPREC_ANG) if is_searchable else None
    return Descriptors(
        cation_fractions=fractions,
        n_cations=len(cations),
        entropy_pooled_r=float(compute_cation_entropy_r(counts)),
        entropy_sublattice_r=_find_largest_entropy_r(parent.sublattices),
        entropy_per_formula_r=(
            sum((part.per_formula * part.entropy_r for part in parent.sublattices), 0.0) if parent.prototype else None
        ),
        equimolarity_deviation=float(compute_equimolarity_deviation(counts)),
        radius_mismatch_percent=compute_radius_mismatch_percent(fractions),
        electronegativity_spread=compute_electronegativity_spread(fractions),
        space_group_number=None if as_it_is is None else as_it_is.number,
        space_group_symbol=None if as_it_is is None else _name_space_group(as_it_is.hall_number),
        prototype=parent.prototype,
        parent_space_group_number=parent.space_group_number,
    )


def compute_sublattice_entropy_r(structure: Structure) -> float:
    """Compute the entropy per site of the most disordered cation sublattice, in units of R; 0 without cations."""
    return _find_largest_entropy_r(find_cation_sublattices(structure))


def find_cation_sublattices(structure: Structure) -> tuple[Sublattice, ...]:
    """Cation sublattices of a structure, largest first; every site that is not oxygen is in exactly one."""
    return find_parent_crystal(structure).sublattices


def find_parent_crystal(structure: Structure) -> ParentCrystal:
    """Find the parent crystal of a structure, and with it the cation sublattices.

    All cations are made alike and the symmetry of what results is found at rising tolerances (0.05 to 0.7 Å). The first
    that is a known prototype is the parent: an order that has moved atoms (an ordered double perovskite, a layered
    rock salt) keeps its sublattices, while random displacements are looked through. When no tolerance gives a known
    prototype, the parent is what the loosest one up to 0.5 Å gives. Sublattices are the orbits of its cation sites.

    Exception: a nameless parent of space group 1 to 9 with fewer than two sites an orbit tells nothing, and its orbits
    would make a disordered cell seem ordered. Then the sublattices are the classes of sites by Hoppe's effective
    coordination number with oxygen: up to 4.1, up to 6.3, and above. They are also used when every search fails, and
    for cells above 1,000 atoms, which are not searched. No tolerance is tried above
    0.45 of the shortest distance, 0.22 of the shortest edge or 10 Å over the ratio of longest to shortest edge.
    """
    return _find_parent_crystal(structure, _find_largest_symprec(structure))


def _find_parent_crystal(structure: Structure, largest_symprec: float) -> ParentCrystal:
    alike = tuple(_ANION if species == _ANION else "cation" for species in structure.species)
    if "cation" not in alike:
        return ParentCrystal(None, None, None, ())
    best: tuple[float, moyopy.MoyoDataset] | None = None
    for symprec, most_atoms in _PARENT_SYMPRECS_ANG:
        if structure.n_atoms > most_atoms or symprec > largest_symprec:
            continue
        symmetry = find_symmetry(structure, alike, symprec)
        if symmetry is None:
            continue
        prototype = _name_prototype(structure, symmetry)
        if prototype is not None:
            sublattices = _make_sublattices(structure, symmetry.orbits)
            return ParentCrystal(prototype, symmetry.number, symprec, sublattices)
        if best is None or symprec <= _LOOSEST_UNCONFIRMED_ANG:
            best = symprec, symmetry
    if best is None:
        return ParentCrystal(None, None, None, _make_sublattices(structure, _classify_by_coordination(structure)))
    symprec, symmetry = best
    sublattices = _make_sublattices(structure, symmetry.orbits)
    n_sites = sum(len(part.sites) for part in sublattices)
    if symmetry.number <= _LAST_POOR_SPACE_GROUP and n_sites < 2 * len(sublattices):
        sublattices = _make_sublattices(structure, _classify_by_coordination(structure))
    return ParentCrystal(None, symmetry.number, symprec, sublattices)


def _count_cations(structure: Structure) -> dict[str, int]:
    return dict(sorted(Counter(species for species in structure.species if species != _ANION).items()))


def _find_largest_entropy_r(sublattices: Sequence[Sublattice]) -> float:
    return max((part.entropy_r for part in sublattices), default=0.0)


def _find_largest_symprec(structure: Structure) -> float:
    """Largest tolerance that is safe for this cell, Å; 0 for one that is no crystal."""
    if structure.volume_ang3 < _LEAST_VOLUME_PER_ATOM_ANG3 * structure.n_atoms:
        return 0.0
    reduced, _ = minkowski_reduce(structure.lattice)
    fractional = structure.positions @ np.linalg.inv(reduced)
    edges = np.linalg.norm(reduced, axis=1)
    if edges.min() < _LEAST_EDGE_ANG:
        return 0.0
    shortest = math.inf
    for first in range(0, structure.n_atoms, _BLOCK):
        separation = fractional[first : first + _BLOCK, None, :] - fractional[None, :, :]
        separation -= np.round(separation)
        distances = np.linalg.norm(separation @ reduced, axis=-1)
        # An atom is no neighbour of itself; of its images the edges speak.
        distances[np.arange(len(distances)), first + np.arange(len(distances))] = math.inf
        shortest = min(shortest, float(distances.min()))
    by_aspect = _LARGEST_SYMPREC_TIMES_ASPECT_ANG * float(edges.min() / edges.max())
    by_edge = _LARGEST_SYMPREC_PER_EDGE * float(edges.min())
    return min(_LARGEST_SYMPREC_PER_DISTANCE * shortest, by_edge, by_aspect)


def _name_space_group(hall_number: int) -> str:
    """Short Hermann-Mauguin symbol, without blanks, for example Fm-3m."""
    return moyopy.HallSymbolEntry(hall_number=hall_number).hm_short.replace(" ", "")


def _make_sublattices(structure: Structure, labels: Sequence[int]) -> tuple[Sublattice, ...]:
    sites: dict[int, list[int]] = {}
    for site, (label, species) in enumerate(zip(labels, structure.species, strict=True)):
        if species != _ANION:
            sites.setdefault(label, []).append(site)
    groups = sorted(sites.values(), key=lambda group: (-len(group), group))
    n_anions = structure.species.count(_ANION)
    n_formulas = math.gcd(n_anions, *(len(group) for group in groups))
    return tuple(
        Sublattice(
            sites=tuple(group),
            cations=dict(sorted(Counter(structure.species[site] for site in group).items())),
            per_formula=len(group) // n_formulas,
        )
        for group in groups
    )


def _classify_by_coordination(structure: Structure) -> list[int]:
    """Class of each site by the effective coordination number of the cation there; what is said of oxygen is unused."""
    labels = [0] * structure.n_atoms
    for site, number in _compute_site_coordination(structure).items():
        labels[site] = int(np.searchsorted(_COORDINATION_BOUNDS, number))
    return labels


def _compute_site_coordination(structure: Structure) -> dict[int, float]:
    """Effective coordination number of every cation site; 0 where there is no oxygen."""
    is_anion = np.array([species == _ANION for species in structure.species])
    if not is_anion.any():
        return dict.fromkeys(range(structure.n_atoms), 0.0)
    positions = structure.positions
    numbers = compute_effective_coordination(structure.lattice, positions[~is_anion], positions[is_anion])
    return dict(zip(np.flatnonzero(~is_anion).tolist(), numbers.tolist(), strict=True))


def compute_effective_coordination(lattice: Array, cations: Array, anions: Array) -> Array:
    """Effective coordination number of each cation with the anions, (n_cations,).

    Σ exp(1 - (d/d̄)⁶) over all neighbours, d̄ the mean of d with weights exp(1 - (d/d_min)⁶). A regular octahedron has 6,
    a tetrahedron 4; a far neighbour counts less, without a cutoff. lattice (3, 3), cations (n_cations, 3) and anions
    (n_anions, 3), Cartesian, Å. Source: Hoppe, Z. Kristallogr. 150, 23 (1979), one step of his iteration.
    """
    reduced, _ = minkowski_reduce(lattice)
    inverse = np.linalg.inv(reduced)
    shifts = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
    return np.array([_count_effectively(_list_distances(site, anions, reduced, inverse, shifts)) for site in cations])


def _count_effectively(distances: Array) -> float:
    # Atoms that coincide are no failure here; weights vanish beyond twice the nearest, and no power may overflow.
    distances = np.maximum(distances, _LEAST_DISTANCE_ANG)
    nearest = float(distances.min())
    near = distances[distances < 2 * nearest] / nearest
    weights = np.exp(1 - near**6)
    return float(np.exp(1 - (near / np.average(near, weights=weights)) ** 6).sum())


def _list_distances(site: Array, anions: Array, lattice: Array, inverse: Array, shifts: Array) -> Array:
    """Distances from a site (3,) to the anions (n, 3) in the 27 cells around, (27 n,), Å; lattice is reduced."""
    separation = (anions - site) @ inverse
    separation -= np.round(separation)
    return np.asarray(np.linalg.norm((separation[:, None, :] + shifts) @ lattice, axis=-1).ravel())


@dataclass(frozen=True)
class _Signature:
    """What a prototype looks like once its cations are alike.

    cations, oxygen: the orbits of the conventional cell, each as multiplicity and site symmetry, which unlike the
    Wyckoff letter does not depend on the choice of origin. coordination: bounds of the smallest effective coordination
    number of any cation, where another structure type shares all the rest.
    """

    prototype: str
    space_group_number: int
    cations: str
    oxygen: str
    coordination: tuple[float, float] = (0.0, math.inf)


_OCTAHEDRAL_AT_LEAST = (4.4, math.inf)  # calcite's carbon has three neighbours, the copper of delafossite two

# Space groups of tilted perovskites: Howard and Stokes, Acta Cryst. B 54, 782 (1998); with two kinds of B site: Howard,
# Kennedy and Woodward, Acta Cryst. B 59, 463 (2003). The rest as in the textbooks' entries of each mineral.
_SIGNATURES = (
    _Signature("rocksalt", 225, "4(m-3m)", "4(m-3m)"),
    _Signature("fluorite", 225, "4(m-3m)", "8(-43m)"),
    _Signature("antifluorite", 225, "8(-43m)", "4(m-3m)"),
    _Signature("perovskite", 221, "1(m-3m) 1(m-3m)", "3(4/mm.m)"),
    _Signature("perovskite", 62, "4(-1) 4(.m.)", "4(.m.) 8(1)", _OCTAHEDRAL_AT_LEAST),  # a-b+a-, GdFeO3
    _Signature("perovskite", 167, "6(32) 6(-3.)", "18(.2)", _OCTAHEDRAL_AT_LEAST),  # a-a-a-, LaAlO3
    _Signature("perovskite", 140, "4(-42m) 4(4/m..)", "4(422) 8(m.2m)"),  # a0a0c-, SrTiO3 below 105 K
    _Signature("perovskite", 127, "2(4/m..) 2(m.mm)", "2(4/m..) 4(m.2m)"),  # a0a0c+
    _Signature("perovskite", 74, "4(2/m..) 4(mm2)", "4(mm2) 8(.2.)", _OCTAHEDRAL_AT_LEAST),  # a0b-b-
    _Signature("perovskite", 204, "2(m-3.) 6(mmm..) 8(.-3.)", "24(m..)"),  # a+a+a+
    _Signature("perovskite", 99, "1(4mm) 1(4mm)", "1(4mm) 2(2mm.)"),  # polar, PbTiO3
    _Signature("double perovskite", 225, "4(m-3m) 4(m-3m) 8(-43m)", "24(4m.m)"),
    _Signature("double perovskite", 87, "2(4/m..) 2(4/m..) 4(-4..)", "4(4..) 8(m..)", _OCTAHEDRAL_AT_LEAST),
    _Signature("double perovskite", 128, "2(4/m..) 2(4/m..) 4(2.22)", "4(4..) 8(m..)"),
    _Signature("double perovskite", 148, "3(-3.) 3(-3.) 6(3.)", "18(1)", _OCTAHEDRAL_AT_LEAST),
    _Signature("double perovskite", 12, "2(2/m) 2(2/m) 4(m)", "4(m) 8(1)", _OCTAHEDRAL_AT_LEAST),
    _Signature("double perovskite", 14, "2(-1) 2(-1) 4(1)", "4(1) 4(1) 4(1)", _OCTAHEDRAL_AT_LEAST),
    _Signature("double perovskite", 201, "2(23.) 4(.-3.) 4(.-3.) 6(222..)", "24(1)"),
    _Signature("double perovskite", 48, "2(222) 2(222) 2(222) 2(222) 4(-1) 4(-1)", "8(1) 8(1) 8(1)"),
    _Signature("hexagonal perovskite 2H", 194, "2(-3m.) 2(-6m2)", "6(mm2)"),
    _Signature("hexagonal perovskite 4H", 194, "2(-3m.) 2(-6m2) 4(3m.)", "6(.2/m.) 6(mm2)"),
    _Signature("hexagonal perovskite 6H", 194, "2(-3m.) 2(-6m2) 4(3m.) 4(3m.)", "6(mm2) 12(.m.)"),
    _Signature("brownmillerite", 46, "4(..2) 4(m..) 8(1)", "4(m..) 8(1) 8(1)"),
    _Signature("brownmillerite", 62, "4(-1) 4(.m.) 8(1)", "4(.m.) 8(1) 8(1)"),
    _Signature("Ruddlesden-Popper n=1", 139, "2(4/mmm) 4(4mm)", "4(mmm.) 4(4mm)"),
    _Signature("Ruddlesden-Popper n=1", 64, "4(2/m..) 8(m..)", "8(.2.) 8(m..)"),  # tilted, La2CuO4
    _Signature("Ruddlesden-Popper n=2", 139, "2(4/mmm) 4(4mm) 4(4mm)", "2(4/mmm) 4(4mm) 8(2mm.)"),
    _Signature("Nd2CuO4", 139, "2(4/mmm) 4(4mm)", "4(mmm.) 4(-4m2)"),
    _Signature("YBa2Cu3O7", 47, "1(mmm) 1(mmm) 2(mm2) 2(mm2)", "1(mmm) 2(mm2) 2(mm2) 2(mm2)"),
    _Signature("spinel", 227, "8(-43m) 16(.-3m)", "32(.3m)"),
    _Signature("spinel", 141, "4(-4m2) 8(.2/m.)", "16(.m.)"),  # elongated, Mn3O4
    _Signature("pyrochlore", 227, "16(.-3m) 16(.-3m)", "8(-43m) 48(2.mm)"),
    _Signature("bixbyite", 206, "8(.-3.) 24(2..)", "48(1)"),
    _Signature("A-type sesquioxide", 164, "2(3m.)", "1(-3m.) 2(3m.)"),
    _Signature("corundum", 167, "12(3.)", "18(.2)"),
    _Signature("ilmenite", 148, "6(3.) 6(3.)", "18(1)"),
    _Signature("rutile", 136, "2(m.mm)", "4(m.2m)"),
    _Signature("rutile", 58, "2(..2/m)", "4(..m)"),  # octahedra turned, CaCl2
    _Signature("alpha-PbO2", 60, "4(.2.)", "8(1)"),
    _Signature("columbite", 60, "4(.2.) 8(1)", "8(1) 8(1) 8(1)"),
    _Signature("anatase", 141, "4(-4m2)", "8(2mm.)"),
    _Signature("baddeleyite", 14, "4(1)", "4(1) 4(1)"),
    _Signature("layered rock salt", 166, "3(-3m) 3(-3m)", "6(3m)", _OCTAHEDRAL_AT_LEAST),  # alpha-NaFeO2
    _Signature("delafossite", 166, "3(-3m) 3(-3m)", "6(3m)", (0.0, 3.0)),
    _Signature("wurtzite", 186, "2(3m.)", "2(3m.)"),
    _Signature("zincblende", 216, "4(-43m)", "4(-43m)"),
    _Signature("tenorite", 15, "4(-1)", "4(2)"),
    _Signature("scheelite", 88, "4(-4..) 4(-4..)", "16(1)"),
    _Signature("zircon", 141, "4(-4m2) 4(-4m2)", "16(.m.)"),
    _Signature("wolframite", 13, "2(2) 2(2)", "4(1) 4(1)"),
    _Signature("garnet", 230, "16(.-3.) 24(2.22) 24(-4..)", "96(1)"),
    _Signature("pseudobrookite", 63, "4(m2m) 8(m..)", "4(m2m) 8(m..) 8(m..)"),
)
PROTOTYPE_NAMES = tuple(dict.fromkeys(signature.prototype for signature in _SIGNATURES))
"""Every name that `Descriptors.prototype` can have."""

type _Orbits = tuple[str, ...]
_BY_SYMMETRY: dict[tuple[int, _Orbits, _Orbits], list[_Signature]] = {}
for _signature in _SIGNATURES:
    _cations, _oxygen = (tuple(sorted(orbits.split())) for orbits in (_signature.cations, _signature.oxygen))
    _BY_SYMMETRY.setdefault((_signature.space_group_number, _cations, _oxygen), []).append(_signature)


def _name_prototype(structure: Structure, symmetry: moyopy.MoyoDataset) -> str | None:
    orbits = symmetry.orbits
    scale = symmetry.std_cell.num_atoms / structure.n_atoms
    cations: list[str] = []
    oxygen: list[str] = []
    for site, count in Counter(orbits).items():
        orbit = f"{round(count * scale)}({symmetry.site_symmetry_symbols[site]})"
        (oxygen if structure.species[site] == _ANION else cations).append(orbit)
    found = _BY_SYMMETRY.get((symmetry.number, tuple(sorted(cations)), tuple(sorted(oxygen))), [])
    for signature in found:
        low, high = signature.coordination
        if (low, high) == (0.0, math.inf) or low <= _find_least_coordination(structure, orbits) <= high:
            return signature.prototype
    return None


def _find_least_coordination(structure: Structure, orbits: Sequence[int]) -> float:
    """Smallest mean coordination number of any cation orbit: a mean, because single sites may be distorted."""
    numbers = _compute_site_coordination(structure)
    groups: dict[int, list[float]] = {}
    for site, number in numbers.items():
        groups.setdefault(orbits[site], []).append(number)
    return min(float(np.mean(group)) for group in groups.values())
