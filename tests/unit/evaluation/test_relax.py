"""Laws of relaxation: ASE's end points, judged on the final state, whatever stands beside a structure in its batch."""

import time
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from mace.calculators import MACECalculator

from heo_core.evaluation.relax import _Frame, _Run, relax_structures
from heo_core.models import load_model, resolve_model
from heo_core.params import RelaxParams
from heo_core.records import Structure

CATIONS = ("Mg", "Ni", "Cu", "Co", "Zn")


def make_cell(rng, repeat=(1, 1, 1), rattle=0.1):
    atoms = bulk("MgO", "rocksalt", a=4.3, cubic=True).repeat(repeat)
    n_cations = len(atoms) // 2
    cations = iter(rng.permutation(np.resize(CATIONS, n_cations)))
    species = tuple(str(next(cations)) if symbol == "Mg" else symbol for symbol in atoms.get_chemical_symbols())
    positions = atoms.positions + rng.normal(0, rattle, atoms.positions.shape)
    return Structure(np.array(atoms.cell), positions, species, immutable_id="cell", source="test")


def relax(potential, structures, **params):
    results = dict(relax_structures(potential, structures, RelaxParams(**params)))
    assert sorted(results) == list(range(len(structures)))
    return [results[index] for index in range(len(structures))]


def make_calculator():
    return MACECalculator(model_paths=resolve_model("heo-mini").path, device="cpu", default_dtype="float64")


def make_atoms(structure, lattice=None, positions=None):
    return Atoms(
        structure.species,
        positions=structure.positions if positions is None else positions,
        cell=structure.lattice if lattice is None else lattice,
        pbc=True,
    )


@pytest.fixture(scope="module")
def potential():
    return load_model(resolve_model("heo-mini"), device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(11)
    return [make_cell(rng, repeat) for repeat in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 2, 1), (1, 1, 1))]


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
def test_a_batch_that_refills_gives_the_results_of_one_by_one(cells, potential, optimizer):
    cells = cells if optimizer == "lbfgs" else cells[::2]
    alone = relax(potential, cells, optimizer=optimizer, max_atoms_per_batch=1)
    for max_atoms in (16, 10_000):
        together = relax(potential, cells, optimizer=optimizer, max_atoms_per_batch=max_atoms)
        for one, other in zip(alone, together, strict=True):
            assert one.converged
            assert (one.converged, one.force_calls) == (other.converged, other.force_calls)
            assert one.energy_final_ev == pytest.approx(other.energy_final_ev, abs=1e-6)
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-4)
            np.testing.assert_allclose(one.energies_ev, other.energies_ev, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
@pytest.mark.parametrize("cell_filter", ["frechet", "none"])
def test_end_points_are_those_of_ase(cells, potential, optimizer, cell_filter):
    cell = cells[0]
    result = relax(potential, [cell], optimizer=optimizer, cell_filter=cell_filter, fmax=0.005, max_force_calls=500)[0]
    atoms = make_atoms(cell)
    atoms.calc = make_calculator()
    LBFGS(FrechetCellFilter(atoms) if cell_filter == "frechet" else atoms, logfile=None).run(fmax=0.005, steps=500)
    assert result.converged
    assert result.energy_final_ev / 8 == pytest.approx(atoms.get_potential_energy() / 8, abs=1e-4)


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
def test_the_final_state_is_what_a_fresh_calculator_says_it_is(cells, potential, optimizer):
    for cell, result in zip(cells[:3], relax(potential, cells[:3], optimizer=optimizer, fmax=0.03), strict=True):
        atoms = make_atoms(cell, result.lattice, result.positions)
        atoms.calc = make_calculator()
        cell_force = np.linalg.norm(atoms.get_volume() * atoms.get_stress(voigt=False) / len(atoms), axis=1).max()
        fmax = np.linalg.norm(atoms.get_forces(), axis=1).max()
        assert result.converged
        assert fmax <= 0.03
        assert cell_force <= 0.03
        assert result.energy_final_ev == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert result.fmax_ev_per_ang == pytest.approx(fmax, abs=1e-7)
        assert result.cell_fmax_ev_per_ang == pytest.approx(cell_force, abs=1e-7)
        np.testing.assert_allclose(result.stress_ev_per_ang3, atoms.get_stress(voigt=False), atol=1e-8)
        assert result.energies_ev[-1] == result.energy_final_ev
        assert result.energies_ev[0] == result.energy_initial_ev
        assert len(result.energies_ev) == len(result.fmaxes_ev_per_ang) == result.force_calls


def test_single_precision_ends_where_double_precision_does(cells, potential):
    single = load_model(resolve_model("heo-mini"), device="cpu", dtype="float32")
    for one, other in zip(relax(single, cells[:3]), relax(potential, cells[:3]), strict=True):
        assert one.converged
        assert one.energy_final_ev / len(one.positions) == pytest.approx(
            other.energy_final_ev / len(other.positions), abs=1e-4
        )


def test_bad_structures_leave_the_good_ones_as_they_are(cells, potential):
    good = cells[:3]
    overlapping = cells[0].positions.copy()
    overlapping[1] = overlapping[0] + 0.01
    across_the_border = cells[0].positions.copy()
    across_the_border[1] = overlapping[0] + cells[0].lattice[0]
    bad = [
        replace(cells[0], species=("Xe", *cells[0].species[1:])),
        replace(cells[0], positions=overlapping),
        replace(cells[0], positions=across_the_border),
        replace(cells[0], positions=np.full((8, 3), np.nan)),
        replace(cells[0], lattice=np.zeros((3, 3))),
    ]
    *refused, one, two, three = relax(potential, [*bad, *good], max_atoms_per_batch=10_000)
    reasons = ("unknown element: Xe", "atoms overlap", "atoms overlap", "not finite", "Å³ an atom")
    for result, reason in zip(refused, reasons, strict=True):
        assert reason in result.failure
        assert (result.converged, result.force_calls, result.energy_final_ev, result.lattice) == (False, 0, None, None)
    for result, clean in zip((one, two, three), relax(potential, good), strict=True):
        assert result.converged
        assert result.energies_ev == clean.energies_ev


def test_a_structure_on_which_the_model_raises_fails_alone(cells):
    # A registration that promises an element which the file does not know: the model itself raises.
    model = resolve_model("heo-mini")
    potential = load_model(replace(model, elements=(*model.elements, "Xe")), device="cpu")
    xenon = replace(cells[0], species=("Xe", *cells[0].species[1:]))
    good, failed, late = relax(potential, [cells[0], xenon, cells[2]], max_atoms_per_batch=16)
    assert "Error" in failed.failure
    assert failed.energy_final_ev is None
    assert (good.converged, late.converged) == (True, True)
    assert good.energy_final_ev == pytest.approx(relax(potential, cells[:1])[0].energy_final_ev, abs=1e-9)


def test_a_model_that_gives_no_numbers_is_named(cells, tmp_path):
    potential = load_model(resolve_model("heo-mini"), device="cpu")
    import torch

    with torch.no_grad():
        next(potential.as_torch_sim_model().model.readouts.parameters()).fill_(float("nan"))
    for result in relax(potential, cells[:2]):
        assert "not finite" in result.failure
        assert (result.force_calls, result.energy_final_ev, result.energies_ev) == (1, None, ())


def test_a_budget_that_is_used_up_is_said_and_keeps_the_last_state(cells, potential):
    result = relax(potential, cells[:1], max_force_calls=3)[0]
    assert result.failure == "not converged in 3 force calls"
    assert (result.converged, result.force_calls) == (False, 3)
    assert result.energy_final_ev == result.energies_ev[2] < result.energies_ev[0]
    assert result.positions.shape == (8, 3)


def test_force_calls_count_every_evaluation_of_the_model(cells):
    potential = load_model(resolve_model("heo-mini"), device="cpu")
    batches = []
    potential.as_torch_sim_model().model.register_forward_hook(lambda *call: batches.append(len(call[1][0]["ptr"]) - 1))
    results = relax(potential, cells[:3], max_atoms_per_batch=16)
    assert sum(batches) == sum(result.force_calls for result in results)


def test_a_relaxed_structure_needs_one_force_call(cells, potential):
    result = relax(potential, cells[:1])[0]
    again = relax(potential, [replace(cells[0], lattice=result.lattice, positions=result.positions)])[0]
    assert (again.converged, again.force_calls) == (True, 1)
    np.testing.assert_array_equal(again.positions, result.positions)


def test_a_stressed_cell_without_forces_is_not_converged(potential):
    squeezed = bulk("MgO", "rocksalt", a=3.9, cubic=True)
    structure = Structure(np.array(squeezed.cell), squeezed.positions, tuple(squeezed.get_chemical_symbols()), "s", "t")
    fixed, free = (relax(potential, [structure], cell_filter=cell_filter)[0] for cell_filter in ("none", "frechet"))
    assert (fixed.converged, fixed.force_calls, fixed.cell_fmax_ev_per_ang) == (True, 1, 0.0)
    np.testing.assert_array_equal(fixed.lattice, structure.lattice)
    assert free.converged
    assert free.force_calls > 1
    assert np.linalg.det(free.lattice) > structure.volume_ang3


def test_atoms_keep_their_order_and_are_not_wrapped(cells, potential):
    cell = cells[0]
    outside = cell.positions.copy()
    outside[3] += 2 * cell.lattice[0] - cell.lattice[2]
    inside, moved = relax(potential, [cell, replace(cell, positions=outside)])
    shift = 2 * moved.lattice[0] - moved.lattice[2]
    np.testing.assert_allclose(moved.positions[3] - shift, inside.positions[3], atol=1e-5)
    np.testing.assert_allclose(moved.positions[:3], inside.positions[:3], atol=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "fire"])
def test_a_left_handed_cell_relaxes_like_its_right_handed_twin(cells, potential, optimizer):
    left = replace(cells[0], lattice=-cells[0].lattice)
    mirrored, plain = relax(potential, [left, cells[0]], optimizer=optimizer)
    assert mirrored.converged
    assert mirrored.energy_final_ev == pytest.approx(plain.energy_final_ev, abs=1e-8)
    np.testing.assert_allclose(mirrored.lattice, -plain.lattice, atol=1e-6)


def test_the_seconds_of_all_structures_are_those_of_the_batch(cells, potential):
    start = time.perf_counter()
    results = relax(potential, cells[:3])
    wall_s = time.perf_counter() - start
    assert 0.5 * wall_s < sum(result.wall_s for result in results) <= wall_s


def test_results_come_out_before_the_whole_batch_is_done(cells, potential):
    relaxed = relax(potential, cells[:1])[0]
    done = replace(cells[0], lattice=relaxed.lattice, positions=relaxed.positions)
    stream = relax_structures(potential, [cells[2], done], RelaxParams())
    assert [index for index, _ in stream] == [1, 0]


def test_a_potential_without_torch_sim_is_relaxed_by_ase_under_the_same_judge(cells):
    chgnet = load_model(resolve_model("chgnet:0.3.0"), device="cpu")
    atoms = bulk("MgO", "rocksalt", a=4.3)
    atoms.positions[1, 0] += 0.1
    magnesia = Structure(np.array(atoms.cell), atoms.positions, ("Mg", "O"), "mgo", "test")
    overlapping = replace(magnesia, positions=np.zeros((2, 3)))
    for optimizer in ("lbfgs", "fire"):
        refused, result = relax(chgnet, [overlapping, magnesia], optimizer=optimizer)
        assert "atoms overlap" in refused.failure
        assert result.converged
        assert 1 < result.force_calls == len(result.energies_ev)
        assert result.fmax_ev_per_ang <= 0.05
        assert result.cell_fmax_ev_per_ang <= 0.05
        assert result.energy_final_ev / 2 == pytest.approx(-6.3139, abs=1e-3)  # CHGNet's own ground state


def make_frame(lattice_ang=4.0, force=0.0, stress=0.0, distance=2.0):
    return _Frame(
        energy_ev=-1.0,
        forces=np.array([[force, 0, 0], [-force, 0, 0]], dtype=float),
        stress=np.diag([stress, 0, 0]),
        lattice=np.eye(3) * lattice_ang,
        positions=np.array([[0.0, 0, 0], [distance, 0, 0]]),
    )


def start_run(**params):
    frame = make_frame()
    return _Run(0, Structure(frame.lattice, frame.positions, ("Mg", "O"), "s", "t"), RelaxParams(**params))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (make_frame(lattice_ang=4.0 * 0.49 ** (1 / 3)), "collapsed: 0.49 times the start volume"),
        (make_frame(lattice_ang=4.0 * 2.01 ** (1 / 3)), "exploded: 2.01 times the start volume"),
        (make_frame(force=1001.0), "exploded: a force of 1e[+]03 eV/Å"),
        (make_frame(force=np.nan), "not finite"),
        (make_frame(distance=0.3), "atoms overlap: 0.300 Å apart"),
    ],
)
def test_a_wreck_is_named(frame, reason):
    import re

    result = start_run().observe(frame)
    assert not result.converged
    assert re.search(reason, result.failure)


def test_convergence_is_of_forces_and_of_stress():
    # 64 Å³ and two atoms: a stress of 0.01 eV/Å³ is a cell force of 64 * 0.01 / 2 = 0.32 eV/Å.
    assert start_run(fmax=0.1).observe(make_frame(force=0.1)).converged
    assert start_run(fmax=0.1).observe(make_frame(force=0.11)) is None
    assert start_run(fmax=0.32).observe(make_frame(stress=0.01)).cell_fmax_ev_per_ang == pytest.approx(0.32)
    assert start_run(fmax=0.31).observe(make_frame(stress=0.01)) is None
    assert start_run(fmax=0.31, cell_filter="none").observe(make_frame(stress=0.01)).converged
