"""The space group of a cell whose atoms are told apart by any names, such as those of sublattices."""

from __future__ import annotations

import moyopy
import numpy as np

from heo_core.records import Structure

SYMPREC_ANG = 0.01


def find_space_group(structure: Structure) -> int | None:
    """Return the number of the space group at 0.01 Å; None where the search finds none."""
    numbers = {name: number for number, name in enumerate(sorted(set(structure.species)), start=1)}
    fractional = structure.positions @ np.linalg.inv(structure.lattice)
    try:
        cell = moyopy.Cell(
            structure.lattice.tolist(), fractional.tolist(), [numbers[name] for name in structure.species]
        )
        return int(moyopy.MoyoDataset(cell, symprec=SYMPREC_ANG).number)
    except ValueError:
        return None
