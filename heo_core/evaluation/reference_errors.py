"""Benchmarks off-equilibrium and forgetting-holdout: errors on labelled cells that do not belong to a training set.

All of `energy_forces`, of which the energies less a composition offset are those to read: a finetuned model counts
energies from the zero of its own labels, not of the reference set's. And **stress**: over the six different components,
of the structures that have a reference stress and a usable, finite predicted one; what LeMat-Bulk says of its sources'
stress is confirmed neither in sign nor in unit and is left out. There is no composition-only baseline, for there is no
training split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heo_core.curation.rows import SOURCE_ORDER
from heo_core.evaluation import energy_forces
from heo_core.evaluation.energy_forces import Term, is_usable, make_differences
from heo_core.evaluation.metrics import mae, ratio, rmse, root_ratio
from heo_core.records import Array, Metric, Prediction, Structure

STRESS_UNIT = "eV/Å³"

# Rows and columns of the six different components, in Voigt's order.
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
_NO_BASELINE = frozenset({"mean_energy_baseline_rmse_ev_per_atom", "energy_skill"})


def compute_stress_error(structure: Structure, prediction: Prediction) -> float | None:
    """RMSE over the six components of one structure, eV/Å³; None without a reference or a usable prediction."""
    _, errors = _collect_stresses([structure], [prediction])
    return rmse(errors)


def compute_metrics(
    structures: Sequence[Structure], predictions: Sequence[Prediction], rng: np.random.Generator
) -> list[Metric]:
    """All metrics of one model; predictions[i] belongs to structures[i]."""
    metrics = energy_forces.compute_metrics(structures, predictions, [], rng)
    systems, errors = _collect_stresses(structures, predictions)
    return [
        *(metric for metric in metrics if metric.name not in _NO_BASELINE),
        *(term.to_metric(systems, rng) for term in _stress_terms(errors)),
    ]


def compare(
    structures: Sequence[Structure],
    baseline_predictions: Sequence[Prediction],
    candidate_predictions: Sequence[Prediction],
    rng: np.random.Generator,
) -> list[Metric]:
    """Paired differences, candidate's metric - baseline's metric, over the structures that both predicted."""
    pairs = [
        (structure, baseline, candidate)
        for structure, baseline, candidate in zip(structures, baseline_predictions, candidate_predictions, strict=True)
        if is_usable(baseline) and is_usable(candidate)
    ]
    stressed = [
        (structure, before, after)
        for structure, before, after in pairs
        if compute_stress_error(structure, before) is not None and compute_stress_error(structure, after) is not None
    ]
    cells = [structure for structure, *_ in stressed]
    stresses = [
        _collect_stresses(cells, [before for _, before, _ in stressed]),
        _collect_stresses(cells, [after for *_, after in stressed]),
    ]
    return [
        *energy_forces.compare(structures, baseline_predictions, candidate_predictions, rng),
        *make_differences(_stress_terms(stresses[0][1]), _stress_terms(stresses[1][1]), stresses[0][0], rng),
    ]


def _stress_terms(errors: Array) -> list[Term]:
    sizes = np.full(len(errors), 6.0)
    squares, absolutes = np.sum(errors**2, axis=1), np.sum(np.abs(errors), axis=1)
    return [
        Term("stress_rmse_ev_per_ang3", STRESS_UNIT, rmse(errors), np.column_stack([squares, sizes]), root_ratio),
        Term("stress_mae_ev_per_ang3", STRESS_UNIT, mae(errors), np.column_stack([absolutes, sizes]), ratio),
    ]


def _collect_stresses(structures: Sequence[Structure], predictions: Sequence[Prediction]) -> tuple[list[str], Array]:
    """Chemical systems and errors, (n_structures, 6), eV/Å³, of the structures that count."""
    kept = [
        (structure.chemical_system, (prediction.stress_ev_per_ang3 - structure.stress_ev_per_ang3)[_VOIGT])
        for structure, prediction in zip(structures, predictions, strict=True)
        if structure.stress_ev_per_ang3 is not None
        and structure.source not in SOURCE_ORDER
        and prediction.stress_ev_per_ang3 is not None
        and is_usable(prediction)
        and np.isfinite(prediction.stress_ev_per_ang3).all()
    ]
    return [system for system, _ in kept], np.array([errors for _, errors in kept]).reshape(-1, 6)
