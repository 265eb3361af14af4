"""Shannon's ionic radii, of a composition as such or of a cation on a site."""

from __future__ import annotations

import math
from functools import cache

from heo_core.errors import InputError

# Shannon's ionic radius of O2- in six-fold coordination, Å.
OXYGEN_RADIUS_ANG = 1.40

# How a bond's length follows its strength s = charge / coordination: d = d1 - b ln s. Brown and Altermatt, Acta Cryst.
# B 41, 244 (1985).
_BOND_VALENCE_B_ANG = 0.37

_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
_COORDINATIONS = {numeral: number for number, numeral in enumerate(_NUMERALS, start=1)}


def find_ionic_radius(element: str, charge: int = 2) -> float:
    """Shannon's ionic radius of a cation in six-fold coordination, Å.

    Of the charges that have one, the nearest to the wanted is taken. Of two charges equally near, the lower; high
    spin where high and low spin are listed. Source: Shannon, Acta Cryst. A 32, 751 (1976), as in pymatgen. InputError
    for what is no element or has no such radius.
    """
    sixfold = {state: radii[6] for state, radii in _load_radii(element).items() if 6 in radii}
    if not sixfold:
        msg = f"{element} has no six-fold ionic radius as a cation; allowed: elements with one, such as Mg, Co or Zn"
        raise InputError(msg)
    return sixfold[min(sixfold, key=lambda state: (abs(state - charge), state))]


def find_site_radius(element: str, charge: float, coordination: int) -> float:
    """Ionic radius of a cation with so many oxygens around it, Å; between two charges, the mean by their shares.

    Of the charges that Shannon lists, the nearest is taken. Where the coordination n is not listed for it, the nearest
    one m is, and its radius changed by 0.37 Å ln(n/m), as bond lengths go with bond strengths. High spin where both are
    listed. InputError for what is no element or is listed as no cation.
    """
    low = math.floor(charge)
    share = charge - low
    below = _find_listed(element, low, coordination)
    return below if share == 0 else (1 - share) * below + share * _find_listed(element, low + 1, coordination)


@cache
def _find_listed(element: str, charge: int, coordination: int) -> float:
    table = _load_radii(element)
    if not table:
        msg = f"{element} has no ionic radius as a cation; allowed: elements with one, such as Mg, Co or Zn"
        raise InputError(msg)
    radii = table[min(table, key=lambda state: (abs(state - charge), state))]
    nearest = min(radii, key=lambda number: (abs(number - coordination), number))
    return radii[nearest] + _BOND_VALENCE_B_ANG * math.log(coordination / nearest)


@cache
def _load_radii(element: str) -> dict[int, dict[int, float]]:
    """Radii by charge and coordination; square and pyramidal surroundings are left out."""
    from pymatgen.core import Element

    try:
        table = Element(element).data["Shannon radii"]
    except (ValueError, KeyError):
        msg = f"{element!r} is not an element with ionic radii; allowed: metals such as Mg, Co or Zn"
        raise InputError(msg) from None
    found = {}
    for state, surroundings in table.items():
        radii = {
            _COORDINATIONS[name]: _choose_spin(spins) for name, spins in surroundings.items() if name in _COORDINATIONS
        }
        if state and int(state) > 0 and radii:
            found[int(state)] = radii
    return found


def _choose_spin(spins: dict[str, dict[str, float]]) -> float:
    chosen = spins.get("High Spin") or next(iter(spins.values()))
    return float(chosen["ionic_radius"])
