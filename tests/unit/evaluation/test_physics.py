"""Checks of physics on energies known by hand, and on a real MACE against plain ASE."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from heo_core.errors import InputError
from heo_core.evaluation import physics
from heo_core.models import load
from heo_core.params import PhysicsParams
from heo_core.records import PhysicsCheck, Prediction

PARAMS = PhysicsParams(n_cells=1, metals=("Mg", "O", "Zr"), n_steps=10, timestep_fs=1.0)


@pytest.fixture(scope="module")
def cases():
    return physics.make_cases(PARAMS)


def of(cases, check):
    return [case for case in cases if case.recipe["check"] == check]


def read(checks, name):
    return {check.subject: check.value for check in checks if check.name == name}


def by_name(metrics):
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


def predict_spring(case, k=3.0, scale=1.0):
    """Every atom on a spring to the origin of space, which knows no cell: E = k/2 Σ|x|², F = -k x, V·σ = k Σ x xᵀ."""
    x = case.start.positions
    stress = k * x.T @ x / case.start.volume_ang3
    return Prediction(k / 2 * float(np.sum(x**2)), -scale * k * x, scale * stress)


def test_each_cell_is_there_once_as_it_is_and_twice_for_each_coordinate_and_strain(cases):
    cells = of(cases, "cell")
    n_atoms = cells[0].start.n_atoms
    assert len(cells) == 1 + 6 * n_atoms + 12
    assert len({case.start.content_hash for case in cases}) == len(cases)
    assert {case.start.energy_ev for case in cases} == {None}
    assert {case.recipe["subject"] for case in of(cases, "repulsion")} == {"Mg-O", "Zr-O"}


def test_more_cells_than_prototypes_are_refused():
    with pytest.raises(InputError, match="n_cells is 99; at most"):
        physics.make_cases(PhysicsParams(n_cells=99))


def test_forces_and_stress_of_a_spring_are_the_slopes_of_its_energy(cases):
    cells = of(cases, "cell")
    checks = physics.compute_checks(cells, [predict_spring(case) for case in cells])
    assert max(read(checks, "forces_deviation_max_ev_per_ang").values()) < 1e-6
    assert max(read(checks, "stress_deviation_max_ev_per_ang3").values()) < 1e-6


def test_forces_a_tenth_too_small_deviate_by_a_tenth(cases):
    cells = of(cases, "cell")
    checks = physics.compute_checks(cells, [predict_spring(case, scale=0.9) for case in cells])
    forces = 0.1 * 3.0 * cells[0].start.positions
    (largest,), (rms,) = (
        list(read(checks, f"forces_deviation_{which}_ev_per_ang").values()) for which in ("max", "rms")
    )
    assert largest == pytest.approx(np.abs(forces).max(), rel=1e-6)
    assert rms == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-6)


@pytest.mark.parametrize(
    ("energies", "flips"),
    [
        ([3, 2, 1, 2, 3], 0),
        ([3, 2, 1], 0),
        ([1, 2, 3], 0),
        ([1, 2, 1], 1),
        ([3, 1, 2, 1, 3], 2),
        ([1, 3, 1, 2], 1),
        ([3, 2, 2.00001, 1, 2], 0),
        ([1, 1, 1], 0),
    ],
)
def test_flips_are_the_turns_beyond_those_of_one_well(energies, flips):
    assert physics.count_flips(np.array(energies, dtype=float)) == flips


def test_a_pair_repels_down_to_where_a_hole_begins(cases):
    pairs = of(cases, "repulsion")

    def predict(case):
        r = case.recipe["distance_ang"]
        # Mg-O: a well at 2 Å. Zr-O: the same, with a hole at 1 Å and below.
        well = (r - 2.0) ** 2
        return Prediction(well if case.start.species[0] == "Mg" or r > 1.1 else -5.0 + r, np.zeros((2, 3)))

    checks = physics.compute_checks(pairs, [predict(case) for case in pairs])
    assert read(checks, "repulsive_down_to_ang") == {"Mg-O": 0.6, "Zr-O": 1.2}
    assert read(checks, "energy_flips") == {"Mg-O": 0.0, "Zr-O": 1.0}
    assert read(checks, "energy_at_1_ang_ev") == pytest.approx({"Mg-O": 1.0, "Zr-O": -4.0})
    metrics = by_name(physics.compute_metrics(checks, np.random.default_rng(0)))
    assert metrics["repulsive_rate"].value == 0.5
    assert metrics["repulsive_down_to_mean_ang"].value == pytest.approx(0.9)


def test_a_volume_curve_has_the_bulk_modulus_of_its_parabola(cases):
    curves = of(cases, "volume-curve")

    def predict(case):
        volume = case.start.volume_ang3 / case.recipe["volume_factor"]
        return Prediction(0.5 * volume * (case.recipe["volume_factor"] - 1) ** 2, np.zeros((case.start.n_atoms, 3)))

    checks = physics.compute_checks(curves, [predict(case) for case in curves])
    assert set(read(checks, "energy_flips").values()) == {0.0}
    # B = V d²E/dV² = 1 eV/Å³; a parabola is no Birch-Murnaghan curve, so within a few percent.
    assert list(read(checks, "bulk_modulus_gpa").values()) == pytest.approx([160.2] * len(curves[::13]), rel=0.03)


def test_what_fails_is_a_row_with_its_reason_and_in_no_mean(cases):
    pairs = of(cases, "repulsion")
    predictions = [
        Prediction(None, None, failure="unknown element: Zr")
        if case.start.species[0] == "Zr"
        else Prediction(-case.recipe["distance_ang"], np.zeros((2, 3)))
        for case in pairs
    ]
    checks = physics.compute_checks(pairs, predictions)
    assert {check.failure for check in checks if check.subject == "Zr-O"} == {"unknown element: Zr"}
    metrics = by_name(physics.compute_metrics(checks, np.random.default_rng(0)))
    assert (metrics["repulsive_rate"].value, metrics["repulsive_rate"].n) == (1.0, 1)
    assert (metrics["failed_count"].value, metrics["failed_count"].n) == (1.0, 2)
    assert (metrics["energy_drift_mae_ev_per_atom_per_ps"].value, metrics["energy_drift_mae_ev_per_atom_per_ps"].n) == (
        None,
        0,
    )


def test_differences_are_paired_over_the_subjects_that_both_have():
    def drift(subject, value):
        return PhysicsCheck("energy-drift", subject, "energy_drift_ev_per_atom_per_ps", value, "eV/atom/ps")

    before, after = [drift("a", -2.0), drift("b", 1.0)], [drift("a", 5.0), drift("c", 9.0)]
    metric = by_name(physics.compare(before, after, np.random.default_rng(0)))["energy_drift_mae_ev_per_atom_per_ps"]
    assert (metric.value, metric.n) == (3.0, 1)


@pytest.fixture(scope="module")
def potential():
    return load("heo-mini", device="cpu", dtype="float64")


def test_forces_of_a_real_model_are_the_slopes_of_its_energy_as_ase_finds_them(cases, potential):
    cells = of(cases, "cell")
    atoms_0 = [case for case in cells if case.recipe.get("atom", 0) == 0]
    predictions = potential.predict([case.start for case in atoms_0])
    checks = physics.compute_checks(cells[:1] + atoms_0[1:], predictions)
    # Only the first atom was moved: compare its three components with ASE's own central difference.
    cell = cells[0].start
    atoms = Atoms(cell.species, positions=cell.positions, cell=cell.lattice, pbc=True)
    atoms.calc = potential.as_ase_calculator()
    forces = atoms.get_forces()
    numerical = np.zeros_like(forces)
    for axis in range(3):
        energies = []
        for step in (PARAMS.step_ang, -PARAMS.step_ang):
            atoms.positions[:] = cell.positions
            atoms.positions[0, axis] += step
            energies.append(atoms.get_potential_energy())
        numerical[0, axis] = -(energies[0] - energies[1]) / (2 * PARAMS.step_ang)
    assert np.abs(forces[0] - numerical[0]).max() < 1e-4
    (rms,) = read(checks, "forces_deviation_rms_ev_per_ang").values()
    assert rms == pytest.approx(np.sqrt(np.mean((forces - numerical) ** 2)), abs=1e-9)


def test_a_moving_cell_has_the_total_energy_that_ase_finds(cases, potential):
    cell = cases[0].start
    checks = physics.measure_drifts(potential, cases, PARAMS)
    masses = Atoms(cell.species).get_masses()[:, None]
    rng = np.random.default_rng([PARAMS.seed, int(cell.content_hash[:16], 16)])
    velocities = rng.standard_normal((cell.n_atoms, 3)) * np.sqrt(units.kB * 300 / masses)
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    atoms = Atoms(cell.species, positions=cell.positions, cell=cell.lattice, pbc=True, velocities=velocities)
    atoms.calc = potential.as_ase_calculator()
    energies = []
    dynamics = VelocityVerlet(atoms, timestep=1.0 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms)))
    dynamics.run(10)
    slope, start = np.polyfit(np.arange(11) / 1000, energies, 1)
    rest = np.array(energies) - start - slope * np.arange(11) / 1000
    assert [check.value for check in checks] == pytest.approx([slope, np.sqrt(np.mean(rest**2))], abs=1e-8)


def test_a_cell_that_the_model_does_not_know_is_a_failed_drift(cases, potential):
    xenon = replace(cases[0], start=replace(cases[0].start, species=("Xe",) * cases[0].start.n_atoms))
    (drift, fluctuation) = physics.measure_drifts(potential, [xenon], PARAMS)
    assert drift.failure == fluctuation.failure == "unknown element: Xe, after 0 steps"
    assert drift.value is None
