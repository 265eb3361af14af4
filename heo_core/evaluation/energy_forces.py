"""Benchmark energy-forces: errors of energies and forces, beside what knowing nothing would score.

Which structures count: those with a usable prediction (no failure, finite energy and forces) and the reference label
in question. All others are left out of every average, the baselines' included; `failed_count` says how many
predictions were not usable, and each metric's n how many structures are behind it. Force statistics run over the
force components of all these structures together, so a large cell weighs more; the cosine runs over atoms. Intervals
are cluster bootstraps over chemical systems.

**Energies less a composition offset**: models and labels may count energies from zeros that differ by something linear
in the composition. `energy_offset_removed_...` is what is left of the errors once that is taken off. It is fitted to
the same model's errors on the other chemical systems of the evaluated structures (`remove_composition_offset`), so that
nothing is scored on what it was fitted to; with one system alone there is no such number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heo_core.evaluation.metrics import (
    Statistic,
    bootstrap_interval,
    bootstrap_paired_difference,
    fit_composition_baseline,
    mae,
    median_abs,
    q95_abs,
    ratio,
    remove_composition_offset,
    rmse,
    root_ratio,
    skill,
    softening_slope,
)
from heo_core.records import Array, GroupMetric, Metric, Prediction, Structure

ENERGY_UNIT = "eV/atom"
FORCE_UNIT = "eV/Å"

RAW_ENERGY_METRICS = ("energy_rmse_ev_per_atom", "energy_mae_ev_per_atom")
"""Errors that say nothing when energies stand on another scale than the labels."""

# Of errors that are this many times larger before the composition offset is taken off, most is that offset.
_MOSTLY_OFFSET = 3.0

_OF_SKILLS = (-math.inf, 1.0)

# Below this length a reference force has no direction worth comparing, eV/Å.
MIN_FORCE_FOR_COSINE = 0.05


def is_usable(prediction: Prediction) -> bool:
    """Whether the prediction has no failure and finite energy and forces."""
    if prediction.failure is not None or prediction.energy_ev is None or prediction.forces_ev_per_ang is None:
        return False
    return bool(np.isfinite(prediction.energy_ev) and np.isfinite(prediction.forces_ev_per_ang).all())


def compute_errors(structure: Structure, prediction: Prediction) -> dict[str, float | None]:
    """Errors of one structure: energy per atom (predicted - reference), RMSE and MAE over its 3N force components.

    None where the prediction is not usable or there is no reference label. ValueError if the shapes of the forces
    differ.
    """
    energies = Energies.collect([structure], [prediction])
    forces = Forces.collect([structure], [prediction])
    return {
        "energy_error_ev_per_atom": float(energies.errors[0]) if len(energies.errors) else None,
        "forces_rmse_ev_per_ang": rmse(forces.errors),
        "forces_mae_ev_per_ang": mae(forces.errors),
    }


def compute_metrics(
    structures: Sequence[Structure],
    predictions: Sequence[Prediction],
    training: Sequence[Structure],
    rng: np.random.Generator,
) -> list[Metric]:
    """All metrics of one model on labelled structures; predictions[i] belongs to structures[i].

    training: the training split, on which alone the composition-only energy baseline is fitted (see
    `fit_composition_baseline`); without an energy in it there is no baseline and no energy skill. The mean that
    `energy_mean_removed_rmse` takes off is the mean error per atom over the evaluated structures. Skills: 1 - RMSE /
    baseline's RMSE for energies, 1 - MAE / zero-force MAE for forces.
    """
    failed = sum(not is_usable(prediction) for prediction in predictions)
    energies, forces = Energies.collect(structures, predictions), Forces.collect(structures, predictions)
    return [
        *(term.to_metric(energies.groups, rng) for term in _energy_terms(energies)),
        Metric("energy_median_ev_per_atom", median_abs(energies.errors), ENERGY_UNIT, len(energies.groups)),
        Metric("energy_q95_ev_per_atom", q95_abs(energies.errors), ENERGY_UNIT, len(energies.groups)),
        _energy_mean_removed(energies).to_metric(energies.groups, rng),
        *_energy_baseline_metrics(energies, training, rng),
        *(term.to_metric(forces.groups, rng) for term in _force_terms(forces)),
        Metric("forces_median_ev_per_ang", median_abs(forces.errors), FORCE_UNIT, len(forces.groups)),
        Metric("forces_q95_ev_per_ang", q95_abs(forces.errors), FORCE_UNIT, len(forces.groups)),
        _forces_cosine(forces, rng),
        *(term.to_metric(forces.groups, rng) for term in _zero_force_terms(forces)),
        Metric("failed_count", float(failed), "1", len(structures)),
        *_offset_removed_metrics(energies, rng),
    ]


def compute_group_metrics(structures: Sequence[Structure], predictions: Sequence[Prediction]) -> list[GroupMetric]:
    """Errors by element, source and number of elements; predictions[i] belongs to structures[i].

    Energies of an element are those of the structures that hold it; its forces are those on its own atoms. The
    composition offset of a structure is the one that it has among all structures, not among those of its group.
    """
    energies, forces = Energies.collect(structures, predictions), Forces.collect(structures, predictions)
    left = remove_composition_offset(energies.structures, energies.errors)
    symbols = np.array([symbol for structure in forces.structures for symbol in structure.species], dtype=str)
    found: list[GroupMetric] = []
    for grouping, list_groups in _GROUPINGS.items():
        of_energies = [list_groups(structure) for structure in energies.structures]
        of_forces = [list_groups(structure) for structure in forces.structures]
        for group in sorted({group for groups in [*of_energies, *of_forces] for group in groups}):
            chosen = np.array([group in groups for groups in of_energies], dtype=bool)
            atoms = np.array([group in groups for groups in of_forces], dtype=bool)[forces.owner]
            if grouping == "element":
                atoms &= symbols == group
            numbers = [
                *_summarise_energies(energies.errors[chosen], left[chosen] if len(left) else left),
                *_summarise_forces(forces.predicted[atoms], forces.reference[atoms], len(set(forces.owner[atoms]))),
            ]
            found += [GroupMetric(grouping, group, *number) for number in numbers]
    return found


_GROUPINGS: dict[str, Callable[[Structure], tuple[str, ...]]] = {
    "element": lambda structure: structure.elements,
    "source": lambda structure: (structure.source,),
    "n_elements": lambda structure: (str(len(structure.elements)),),
}


def _summarise_energies(errors: Array, left: Array) -> list[tuple[str, float | None, str, int]]:
    """Name, value, unit and n; left: the errors less the composition offset."""
    return [
        ("energy_rmse_ev_per_atom", rmse(errors), ENERGY_UNIT, len(errors)),
        ("energy_mae_ev_per_atom", mae(errors), ENERGY_UNIT, len(errors)),
        ("energy_offset_removed_rmse_ev_per_atom", rmse(left), ENERGY_UNIT, len(left)),
        ("energy_offset_removed_mae_ev_per_atom", mae(left), ENERGY_UNIT, len(left)),
    ]


def _summarise_forces(predicted: Array, reference: Array, n: int) -> list[tuple[str, float | None, str, int]]:
    """Name, value, unit and n, the number of structures that the atoms are in."""
    return [
        ("forces_rmse_ev_per_ang", rmse(predicted - reference), FORCE_UNIT, n),
        ("forces_mae_ev_per_ang", mae(predicted - reference), FORCE_UNIT, n),
        ("zero_force_rmse_ev_per_ang", rmse(reference), FORCE_UNIT, n),
        ("forces_softening_slope", softening_slope(predicted, reference), "1", n),
    ]


def find_offset(metrics: Sequence[Metric]) -> str | None:
    """Say that a model's energies stand on another scale than the labels, where its metrics show it."""
    values = {metric.name: metric.value for metric in metrics}
    whole, left = (values.get(f"energy_{part}rmse_ev_per_atom") for part in ("", "offset_removed_"))
    if whole is None or left is None or whole <= _MOSTLY_OFFSET * left:
        return None
    return (
        f"energies stand on another scale than the labels: of an RMSE of {whole * 1000:.0f} meV/atom, "
        f"{left * 1000:.0f} are left once an offset linear in the composition is taken off; "
        'read "Energy RMSE, offset removed"'
    )


def find_own_labels(functionals: Iterable[str], reference: str) -> str | None:
    """Say that labels were made by the very model that is measured.

    They name it as its reference does, with or without what stands before the colon: sevennet:7net-0 is 7net-0 too.
    """
    names = {reference, reference.rpartition(":")[2]}
    own = next((functional for functional in functionals if functional.partition(" ")[0] in names), None)
    if own is None:
        return None
    return f"labels were made by this model itself ({own}): its errors on them are rounding, and say nothing about it"


def find_mixed_functionals(functionals: Iterable[str]) -> str | None:
    """Say that the labels do not share one energy scale."""
    names = sorted({functional.casefold() for functional in functionals})
    if len(names) < 2:
        return None
    return f"labels are of several functionals ({', '.join(names)}), whose energies share no scale"


def compare(
    structures: Sequence[Structure],
    baseline_predictions: Sequence[Prediction],
    candidate_predictions: Sequence[Prediction],
    rng: np.random.Generator,
) -> list[Metric]:
    """Paired differences, candidate's metric - baseline's metric, over the structures that both predicted.

    Each has the name of the metric it is a difference of. Raw energies count a shift of the candidate's scale as an
    error; where an offset is removed, each model's is fitted to its own errors on these structures.
    """
    pairs = [
        (structure, baseline, candidate)
        for structure, baseline, candidate in zip(structures, baseline_predictions, candidate_predictions, strict=True)
        if is_usable(baseline) and is_usable(candidate)
    ]
    shared = [structure for structure, _, _ in pairs]
    baselines, candidates = [baseline for _, baseline, _ in pairs], [candidate for _, _, candidate in pairs]
    energies, energies_candidate = Energies.collect(shared, baselines), Energies.collect(shared, candidates)
    forces, forces_candidate = Forces.collect(shared, baselines), Forces.collect(shared, candidates)
    left, left_candidate = (
        _offset_terms(remove_composition_offset(each.structures, each.errors))
        for each in (energies, energies_candidate)
    )
    return [
        *make_differences(_energy_terms(energies), _energy_terms(energies_candidate), energies.groups, rng),
        *make_differences(_force_terms(forces), _force_terms(forces_candidate), forces.groups, rng),
        *make_differences(left, left_candidate, energies.groups, rng),
    ]


@dataclass(frozen=True, eq=False)
class Energies:
    """Energy errors per atom, (n_structures,), eV/atom, of the usable predictions of structures that have an energy."""

    structures: list[Structure]
    reference: Array
    errors: Array

    @classmethod
    def collect(cls, structures: Sequence[Structure], predictions: Sequence[Prediction]) -> Energies:
        """Take what counts; predictions[i] belongs to structures[i]."""
        kept = [
            (
                structure,
                structure.energy_ev / structure.n_atoms,
                (prediction.energy_ev - structure.energy_ev) / structure.n_atoms,
            )
            for structure, prediction in zip(structures, predictions, strict=True)
            if is_usable(prediction) and prediction.energy_ev is not None and structure.energy_ev is not None
        ]
        return cls(
            [structure for structure, _, _ in kept],
            np.array([energy for _, energy, _ in kept]),
            np.array([error for *_, error in kept]),
        )

    @property
    def groups(self) -> list[str]:
        """Chemical system of each structure."""
        return [structure.chemical_system for structure in self.structures]


@dataclass(frozen=True, eq=False)
class Forces:
    """Forces of the usable predictions of structures that have forces, all atoms together: (n_atoms, 3), eV/Å.

    owner: (n_atoms,), the number of each atom's structure.
    """

    structures: list[Structure]
    owner: NDArray[np.intp]
    predicted: Array
    reference: Array

    @classmethod
    def collect(cls, structures: Sequence[Structure], predictions: Sequence[Prediction]) -> Forces:
        """Take what counts; predictions[i] belongs to structures[i]. ValueError if the shapes of the forces differ."""
        kept, predicted, reference = [], [np.empty((0, 3))], [np.empty((0, 3))]
        for structure, prediction in zip(structures, predictions, strict=True):
            if not is_usable(prediction) or prediction.forces_ev_per_ang is None or structure.forces_ev_per_ang is None:
                continue
            if prediction.forces_ev_per_ang.shape != structure.forces_ev_per_ang.shape:
                msg = (
                    f"{structure.immutable_id}: predicted forces of shape {prediction.forces_ev_per_ang.shape} "
                    f"against {structure.forces_ev_per_ang.shape}; the shapes must be equal"
                )
                raise ValueError(msg)
            kept.append(structure)
            predicted.append(prediction.forces_ev_per_ang)
            reference.append(structure.forces_ev_per_ang)
        owner = np.repeat(np.arange(len(kept)), [len(forces) for forces in reference[1:]])
        return cls(kept, owner, np.concatenate(predicted), np.concatenate(reference))

    @property
    def groups(self) -> list[str]:
        """Chemical system of each structure."""
        return [structure.chemical_system for structure in self.structures]

    @property
    def errors(self) -> Array:
        """Predicted minus reference, (n_atoms, 3), eV/Å."""
        return self.predicted - self.reference

    def sum_by_structure(self, *components: Array) -> Array:
        """Sum arrays (n_atoms, 3) over each structure: (n_structures, n_arrays)."""
        n = len(self.groups)
        return np.column_stack(
            [np.bincount(self.owner, weights=values.sum(axis=1), minlength=n) for values in components]
        )


@dataclass(frozen=True, eq=False)
class Term:
    """A metric before its interval: its value, and the sums per structure that a resample computes it from again."""

    name: str
    unit: str
    value: float | None
    sums: Array
    statistic: Statistic
    bounds: tuple[float, float] = (0.0, math.inf)
    """Between which values it lies: an error is not below zero."""

    def to_metric(self, groups: Sequence[str], rng: np.random.Generator) -> Metric:
        """Return the metric with its interval; groups: one name a row of the sums."""
        return Metric(
            self.name,
            self.value,
            self.unit,
            len(self.sums),
            *bootstrap_interval(self.sums, groups, self.statistic, rng, self.bounds),
        )


def make_differences(
    baselines: list[Term], candidates: list[Term], groups: Sequence[str], rng: np.random.Generator
) -> list[Metric]:
    """Paired differences candidate - baseline of terms over the same structures, term by term."""
    return [
        Metric(
            baseline.name,
            None if baseline.value is None or candidate.value is None else candidate.value - baseline.value,
            baseline.unit,
            len(baseline.sums),
            *bootstrap_paired_difference(baseline.sums, candidate.sums, groups, baseline.statistic, rng),
        )
        for baseline, candidate in zip(baselines, candidates, strict=True)
    ]


def _energy_terms(energies: Energies) -> list[Term]:
    errors, ones = energies.errors, np.ones_like(energies.errors)
    return [
        Term("energy_rmse_ev_per_atom", ENERGY_UNIT, rmse(errors), np.column_stack([errors**2, ones]), root_ratio),
        Term("energy_mae_ev_per_atom", ENERGY_UNIT, mae(errors), np.column_stack([np.abs(errors), ones]), ratio),
    ]


def _offset_removed_metrics(energies: Energies, rng: np.random.Generator) -> list[Metric]:
    left = remove_composition_offset(energies.structures, energies.errors)
    return [
        *(term.to_metric(energies.groups, rng) for term in _offset_terms(left)),
        Metric("energy_offset_removed_median_ev_per_atom", median_abs(left), ENERGY_UNIT, len(left)),
        Metric("energy_offset_removed_q95_ev_per_atom", q95_abs(left), ENERGY_UNIT, len(left)),
    ]


def _offset_terms(left: Array) -> list[Term]:
    ones = np.ones_like(left)
    squares, absolutes = np.column_stack([left**2, ones]), np.column_stack([np.abs(left), ones])
    return [
        Term("energy_offset_removed_rmse_ev_per_atom", ENERGY_UNIT, rmse(left), squares, root_ratio),
        Term("energy_offset_removed_mae_ev_per_atom", ENERGY_UNIT, mae(left), absolutes, ratio),
    ]


def _energy_mean_removed(energies: Energies) -> Term:
    def standard_deviation(sums: Array) -> Array:
        mean = sums[..., 1] / sums[..., 2]
        return np.sqrt(np.maximum(sums[..., 0] / sums[..., 2] - mean**2, 0))

    errors = energies.errors
    value = rmse(errors - errors.mean()) if len(errors) else None
    sums = np.column_stack([errors**2, errors, np.ones_like(errors)])
    return Term("energy_mean_removed_rmse_ev_per_atom", ENERGY_UNIT, value, sums, standard_deviation)


def _energy_baseline_metrics(
    energies: Energies, training: Sequence[Structure], rng: np.random.Generator
) -> list[Metric]:
    names = ("mean_energy_baseline_rmse_ev_per_atom", "energy_skill")
    if not any(structure.energy_ev is not None for structure in training):
        return [Metric(names[0], None, ENERGY_UNIT, 0), Metric(names[1], None, "1", 0)]
    errors = energies.errors
    missed = fit_composition_baseline(training).predict(energies.structures) - energies.reference
    terms = [
        Term(names[0], ENERGY_UNIT, rmse(missed), np.column_stack([missed**2, np.ones_like(missed)]), root_ratio),
        Term(
            names[1],
            "1",
            skill(rmse(errors), rmse(missed)),
            np.column_stack([errors**2, missed**2]),
            lambda sums: 1 - root_ratio(sums),
            _OF_SKILLS,
        ),
    ]
    return [term.to_metric(energies.groups, rng) for term in terms]


def _force_terms(forces: Forces) -> list[Term]:
    predicted, reference, errors, ones = forces.predicted, forces.reference, forces.errors, np.ones_like(forces.errors)
    sums = forces.sum_by_structure
    return [
        Term("forces_rmse_ev_per_ang", FORCE_UNIT, rmse(errors), sums(errors**2, ones), root_ratio),
        Term("forces_mae_ev_per_ang", FORCE_UNIT, mae(errors), sums(np.abs(errors), ones), ratio),
        Term(
            "forces_softening_slope",
            "1",
            softening_slope(predicted, reference),
            sums(predicted * reference, reference**2),
            ratio,
            (-math.inf, math.inf),
        ),
    ]


def _zero_force_terms(forces: Forces) -> list[Term]:
    reference, errors, ones = forces.reference, forces.errors, np.ones_like(forces.errors)
    absolute, sums = np.abs(reference), forces.sum_by_structure
    return [
        Term("zero_force_rmse_ev_per_ang", FORCE_UNIT, rmse(reference), sums(reference**2, ones), root_ratio),
        Term("zero_force_mae_ev_per_ang", FORCE_UNIT, mae(reference), sums(absolute, ones), ratio),
        Term(
            "forces_skill",
            "1",
            skill(mae(errors), mae(reference)),
            sums(np.abs(errors), absolute),
            lambda sums: 1 - ratio(sums),
            _OF_SKILLS,
        ),
    ]


def _forces_cosine(forces: Forces, rng: np.random.Generator) -> Metric:
    """Mean cosine of the angle between predicted and reference force, over atoms with a reference |F| > 0.05 eV/Å.

    A predicted force of zero has no direction and counts as cosine 0.
    """
    lengths = np.linalg.norm(forces.reference, axis=1) * np.linalg.norm(forces.predicted, axis=1)
    dots = np.sum(forces.predicted * forces.reference, axis=1)
    counted = np.linalg.norm(forces.reference, axis=1) > MIN_FORCE_FOR_COSINE
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)[counted]
    n = len(forces.groups)
    sums = np.column_stack(
        [np.bincount(forces.owner[counted], weights, minlength=n) for weights in (cosines, np.ones_like(cosines))]
    )
    involved = np.flatnonzero(sums[:, 1])
    value = float(cosines.mean()) if len(cosines) else None
    return Term("forces_cosine", "1", value, sums[involved], ratio, (-1.0, 1.0)).to_metric(
        [forces.groups[i] for i in involved], rng
    )
