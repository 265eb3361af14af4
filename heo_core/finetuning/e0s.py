"""Energies of single atoms (E0s), fitted to a training split.

A model's energies are E0s plus what its network says. A source of labels whose energies lie on another scale is met by
other E0s; the network then need not unlearn what it knows of bonding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from heo_core.errors import InputError
from heo_core.records import Array, ModelFile, Prediction, Structure

# Weight of the squared shifts, against the sum of squared atomic fractions: an element that stands in one or two
# structures must not be fitted to their last digit. Fitted to 904 real rows, the energies of 387 held-out ones had an
# RMSE of 132 meV/atom without it, 130 with 1e-3, 122 with 1e-2, 113 with 1e-1 and 120 with 1.
RIDGE = 1e-1

# A row is left out of the fit if its error is above this many medians and above this many eV/atom, with the E0s that
# suit all rows best and with those that suit the near ones. An element in far rows alone keeps its E0. Labels of
# another calculation look like this: PBE without U, or another pseudopotential of a rare earth, is off by electronvolts
# an atom of that element. Without the 14 such rows of 904 real ones, the mean absolute error of 258 validation rows was
# 33.5 meV/atom; with them, 36.2.
OUTLIER_MEDIANS, OUTLIER_EV_PER_ATOM = 6.0, 0.1
# For that judgement an element in a few rows must get its E0, or all of its rows would look far off.
_RIDGE_OF_JUDGE = 1e-6


def estimate_e0s(
    structures: Sequence[Structure], predictions: Sequence[Prediction], e0s: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Foundation's E0s (eV), shifted so that its predictions fit the structures' energies; and the rows left out.

    Ridge fit of the error of the energy per atom on atomic fractions, without the rows that no E0s would bring near.
    Of these is returned, by immutable_id, what is left of the error (predicted less reference, eV/atom). Elements
    without a fitted row keep their E0. InputError if no structure has an energy and a prediction.
    """
    pairs = [
        (structure, (structure.energy_ev - prediction.energy_ev) / structure.n_atoms)
        for structure, prediction in zip(structures, predictions, strict=True)
        if structure.energy_ev is not None and prediction.energy_ev is not None
    ]
    if not pairs:
        raise InputError("E0s cannot be estimated: no structure of the training split has both label and prediction")
    rows, errors = [structure for structure, _ in pairs], np.array([error for _, error in pairs])
    elements = sorted({element for row in rows for element in row.elements})
    fractions = _compute_fractions(rows, elements)
    left = np.abs(errors - fractions @ _fit(fractions, errors, ridge=_RIDGE_OF_JUDGE))
    limit = max(OUTLIER_MEDIANS * float(np.median(left)), OUTLIER_EV_PER_ATOM)
    is_far = left > limit
    # Far ones pull the first fit; a row that a fit without them brings near is none of them.
    is_far &= np.abs(errors - fractions @ _fit(fractions[~is_far], errors[~is_far], ridge=_RIDGE_OF_JUDGE)) > limit
    shifts = _fit(fractions[~is_far], errors[~is_far], ridge=RIDGE)
    outliers = {rows[i].immutable_id: float(fractions[i] @ shifts - errors[i]) for i in np.flatnonzero(is_far)}
    shifted = {element: e0s[element] + float(shift) for element, shift in zip(elements, shifts, strict=True)}
    return dict(e0s) | shifted, outliers


def average_e0s(structures: Sequence[Structure], e0s: Mapping[str, float]) -> dict[str, float]:
    """E0s (eV) that fit the structures' energies by themselves, as MACE's E0s=average; other elements keep theirs.

    Least squares of the energy per atom on atomic fractions, of least norm where they leave it open. InputError if no
    structure has an energy.
    """
    labelled = [structure for structure in structures if structure.energy_ev is not None]
    if not labelled:
        raise InputError("E0s cannot be averaged: no structure of the training split has an energy")
    energies = np.array([s.energy_ev / s.n_atoms for s in labelled if s.energy_ev is not None])
    elements = sorted({element for structure in labelled for element in structure.elements})
    fitted = _fit(_compute_fractions(labelled, elements), energies, ridge=0.0)
    return dict(e0s) | dict(zip(elements, fitted.tolist(), strict=True))


def write_with_e0s(model: ModelFile, e0s: Mapping[str, float], path: Path) -> None:
    """Write a copy of a MACE model with these E0s (eV by element) in the place of its own.

    Into the file, because mace-torch 0.3.16 fits E0s, logs them, and keeps the foundation's where it keeps all of its
    elements.
    """
    from ase.data import chemical_symbols

    from heo_core.finetuning.torch_file import save_whole
    from heo_core.models.mace import load_module, quiet

    module = load_module(model, "cpu")
    energies = module.atomic_energies_fn.atomic_energies
    for index, number in enumerate(module.atomic_numbers):
        # The last axis is the elements'; before it there may be one of output heads.
        energies[..., index] = e0s[chemical_symbols[int(number)]]
    with quiet():
        save_whole(module, path)


def _compute_fractions(structures: Sequence[Structure], elements: Sequence[str]) -> Array:
    """Return the atomic fractions (n_structures, n_elements)."""
    return np.array([[s.species.count(element) / s.n_atoms for element in elements] for s in structures])


def _fit(fractions: Array, targets: Array, *, ridge: float) -> Array:
    gram = fractions.T @ fractions + ridge * np.eye(fractions.shape[1])
    return np.linalg.lstsq(gram, fractions.T @ targets, rcond=None)[0]
