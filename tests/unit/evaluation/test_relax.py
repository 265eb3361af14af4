"""Laws of relaxation: ASE's end points, judged on the final state, whatever stands beside a structure in its batch."""

import time
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS
from mace.calculators import MACECalculator
from torch_sim.models.lennard_jones import LennardJonesModel

from heo_core.evaluation.relax import _Run, relax_structures
from heo_core.models import load_model, resolve_model
from heo_core.models.potential import Potential
from heo_core.models.sim_state import find_neighbors, to_sim_state
from heo_core.params import RelaxParams
from heo_core.records import Frame, ModelFile, Prediction, Structure

CATIONS = ("Mg", "Ni", "Cu", "Co", "Zn")


class LennardJones(Potential):
    """Argon-like atoms of real physics in milliseconds, 2.3 Å apart at rest; computed by torch-sim."""

    family = "lennard-jones"

    def __init__(self, dtype="float64"):
        model = ModelFile(self.family, "lennard-jones", path=None, sha256=None, elements=("Ar", "Kr"))
        super().__init__(model, device="cpu", dtype=dtype)

    @cached_property
    def model(self):
        return LennardJonesModel(
            sigma=2.1,
            epsilon=0.3,
            cutoff=6.3,
            dtype=getattr(torch, self.dtype),
            compute_stress=True,
            neighbor_list_fn=find_neighbors,
        )

    def as_ase_calculator(self):
        raise NotImplementedError

    def as_torch_sim_model(self):
        return self.model

    def in_single_precision(self):
        return LennardJones("float32")

    def default_atoms_per_batch(self):
        return 64

    def _predict_batch(self, structures):
        output = self.model(to_sim_state(structures, device="cpu", dtype=self.dtype))
        return [
            Prediction(float(energy), output["forces"].double().numpy(), stress.double().numpy())
            for energy, stress in zip(output["energy"], output["stress"], strict=True)
        ]


def make_argon(rng, repeat=(1, 1, 1)):
    atoms = bulk("Ar", "fcc", a=3.4, cubic=True).repeat(repeat)
    positions = atoms.positions + rng.normal(0, 0.05, atoms.positions.shape)
    return Structure(np.array(atoms.cell), positions, ("Ar",) * len(atoms), immutable_id="argon", source="test")


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
def argon():
    rng = np.random.default_rng(3)
    return [make_argon(rng, repeat) for repeat in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 2, 1), (1, 1, 1))]


@pytest.fixture(scope="module")
def lennard_jones():
    return LennardJones()


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(11)
    return [make_cell(rng, repeat) for repeat in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 2, 1), (1, 1, 1))]


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "fire"])
def test_a_batch_that_refills_gives_the_results_of_one_by_one(argon, lennard_jones, optimizer):
    argon = argon[:3]  # 4, 8 and 4 atoms
    alone = relax(lennard_jones, argon, optimizer=optimizer, max_atoms_per_batch=1, fmax=0.03)
    for max_atoms in (8, 10_000):
        together = relax(lennard_jones, argon, optimizer=optimizer, max_atoms_per_batch=max_atoms, fmax=0.03)
        for one, other in zip(alone, together, strict=True):
            assert one.converged
            assert (one.converged, one.force_calls) == (other.converged, other.force_calls)
            assert one.energy_final_ev == pytest.approx(other.energy_final_ev, abs=1e-6)
            np.testing.assert_allclose(one.positions, other.positions, atol=1e-4)
            np.testing.assert_allclose(one.energies_ev, other.energies_ev, atol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "cell_filter"),
    [("lbfgs", "frechet"), ("bfgs", "hydrostatic"), ("fire", "hydrostatic"), ("lbfgs", "none"), ("bfgs", "frechet")],
)
def test_end_points_are_those_of_ase(cells, potential, optimizer, cell_filter):
    cell = cells[0]
    result = relax(potential, [cell], optimizer=optimizer, cell_filter=cell_filter, fmax=0.02, max_force_calls=500)[0]
    atoms = make_atoms(cell)
    atoms.calc = make_calculator()
    target = atoms
    if cell_filter != "none":
        target = FrechetCellFilter(atoms, hydrostatic_strain=cell_filter == "hydrostatic")
    LBFGS(target, logfile=None).run(fmax=0.02, steps=500)
    assert result.converged
    assert result.energy_final_ev / 8 == pytest.approx(atoms.get_potential_energy() / 8, abs=2e-4)


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs"])
def test_the_final_state_is_what_a_fresh_calculator_says_it_is(cells, potential, optimizer):
    for cell, result in zip(cells[:2], relax(potential, cells[:2], optimizer=optimizer, fmax=0.03), strict=True):
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
    for one, other in zip(relax(single, cells[:2]), relax(potential, cells[:2]), strict=True):
        assert one.converged
        assert one.energy_final_ev / len(one.positions) == pytest.approx(
            other.energy_final_ev / len(other.positions), abs=1e-4
        )


def test_mixed_precision_ends_in_double_precision(cells, potential):
    double_calls = []
    hook = potential.as_torch_sim_model().model.register_forward_hook(lambda *_: double_calls.append(1))
    result, other = relax(potential, cells[:2], dtype="mixed", max_atoms_per_batch=10_000)
    hook.remove()
    assert (result.converged, other.converged) == (True, True)
    assert len(double_calls) < 0.5 * (result.force_calls + other.force_calls)
    final = replace(cells[0], lattice=result.lattice, positions=result.positions)
    exact = potential.predict([final])[0]
    assert result.energy_final_ev == pytest.approx(exact.energy_ev, abs=1e-10)
    assert result.fmax_ev_per_ang == pytest.approx(np.linalg.norm(exact.forces_ev_per_ang, axis=1).max(), abs=1e-10)
    assert len(result.energies_ev) == result.force_calls


def test_mixed_precision_keeps_to_the_budget_and_judges_in_double_precision(argon, lennard_jones):
    for budget in (1, 3):
        result = relax(lennard_jones, argon[:1], dtype="mixed", max_force_calls=budget)[0]
        assert result.failure == f"not converged in {budget} force calls"
        final = replace(argon[0], lattice=result.lattice, positions=result.positions)
        assert result.energy_final_ev == pytest.approx(lennard_jones.predict([final])[0].energy_ev, abs=1e-10)


def test_a_hydrostatic_filter_keeps_the_shape_of_the_cell(cells, potential):
    strained = replace(cells[0], lattice=cells[0].lattice @ np.diag([1.0, 1.0, 1.1]))
    result = relax(potential, [strained], cell_filter="hydrostatic")[0]
    scale = (result.volume_change_fraction + 1) ** (1 / 3)
    assert result.converged
    assert abs(scale - 1) > 1e-3
    np.testing.assert_allclose(result.lattice, scale * strained.lattice, atol=1e-6)
    mean_stress = np.trace(result.stress_ev_per_ang3) / 3
    assert result.cell_fmax_ev_per_ang == pytest.approx(abs(np.linalg.det(result.lattice) * mean_stress / 8), abs=1e-9)
    assert abs(result.stress_ev_per_ang3[2, 2] - mean_stress) > 10 * abs(mean_stress)


def test_displacement_and_volume_change_are_from_the_start(argon, lennard_jones):
    result = relax(lennard_jones, argon[:1])[0]
    moved = result.positions @ np.linalg.inv(result.lattice) - argon[0].positions @ np.linalg.inv(argon[0].lattice)
    moved = (moved - moved.mean(axis=0)) @ argon[0].lattice
    assert result.displacement_rmsd_ang == pytest.approx(np.sqrt(np.mean(np.sum(moved**2, axis=1))), abs=1e-9)
    volume = np.linalg.det(result.lattice)
    assert result.volume_change_fraction == pytest.approx(volume / argon[0].volume_ang3 - 1, abs=1e-12)


def test_a_trajectory_holds_every_state_and_only_where_it_is_asked_for(argon, lennard_jones):
    assert relax(lennard_jones, argon[:1], max_force_calls=2)[0].trajectory == ()
    for dtype in ("float64", "mixed"):
        result = relax(lennard_jones, argon[:1], max_force_calls=4, trajectory=True, dtype=dtype)[0]
        assert tuple(frame.energy_ev for frame in result.trajectory) == result.energies_ev
        assert len(result.trajectory) == 4
        np.testing.assert_allclose(result.trajectory[0].positions, argon[0].positions, atol=1e-5)
        np.testing.assert_array_equal(result.trajectory[-1].positions, result.positions)


@pytest.mark.parametrize("spreads", [False, True])
def test_what_makes_nan_fails_alone(argon, spreads):
    # From its third force call on, the model gives no number for cells with krypton; where that spreads, for no
    # other cell of the batch either.
    potential = LennardJones()
    calls = []

    def spoil(_, inputs, output):
        state = inputs[0]
        is_bad = np.unique(state.system_idx[state.atomic_numbers == 36].numpy())
        calls.extend(is_bad)
        if len(calls) >= 3 and len(is_bad):
            output["energy"][slice(None) if spreads else is_bad] = float("nan")
        return output

    potential.as_torch_sim_model().register_forward_hook(spoil)
    krypton = replace(argon[0], species=("Kr", *argon[0].species[1:]))
    clean = relax(potential, [argon[0], argon[2]], max_atoms_per_batch=10_000)
    good, bad, late = relax(potential, [argon[0], krypton, argon[2]], max_atoms_per_batch=10_000)
    assert "not finite" in bad.failure
    assert (bad.converged, bad.energy_final_ev, bad.positions) == (False, None, None)
    for result, expected in zip((good, late), clean, strict=True):
        assert result.converged
        assert result.energies_ev == pytest.approx(expected.energies_ev, abs=1e-6)


def test_bad_structures_leave_the_good_ones_as_they_are(argon, lennard_jones):
    good = argon[:3]
    overlapping = argon[0].positions.copy()
    overlapping[1] = overlapping[0] + 0.01
    across_the_border = argon[0].positions.copy()
    across_the_border[1] = overlapping[0] + argon[0].lattice[0]
    bad = [
        replace(argon[0], species=("Xe", *argon[0].species[1:])),
        replace(argon[0], positions=overlapping),
        replace(argon[0], positions=across_the_border),
        replace(argon[0], positions=np.full((4, 3), np.nan)),
        replace(argon[0], lattice=np.zeros((3, 3))),
    ]
    *refused, one, two, three = relax(lennard_jones, [*bad, *good], max_atoms_per_batch=10_000)
    reasons = ("unknown element: Xe", "atoms overlap", "atoms overlap", "not finite", "Å³ an atom")
    for result, reason in zip(refused, reasons, strict=True):
        assert reason in result.failure
        assert (result.converged, result.force_calls, result.energy_final_ev, result.lattice) == (False, 0, None, None)
    for result, clean in zip((one, two, three), relax(lennard_jones, good), strict=True):
        assert result.converged
        assert result.energies_ev == clean.energies_ev


def test_a_structure_on_which_the_model_raises_fails_alone(cells):
    # A registration that promises an element which the file does not know: the model itself raises.
    model = resolve_model("heo-mini")
    potential = load_model(replace(model, elements=(*model.elements, "Xe")), device="cpu")
    xenon = replace(cells[0], species=("Xe", *cells[0].species[1:]))
    good, failed, late = relax(potential, [cells[0], xenon, cells[2]], max_atoms_per_batch=16, fmax=0.3)
    assert "Error" in failed.failure
    assert failed.energy_final_ev is None
    assert (good.converged, late.converged) == (True, True)
    assert good.energy_final_ev == pytest.approx(relax(potential, cells[:1], fmax=0.3)[0].energy_final_ev, abs=1e-9)


def test_a_model_that_gives_no_numbers_is_named(cells, tmp_path):
    potential = load_model(resolve_model("heo-mini"), device="cpu")
    with torch.no_grad():
        next(potential.as_torch_sim_model().model.readouts.parameters()).fill_(float("nan"))
    for result in relax(potential, cells[:2]):
        assert "not finite" in result.failure
        assert (result.force_calls, result.energy_final_ev, result.energies_ev) == (1, None, ())


def test_a_budget_that_is_used_up_is_said_and_keeps_the_last_state(argon, lennard_jones):
    result = relax(lennard_jones, argon[:1], max_force_calls=3)[0]
    assert result.failure == "not converged in 3 force calls"
    assert (result.converged, result.force_calls) == (False, 3)
    assert result.energy_final_ev == result.energies_ev[2] < result.energies_ev[0]
    assert result.positions.shape == (4, 3)


def test_force_calls_count_every_evaluation_of_the_model(argon):
    potential = LennardJones()
    batches = []
    potential.model.register_forward_hook(lambda _, inputs, __: batches.append(inputs[0].n_systems))
    results = relax(potential, argon[:3], max_atoms_per_batch=8)
    assert sum(batches) == sum(result.force_calls for result in results)


def test_a_relaxed_structure_needs_one_force_call(argon, lennard_jones):
    result = relax(lennard_jones, argon[:1])[0]
    again = relax(lennard_jones, [replace(argon[0], lattice=result.lattice, positions=result.positions)])[0]
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


def test_atoms_keep_their_order_and_are_not_wrapped(argon, lennard_jones):
    cell = argon[0]
    outside = cell.positions.copy()
    outside[3] += 2 * cell.lattice[0] - cell.lattice[2]
    inside, moved = relax(lennard_jones, [cell, replace(cell, positions=outside)])
    shift = 2 * moved.lattice[0] - moved.lattice[2]
    np.testing.assert_allclose(moved.positions[3] - shift, inside.positions[3], atol=1e-5)
    np.testing.assert_allclose(moved.positions[:3], inside.positions[:3], atol=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "fire"])
def test_a_left_handed_cell_relaxes_like_its_right_handed_twin(argon, lennard_jones, optimizer):
    left = replace(argon[0], lattice=-argon[0].lattice)
    mirrored, plain = relax(lennard_jones, [left, argon[0]], optimizer=optimizer)
    assert mirrored.converged
    assert mirrored.energy_final_ev == pytest.approx(plain.energy_final_ev, abs=1e-8)
    np.testing.assert_allclose(mirrored.lattice, -plain.lattice, atol=1e-6)


def test_the_seconds_of_all_structures_are_those_of_the_batch(argon, lennard_jones):
    start = time.perf_counter()
    results = relax(lennard_jones, argon[:3])
    wall_s = time.perf_counter() - start
    assert 0.5 * wall_s < sum(result.wall_s for result in results) <= wall_s


def test_results_come_out_before_the_whole_batch_is_done(argon, lennard_jones):
    relaxed = relax(lennard_jones, argon[:1])[0]
    done = replace(argon[0], lattice=relaxed.lattice, positions=relaxed.positions)
    stream = relax_structures(lennard_jones, [argon[2], done], RelaxParams())
    assert [index for index, _ in stream] == [1, 0]


def test_a_potential_without_torch_sim_is_relaxed_by_ase_under_the_same_judge(cells):
    chgnet = load_model(resolve_model("chgnet:0.3.0"), device="cpu")
    atoms = bulk("MgO", "rocksalt", a=4.3)
    atoms.positions[1, 0] += 0.1
    magnesia = Structure(np.array(atoms.cell), atoms.positions, ("Mg", "O"), "mgo", "test")
    overlapping = replace(magnesia, positions=np.zeros((2, 3)))
    for optimizer in ("lbfgs", "bfgs"):
        refused, result = relax(chgnet, [overlapping, magnesia], optimizer=optimizer)
        assert "atoms overlap" in refused.failure
        assert result.converged
        assert 1 < result.force_calls == len(result.energies_ev)
        assert result.fmax_ev_per_ang <= 0.05
        assert result.cell_fmax_ev_per_ang <= 0.05
        assert result.energy_final_ev / 2 == pytest.approx(-6.3139, abs=1e-3)  # CHGNet's own ground state


def make_frame(lattice_ang=4.0, force=0.0, stress=0.0, distance=2.0):
    return Frame(
        energy_ev=-1.0,
        forces_ev_per_ang=np.array([[force, 0, 0], [-force, 0, 0]], dtype=float),
        stress_ev_per_ang3=np.diag([stress, 0, 0]),
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
        (make_frame(distance=0.3), "collapsed: atoms overlap: 0.300 Å apart"),
    ],
)
def test_a_wreck_is_named(frame, reason):
    import re

    result = start_run().observe(frame)
    assert not result.converged
    assert re.search(reason, result.failure)


def test_seconds_that_are_used_up_are_said_and_keep_the_last_state():
    run = start_run(max_seconds=2.0)
    run.wall_s = 1.9
    assert run.observe(make_frame(force=1.0)) is None
    run.wall_s = 2.1
    result = run.observe(make_frame(force=1.0))
    assert result.failure == "not converged in 2.1 s, 2 force calls"
    assert (result.converged, result.energy_final_ev) == (False, -1.0)


def test_a_vast_cell_is_searched_for_overlaps_in_no_time():
    run = start_run(fmax=0.1)
    run.structure = replace(run.structure, lattice=np.eye(3) * 2000.0)
    assert run.observe(make_frame(lattice_ang=2000.0)).converged
    assert "overlap" in run.observe(make_frame(lattice_ang=2000.0, distance=0.4)).failure


@pytest.mark.gpu
def test_a_gpu_relaxes_as_the_cpu_does(cells, potential):
    on_gpu = load_model(resolve_model("heo-mini"), device="cuda")
    for ours, theirs in zip(relax(on_gpu, cells, dtype="mixed"), relax(potential, cells), strict=True):
        assert ours.converged
        assert ours.energy_final_ev == pytest.approx(theirs.energy_final_ev, abs=1e-3)


def test_convergence_is_of_forces_and_of_stress():
    # 64 Å³ and two atoms: a stress of 0.01 eV/Å³ is a cell force of 64 * 0.01 / 2 = 0.32 eV/Å.
    assert start_run(fmax=0.1).observe(make_frame(force=0.1)).converged
    assert start_run(fmax=0.1).observe(make_frame(force=0.11)) is None
    assert start_run(fmax=0.32).observe(make_frame(stress=0.01)).cell_fmax_ev_per_ang == pytest.approx(0.32)
    assert start_run(fmax=0.31).observe(make_frame(stress=0.01)) is None
    assert start_run(fmax=0.31, cell_filter="none").observe(make_frame(stress=0.01)).converged
    # Along one axis only: a third of it is the mean stress.
    assert start_run(fmax=0.107, cell_filter="hydrostatic").observe(make_frame(stress=0.01)).converged
    assert start_run(fmax=0.106, cell_filter="hydrostatic").observe(make_frame(stress=0.01)) is None
