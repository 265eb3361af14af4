"""Where each element stands in the periodic table, for heat maps over elements."""

from __future__ import annotations

_ROWS: tuple[tuple[int, str], ...] = (
    (1, "H . . . . . . . . . . . . . . . . He"),
    (2, "Li Be . . . . . . . . . . B C N O F Ne"),
    (3, "Na Mg . . . . . . . . . . Al Si P S Cl Ar"),
    (4, "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr"),
    (5, "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe"),
    (6, "Cs Ba . Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"),
    (7, "Fr Ra . . . . . . . . . . . . . . . ."),
    (8, ". . La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu ."),
    (9, ". . Ac Th Pa U Np Pu . . . . . . . . . ."),
)
N_ROWS = 9
N_COLUMNS = 18

POSITIONS: dict[str, tuple[int, int]] = {
    symbol: (row - 1, column) for row, line in _ROWS for column, symbol in enumerate(line.split()) if symbol != "."
}
"""Symbol -> (row, column) from the top left, both from 0; lanthanides and actinides stand below. Up to Pu."""
