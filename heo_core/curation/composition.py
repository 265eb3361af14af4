"""What a composition alone says: how mixed it is, how unlike its cations are.

What takes `counts` works on many rows at once; what needs element data takes one composition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import gcd

import numpy as np
from numpy.typing import ArrayLike

from heo_core.errors import InputError
from heo_core.records import Array


def compute_cation_entropy_r(counts: ArrayLike) -> Array:
    """Compute the configurational entropy per cation with all pooled on one lattice, -Σ x ln x, in units of R.

    counts: (..., n_kinds), how many of each cation, zeros allowed. Returns (...); 0 where there is no cation.
    """
    fractions = _to_fractions(counts)
    logarithms = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    # + 0.0 makes minus zero zero
    return np.asarray(-(fractions * logarithms).sum(axis=-1) + 0.0)


def compute_equimolarity_deviation(counts: ArrayLike) -> Array:
    """Largest |x_i - 1/n| over the n cations that are present: 0 is equimolar.

    counts: (..., n_kinds), how many of each cation, zeros allowed. Returns (...); 0 where there is no cation.
    """
    fractions = _to_fractions(counts)
    present = fractions > 0
    n_present = np.maximum(present.sum(axis=-1, keepdims=True), 1)
    return np.asarray(np.max(np.abs(fractions - 1 / n_present), axis=-1, where=present, initial=0.0))


def compute_radius_mismatch_percent(fractions: Mapping[str, float]) -> float | None:
    """δ = 100 sqrt(Σ x (1 - r/r̄)²), r̄ = Σ x r, with Shannon's ionic radii; None where a cation has no such radius.

    Each cation is taken six-fold, high spin, in the lowest of the charges that are common for it (Mn, Fe, Co, Ni, Cu
    and Zn 2+, Cr 3+, Ti 4+, Nb 5+), or in the nearest charge that has a six-fold radius: a composition alone knows
    neither sites nor charges, and one coordination for all makes δ compare sizes, not sites. In A and B sites pooled,
    as in a perovskite, δ is therefore large; that is a fact about the pool, not about the B site.
    fractions: cation -> share, any positive scale; zeros are ignored.
    """
    return _compute_spread(fractions, _find_radius, relative=True)


def compute_electronegativity_spread(fractions: Mapping[str, float]) -> float | None:
    """Return sqrt(Σ x (χ - χ̄)²), χ̄ = Σ x χ, on Pauling's scale; None where a cation has no value on it.

    fractions: cation -> share, any positive scale; zeros are ignored.
    """
    return _compute_spread(fractions, _find_electronegativity, relative=False)


def reduce_formula(formula: str) -> str:
    """Smallest whole-number formula, elements in alphabetical order, as structures carry it: CoMgO2 for Mg0.5Co0.5O.

    InputError for what pymatgen cannot read as a formula.
    """
    from pymatgen.core import Composition

    try:
        whole, _ = Composition(formula, strict=True).get_integer_formula_and_factor()
        amounts = Composition(whole).get_el_amt_dict()
    except (ValueError, LookupError) as exc:
        raise InputError(f"{formula!r} is no formula; example: MgCoNiCuZnO5") from exc
    counts = {symbol: round(amount) for symbol, amount in sorted(amounts.items())}
    # pymatgen writes some in pairs, Na2O2 for NaO.
    divisor = gcd(*counts.values())
    return "".join(f"{symbol}{n // divisor if n > divisor else ''}" for symbol, n in counts.items())


def _to_fractions(counts: ArrayLike) -> Array:
    numbers = np.asarray(counts, dtype=float)
    total = numbers.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(numbers, total, out=np.zeros_like(numbers), where=total > 0))


def _compute_spread(
    fractions: Mapping[str, float], find: Callable[[str], float | None], *, relative: bool
) -> float | None:
    present = {element: share for element, share in fractions.items() if share > 0}
    values = [value for value in map(find, present) if value is not None]
    if not present or len(values) < len(present):
        return None
    weights = np.array(list(present.values())) / sum(present.values())
    mean = float(weights @ values)
    spread = float(np.sqrt(weights @ (np.array(values) - mean) ** 2))
    return 100 * spread / mean if relative else spread


@cache
def _find_radius(element: str) -> float | None:
    from pymatgen.core import Element

    from heo_core.structures.ionic_radii import find_ionic_radius

    try:
        known = Element(element)
        charges = [charge for charge in known.common_oxidation_states or known.oxidation_states if charge > 0]
        return find_ionic_radius(element, charge=int(min(charges))) if charges else None
    except (ValueError, InputError):
        return None


@cache
def _find_electronegativity(element: str) -> float | None:
    from pymatgen.core import Element

    try:
        # The table itself: Element.X warns and gives nan where there is none.
        value = Element(element).data.get("X")
    except ValueError:
        return None
    return float(value) if isinstance(value, int | float) and value > 0 else None
