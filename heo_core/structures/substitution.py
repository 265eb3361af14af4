"""Cations of a composition on the cation sites of a parent crystal, in random order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.occupation import assign_composition
from heo_core.structures.prototypes import Occupation, Prototype
from heo_core.structures.supercell import Matrix, Repeat, make_supercell

Filling = Literal["exact", "iid"]


def make_parent(prototype: Prototype, occupation: Occupation, supercell: Repeat | Matrix) -> Structure:
    """Build a supercell of a prototype at the start lattice of an occupation, with names of sublattices for cations.

    Atoms: sublattice by sublattice, then all anions. InputError for an element without radius or charge, or a matrix
    without volume.
    """
    lattice = prototype.compute_lattice(occupation)
    parts = [(part.name, part.sites) for part in prototype.sublattices] + [(prototype.anion, prototype.anion_sites)]
    made = [
        make_supercell(
            Structure(lattice, sites @ lattice, (name,) * len(sites), prototype.name, "generated"), supercell
        )
        for name, sites in parts
    ]
    return replace(
        made[0],
        positions=np.concatenate([part.positions for part in made]),
        species=tuple(name for part in made for name in part.species),
    )


def count_sites(fractions: Mapping[str, float], n_sites: int) -> dict[str, int]:
    """Whole numbers of sites nearest to the fractions (sum 1) that sum to n_sites: largest remainder.

    Between equal remainders the first in order gets the site, so every cell of a composition has the same formula.
    InputError if an element gets no site.
    """
    ideal = np.array(list(fractions.values())) * n_sites
    # Rounded before both steps: 0.1 * 30 must be 3, and equal remainders must be equal.
    counts = np.floor(np.round(ideal, 9)).astype(int)
    remainders = np.round(ideal - counts, 9)
    counts[np.argsort(-remainders, kind="stable")[: n_sites - counts.sum()]] += 1
    empty = [element for element, count in zip(fractions, counts, strict=True) if count == 0]
    if empty:
        msg = f"{n_sites} cation sites are too few to hold {', '.join(empty)} at its fraction; use a larger supercell"
        raise InputError(msg)
    return dict(zip(fractions, counts.tolist(), strict=True))


def fill_sites_exact(fractions: Mapping[str, float], n_sites: int, rng: np.random.Generator) -> tuple[str, ...]:
    """One element a site: the counts of `count_sites`, in random order."""
    elements = [element for element, count in count_sites(fractions, n_sites).items() for _ in range(count)]
    return tuple(elements[i] for i in rng.permutation(n_sites))


def fill_sites_iid(fractions: Mapping[str, float], n_sites: int, rng: np.random.Generator) -> tuple[str, ...]:
    """One element a site, each drawn by itself with the fractions (sum 1), so that the counts scatter."""
    elements = list(fractions)
    drawn = rng.choice(len(elements), size=n_sites, p=np.array(list(fractions.values())))
    return tuple(elements[i] for i in drawn)


def fill(parent: Structure, occupation: Occupation, filling: Filling, rng: np.random.Generator) -> Structure:
    """Put cations in the place of the names of sublattices, sublattice by sublattice. InputError as `count_sites`."""
    fill_sites = fill_sites_exact if filling == "exact" else fill_sites_iid
    species = list(parent.species)
    for name, fractions in occupation.items():
        sites = [i for i, label in enumerate(parent.species) if label == name]
        for site, element in zip(sites, fill_sites(fractions, len(sites), rng), strict=True):
            species[site] = element
    return replace(parent, species=tuple(species))


def substitute(
    prototype: Prototype,
    composition: str,
    supercell: Repeat | Matrix,
    rng: np.random.Generator,
    filling: Filling = "exact",
) -> Structure:
    """Build a supercell of the prototype with the cations of the composition in random order, at its start lattice.

    Atoms: all cations, sublattice by sublattice, then all anions. InputError as in `assign_composition` and
    `count_sites`.
    """
    occupation = assign_composition(composition, prototype)
    filled = fill(make_parent(prototype, occupation, supercell), occupation, filling, rng)
    return replace(filled, immutable_id=f"{composition}-{prototype.name}")
