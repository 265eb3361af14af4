"""Cations of an exact composition on the cation sites of a parent crystal, in random order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.prototypes import Prototype
from heo_core.structures.supercell import Repeat, repeat

# By how much the ratio of cations to anions may miss the prototype's, relative.
_STOICHIOMETRY_TOLERANCE = 1e-3


def parse_composition(text: str) -> dict[str, float]:
    """Amounts of the elements of a formula; an element without a number counts 1, parentheses multiply.

    Sorted by element. InputError for what pymatgen cannot read, or for what holds no element.
    """
    from pymatgen.core import Composition, Element

    try:
        amounts = {str(element): float(amount) for element, amount in Composition(text, strict=True).items()}
    except (ValueError, KeyError, TypeError) as exc:
        msg = f"composition {text!r} cannot be read ({exc}); allowed: a formula such as Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O"
        raise InputError(msg) from None
    if not amounts or not all(Element.is_valid_symbol(element) for element in amounts):
        msg = f"composition {text!r} is not made of elements; allowed: a formula such as Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O"
        raise InputError(msg)
    return dict(sorted(amounts.items()))


def get_cation_fractions(composition: str, prototype: Prototype) -> dict[str, float]:
    """Fractions (sum 1) of the cations of a composition that must fill the prototype's cation sites, sorted by element.

    InputError if the anion is missing, a cation is no metal or metalloid, or cations : anions is not the prototype's.
    """
    from pymatgen.core import Element

    amounts = parse_composition(composition)
    anions = amounts.pop(prototype.anion, 0.0)
    cations = sum(amounts.values())
    expected = prototype.cations_per_anion
    if anions == 0 or abs(cations / anions / expected - 1) > _STOICHIOMETRY_TOLERANCE:
        msg = (
            f"composition {composition!r} has {cations:g} cations for {anions:g} {prototype.anion}; "
            f"{prototype.name} needs {expected:g} cations for each {prototype.anion}"
        )
        raise InputError(msg)
    odd = [element for element in amounts if not (Element(element).is_metal or Element(element).is_metalloid)]
    if odd:
        msg = (
            f"composition {composition!r} has {', '.join(odd)} on cation sites of {prototype.name}; "
            "allowed: metals and metalloids"
        )
        raise InputError(msg)
    return {element: amount / cations for element, amount in amounts.items()}


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


def substitute(prototype: Prototype, composition: str, supercell: Repeat, rng: np.random.Generator) -> Structure:
    """Build a supercell of the prototype with the cations of the composition in random order, at its start lattice.

    Atoms: all cations, then all anions. InputError as in `get_cation_fractions` and `count_sites`.
    """
    fractions = get_cation_fractions(composition, prototype)
    lattice = prototype.compute_lattice(fractions)
    name = f"{composition}-{prototype.name}"
    sublattices = [
        repeat(Structure(lattice, sites @ lattice, (label,) * len(sites), name, "generated"), supercell)
        for label, sites in (("X", prototype.cation_sites), (prototype.anion, prototype.anion_sites))
    ]
    cations, anions = sublattices
    return Structure(
        lattice=cations.lattice,
        positions=np.concatenate([cations.positions, anions.positions]),
        species=fill_sites_exact(fractions, cations.n_atoms, rng) + anions.species,
        immutable_id=name,
        source="generated",
    )
