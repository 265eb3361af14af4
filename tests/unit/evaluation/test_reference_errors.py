"""Errors on the reference sets: a composition offset, stress, and a real MACE that was made softer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heo_core.evaluation.energy_forces import compute_metrics as compute_energy_forces
from heo_core.evaluation.metrics import remove_composition_offset
from heo_core.evaluation.reference_errors import compare, compute_metrics, compute_stress_error
from heo_core.evaluation.reference_sets import load_reference_set
from heo_core.models import load_model, resolve_model
from heo_core.models.mace import inspect_mace_file
from heo_core.records import Prediction, Structure

SYSTEMS = (("Mg", "O"), ("Co", "O"), ("Ni", "O"), ("Mg", "Ni", "O"), ("Co", "Mg", "O"), ("Co", "Ni", "O"), ("Zn", "O"))


def make_structures(n=42, seed=0):
    rng = np.random.default_rng(seed)
    structures = []
    for i in range(n):
        species = SYSTEMS[i % len(SYSTEMS)] * (1 + i % 2) + ("O",) * (i % 3)
        stress = rng.normal(scale=0.02, size=(3, 3))
        structures.append(
            Structure(
                np.eye(3) * 6,
                rng.uniform(0, 6, size=(len(species), 3)),
                species,
                f"s{i}",
                "test",
                energy_ev=float(rng.normal(-6, 0.5)) * len(species),
                forces_ev_per_ang=rng.normal(size=(len(species), 3)),
                stress_ev_per_ang3=(stress + stress.T) / 2,
            )
        )
    return structures


def predict_exactly(structures):
    return [Prediction(s.energy_ev, s.forces_ev_per_ang, s.stress_ev_per_ang3) for s in structures]


def by_name(metrics):
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


def test_an_offset_by_element_costs_no_energy_error_once_it_is_removed():
    structures = make_structures()
    shifts = {"Mg": 1.0, "Co": -2.0, "Ni": 0.5, "Zn": 0.0, "O": 0.3}
    shifted = [
        replace(p, energy_ev=p.energy_ev + sum(shifts[e] for e in s.species))
        for s, p in zip(structures, predict_exactly(structures), strict=True)
        if "Zn" not in s.species
    ]
    kept = [s for s in structures if "Zn" not in s.species]
    metrics = by_name(compute_metrics(kept, shifted, np.random.default_rng(0)))
    assert metrics["energy_rmse_ev_per_atom"].value > 0.3
    assert metrics["energy_offset_removed_rmse_ev_per_atom"].value < 0.01


def test_the_offset_of_a_system_is_fitted_without_it():
    structures = make_structures()
    errors = np.array([1.0 if "Zn" in s.species else 0.0 for s in structures])
    left = remove_composition_offset(structures, errors)
    # No other system holds Zn, so nothing can take its error away.
    assert np.abs(left[errors == 1]).min() > 0.5


def test_without_a_second_system_no_offset_is_known_and_nothing_is_left_to_score():
    structures = make_structures()[:1] * 3
    assert len(remove_composition_offset(structures, np.array([1.0, 2.0, 3.0]))) == 0
    assert len(remove_composition_offset([], np.array([]))) == 0


def test_stress_errors_run_over_six_components_and_skip_sources_whose_stress_is_not_trusted():
    structures = make_structures(14)
    structures[0] = replace(structures[0], source="mp")
    structures[1] = replace(structures[1], stress_ev_per_ang3=None)
    error = np.array([[3.0, 0, 0], [0, 0, 4.0], [0, 4.0, 0]]) * 1e-3
    predictions = [
        replace(p, stress_ev_per_ang3=s.stress_ev_per_ang3 + error if s.stress_ev_per_ang3 is not None else error)
        for s, p in zip(structures, predict_exactly(structures), strict=True)
    ]
    assert compute_stress_error(structures[0], predictions[0]) is None
    assert compute_stress_error(structures[1], predictions[1]) is None
    assert compute_stress_error(structures[2], predictions[2]) == pytest.approx(1e-3 * np.sqrt(25 / 6))
    metrics = by_name(compute_metrics(structures, predictions, np.random.default_rng(0)))
    assert metrics["stress_rmse_ev_per_ang3"].n == 12
    assert metrics["stress_mae_ev_per_ang3"].value == pytest.approx(7e-3 / 6)


def test_everything_of_energy_forces_is_there_but_the_baseline_of_a_training_split():
    structures = make_structures()
    predictions = predict_exactly(structures)
    other = {m.name for m in compute_energy_forces(structures, predictions, [], np.random.default_rng(0))}
    own = set(by_name(compute_metrics(structures, predictions, np.random.default_rng(0))))
    assert other - own == {"mean_energy_baseline_rmse_ev_per_atom", "energy_skill"}


def test_comparison_has_every_metric_and_no_difference_of_a_model_from_itself():
    structures = make_structures()
    rng = np.random.default_rng(1)
    predictions = [replace(p, energy_ev=p.energy_ev + float(rng.normal())) for p in predict_exactly(structures)]
    differences = by_name(compare(structures, predictions, predictions, np.random.default_rng(0)))
    assert set(differences) >= {
        "forces_softening_slope",
        "energy_offset_removed_rmse_ev_per_atom",
        "stress_rmse_ev_per_ang3",
    }
    assert {d.value for d in differences.values()} == {0.0}


def test_cells_that_all_failed_give_counts_and_no_numbers():
    structures = make_structures(7)
    failed = [Prediction(None, None, failure="unknown element: Mg")] * 7
    metrics = by_name(compute_metrics(structures, failed, np.random.default_rng(0)))
    assert metrics["failed_count"].value == 7
    assert all(metric.value is None for name, metric in metrics.items() if name != "failed_count")
    assert all(d.value is None for d in compare(structures, failed, failed, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def scaled_file(tmp_path_factory) -> Path:
    """heo-mini whose interaction energy is scaled by 0.7: the same minima, every force 0.7 times as large."""
    model = torch.load(resolve_model("heo-mini").path, weights_only=False, map_location="cpu")
    model.scale_shift.scale *= 0.7
    path = tmp_path_factory.mktemp("scaled") / "scaled.model"
    torch.save(model, path)
    return path


def test_a_mace_scaled_by_seven_tenths_has_that_slope(scaled_file):
    structures = [case.start for case in load_reference_set("off-equilibrium")][:40]
    parent = load_model(resolve_model("heo-mini"), device="cpu", dtype="float64")
    child = load_model(inspect_mace_file(scaled_file), device="cpu", dtype="float64")
    before = parent.predict(structures)
    labelled = [
        replace(
            s, energy_ev=p.energy_ev, forces_ev_per_ang=p.forces_ev_per_ang, stress_ev_per_ang3=p.stress_ev_per_ang3
        )
        for s, p in zip(structures, before, strict=True)
    ]
    metrics = by_name(compute_metrics(labelled, child.predict(structures), np.random.default_rng(0)))
    slope = metrics["forces_softening_slope"]
    assert slope.value == pytest.approx(0.7, abs=1e-6)
    assert slope.ci_high - slope.ci_low < 1e-6
    assert metrics["stress_rmse_ev_per_ang3"].value > 0
