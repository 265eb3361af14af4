"""How substitution-relax cells are made, and how two models are compared under one reference."""

from collections import Counter

import numpy as np
import pytest

from heo_core.errors import InputError
from heo_core.evaluation import substitution_relax
from heo_core.params import SubstitutionRelaxParams
from heo_core.records import BenchmarkCase, Metric, Prediction, Relaxation


def make_cases(**params) -> list[BenchmarkCase]:
    return substitution_relax.make_cases(SubstitutionRelaxParams(**{"supercell": (2, 2, 2)} | params))


def finish(case: BenchmarkCase, *, energy: float | None = -64.0, converged: bool = True, calls: int = 30) -> Relaxation:
    """A relaxation that grows each edge by 1 %; without an energy it failed."""
    done = energy is not None
    return Relaxation(
        converged=converged and done,
        failure=None if converged and done else "not converged",
        force_calls=calls,
        wall_s=0.0,
        energy_initial_ev=energy,
        energy_final_ev=energy,
        fmax_ev_per_ang=None,
        cell_fmax_ev_per_ang=None,
        lattice=case.start.lattice * 1.01 if done else None,
        positions=case.start.positions * 1.01 if done else None,
        stress_ev_per_ang3=None,
    )


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


def test_the_default_cells_hold_the_composition_exactly():
    (case, *_) = substitution_relax.make_cases(SubstitutionRelaxParams(n_cells=1))
    assert Counter(case.start.species) == {"Co": 16, "Cu": 16, "Mg": 16, "Ni": 16, "Zn": 16, "O": 80}


def test_every_cell_has_the_nearest_composition_in_another_order():
    cases = make_cases(n_cells=3, n_rattles=2)
    assert len(cases) == 6
    counts = {tuple(sorted(Counter(case.start.species).items())) for case in cases}
    assert counts == {(("Co", 7), ("Cu", 7), ("Mg", 6), ("Ni", 6), ("O", 32), ("Zn", 6))}
    orders = [case.start.species for case in cases]
    assert orders[0] == orders[1]
    assert len({orders[0], orders[2], orders[4]}) == 3
    assert all(case.target is None for case in cases)
    assert len({case.start.immutable_id for case in cases}) == 6


def test_the_start_lattice_comes_from_ionic_radii():
    case = make_cases(n_cells=1)[0]
    # Shannon, six-fold: Co (high spin) 0.745, Cu 0.73, Mg 0.72, Ni 0.69, Zn 0.74; O 1.40
    a = 2 * ((0.745 + 0.73 + 0.72 + 0.69 + 0.74) / 5 + 1.40)
    assert case.start.lattice == pytest.approx(np.eye(3) * 2 * a, abs=1e-9)


def test_more_cells_and_rattles_leave_the_others_as_they_are():
    few, many = make_cases(n_cells=2, n_rattles=1), make_cases(n_cells=4, n_rattles=3)
    same = [case for case in many if case.recipe["rattle"] == 1][:2]
    assert [case.start.content_hash for case in few] == [case.start.content_hash for case in same]
    assert [case.recipe["cell"] for case in few] == [1, 2]


def test_another_seed_makes_other_cells():
    assert make_cases(seed=0)[0].start.species != make_cases(seed=1)[0].start.species


def test_a_composition_that_does_not_fit_is_an_error():
    with pytest.raises(InputError, match="rocksalt needs 1 cations for each O"):
        make_cases(composition="MgNiCuCoZn")


def test_metrics_by_hand():
    cases = make_cases(n_cells=3, n_rattles=1)
    relaxations = [finish(cases[0]), finish(cases[1], energy=-128.0, converged=False), finish(cases[2], energy=None)]
    reference = [Prediction(-320.0, None), Prediction(None, None, failure="no"), Prediction(-1e9, None)]
    found = by_name(substitution_relax.compute_metrics(cases, relaxations, reference, np.random.default_rng(0)))
    assert set(found) == {
        "convergence_rate",
        *(f"success_at_{n}" for n in (25, 50, 100, 200)),
        "force_calls_median",
        "failed_count",
        "volume_change_mean_fraction",
        "energy_final_mean_ev_per_atom",
        "reference_energy_mean_ev_per_atom",
    }
    expected = {
        "convergence_rate": (1 / 3, 3),
        "success_at_25": (0, 3),
        "success_at_50": (1 / 3, 3),
        "failed_count": (1, 3),
        "volume_change_mean_fraction": (pytest.approx(1.01**3 - 1), 2),
        "energy_final_mean_ev_per_atom": (-1.5, 2),
        "reference_energy_mean_ev_per_atom": (-5.0, 1),
    }
    assert {name: (found[name].value, found[name].n) for name in expected} == expected


def test_rows_are_none_without_a_final_state_and_without_a_reference():
    cases = make_cases(n_cells=2)
    rows = substitution_relax.compute_rows(cases, [finish(cases[0]), finish(cases[1], energy=None)], None)
    assert rows == [
        {"volume_change_fraction": pytest.approx(1.01**3 - 1), "reference_energy_ev": None},
        {"volume_change_fraction": None, "reference_energy_ev": None},
    ]


def test_a_lower_reference_energy_of_the_candidate_is_a_negative_difference_of_known_width():
    cases = make_cases(n_cells=6, n_rattles=2)
    relaxations = [finish(case) for case in cases]
    own = [-64.0 * (5 + i) for i in range(12)]
    baseline = [Prediction(energy, None) for energy in own]
    candidate = [Prediction(energy - 0.64, None) for energy in own]
    candidate[0] = Prediction(None, None, failure="no")
    found = by_name(
        substitution_relax.compare(
            cases,
            relaxations,
            [finish(case, calls=20) for case in cases],
            np.random.default_rng(0),
            baseline_reference=baseline,
            candidate_reference=candidate,
        )
    )
    metric = found["reference_energy_mean_ev_per_atom"]
    assert (metric.value, metric.ci_low, metric.ci_high) == pytest.approx((-0.01, -0.01, -0.01), abs=1e-12)
    assert metric.n == 11
    assert (found["convergence_rate"].value, found["force_calls_mean"].value) == (0, -10)
    assert found["volume_change_mean_fraction"].value == pytest.approx(0, abs=1e-12)


def test_rattles_of_one_cell_are_one_group():
    cases = make_cases(n_cells=2, n_rattles=10)
    reference = [Prediction(-320.0 - i, None) for i in range(20)]
    found = by_name(
        substitution_relax.compute_metrics(cases, [finish(c) for c in cases], reference, np.random.default_rng(0))
    )
    metric = found["reference_energy_mean_ev_per_atom"]
    assert metric.n == 20
    assert (metric.ci_low, metric.ci_high) == (None, None)


def test_without_references_the_comparison_still_tells_convergence():
    cases = make_cases(n_cells=3)
    relaxations = [finish(case) for case in cases]
    found = by_name(substitution_relax.compare(cases, relaxations, relaxations, np.random.default_rng(0)))
    assert (found["reference_energy_mean_ev_per_atom"].value, found["reference_energy_mean_ev_per_atom"].n) == (None, 0)
    assert found["convergence_rate"].value == 0
