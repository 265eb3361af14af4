"""Parent crystals: where cations and oxygens sit, and how large the cell of a composition is to begin with.

A new prototype is one more entry of `PROTOTYPES` and a name in `params.PrototypeName`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import gcd

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array
from heo_core.structures.ionic_radii import find_site_radius
from heo_core.structures.oxidation_states import balance_charges

CATION = "cation"
"""Name of the cation sublattice where there is only one."""

type Occupation = Mapping[str, Mapping[str, float]]
"""What fills each sublattice: its name -> element -> fraction; the fractions of a sublattice sum to 1."""


@dataclass(frozen=True, eq=False)
class Sublattice:
    """Sites of a parent crystal that one mixture of cations fills.

    sites (n, 3): fractional. coordination: oxygens around each. bond_ang: their mean distance in `Prototype.lattice`;
    None where the sublattice says nothing of the size. cation: what fills it unless something else is said (in a file).
    """

    name: str
    sites: Array
    coordination: int
    bond_ang: float | None
    cation: str | None = None


@dataclass(frozen=True, eq=False)
class Prototype:
    """A parent crystal in its conventional cell.

    like: a real oxide of this kind; lattice (3, 3): its cell, Å, whose shape is kept and whose size is not.
    anion_sites (n_anions, 3): fractional. oxygen_radius_ang: as fits its surroundings here.
    """

    name: str
    like: str
    space_group_number: int | None
    lattice: Array
    sublattices: tuple[Sublattice, ...]
    anion_sites: Array
    oxygen_radius_ang: float
    anion: str = "O"

    @property
    def n_atoms(self) -> int:
        """Atoms in the cell."""
        return len(self.anion_sites) + sum(len(part.sites) for part in self.sublattices)

    @property
    def n_formulas(self) -> int:
        """Formula units in the cell."""
        return gcd(len(self.anion_sites), *(len(part.sites) for part in self.sublattices))

    @property
    def per_formula(self) -> dict[str, int]:
        """Sites of each sublattice in a formula unit."""
        return {part.name: len(part.sites) // self.n_formulas for part in self.sublattices}

    @property
    def anions_per_formula(self) -> int:
        """Anion sites in a formula unit."""
        return len(self.anion_sites) // self.n_formulas

    @property
    def formula(self) -> str:
        """Formula unit with sublattices in place of cations, for example AB2O4; M is the only one."""
        parts = [*self.per_formula.items(), (self.anion, self.anions_per_formula)]
        return "".join(f"{'M' if name == CATION else name}{count if count > 1 else ''}" for name, count in parts)

    def compute_lattice(self, occupation: Occupation) -> Array:
        """Start lattice (3, 3) in Å: scaled so that cations and oxygens touch.

        For each sublattice, the mean radius of its cations (by the charges of `balance_charges` and its coordination)
        plus that of oxygen over the bond length in `lattice` is one factor; the scale is their mean, each counting by
        the charge it carries. InputError for an element without radius or charge.
        """
        states = balance_charges(self.get_amounts(occupation), self.anions_per_formula).states
        weights, factors = [], []
        for part in self.sublattices:
            if part.bond_ang is None:
                continue
            radius = compute_mean_radius(occupation[part.name], states[part.name], part.coordination)
            charge = sum(x * states[part.name][element] for element, x in occupation[part.name].items())
            weights.append(charge * len(part.sites))
            factors.append((radius + self.oxygen_radius_ang) / part.bond_ang)
        return self.lattice * float(np.average(factors, weights=weights)) if factors else self.lattice

    def get_amounts(self, occupation: Occupation) -> dict[str, dict[str, float]]:
        """Cations in a formula unit: sublattice -> element -> amount."""
        return {
            name: {element: x * count for element, x in occupation[name].items()}
            for name, count in self.per_formula.items()
        }


def compute_mean_radius(cations: Mapping[str, float], states: Mapping[str, float], coordination: int) -> float:
    """Mean ionic radius, Å, of cations by fraction (sum 1), each in its mean charge; InputError for one without any."""
    return sum(x * find_site_radius(element, states[element], coordination) for element, x in cations.items())


def get_prototype(name: str) -> Prototype:
    """Return a prototype by name; InputError, with the names there are, for an unknown one."""
    if name not in PROTOTYPES:
        msg = f"prototype {name!r} is unknown; allowed: {', '.join(PROTOTYPES)}"
        raise InputError(msg)
    return _build(name)


type _Sites = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class _Recipe:
    """How a prototype is built.

    space_group_number: where it has two origins, the second is meant, with the centre of inversion at 0; the first
    makes garbage of spinel's and pyrochlore's sites. like: the real oxide that the cell and free coordinates are of.
    cell: edges in Å, angles in degrees. cations: sublattice -> coordination, and a site of each orbit. oxygen: a site
    of each orbit. oxygen_radius_ang: Shannon's, for as many cations as bind it most (in a perovskite, the two B).
    """

    space_group_number: int
    like: str
    cell: tuple[float, float, float, float, float, float]
    cations: dict[str, tuple[int, _Sites]]
    oxygen: _Sites
    oxygen_radius_ang: float


_FD_3M = 227  # the only space group here with two origins
_SAME_SITE = 1e-4

_FACE_CENTRED = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))

PROTOTYPES: dict[str, _Recipe] = {
    # All sites are written out: stored benchmarks were made with them in this order.
    "rocksalt": _Recipe(
        225,
        "MgO",
        (4.212, 4.212, 4.212, 90, 90, 90),
        {CATION: (6, _FACE_CENTRED)},
        ((0.5, 0.0, 0.0), (0.5, 0.5, 0.5), (0.0, 0.0, 0.5), (0.0, 0.5, 0.0)),
        1.40,
    ),
    "fluorite": _Recipe(
        225, "CeO2", (5.411, 5.411, 5.411, 90, 90, 90), {CATION: (8, ((0, 0, 0),))}, ((0.25, 0.25, 0.25),), 1.38
    ),
    "perovskite": _Recipe(
        221,
        "SrTiO3",
        (3.905, 3.905, 3.905, 90, 90, 90),
        {"A": (12, ((0, 0, 0),)), "B": (6, ((0.5, 0.5, 0.5),))},
        ((0.5, 0.5, 0),),
        1.35,
    ),
    "perovskite-pnma": _Recipe(
        62,
        "GdFeO3",
        (5.611, 7.669, 5.349, 90, 90, 90),
        {"A": (8, ((0.0628, 0.25, 0.9846),)), "B": (6, ((0, 0, 0.5),))},
        ((0.4672, 0.25, 0.1006), (0.3012, 0.0506, 0.6957)),
        1.38,
    ),
    "spinel": _Recipe(
        227,
        "MgAl2O4",
        (8.083, 8.083, 8.083, 90, 90, 90),
        {"A": (4, ((0.125, 0.125, 0.125),)), "B": (6, ((0.5, 0.5, 0.5),))},
        ((0.2625, 0.2625, 0.2625),),
        1.38,
    ),
    "pyrochlore": _Recipe(
        227,
        "Gd2Ti2O7",
        (10.185, 10.185, 10.185, 90, 90, 90),
        {"A": (8, ((0.5, 0.5, 0.5),)), "B": (6, ((0, 0, 0),))},
        ((0.3275, 0.125, 0.125), (0.375, 0.375, 0.375)),
        1.38,
    ),
    "bixbyite": _Recipe(
        206,
        "Y2O3",
        (10.604, 10.604, 10.604, 90, 90, 90),
        {CATION: (6, ((0.25, 0.25, 0.25), (0.9675, 0, 0.25)))},
        ((0.3907, 0.1520, 0.3804),),
        1.38,
    ),
    "corundum": _Recipe(
        167,
        "Al2O3",
        (4.759, 4.759, 12.991, 90, 90, 120),
        {CATION: (6, ((0, 0, 0.3522),))},
        ((0.3063, 0, 0.25),),
        1.38,
    ),
    "rutile": _Recipe(
        136, "TiO2", (4.594, 4.594, 2.959, 90, 90, 90), {CATION: (6, ((0, 0, 0),))}, ((0.3053, 0.3053, 0),), 1.36
    ),
    "alpha-pbo2": _Recipe(
        60,
        "TiO2-II",
        (4.541, 5.493, 4.906, 90, 90, 90),
        {CATION: (6, ((0, 0.171, 0.25),))},
        ((0.272, 0.381, 0.414),),
        1.36,
    ),
    "ruddlesden-popper": _Recipe(
        139,
        "Sr2TiO4",
        (3.886, 3.886, 12.594, 90, 90, 90),
        {"A": (9, ((0, 0, 0.3549),)), "B": (6, ((0, 0, 0),))},
        ((0, 0.5, 0), (0, 0, 0.1600)),
        1.37,
    ),
    "ruddlesden-popper-2": _Recipe(
        139,
        "Sr3Ti2O7",
        (3.903, 3.903, 20.373, 90, 90, 90),
        {"A": (9, ((0, 0, 0.5), (0, 0, 0.3140))), "B": (6, ((0, 0, 0.0983),))},
        ((0, 0, 0), (0, 0.5, 0.0960), (0, 0, 0.1940)),
        1.37,
    ),
}


@cache
def _build(name: str) -> Prototype:
    from ase.cell import Cell

    recipe = PROTOTYPES[name]
    lattice = np.array(Cell.fromcellpar(recipe.cell))
    anions = _list_orbits(recipe.oxygen, recipe.space_group_number)
    sublattices = []
    for sublattice, (coordination, sites) in recipe.cations.items():
        cations = _list_orbits(sites, recipe.space_group_number)
        bond = compute_bond(lattice, cations, anions, coordination)
        sublattices.append(Sublattice(sublattice, cations, coordination, bond))
    return Prototype(
        name, recipe.like, recipe.space_group_number, lattice, tuple(sublattices), anions, recipe.oxygen_radius_ang
    )


def _list_orbits(sites: _Sites, space_group_number: int) -> Array:
    """Given sites, then all that are equivalent to them and not yet there, (n, 3), in [0, 1)."""
    from ase.spacegroup import Spacegroup

    setting = 2 if space_group_number == _FD_3M else 1
    rotations, translations = Spacegroup(space_group_number, setting).get_op()
    found = [np.array(site, dtype=float) for site in sites]
    for site in sites:
        for image in (rotations @ np.array(site) + translations) % 1.0:
            if all(np.abs(image - other - np.round(image - other)).max() > _SAME_SITE for other in found):
                found.append(image)
    return np.array(found)


def compute_bond(lattice: Array, cations: Array, anions: Array, coordination: int) -> float:
    """Mean distance in Å of each cation's nearest anions, as many as its coordination; sites (n, 3) are fractional."""
    shifts = np.array(list(product((-1.0, 0.0, 1.0), repeat=3)))
    separation = anions[None, :, None, :] + shifts - cations[:, None, None, :]
    distances = np.sort(np.linalg.norm(separation @ lattice, axis=-1).reshape(len(cations), -1), axis=1)
    return float(distances[:, :coordination].mean())
