"""Laws and hand-computable numbers of the metrics' building blocks; plain loops as the independent second opinion."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heo_core.errors import EvaluationError
from heo_core.evaluation import metrics
from heo_core.records import Metric, Relaxation, Structure

SKEWED = np.array([[4.0, 0.0, 0.0], [7.5, 1.5, 0.0], [-3.0, 5.0, 2.5]])
seeds = st.integers(0, 2**32 - 1)


def make_mgo(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Lattice and positions of n x n x n conventional cells, 8 n^3 atoms."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = np.concatenate([fcc, fcc + np.array([0.5, 0, 0])])
    shifts = np.array(list(itertools.product(range(n), repeat=3)))
    return np.eye(3) * 4.2 * n, (shifts[:, None] + cell).reshape(-1, 3) * 4.2


def make_structure(species: list[str], energy_ev: float | None) -> Structure:
    n = len(species)
    return Structure(np.eye(3) * 5, np.zeros((n, 3)), tuple(species), "id", "test", energy_ev=energy_ev)


def make_relaxation(*, converged: bool = True, force_calls: int = 10, energy: float | None = -1.0) -> Relaxation:
    done = energy is not None
    return Relaxation(
        converged=converged,
        failure=None if converged else "not converged",
        force_calls=force_calls,
        wall_s=0.1,
        energy_initial_ev=energy,
        energy_final_ev=energy,
        fmax_ev_per_ang=0.01,
        cell_fmax_ev_per_ang=0.0,
        lattice=np.eye(3) if done else None,
        positions=np.zeros((2, 3)) if done else None,
        stress_ev_per_ang3=None,
    )


# --- errors


def test_error_statistics_of_a_hand_computed_array():
    errors = np.array([[3.0, -4.0], [0.0, 1.0]])
    assert metrics.rmse(errors) == pytest.approx(math.sqrt(26 / 4))
    assert metrics.mae(errors) == 2.0
    assert metrics.median_abs(errors) == 2.0
    # sorted 0 1 3 4; position 0.95 * 3 = 2.85
    assert metrics.q95_abs(errors) == pytest.approx(3.85)


def test_nothing_to_average_is_none_and_never_zero():
    empty = np.empty((0, 3))
    for statistic in (metrics.rmse, metrics.mae, metrics.median_abs, metrics.q95_abs):
        assert statistic(empty) is None
    assert metrics.softening_slope(empty, empty) is None
    assert metrics.skill(None, 1.0) is None
    assert metrics.skill(1.0, 0.0) is None


def test_skill_is_one_for_no_error_and_zero_for_the_baselines_error():
    assert metrics.skill(0.0, 2.0) == 1.0
    assert metrics.skill(2.0, 2.0) == 0.0
    assert metrics.skill(3.0, 2.0) == -0.5


def test_softening_slope_is_the_factor_of_scaled_forces():
    reference = np.random.default_rng(0).normal(size=(20, 3))
    assert metrics.softening_slope(0.635 * reference, reference) == pytest.approx(0.635, abs=1e-12)


def test_softening_slope_ignores_errors_that_are_orthogonal_to_the_reference():
    reference = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    predicted = np.array([[0.5, 0.3, 0.0], [-0.5, -0.3, 0.0]])
    assert metrics.softening_slope(predicted, reference) == 0.5


def test_softening_slope_equals_the_fit_with_intercept_where_forces_sum_to_zero():
    rng = np.random.default_rng(1)
    reference, predicted = rng.normal(size=(2, 30, 3))
    reference -= reference.mean(axis=0)
    predicted -= predicted.mean(axis=0)
    expected = np.polyfit(reference.ravel(), predicted.ravel(), 1)[0]
    assert metrics.softening_slope(predicted, reference) == pytest.approx(expected, abs=1e-12)


def test_softening_slope_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="shapes must be equal"):
        metrics.softening_slope(np.ones((1, 3)), np.ones((2, 3)))


# --- displacement


def plain_displacement_rmsd(positions, lattice, reference, reference_lattice) -> float:
    """The definition in loops, for displacements well below half a cell and no drift of the size of a cell."""
    best = []
    for atom, origin in zip(positions, reference, strict=True):
        fractional = np.linalg.solve(lattice.T, atom) - np.linalg.solve(reference_lattice.T, origin)
        images = [
            np.dot(fractional - np.round(fractional) + shift, reference_lattice)
            for shift in itertools.product(range(-5, 6), repeat=3)
        ]
        best.append(min(images, key=np.linalg.norm))
    mean = sum(best) / len(best)
    return math.sqrt(sum(float(np.dot(d - mean, d - mean)) for d in best) / len(best))


def test_displacement_rmsd_of_two_atoms_by_hand():
    reference = np.array([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
    positions = reference + np.array([[0.3, 0.0, 0.0], [-0.3, 0.0, 0.0]])
    assert metrics.displacement_rmsd(positions, np.eye(3) * 4, reference, np.eye(3) * 4) == pytest.approx(0.3)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_displacement_rmsd_of_a_small_rattle_does_not_grow_with_system_size(n):
    lattice, positions = make_mgo(n)
    rng = np.random.default_rng(n)
    rattled = [positions + rng.normal(scale=0.001, size=positions.shape) for _ in range(64 // n**3 + 1)]
    mean_square = np.mean([metrics.displacement_rmsd(each, lattice, positions, lattice) ** 2 for each in rattled])
    # three directions; the drift takes one atom's worth of freedom
    assert math.sqrt(mean_square) == pytest.approx(0.001 * math.sqrt(3 * (1 - 1 / len(positions))), rel=0.06)


def test_displacement_rmsd_of_216_atoms_of_mgo_is_0_0017_per_0_001_of_rattle():
    lattice, positions = make_mgo(3)
    assert len(positions) == 216
    rattled = positions + np.random.default_rng(0).normal(scale=0.001, size=positions.shape)
    wrapped = rattled % 12.6
    assert metrics.displacement_rmsd(wrapped, lattice, positions, lattice) == pytest.approx(0.0017, abs=1e-4)


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_displacement_rmsd_ignores_periodic_wrapping_translation_rotation_and_choice_of_cell_vectors(seed):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(size=(6, 3)) @ SKEWED
    positions = reference + rng.normal(scale=0.1, size=(6, 3))
    expected = metrics.displacement_rmsd(positions, SKEWED, reference, SKEWED)
    wrapped = positions + rng.integers(-3, 4, size=(6, 3)) @ SKEWED
    assert metrics.displacement_rmsd(wrapped, SKEWED, reference, SKEWED) == pytest.approx(expected, abs=1e-9)
    shifted = wrapped + rng.uniform(-20, 20, size=3)
    assert metrics.displacement_rmsd(shifted, SKEWED, reference, SKEWED) == pytest.approx(expected, abs=1e-9)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = metrics.displacement_rmsd(wrapped @ rotation, SKEWED @ rotation, reference, SKEWED)
    assert turned == pytest.approx(expected, abs=1e-9)
    other = np.array([[1, 0, 0], [-2, 1, 0], [3, -1, 1]]) @ SKEWED
    assert metrics.displacement_rmsd(wrapped, other, reference, other) == pytest.approx(expected, abs=1e-9)


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_displacement_rmsd_equals_a_plain_loop_over_images(seed):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(size=(5, 3)) @ SKEWED
    lattice = SKEWED @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3)))
    moved = np.linalg.solve(SKEWED.T, reference.T).T @ lattice + rng.normal(scale=0.08, size=(5, 3))
    expected = plain_displacement_rmsd(moved, lattice, reference, SKEWED)
    assert metrics.displacement_rmsd(moved, lattice, reference, SKEWED) == pytest.approx(expected, abs=1e-9)


def test_displacement_rmsd_of_a_changed_cell_alone_is_zero():
    lattice, positions = make_mgo(2)
    strain = np.array([[1.1, 0.02, 0.0], [0.0, 0.9, 0.0], [0.1, 0.0, 1.05]])
    moved = metrics.displacement_rmsd(positions @ strain, lattice @ strain, positions, lattice)
    assert moved == pytest.approx(0, abs=1e-12)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_displacement_rmsd_takes_the_shortest_image_in_cells_that_are_far_from_reduced(seed):
    rng = np.random.default_rng(seed)
    skewing = np.array([[1, 0, 0], [rng.integers(-4, 5), 1, 0], [rng.integers(-4, 5), rng.integers(-4, 5), 1]])
    compact = np.diag([2.0, 3.0, 4.0]) + rng.uniform(-0.5, 0.5, size=(3, 3))
    # of two atoms one moves anywhere: after removal of the mean each is half its shortest image off
    reference = np.zeros((2, 3))
    vector = rng.uniform(-1, 1, size=3) @ compact
    found = metrics.displacement_rmsd(np.array([np.zeros(3), vector]), skewing @ compact, reference, skewing @ compact)
    images = vector + np.array(list(itertools.product(range(-3, 4), repeat=3))) @ compact
    assert found == pytest.approx(np.linalg.norm(images, axis=1).min() / 2, abs=1e-9)


def test_displacement_rmsd_refuses_other_atoms_and_numbers_that_are_not_finite():
    lattice, positions = make_mgo(1)
    with pytest.raises(ValueError, match="shapes must be equal"):
        metrics.displacement_rmsd(positions[:-1], lattice, positions, lattice)
    with pytest.raises(ValueError, match="finite"):
        metrics.displacement_rmsd(np.where(positions == 0, np.nan, positions), lattice, positions, lattice)


def test_volume_change_is_signed_and_blind_to_handedness():
    assert metrics.volume_change_fraction(np.eye(3) * 2, np.diag([2.0, 2.0, 1.0])) == pytest.approx(1.0)
    assert metrics.volume_change_fraction(np.diag([1.0, 1.0, -0.9]), np.eye(3)) == pytest.approx(-0.1)


# --- intervals


def test_wilson_interval_of_published_values():
    assert metrics.wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert metrics.wilson_interval(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert metrics.wilson_interval(10, 10) == pytest.approx((0.7224672, 1.0), abs=1e-6)
    assert metrics.wilson_interval(0, 0) == (None, None)


def test_bootstrap_has_no_interval_below_five_groups():
    sums = np.array([[1.0, 1.0]] * 6)
    rng = np.random.default_rng(0)
    assert metrics.bootstrap_interval(sums, list("aabbcd"), metrics.ratio, rng) == (None, None)
    assert metrics.bootstrap_interval(sums, list("aabcde"), metrics.ratio, rng) == (1.0, 1.0)


@pytest.mark.parametrize("n_groups", [5, 8, 20])
def test_bootstrap_intervals_of_few_groups_hold_the_truth_as_often_as_they_say(n_groups):
    rng = np.random.default_rng(1)
    groups = [str(i) for i in range(n_groups)]
    hits = 0
    for _ in range(400):
        sums = np.column_stack([rng.normal(size=n_groups), np.ones(n_groups)])
        low, high = metrics.bootstrap_interval(sums, groups, metrics.ratio, rng)
        hits += low <= 0 <= high
    assert 0.91 <= hits / 400 <= 0.99


def test_bootstrap_interval_agrees_with_a_plain_loop_of_resamples():
    rng = np.random.default_rng(3)
    values, groups = rng.normal(size=60), [f"g{i % 12}" for i in range(60)]
    low, high = metrics.bootstrap_interval(np.column_stack([values**2, np.ones(60)]), groups, metrics.root_ratio, rng)
    names, draws = sorted(set(groups)), []
    for _ in range(2000):
        drawn = rng.choice(names, size=12)
        picked = [v for name in drawn for v, g in zip(values, groups, strict=True) if g == name]
        draws.append(math.sqrt(sum(v * v for v in picked) / len(picked)))
    value = math.sqrt(np.mean(values**2))
    # Student's t with 11 degrees of freedom, for the normal deviate, and the unbiased variance
    widening = 2.200985 / 1.959964 * math.sqrt(12 / 11)
    assert low == pytest.approx(value - widening * (value - np.percentile(draws, 2.5)), abs=0.04)
    assert high == pytest.approx(value + widening * (np.percentile(draws, 97.5) - value), abs=0.04)


def test_copies_within_a_group_do_not_narrow_the_interval():
    values, groups = np.random.default_rng(4).normal(size=8), list("abcdefgh")
    sums = np.column_stack([values, np.ones(8)])
    single = metrics.bootstrap_interval(sums, groups, metrics.ratio, np.random.default_rng(0))
    copies = metrics.bootstrap_interval(np.tile(sums, (10, 1)), groups * 10, metrics.ratio, np.random.default_rng(0))
    assert copies == pytest.approx(single, abs=1e-12)


def test_interval_of_one_seed_is_one_interval():
    sums = np.column_stack([np.arange(10.0), np.ones(10)])
    groups = [str(i) for i in range(10)]
    first, second = (
        metrics.bootstrap_interval(sums, groups, metrics.ratio, np.random.default_rng(5)) for _ in range(2)
    )
    assert first == second


def test_a_resample_without_a_value_leaves_no_interval():
    sums = np.array([[1.0, 1.0], *[[0.0, 0.0]] * 5])
    assert metrics.bootstrap_interval(sums, list("abcdef"), metrics.ratio, np.random.default_rng(0)) == (None, None)


def test_paired_difference_of_a_constant_shift_has_no_width():
    values = np.random.default_rng(6).normal(size=20) * 100
    baseline, candidate = (np.column_stack([v, np.ones(20)]) for v in (values, values - 0.5))
    groups = [str(i) for i in range(20)]
    low, high = metrics.bootstrap_paired_difference(
        baseline, candidate, groups, metrics.ratio, np.random.default_rng(0)
    )
    assert (low, high) == pytest.approx((-0.5, -0.5), abs=1e-9)


def test_mean_metric_leaves_out_what_has_no_number_and_counts_the_rest():
    metric = metrics.mean_metric("x", "Å", [1.0, None, 3.0], ["a", "b", "c"], np.random.default_rng(0))
    assert metric == Metric("x", 2.0, "Å", 2)
    assert metrics.mean_metric("x", "Å", [None], ["a"], np.random.default_rng(0)) == Metric("x", None, "Å", 0)


def test_subtract_paired_has_a_number_only_where_both_have():
    assert metrics.subtract_paired([3.0, None, 1.0], [1.0, 1.0, None]) == [2.0, None, None]


# --- relaxations


def test_success_at_counts_the_budget_in_and_the_unconverged_out():
    assert metrics.success_at([10, 50, 51, 5], [True, True, True, False], 50) == 2


def test_convergence_counts_failures_as_no_success_and_takes_calls_of_the_converged():
    relaxations = [
        make_relaxation(force_calls=20),
        make_relaxation(force_calls=60),
        make_relaxation(converged=False, force_calls=200),
        make_relaxation(converged=False, force_calls=0, energy=None),
    ]
    found = {metric.name: metric for metric in metrics.compute_convergence(relaxations)}
    assert (found["convergence_rate"].value, found["convergence_rate"].n) == (0.5, 4)
    assert [found[f"success_at_{n}"].value for n in (25, 50, 100, 200)] == [0.25, 0.25, 0.5, 0.5]
    assert (found["force_calls_median"].value, found["force_calls_median"].n) == (40.0, 2)
    assert (found["failed_count"].value, found["failed_count"].n) == (1.0, 4)
    assert (found["convergence_rate"].ci_low, found["convergence_rate"].ci_high) == metrics.wilson_interval(2, 4)


def test_an_unconverged_end_is_a_final_state_and_a_number_that_is_not_finite_is_none():
    assert metrics.has_final_state(make_relaxation(converged=False))
    assert not metrics.has_final_state(make_relaxation(converged=False, energy=None))
    assert not metrics.has_final_state(replace(make_relaxation(), positions=np.full((2, 3), np.nan)))
    assert metrics.compute_final_energy(make_relaxation(energy=-3.0), 2) == -1.5
    assert metrics.compute_final_energy(make_relaxation(energy=math.nan), 2) is None


def test_a_success_is_compared_case_by_case_at_each_limit():
    baseline = [make_relaxation(force_calls=40), make_relaxation(converged=False, force_calls=10)]
    candidate = [make_relaxation(force_calls=60), make_relaxation(force_calls=20)]
    found = {
        m.name: m.value for m in metrics.compare_convergence(baseline, candidate, ["a", "b"], np.random.default_rng(0))
    }
    assert found["convergence_rate"] == 0.5
    assert found["success_at_25"] == 0.5
    assert found["success_at_50"] == 0.0
    assert found["success_at_100"] == 0.5


def test_force_calls_are_compared_where_both_converged():
    baseline = [make_relaxation(force_calls=40), make_relaxation(converged=False, force_calls=200)]
    candidate = [make_relaxation(force_calls=30), make_relaxation(force_calls=20)]
    rate, *_, calls = metrics.compare_convergence(baseline, candidate, ["a", "b"], np.random.default_rng(0))
    assert (rate.name, rate.value, rate.n) == ("convergence_rate", 0.5, 2)
    assert (calls.name, calls.value, calls.n) == ("force_calls_mean", -10.0, 1)


def test_differences_of_rates_stay_between_minus_one_and_one_and_equal_ones_have_equal_intervals():
    baseline = [make_relaxation(force_calls=10) for _ in range(6)]
    candidate = [make_relaxation(converged=i == 0, force_calls=10) for i in range(6)]
    *rates, _ = metrics.compare_convergence(baseline, candidate, list("abcdef"), np.random.default_rng(0))
    (interval,) = {(rate.value, rate.ci_low, rate.ci_high) for rate in rates}
    assert interval[:2] == (-5 / 6, -1.0)


# --- composition baseline


def test_composition_baseline_finds_energies_that_composition_alone_decides():
    energies = {"Mg": -2.0, "Ni": -3.0, "O": -5.0}
    cells = [["Mg", "O"], ["Ni", "O"], ["Mg", "Ni", "O", "O"], ["Mg", "Mg", "Ni", "O"], ["Mg", "O", "O", "O"]] * 100
    structures = [make_structure(cell, sum(energies[e] for e in cell)) for cell in cells]
    predicted = metrics.fit_composition_baseline(structures).predict([make_structure(["Ni", "Ni", "O"], None)])
    assert predicted == pytest.approx([-11 / 3], abs=1e-3)


def test_composition_baseline_equals_ridge_as_augmented_least_squares():
    rng = np.random.default_rng(7)
    elements = ["Co", "Cu", "Mg", "Ni", "O", "Zn"]
    cells = [list(rng.choice(elements, size=8)) for _ in range(12)]
    structures = [make_structure(cell, float(e)) for cell, e in zip(cells, rng.normal(-40, 3, size=12), strict=True)]
    x = np.array([[cell.count(e) / 8 for e in elements] for cell in cells])
    y = np.array([s.energy_ev / 8 for s in structures])
    augmented = np.vstack([x, np.sqrt(1e-3) * np.eye(6)])
    delta = np.linalg.lstsq(augmented, np.concatenate([y - y.mean(), np.zeros(6)]), rcond=None)[0]
    found = metrics.fit_composition_baseline(structures).predict(structures)
    assert found == pytest.approx(y.mean() + x @ delta, abs=1e-9)


def test_composition_baseline_takes_an_unseen_element_for_the_mean():
    baseline = metrics.fit_composition_baseline([make_structure(["Mg", "O"], -10.0), make_structure(["Mg", "O"], None)])
    assert baseline.predict([make_structure(["Zn"], None)]) == pytest.approx([-5.0])
    assert baseline.predict([]).shape == (0,)


def test_composition_baseline_without_an_energy_is_an_error():
    with pytest.raises(EvaluationError, match="none of the 1 structures"):
        metrics.fit_composition_baseline([make_structure(["Mg"], None)])
