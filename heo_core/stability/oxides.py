"""Oxides of one cation that a mixture competes with: their crystals, and the named sets that enthalpies count from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from heo_core.elements import SYMBOLS
from heo_core.errors import InputError
from heo_core.params import ReferenceSet, StabilityParams
from heo_core.records import Structure
from heo_core.stability.mixtures import make_occupation
from heo_core.structures.perturb import rattle
from heo_core.structures.prototypes import CATION, Prototype, Sublattice, compute_bond, get_prototype
from heo_core.structures.substitution import fill, make_parent

POLYMORPHS: dict[str, tuple[str, ...]] = {
    "rocksalt": ("rocksalt", "wurtzite", "tenorite"),
    "fluorite": ("fluorite", "rutile", "alpha-pbo2"),
    "perovskite": ("perovskite", "perovskite-pnma"),
}
"""Crystals of the same formula in which each cation alone is relaxed; the first is that of the mixtures."""

PUBLISHED_ENERGIES_EV_PER_ATOM: dict[str, dict[str, float]] = {
    "almishal-2025": {
        "Mg": -6.2781,
        "Ca": -6.7828,
        "Mn": -9.0008,
        "Fe": -8.1634,
        "Co": -7.2337,
        "Ni": -6.5446,
        "Cu": -5.4644,
        "Zn": -4.8947,
    }
}
"""Almishal et al., Nat. Commun. 16, 8211 (2025): oxides AO behind its map. CHGNet's own MgO lies 0.036 lower."""


@dataclass(frozen=True)
class Oxide:
    """Energy of the oxide of one cation.

    polymorph: its crystal, or the name of the published set that the energy is of. failure says why there is no energy,
    or which crystals it was not compared with.
    """

    cation: str
    polymorph: str
    energy_ev_per_atom: float | None
    failure: str | None = None


def make_oxide(cation: str, polymorph: str, params: StabilityParams) -> Structure:
    """Return the conventional cell of the oxide of one cation, rattled. InputError for one without radius or charge."""
    prototype = _get_crystal(polymorph)
    occupation = make_occupation((cation,), params)
    rng = np.random.default_rng([params.seed, SYMBOLS.index(cation)])
    parent = make_parent(prototype, occupation, (1, 1, 1))
    return rattle(fill(parent, occupation, "exact", rng), params.rattle_ang, rng)


def choose_references(
    name: ReferenceSet, cations: Iterable[str], oxides: Iterable[Oxide], prototype: str
) -> dict[str, Oxide]:
    """Return the oxide of each cation that a named set counts from; without an energy where the set has none."""
    if name == "almishal-2025":
        published = PUBLISHED_ENERGIES_EV_PER_ATOM[name]
        lack = f"{name} has no energy of it; it has {', '.join(published)}"
        return {c: Oxide(c, name, published.get(c), None if c in published else lack) for c in cations}
    by_cation: dict[str, list[Oxide]] = {cation: [] for cation in cations}
    for oxide in oxides:
        if oxide.cation in by_cation and (name == "ground-states" or oxide.polymorph == prototype):
            by_cation[oxide.cation].append(oxide)
    return {cation: _find_lowest(cation, found) for cation, found in by_cation.items()}


def _find_lowest(cation: str, oxides: list[Oxide]) -> Oxide:
    with_energy = [oxide for oxide in oxides if oxide.energy_ev_per_atom is not None]
    if not with_energy:
        reasons = "; ".join(f"{oxide.polymorph}: {oxide.failure}" for oxide in oxides) or "none was relaxed"
        return Oxide(cation, "none", None, reasons)
    lowest = min(with_energy, key=lambda oxide: (oxide.energy_ev_per_atom, oxide.polymorph))
    lost = [f"{oxide.polymorph}: {oxide.failure}" for oxide in oxides if oxide.energy_ev_per_atom is None]
    if not lost:
        return lowest
    return replace(lowest, failure=f"{lowest.polymorph} is the lowest of those that relaxed; not {'; '.join(lost)}")


def compute_mixture_energy(shares: Mapping[str, float], oxides: Mapping[str, Oxide]) -> float:
    """Return Σ x E over the oxides of the cations, eV/atom. InputError, with the reason, for an oxide without energy.

    shares: of the cations, sum 1. All oxides have the formula of the mixture, so shares of cations are shares of atoms.
    """
    total = 0.0
    for cation, share in shares.items():
        oxide = oxides[cation]
        if oxide.energy_ev_per_atom is None:
            raise InputError(f"the oxide of {cation} has no energy: {oxide.failure}")
        total += share * oxide.energy_ev_per_atom
    return total


def _get_crystal(name: str) -> Prototype:
    return _build()[name] if name in _build() else get_prototype(name)


@cache
def _build() -> dict[str, Prototype]:
    """Crystals that only oxides of one cation have here; origin and sites as in the literature of ZnO and CuO."""
    from ase.cell import Cell

    thirds = np.array([[1 / 3, 2 / 3, 0.0], [2 / 3, 1 / 3, 0.5]])
    up, y = np.array([0.0, 0.0, 0.3819]), 0.4184
    quarter = np.array([[0.25, 0.25, 0.0], [0.75, 0.25, 0.5], [0.75, 0.75, 0.0], [0.25, 0.75, 0.5]])
    chains = np.array([[0.0, y, 0.25], [0.0, 1 - y, 0.75], [0.5, y + 0.5, 0.25], [0.5, 0.5 - y, 0.75]]) % 1.0
    crystals = {}
    for name, like, number, edges, cations, anions in (
        ("wurtzite", "ZnO", 186, (3.2495, 3.2495, 5.2069, 90, 90, 120), thirds, thirds + up),
        ("tenorite", "CuO", 15, (4.6837, 3.4226, 5.1288, 90, 99.54, 90), quarter, chains),
    ):
        lattice = np.array(Cell.fromcellpar(edges))
        sublattice = Sublattice(CATION, cations, 4, compute_bond(lattice, cations, anions, 4))
        crystals[name] = Prototype(name, like, number, lattice, (sublattice,), anions, 1.38)
    return crystals
