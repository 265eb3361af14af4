"""Building blocks of every metric: plain functions of numpy arrays, each with its definition in its docstring.

Errors are prediction minus reference. A function returns None where there is nothing to average.

Intervals are 95 % percentile intervals of a **cluster bootstrap**: structures of one group (a chemical system, the
rattles of one cell) are not independent, so whole groups are drawn with replacement, as many as there are, 2,000
times, and the statistic is computed again from the drawn structures' sums. Few groups give a too narrow interval, which
is widened (see `bootstrap_interval`); with fewer than five groups there is no
interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase.geometry import minkowski_reduce
from scipy.stats import t as student_t

from heo_core.errors import EvaluationError
from heo_core.records import Array, Metric, Relaxation, Structure

Interval = tuple[float | None, float | None]
"""Low and high end; both None where there is no interval."""

Statistic = Callable[[Array], Array]
"""From sums over structures (..., k) to the statistic (...)."""

N_RESAMPLES = 2000
# Fewer groups than this cannot say how much they vary.
MIN_GROUPS = 5
SUCCESS_FORCE_CALLS = (25, 50, 100, 200)

# Weight of the squared element energies in the baseline's fit. On real LeMat HEO rows split by chemical
# system it predicted held-out energies best, or within 0.5 % of best, for 190 to 1,400 training rows.
_BASELINE_RIDGE = 1e-3
_N_PARTS = 10
_Z_95 = 1.959963984540054

# The 27 cells around the origin, itself first, so that a tie keeps a vector as it is.
_NEIGHBOURS = np.array(sorted(product((-1, 0, 1), repeat=3), key=lambda cell: sum(map(abs, cell))), dtype=np.float64)
# What counts as shorter, Å²: above rounding, below anything physical.
_SHORTER_ANG2 = 1e-9


# --- errors ---------------------------------------------------------------------------------------------------------


def rmse(errors: Array) -> float | None:
    """Root mean square of all entries of an array of any shape, in its unit; None if it is empty."""
    return float(np.sqrt(np.mean(np.square(errors)))) if np.size(errors) else None


def mae(errors: Array) -> float | None:
    """Mean absolute value of all entries of an array of any shape, in its unit; None if it is empty."""
    return float(np.mean(np.abs(errors))) if np.size(errors) else None


def median_abs(errors: Array) -> float | None:
    """Median absolute value of all entries of an array of any shape, in its unit; None if it is empty."""
    return float(np.median(np.abs(errors))) if np.size(errors) else None


def q95_abs(errors: Array) -> float | None:
    """95th percentile (linear interpolation) of the absolute values of all entries, in their unit; None if empty."""
    return float(np.quantile(np.abs(errors), 0.95)) if np.size(errors) else None


def skill(error: float | None, baseline: float | None) -> float | None:
    """1 - error / baseline: 1 is perfect, 0 no better than the baseline, negative worse.

    None where either is missing or the baseline is 0.
    """
    return None if error is None or not baseline else 1 - error / baseline


def softening_slope(predicted: Array, reference: Array) -> float | None:
    """Least-squares slope through the origin of predicted on reference force components: 1 is right, below 1 is soft.

    Σpr / Σr². Through the origin because no force must be predicted as no force; as the forces of a cell sum to zero
    on both sides, the slope with an intercept is the same number. Two arrays of one shape, eV/Å; ValueError if the
    shapes differ; None if all references are zero.
    """
    if predicted.shape != reference.shape:
        msg = f"forces of shape {predicted.shape} against {reference.shape}; the shapes must be equal"
        raise ValueError(msg)
    square = float(np.sum(reference**2))
    return float(np.sum(predicted * reference)) / square if square > 0 else None


# --- geometry -------------------------------------------------------------------------------------------------------


def displacement_rmsd(positions: Array, lattice: Array, reference_positions: Array, reference_lattice: Array) -> float:
    """Root mean square distance of atoms from a reference, Å, whatever the wrapping, shift or rotation.

    sqrt(mean_i |d_i|²), each atom compared with the one of the same index. d_i is the difference of fractional
    coordinates, each taken in its own cell, times the reference lattice: a change or rotation of the cell alone moves
    nothing. The mean displacement of all atoms (drift) is removed, and of all periodic images of d_i the shortest is
    taken, right for skewed cells too. What is removed and taken is beyond doubt as long as no atom moved, against the
    mean, more than a quarter of the shortest lattice vector; beyond that it is a local minimum of the RMSD.

    positions and reference_positions (n_atoms, 3) and lattices (3, 3), rows are vectors, Å. ValueError if the numbers
    of atoms differ or a value is not finite.
    """
    if positions.shape != reference_positions.shape:
        msg = f"positions of shape {positions.shape} against {reference_positions.shape}; the shapes must be equal"
        raise ValueError(msg)
    moved = positions @ np.linalg.inv(lattice) - reference_positions @ np.linalg.inv(reference_lattice)
    if not np.isfinite(moved).all():
        raise ValueError("positions and lattices must be finite numbers")
    reduced = np.asarray(minkowski_reduce(reference_lattice)[0], dtype=np.float64)
    moved = moved @ reference_lattice @ np.linalg.inv(reduced)
    # Start from the atom nearest to the mean on the circle, which no wrapping changes; then mean and shortest images in
    # turn, each of which can only shorten, until neither does.
    mean = np.angle(np.exp(2j * np.pi * moved).mean(axis=0)) / (2 * np.pi)
    around_mean = _shortest_images((moved - mean) @ reduced, reduced)
    typical = around_mean[np.argmin(np.sum(around_mean**2, axis=1))]
    displacements = _shortest_images(around_mean - typical, reduced)
    while True:
        centred = displacements - displacements.mean(axis=0)
        displacements = _shortest_images(centred, reduced)
        if np.sum(displacements**2) > np.sum(centred**2) - _SHORTER_ANG2:
            return float(np.sqrt(np.mean(np.sum(centred**2, axis=1))))


def _shortest_images(vectors: Array, reduced: Array) -> Array:
    """Shortest periodic image of each vector in a Minkowski-reduced cell, Å: (n, 3).

    There it is among the 27 around the rounded one. ase.geometry.find_mic is not used: for a skewed cell whose shortest
    lattice vector is not one of its three edges it can return a longer image.
    """
    fractional = vectors @ np.linalg.inv(reduced)
    images = (fractional - np.round(fractional))[:, None, :] @ reduced + _NEIGHBOURS @ reduced
    nearest = np.argmin(np.sum(images**2, axis=2), axis=1)
    return np.asarray(images[np.arange(len(vectors)), nearest], dtype=np.float64)


def volume_change_fraction(lattice: Array, reference_lattice: Array) -> float:
    """Signed relative change of the volume, V / V_reference - 1: positive when the cell grew. Lattices (3, 3)."""
    return float(abs(np.linalg.det(lattice)) / abs(np.linalg.det(reference_lattice)) - 1)


# --- intervals ------------------------------------------------------------------------------------------------------


def ratio(sums: Array) -> Array:
    """First sum over the second (means, slopes): (..., 2) -> (...)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def root_ratio(sums: Array) -> Array:
    """Square root of the first sum over the second (root mean squares): (..., 2) -> (...)."""
    return np.sqrt(ratio(sums))


def bootstrap_interval(
    sums: Array,
    groups: Sequence[str],
    statistic: Statistic,
    rng: np.random.Generator,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """95 % interval of a statistic of sums over structures, by cluster bootstrap.

    sums: (n_structures, k), for each structure the sums that the statistic needs. groups: one name a structure. Both
    ends are None with fewer than five groups, or where a resample has no value. A percentile bootstrap of few groups is
    too narrow: its ends are moved away from the statistic by t(G-1)/z · sqrt(G/(G-1)), G the number of groups, which
    makes it Student's interval where the statistic is a mean of groups; but not beyond bounds, the values that the
    statistic can have.
    """
    draws = _resample(sums, groups, rng)
    if draws is None:
        return None, None
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = _percentile_interval(statistic(draws))
        centre = float(statistic(sums.sum(axis=0)))
    if low is None or high is None or not np.isfinite(centre):
        return None, None
    n_groups = len(set(groups))
    widening = float(student_t.ppf(0.975, n_groups - 1)) / _Z_95 * math.sqrt(n_groups / (n_groups - 1))
    return max(bounds[0], centre - widening * (centre - low)), min(bounds[1], centre + widening * (high - centre))


def bootstrap_paired_difference(
    baseline: Array, candidate: Array, groups: Sequence[str], statistic: Statistic, rng: np.random.Generator
) -> Interval:
    """95 % interval of statistic(candidate) - statistic(baseline); each resample draws the same structures for both.

    baseline and candidate: (n_structures, k), row i of both belongs to the same structure. groups as in
    bootstrap_interval.
    """
    k = baseline.shape[1]
    return bootstrap_interval(
        np.hstack([baseline, candidate]), groups, lambda sums: statistic(sums[..., k:]) - statistic(sums[..., :k]), rng
    )


def wilson_interval(successes: int, n: int) -> Interval:
    """95 % Wilson score interval of a success rate of n independent trials; None without a trial.

    Wilson, J. Am. Stat. Assoc. 22, 209 (1927). Cases made from one parent are not independent: the truth is then wider.
    """
    if n == 0:
        return None, None
    rate, z2 = successes / n, _Z_95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def _resample(sums: Array, groups: Sequence[str], rng: np.random.Generator) -> Array | None:
    """Return the sums of 2,000 draws of whole groups, (n_resamples, k); None with too few groups."""
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < MIN_GROUPS:
        return None
    totals = np.zeros((len(names), sums.shape[1]))
    np.add.at(totals, index, sums)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=N_RESAMPLES)
    return np.asarray(counts @ totals, dtype=np.float64)


def _percentile_interval(values: Array) -> Interval:
    if not np.isfinite(values).all():
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


# --- one number a case ----------------------------------------------------------------------------------------------


def mean_metric(
    name: str,
    unit: str,
    values: Sequence[float | None],
    groups: Sequence[str],
    rng: np.random.Generator,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Metric:
    """Mean over the cases that have a number, with its interval; n says how many those are. bounds: of the mean."""
    kept = [(value, group) for value, group in zip(values, groups, strict=True) if value is not None]
    sums = np.array([(value, 1.0) for value, _ in kept]).reshape(-1, 2)
    low, high = bootstrap_interval(sums, [group for _, group in kept], ratio, rng, bounds)
    return Metric(name, float(sums[:, 0].mean()) if kept else None, unit, len(kept), low, high)


def subtract_paired(candidate: Sequence[float | None], baseline: Sequence[float | None]) -> list[float | None]:
    """Differences candidate - baseline, None where either has no number."""
    return [None if c is None or b is None else c - b for c, b in zip(candidate, baseline, strict=True)]


# --- relaxations ----------------------------------------------------------------------------------------------------


def has_final_state(relaxation: Relaxation) -> bool:
    """Whether there is a final state to measure: finite lattice, positions and energy. It need not be converged."""
    parts = (relaxation.lattice, relaxation.positions, relaxation.energy_final_ev)
    return all(part is not None and bool(np.isfinite(part).all()) for part in parts)


def compute_final_energy(relaxation: Relaxation, n_atoms: int) -> float | None:
    """Energy of the final state, eV/atom, on the model's own scale; None without a final state."""
    if relaxation.energy_final_ev is None or not has_final_state(relaxation):
        return None
    return relaxation.energy_final_ev / n_atoms


def compute_volume_change(relaxation: Relaxation, reference: Structure) -> float | None:
    """Signed relative change of the volume from the reference's to the final state's; None without a final state."""
    if relaxation.lattice is None or not has_final_state(relaxation):
        return None
    return volume_change_fraction(relaxation.lattice, reference.lattice)


def success_at(force_calls: Sequence[int], converged: Sequence[bool], n: int) -> int:
    """How many cases converged within n force calls; one that did not converge, for whatever reason, is no success."""
    return sum(done and calls <= n for calls, done in zip(force_calls, converged, strict=True))


def compute_convergence(relaxations: Sequence[Relaxation]) -> list[Metric]:
    """How often and how fast structures converge.

    convergence_rate and success_at_N (Wilson interval): over all cases, a failure being no success. success_at_N for
    N above the relaxation's own max_force_calls equals the convergence rate. force_calls_median: over the converged
    cases only, so compare models by success_at_N. failed_count: cases without a final state.
    """
    n = len(relaxations)
    converged = [relaxation.converged for relaxation in relaxations]
    calls = [relaxation.force_calls for relaxation in relaxations]
    calls_converged = [relaxation.force_calls for relaxation in relaxations if relaxation.converged]
    median = float(np.median(calls_converged)) if calls_converged else None
    failed = sum(not has_final_state(relaxation) for relaxation in relaxations)
    return [
        rate_metric("convergence_rate", sum(converged), n),
        *(rate_metric(f"success_at_{limit}", success_at(calls, converged, limit), n) for limit in SUCCESS_FORCE_CALLS),
        Metric("force_calls_median", median, "1", len(calls_converged)),
        Metric("failed_count", float(failed), "1", n),
    ]


def compare_convergence(
    baseline: Sequence[Relaxation], candidate: Sequence[Relaxation], groups: Sequence[str], rng: np.random.Generator
) -> list[Metric]:
    """Paired differences candidate - baseline.

    convergence_rate and success_at_N: over all cases, which are drawn alike for all of them. force_calls_mean: over the
    cases on which both converged.
    """
    seed = int(rng.integers(2**32))

    def successes(relaxations: Sequence[Relaxation], limit: float) -> list[float | None]:
        return [float(relaxation.converged and relaxation.force_calls <= limit) for relaxation in relaxations]

    def difference(name: str, limit: float) -> Metric:
        paired = subtract_paired(successes(candidate, limit), successes(baseline, limit))
        return mean_metric(name, "1", paired, groups, np.random.default_rng(seed), bounds=(-1.0, 1.0))

    def calls(relaxations: Sequence[Relaxation]) -> list[float | None]:
        return [float(relaxation.force_calls) if relaxation.converged else None for relaxation in relaxations]

    return [
        difference("convergence_rate", math.inf),
        *(difference(f"success_at_{limit}", limit) for limit in SUCCESS_FORCE_CALLS),
        mean_metric("force_calls_mean", "1", subtract_paired(calls(candidate), calls(baseline)), groups, rng),
    ]


def rate_metric(name: str, successes: int, n: int) -> Metric:
    """Share of n cases that succeeded, with its Wilson interval; None without a case."""
    return Metric(name, successes / n if n else None, "1", n, *wilson_interval(successes, n))


# --- baseline of energies -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CompositionBaseline:
    """Energy per atom that composition alone predicts: mean + Σ_i x_i δ_i, x_i the atomic fraction of element i."""

    mean_ev_per_atom: float
    element_ev_per_atom: dict[str, float]

    def predict(self, structures: Sequence[Structure]) -> Array:
        """Energy of each structure, (n_structures,), eV/atom. An element that was not fitted counts as the mean."""
        elements = sorted(self.element_ev_per_atom)
        coefficients = np.array([self.element_ev_per_atom[element] for element in elements])
        return np.asarray(
            self.mean_ev_per_atom + _element_fractions(structures, elements) @ coefficients, dtype=np.float64
        )


def fit_composition_baseline(structures: Sequence[Structure]) -> CompositionBaseline:
    """Fit the mean-energy-per-composition baseline to the structures that have an energy.

    As `fit_by_composition`, to their energies per atom. EvaluationError if no structure has an energy.
    """
    labelled = [structure for structure in structures if structure.energy_ev is not None]
    if not labelled:
        msg = f"none of the {len(structures)} structures has an energy; the composition baseline needs at least one"
        raise EvaluationError(msg)
    return fit_by_composition(
        labelled, np.array([s.energy_ev / s.n_atoms for s in labelled if s.energy_ev is not None])
    )


def fit_by_composition(structures: Sequence[Structure], values: Array) -> CompositionBaseline:
    """Fit a value per atom, (n_structures,), eV/atom, by composition alone.

    mean is the plain mean of the values y; δ minimises
    Σ_s (y_s - mean - Σ_i x_si δ_i)² + 1e-3 Σ_i δ_i²
    (ridge: an element seen once must not be fitted to the last digit).
    """
    elements = sorted({element for structure in structures for element in structure.elements})
    fractions = _element_fractions(structures, elements)
    mean = float(values.mean())
    coefficients = np.linalg.solve(
        fractions.T @ fractions + _BASELINE_RIDGE * np.eye(len(elements)), fractions.T @ (values - mean)
    )
    return CompositionBaseline(mean, dict(zip(elements, coefficients.tolist(), strict=True)))


def remove_composition_offset(structures: Sequence[Structure], values: Array) -> Array:
    """Values per atom less what composition alone says of them, (n_structures,), eV/atom: for energy errors.

    The offset of each structure is fitted (`fit_by_composition`) to the others: chemical systems in alphabetical order
    are dealt into ten parts, and each part is predicted from the nine others, so that a fit never removes what it has
    seen. Empty with fewer than two systems: there are no others.
    """
    systems = [structure.chemical_system for structure in structures]
    names = sorted(set(systems))
    if len(names) < 2:
        return values[:0]
    part = {name: i % _N_PARTS for i, name in enumerate(names)}
    parts = np.array([part[system] for system in systems])
    left = np.empty_like(values)
    for number in set(part.values()):
        inside = parts == number
        others = [s for s, is_inside in zip(structures, inside, strict=True) if not is_inside]
        own = [s for s, is_inside in zip(structures, inside, strict=True) if is_inside]
        left[inside] = values[inside] - fit_by_composition(others, values[~inside]).predict(own)
    return left


def _element_fractions(structures: Sequence[Structure], elements: Sequence[str]) -> Array:
    """Atomic fractions, (n_structures, n_elements); atoms of other elements count in the denominator only."""
    return np.array(
        [[structure.species.count(element) / structure.n_atoms for element in elements] for structure in structures]
    ).reshape(len(structures), len(elements))
