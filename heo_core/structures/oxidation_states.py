"""Which charges the cations of an oxide have, so that the whole is neutral as far as it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heo_core.errors import InputError

OXYGEN_CHARGE = -2

# Elements with one charge in oxides; what is no metal is here for parent files, where it stays in its place.
_FIXED: dict[int, str] = {
    -1: "F Cl Br I",
    1: "H Li Na K Rb Cs Ag",
    2: "Be Mg Ca Sr Ba Ra Zn Cd Hg",
    3: "B Al Ga In Sc Y La Nd Pm Sm Gd Dy Ho Er Tm Yb Lu Ac Au",
    4: "C Si Ge Zr Hf Th",
    5: "N P Ta Pa",
    6: "S Se",
}
# Elements with several: the lowest, then each higher one with the standard potential of the couple that it makes with
# the one before, V (acid, 25 °C, as in the CRC Handbook; where none is measured, an estimate). Only their order counts.
# Where an ion would disproportionate in water (Mn3+, Cr4+, ...), both couples have about their mean: oxides hold it.
_REDOX: dict[str, tuple[int, dict[int, float]]] = {
    "Ti": (2, {3: -0.37, 4: 0.10}),
    "V": (2, {3: -0.26, 4: 0.34, 5: 1.00}),
    "Nb": (4, {5: -0.25}),
    "Cr": (2, {3: -0.42, 4: 2.10, 5: 2.12, 6: 2.14}),
    "Mo": (4, {5: 0.3, 6: 0.5}),
    "W": (4, {5: -0.05, 6: -0.03}),
    "Mn": (2, {3: 1.2, 4: 1.3}),
    "Tc": (4, {5: 0.6, 6: 0.7, 7: 0.8}),
    "Re": (4, {5: 0.3, 6: 0.4, 7: 0.8}),
    "Fe": (2, {3: 0.77, 4: 2.2}),
    "Ru": (3, {4: 0.87, 5: 1.0}),
    "Os": (4, {5: 0.7, 6: 0.8}),
    "Co": (2, {3: 1.92, 4: 2.3}),
    "Rh": (3, {4: 1.4}),
    "Ir": (3, {4: 0.9, 5: 1.2}),
    "Ni": (2, {3: 1.75, 4: 2.4}),
    "Pd": (2, {4: 1.26}),
    "Pt": (2, {4: 1.1}),
    "Cu": (1, {2: 0.15, 3: 2.4}),
    "Ce": (3, {4: 1.72}),
    "Pr": (3, {4: 3.2}),
    "Tb": (3, {4: 3.1}),
    "Eu": (2, {3: -0.35}),
    "U": (4, {5: 0.38, 6: 0.4}),
    "Np": (4, {5: 0.6, 6: 1.2}),
    "Pu": (4, {5: 1.0, 6: 1.1}),
    "Am": (3, {4: 2.6}),
    "Tl": (1, {3: 1.25}),
    "Sn": (2, {4: 0.15}),
    "Pb": (2, {4: 1.7}),
    "As": (3, {5: 0.56}),
    "Sb": (3, {5: 0.58}),
    "Bi": (3, {5: 2.0}),
    "Te": (4, {6: 1.0}),
}
# A lone pair is given up last and, as in PbTiO3 or BiFeO3, kept beside whatever else can be oxidised; but Sn, Sb and Te
# are found without it wherever there is oxygen enough.
_KEEPS_LONE_PAIR = frozenset({"Tl", "Pb", "Bi"})

_LOWEST: dict[str, int] = {element: state for state, elements in _FIXED.items() for element in elements.split()} | {
    element: lowest for element, (lowest, _) in _REDOX.items()
}

# Below this, per formula unit, a residual is the noise of sums of fractions.
_NOISE_E = 1e-9


@dataclass(frozen=True)
class ChargeBalance:
    """Mean charge of each element on each sublattice, and what is left over.

    states: sublattice -> element -> mean oxidation state, a fraction where the element is mixed. residual: charge of
    the whole in elementary charges, of as much as the amounts were of; above 0, there is too little oxygen.
    """

    states: dict[str, dict[str, float]]
    residual: float


def balance_charges(amounts: Mapping[str, Mapping[str, float]], n_oxygen: float) -> ChargeBalance:
    """Choose charges of cations, among those known from oxides, that leave the smallest residual against the oxygen.

    amounts: sublattice -> element -> how much. Beginning with the lowest charges, what is oxidised most easily (by
    standard potentials) is oxidised first, until the oxygen is balanced or nothing can be oxidised any more. So the
    residual is the smallest there is, and which element is mixed is the chemist's first guess. InputError for an
    element that has no charge in oxides.
    """
    states = {name: {element: float(_find_lowest(element)) for element in cations} for name, cations in amounts.items()}
    missing = -OXYGEN_CHARGE * n_oxygen - sum(
        amount * states[name][element] for name, cations in amounts.items() for element, amount in cations.items()
    )
    for _, _, name, element, width in _list_steps(amounts):
        if missing <= 0:
            break
        amount = amounts[name][element]
        if amount <= 0:
            continue
        taken = min(missing, amount * width)
        states[name][element] += taken / amount
        missing -= taken
    rounded = {name: {e: round(state, 6) for e, state in elements.items()} for name, elements in states.items()}
    return ChargeBalance(rounded, 0.0 if abs(missing) < _NOISE_E else -missing)


def _list_steps(amounts: Mapping[str, Mapping[str, float]]) -> list[tuple[bool, float, str, str, int]]:
    """Oxidations in the order in which they happen: late or not, potential, sublattice, element, electrons."""
    steps = []
    for name, cations in amounts.items():
        for element in cations:
            state, higher = _REDOX.get(element, (0, {}))
            for target, potential in higher.items():
                steps.append((element in _KEEPS_LONE_PAIR, potential, name, element, target - state))
                state = target
    return sorted(steps, key=lambda step: step[:2])


def _find_lowest(element: str) -> int:
    try:
        return _LOWEST[element]
    except KeyError:
        msg = f"{element} has no oxidation state in oxides; allowed: {', '.join(sorted(_LOWEST))}"
        raise InputError(msg) from None
