"""Symmetry of a cell whose atoms are told apart by any names: elements, or those of sublattices."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import moyopy
import numpy as np

from heo_core.records import Structure

# moyopy warns of supercells, and at each loose tolerance that it moves atoms far; here both are the purpose.
logging.getLogger("moyo").setLevel(logging.ERROR)


def find_symmetry(structure: Structure, kinds: Sequence[str], symprec_ang: float) -> moyopy.MoyoDataset | None:
    """Symmetry of the cell with atoms told apart by `kinds` alone, one an atom; None where moyopy finds none."""
    numbers = {kind: number for number, kind in enumerate(sorted(set(kinds)), start=1)}
    try:
        fractional = structure.positions @ np.linalg.inv(structure.lattice)
        cell = moyopy.Cell(structure.lattice.tolist(), fractional.tolist(), [numbers[kind] for kind in kinds])
        return moyopy.MoyoDataset(cell, symprec=symprec_ang)
    except (ValueError, np.linalg.LinAlgError):
        return None


def find_space_group(structure: Structure, symprec_ang: float = 0.01) -> int | None:
    """Return the number of the space group, 1 to 230; None where the search finds none."""
    symmetry = find_symmetry(structure, structure.species, symprec_ang)
    return None if symmetry is None else int(symmetry.number)
