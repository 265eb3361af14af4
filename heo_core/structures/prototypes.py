"""Parent crystals: where cations and anions sit, and how large the cell of a composition is to begin with.

A new prototype is one more entry of `PROTOTYPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array

# Shannon's ionic radius of O2- in six-fold coordination, Å.
OXYGEN_RADIUS_ANG = 1.40


@dataclass(frozen=True, eq=False)
class Prototype:
    """A parent crystal in its conventional cell.

    cation_sites (n_cations, 3) and anion_sites (n_anions, 3): fractional coordinates. compute_lattice: from cation
    fractions that sum to 1 to the start lattice (3, 3), Å.
    """

    name: str
    cation_sites: Array
    anion_sites: Array
    compute_lattice: Callable[[Mapping[str, float]], Array]
    anion: str = "O"

    @property
    def cations_per_anion(self) -> float:
        """Number of cation sites for each anion site."""
        return len(self.cation_sites) / len(self.anion_sites)


def get_prototype(name: str) -> Prototype:
    """Return a prototype by name; InputError, with the names there are, for an unknown one."""
    try:
        return PROTOTYPES[name]
    except KeyError:
        msg = f"prototype {name!r} is unknown; allowed: {', '.join(PROTOTYPES)}"
        raise InputError(msg) from None


def find_ionic_radius(element: str, charge: int = 2) -> float:
    """Shannon's ionic radius of a cation in six-fold coordination, Å.

    Of the charges that have one, the nearest to the wanted is taken. Of two charges equally near, the lower; high
    spin where high and low spin are listed. Source: Shannon, Acta Cryst. A 32, 751 (1976), as in pymatgen. InputError
    for what is no element or has no such radius.
    """
    from pymatgen.core import Element

    try:
        table = Element(element).data["Shannon radii"]
    except (ValueError, KeyError):
        msg = f"{element!r} is not an element with ionic radii; allowed: metals such as Mg, Co or Zn"
        raise InputError(msg) from None
    sixfold = {int(state): radii["VI"] for state, radii in table.items() if state and int(state) > 0 and "VI" in radii}
    if not sixfold:
        msg = f"{element} has no six-fold ionic radius as a cation; allowed: elements with one, such as Mg, Co or Zn"
        raise InputError(msg)
    spins = sixfold[min(sixfold, key=lambda state: (abs(state - charge), state))]
    chosen = spins.get("High Spin") or next(iter(spins.values()))
    return float(chosen["ionic_radius"])


def _compute_rocksalt_lattice(cations: Mapping[str, float]) -> Array:
    """Cubic, a = 2 (r_cation + r_O): ions touch along the edge; r_cation is the mean over the composition."""
    radius = sum(fraction * find_ionic_radius(element) for element, fraction in cations.items())
    return np.eye(3) * 2 * (radius + OXYGEN_RADIUS_ANG)


# Points of a face-centred cube, then the same shifted by half an edge.
_FCC = np.array([point for point in product((0.0, 0.5), repeat=3) if sum(point) in (0.0, 1.0)])

PROTOTYPES: dict[str, Prototype] = {
    "rocksalt": Prototype("rocksalt", _FCC, (_FCC + np.array([0.5, 0.0, 0.0])) % 1.0, _compute_rocksalt_lattice),
}
