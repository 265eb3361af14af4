"""Oxygens taken out of a cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.perturb import remove_labels


def remove_oxygens(
    structure: Structure, fraction: float, rng: np.random.Generator
) -> tuple[Structure, tuple[int, ...]]:
    """Take out the nearest whole number to a fraction of the oxygens, at random; return also which, by index before.

    InputError if the fraction is above 0 and yet no oxygen goes, or all go.
    """
    oxygens = [i for i, symbol in enumerate(structure.species) if symbol == "O"]
    n_removed = round(fraction * len(oxygens))
    if fraction > 0 and not 0 < n_removed < len(oxygens):
        msg = (
            f"a fraction of {fraction:g} of {len(oxygens)} oxygens is {n_removed} vacancies; it must be 1 to "
            f"{len(oxygens) - 1}: use a larger supercell or another fraction"
        )
        raise InputError(msg)
    removed = tuple(sorted(rng.choice(oxygens, size=n_removed, replace=False).tolist())) if n_removed else ()
    kept = np.setdiff1d(np.arange(structure.n_atoms), removed)
    return (
        replace(
            remove_labels(structure),
            positions=structure.positions[kept],
            species=tuple(structure.species[i] for i in kept),
        ),
        removed,
    )
