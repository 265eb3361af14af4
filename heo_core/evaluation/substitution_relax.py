"""Benchmark substitution-relax: random cells of one exact composition, compared under one common reference model.

Two models' own energies stand on two scales. So the relaxed cells of all models are given to one reference model, and
its single-point energies are compared cell by cell: the lower one is the better minimum in the reference's eyes.

Over which cases a number is taken: convergence rate, success@N and failed count over all cases; volume change and
energies over all cases with a final state, **converged or not** (a model must not look better because its hard cases
are left out), the reference energies of those only where the reference model gave one. Each metric's n says how many
cases are behind it. Intervals of means are cluster bootstraps over cells (the rattles of one cell are one group);
those of rates are Wilson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heo_core.evaluation.metrics import (
    compare_convergence,
    compute_convergence,
    compute_final_energy,
    compute_volume_change,
    has_final_state,
    mean_metric,
    subtract_paired,
)
from heo_core.params import SubstitutionRelaxParams
from heo_core.records import BenchmarkCase, Metric, Prediction, Relaxation
from heo_core.structures.perturb import rattle
from heo_core.structures.prototypes import get_prototype
from heo_core.structures.substitution import substitute

ENERGY_UNIT = "eV/atom"
REFERENCE_ENERGY = "reference_energy_mean_ev_per_atom"
"""The metric that a common reference judges by."""

Row = dict[str, float | None]


def make_cases(params: SubstitutionRelaxParams) -> list[BenchmarkCase]:
    """Rattled copies of random cells, cell by cell; there is no target.

    The random numbers of a cell depend on the seed and the cell's number alone, so more cells or rattles leave the
    others as they are. InputError for a composition that does not fit the prototype.
    """
    prototype = get_prototype(params.prototype)
    cases = []
    for cell in range(1, params.n_cells + 1):
        rng = np.random.default_rng([params.seed, cell])
        ideal = substitute(prototype, params.composition, params.supercell, rng, params.filling)
        for copy in range(1, params.n_rattles + 1):
            start = replace(
                rattle(ideal, params.rattle_ang, rng), immutable_id=f"{ideal.immutable_id}/cell-{cell}/rattle-{copy}"
            )
            recipe = {
                "composition": params.composition,
                "prototype": params.prototype,
                "supercell": np.array(params.supercell).tolist(),
                "filling": params.filling,
                "cell": cell,
                "rattle": copy,
                "rattle_ang": params.rattle_ang,
                "seed": params.seed,
            }
            cases.append(BenchmarkCase(start=start, target=None, recipe=recipe))
    return cases


def compute_rows(
    cases: Sequence[BenchmarkCase], relaxations: Sequence[Relaxation], reference: Sequence[Prediction] | None
) -> list[Row]:
    """Numbers of each case: volume change from the start, and energy of the final cell under the reference, eV.

    Both are None without a final state.
    reference: the common reference model's single-point predictions of the final states, in the cases' order; only
    energies are read.
    """
    energies = [None] * len(cases) if reference is None else [_get_energy(prediction) for prediction in reference]
    return [
        {
            "volume_change_fraction": compute_volume_change(relaxation, case.start),
            "reference_energy_ev": energy if has_final_state(relaxation) else None,
        }
        for case, relaxation, energy in zip(cases, relaxations, energies, strict=True)
    ]


def _get_energy(prediction: Prediction) -> float | None:
    usable = prediction.failure is None and prediction.energy_ev is not None and np.isfinite(prediction.energy_ev)
    return prediction.energy_ev if usable else None


def compute_metrics(
    cases: Sequence[BenchmarkCase],
    relaxations: Sequence[Relaxation],
    reference: Sequence[Prediction] | None,
    rng: np.random.Generator,
) -> list[Metric]:
    """All metrics of one model; relaxations[i] and reference[i] belong to cases[i].

    energy_final_mean is on the model's own scale: never compare it between models. reference as in `compute_rows`.
    """
    rows, groups = compute_rows(cases, relaxations, reference), _get_groups(cases)
    volumes = [row["volume_change_fraction"] for row in rows]
    own = [
        compute_final_energy(relaxation, case.start.n_atoms)
        for case, relaxation in zip(cases, relaxations, strict=True)
    ]
    return [
        *compute_convergence(relaxations),
        mean_metric("volume_change_mean_fraction", "1", volumes, groups, rng),
        mean_metric("energy_final_mean_ev_per_atom", ENERGY_UNIT, own, groups, rng),
        mean_metric(REFERENCE_ENERGY, ENERGY_UNIT, _reference_per_atom(cases, rows), groups, rng),
    ]


def compare(
    cases: Sequence[BenchmarkCase],
    baseline: Sequence[Relaxation],
    candidate: Sequence[Relaxation],
    rng: np.random.Generator,
    *,
    baseline_reference: Sequence[Prediction] | None = None,
    candidate_reference: Sequence[Prediction] | None = None,
) -> list[Metric]:
    """Paired differences candidate - baseline over the cases for which both have a number.

    Each has the name of the metric it is a difference of. reference_energy_mean: negative when the candidate found
    the lower energy under the common reference. convergence_rate is over all cases; force_calls_mean over those on
    which both converged.
    """
    groups = _get_groups(cases)
    before, after = (
        compute_rows(cases, baseline, baseline_reference),
        compute_rows(cases, candidate, candidate_reference),
    )
    volumes = subtract_paired(
        [r["volume_change_fraction"] for r in after], [r["volume_change_fraction"] for r in before]
    )
    energies = subtract_paired(_reference_per_atom(cases, after), _reference_per_atom(cases, before))
    return [
        *compare_convergence(baseline, candidate, groups, rng),
        mean_metric("volume_change_mean_fraction", "1", volumes, groups, rng),
        mean_metric(REFERENCE_ENERGY, ENERGY_UNIT, energies, groups, rng),
    ]


def _get_groups(cases: Sequence[BenchmarkCase]) -> list[str]:
    return [str(case.recipe["cell"]) for case in cases]


def _reference_per_atom(cases: Sequence[BenchmarkCase], rows: Sequence[Row]) -> list[float | None]:
    energies = [row["reference_energy_ev"] for row in rows]
    return [
        None if energy is None else energy / case.start.n_atoms for case, energy in zip(cases, energies, strict=True)
    ]
