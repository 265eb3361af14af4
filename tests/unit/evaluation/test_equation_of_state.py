"""Equations of state of known curves, and the laws that errors against a reference obey."""

from dataclasses import replace

import numpy as np
import pytest

from heo_core.evaluation.equation_of_state import (
    GPA_PER_EV_PER_ANG3,
    compare,
    compute_metrics,
    compute_rows,
    fit_birch_murnaghan,
)
from heo_core.evaluation.reference_sets import load_reference_set
from heo_core.records import BenchmarkCase, Prediction, Structure

FACTORS = (0.90, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.10)


def birch_murnaghan(volumes, energy, volume, modulus, derivative):
    """Birch's own form, per atom: eV, Å³, GPa, no unit."""
    strain = (volume / volumes) ** (2 / 3)
    bulk = modulus / GPA_PER_EV_PER_ANG3
    return energy + 9 * volume * bulk / 16 * ((strain - 1) ** 3 * derivative + (strain - 1) ** 2 * (6 - 4 * strain))


def make_cases(volume=10.0, modulus=160.0, materials=6):
    cases = []
    for number in range(materials):
        volumes = volume * np.array(FACTORS)
        energies = birch_murnaghan(volumes, -6.0 - number, volume, modulus, 4.0)
        for factor, v, e in zip(FACTORS, volumes, energies, strict=True):
            lattice = np.eye(3) * (2 * v) ** (1 / 3)
            structure = Structure(
                lattice,
                np.array([[0.0, 0, 0], [1.9, 0, 0]]),
                ("Mg", "O"),
                f"m{number}-{factor}",
                "test",
                energy_ev=2 * e,
            )
            cases.append(BenchmarkCase(structure, None, {"material": f"M{number}O", "volume_factor": factor}))
    return cases


def predict(cases, volume, modulus, energy=-3.0):
    """What a model with another minimum, stiffness and zero of energy says; two atoms a cell."""
    return [
        Prediction(
            2 * float(birch_murnaghan(case.start.volume_ang3 / 2, energy, volume, modulus, 4.0)), np.zeros((2, 3))
        )
        for case in cases
    ]


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def test_a_birch_murnaghan_curve_is_found_again_whatever_its_derivative():
    volumes = 11.3 * np.array(FACTORS)
    for derivative in (3.0, 4.0, 5.5):
        fit = fit_birch_murnaghan(volumes, birch_murnaghan(volumes, -5.9, 11.4, 171.0, derivative))
        assert fit.energy_ev_per_atom == pytest.approx(-5.9, abs=1e-9)
        assert fit.volume_ang3_per_atom == pytest.approx(11.4, rel=1e-8)
        assert fit.bulk_modulus_gpa == pytest.approx(171.0, rel=1e-6)


def test_the_fit_of_a_parabola_has_its_minimum_and_curvature():
    # E = a (V - 10)²: B = 10 * 2a; the cubic in V^(-2/3) is no parabola, so within a per mille.
    volumes = np.linspace(9.8, 10.2, 9)
    fit = fit_birch_murnaghan(volumes, 0.05 * (volumes - 10) ** 2)
    assert fit.volume_ang3_per_atom == pytest.approx(10.0, rel=1e-5)
    assert fit.bulk_modulus_gpa == pytest.approx(10 * 0.1 * GPA_PER_EV_PER_ANG3, rel=1e-3)


def test_a_curve_without_a_minimum_in_its_volumes_has_no_fit():
    volumes = 10.0 * np.array(FACTORS)
    assert fit_birch_murnaghan(volumes, -0.1 * volumes) is None
    assert fit_birch_murnaghan(volumes, birch_murnaghan(volumes, -6, 13.0, 160, 4)) is None


def test_fewer_volumes_than_coefficients_are_refused():
    with pytest.raises(ValueError, match="3 volumes; an equation of state of third order needs 4"):
        fit_birch_murnaghan(np.array([1.0, 2, 3]), np.zeros(3))


def test_errors_are_those_of_volume_and_stiffness_and_not_of_the_zero_of_energy():
    cases = make_cases()
    row = compute_rows(cases, predict(cases, volume=10.2, modulus=128.0, energy=7.0))[0]
    assert row.failure is None
    assert row.equilibrium_volume_error_fraction == pytest.approx(0.02, abs=1e-6)
    assert row.bulk_modulus_error_fraction == pytest.approx(-0.2, abs=1e-5)
    exact = compute_rows(cases, predict(cases, volume=10.0, modulus=160.0, energy=99.0))[0]
    assert exact.energy_volume_rmse_ev_per_atom == pytest.approx(0, abs=1e-9)


def test_halved_stiffness_halves_the_curve():
    cases = make_cases()
    row = compute_rows(cases, predict(cases, volume=10.0, modulus=80.0))[0]
    curve = birch_murnaghan(10.0 * np.array(FACTORS), 0.0, 10.0, 160.0, 4.0)
    assert row.energy_volume_rmse_ev_per_atom == pytest.approx(np.sqrt(np.mean((curve / 2) ** 2)), rel=1e-6)


def test_what_fails_is_a_row_with_its_reason_and_stands_in_no_mean():
    cases = make_cases()
    predictions = predict(cases, volume=10.1, modulus=160.0)
    predictions[3] = Prediction(None, None, failure="unknown element: Mg")
    for i in range(9, 18):
        predictions[i] = replace(predictions[i], energy_ev=-0.3 * cases[i].start.volume_ang3)
    rows = compute_rows(cases, predictions)
    assert rows[0].failure == "unknown element: Mg"
    assert rows[0].energy_volume_rmse_ev_per_atom is None
    assert "no minimum of the energy between 9.00 and 11.00 Å³/atom" in rows[1].failure
    assert rows[1].energy_volume_rmse_ev_per_atom is not None
    metrics = by_name(compute_metrics(cases, predictions, np.random.default_rng(0)))
    assert metrics["failed_count"].value == 2
    assert metrics["equilibrium_volume_mae_fraction"].n == 4
    assert metrics["equilibrium_volume_mae_fraction"].value == pytest.approx(0.01, abs=1e-6)
    assert metrics["energy_volume_rmse_mean_ev_per_atom"].n == 5


def test_differences_are_paired_over_the_materials_that_both_have():
    cases = make_cases()
    baseline, candidate = predict(cases, 10.0, 160.0), predict(cases, 10.0, 120.0)
    candidate[0] = Prediction(None, None, failure="unknown element: Mg")
    metrics = by_name(compare(cases, baseline, candidate, np.random.default_rng(0)))
    difference = metrics["bulk_modulus_mae_fraction"]
    assert difference.n == 5
    assert difference.value == pytest.approx(0.25, abs=1e-5)
    assert difference.ci_low == pytest.approx(0.25, abs=1e-5)
    assert metrics["bulk_modulus_mean_fraction"].value == pytest.approx(-0.25, abs=1e-5)


def test_the_bundled_reference_curves_have_a_minimum_where_they_were_relaxed():
    cases = load_reference_set("equation-of-state")
    rows = compute_rows(cases, [Prediction(c.start.energy_ev, c.start.forces_ev_per_ang) for c in cases])
    assert len(rows) >= 20
    middle = {c.recipe["material"]: c.start for c in cases if c.recipe["volume_factor"] == 1.0}
    for row in rows:
        assert row.failure is None, row
        assert row.n_volumes == 9
        assert row.equilibrium_volume_error_fraction == 0
        cell = middle[row.material]
        assert row.reference_volume_ang3_per_atom == pytest.approx(cell.volume_ang3 / cell.n_atoms, rel=0.01), row
        assert 20 < row.reference_bulk_modulus_gpa < 350, row
