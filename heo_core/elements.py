"""The chemical elements and the groups of them that rules speak of. Imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SYMBOLS: tuple[str, ...] = tuple(
    (  # noqa: SIM905
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
        "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir "
        "Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl "
        "Mc Lv Ts Og"
    ).split()
)
"""All 118, by atomic number less one."""

METALLOIDS = frozenset({"B", "Si", "Ge", "As", "Sb", "Te"})
NON_METALS = frozenset(
    {"H", "He", "C", "N", "O", "F", "Ne", "P", "S", "Cl", "Ar", "Se", "Br", "Kr", "I", "Xe", "At", "Rn", "Ts", "Og"}
)

_ACTINIDES = frozenset({"Ac", "Th", "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr"})

ELEMENT_GROUPS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        # The platinum metals, silver and gold; Re and Hg are sometimes counted too and are not here.
        "noble_metals": frozenset({"Ru", "Rh", "Pd", "Ag", "Os", "Ir", "Pt", "Au"}),
        "actinides": _ACTINIDES,
        # No stable isotope. Bi is not here: 209Bi decays with 2e19 years, far slower than any sample could show.
        "radioactive": _ACTINIDES
        | {"Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn"}
        | {"Nh", "Fl", "Mc", "Lv", "Ts", "Og"},
        # Whatever its valence, the oxide is a poison or a proven carcinogen: BeO, As2O3, CdO, HgO, Tl2O, PbO, OsO4.
        # Cr, V, Co and Ni are not here: only some of their valences, or their dusts, are, and without them little
        # of the field is left. Actinides have their own group.
        "toxic": frozenset({"Be", "As", "Cd", "Hg", "Tl", "Pb", "Os"}),
    }
)
"""Elements that a curation rule may leave out by one name; an element can be in several groups."""
