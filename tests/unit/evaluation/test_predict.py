"""Laws of predictions: those of MACE's own calculator, whatever stands beside a structure in its batch."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from mace.calculators import MACECalculator

from heo_core.models import load_model, resolve_model
from heo_core.records import Structure

CATIONS = ("Mg", "Ni", "Cu", "Co", "Zn")


def make_cell(rng, repeat=(1, 1, 1), rattle=0.1):
    atoms = bulk("MgO", "rocksalt", a=4.25, cubic=True).repeat(repeat)
    species = [rng.choice(CATIONS) if symbol == "Mg" else symbol for symbol in atoms.get_chemical_symbols()]
    positions = atoms.positions + rng.normal(0, rattle, atoms.positions.shape)
    lattice = np.array(atoms.cell) @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    return Structure(lattice, positions, tuple(map(str, species)), immutable_id="cell", source="test")


def make_atoms(structure):
    return Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)


def replace_positions(structure, positions):
    return Structure(structure.lattice, positions, structure.species, structure.immutable_id, structure.source)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(5)
    return [make_cell(rng, repeat) for repeat in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 2, 1))]


@pytest.fixture(scope="module")
def potential():
    return load_model(resolve_model("heo-mini"), device="cpu", dtype="float64")


@pytest.mark.parametrize(
    ("dtype", "energy_tolerance", "forces_tolerance"), [("float64", 1e-6, 1e-8), ("float32", 2e-3, 1e-4)]
)
def test_predictions_are_those_of_maces_own_calculator(cells, dtype, energy_tolerance, forces_tolerance):
    model = resolve_model("heo-mini")
    predictions = load_model(model, device="cpu", dtype=dtype).predict(cells)
    calculator = MACECalculator(model_paths=model.path, device="cpu", default_dtype="float64")
    for structure, prediction in zip(cells, predictions, strict=True):
        atoms = make_atoms(structure)
        atoms.calc = calculator
        assert prediction.failure is None
        assert prediction.energy_ev == pytest.approx(atoms.get_potential_energy(), abs=energy_tolerance)
        np.testing.assert_allclose(prediction.forces_ev_per_ang, atoms.get_forces(), atol=forces_tolerance)
        np.testing.assert_allclose(
            prediction.stress_ev_per_ang3, atoms.get_stress(voigt=False), atol=forces_tolerance / 10
        )


def test_predictions_do_not_depend_on_the_size_of_the_batches(cells, potential):
    together, alone = potential.predict(cells, 10_000), potential.predict(cells, 1)
    for one, other in zip(together, alone, strict=True):
        assert one.energy_ev == pytest.approx(other.energy_ev, abs=1e-9)
        np.testing.assert_allclose(one.forces_ev_per_ang, other.forces_ev_per_ang, atol=1e-10)


def test_the_same_question_has_the_same_answer_to_the_last_bit(cells, potential):
    first, second = potential.predict(cells), potential.predict(cells)
    for one, other in zip(first, second, strict=True):
        assert one.energy_ev == other.energy_ev
        np.testing.assert_array_equal(one.forces_ev_per_ang, other.forces_ev_per_ang)


def test_two_precisions_live_side_by_side(cells, potential):
    single = load_model(resolve_model("heo-mini"), device="cpu", dtype="float32")
    calculators = {each.dtype: each.as_ase_calculator() for each in (single, potential)}
    for each in (potential, single, potential):
        atoms = make_atoms(cells[0])
        atoms.calc = calculators[each.dtype]
        assert atoms.get_potential_energy() == pytest.approx(each.predict(cells[:1])[0].energy_ev, abs=1e-4)


def test_a_bad_structure_has_its_reason_and_leaves_the_others_alone(cells, potential):
    unknown = Structure(np.eye(3) * 4, np.array([[0.0, 0, 0], [2, 0, 0]]), ("Xe", "O"), "xe", "test")
    nowhere = replace_positions(cells[0], np.full_like(cells[0].positions, np.nan))
    far = replace_positions(cells[0], cells[0].positions + 1e300)
    flat = Structure(np.diag([4.0, 4.0, 0.0]), np.zeros((1, 3)), ("O",), "flat", "test")
    short = replace_positions(cells[0], cells[0].positions[:-1])
    empty = Structure(np.eye(3), np.zeros((0, 3)), (), "empty", "test")
    bad = [unknown, nowhere, far, flat, short, empty]
    *failed, good, other = potential.predict([*bad, *cells[:2]], 10_000)
    for prediction, reason in zip(
        failed, ("unknown element: Xe", "not finite", "not finite", "Å³ an atom", "8 species", "no atoms"), strict=True
    ):
        assert reason in prediction.failure
        assert (prediction.energy_ev, prediction.forces_ev_per_ang, prediction.stress_ev_per_ang3) == (None, None, None)
    clean = potential.predict(cells[:2])
    assert [good.energy_ev, other.energy_ev] == [prediction.energy_ev for prediction in clean]


def test_a_batch_that_raises_is_computed_again_one_by_one(cells):
    # A registration that promises an element which the file does not know: the model itself raises.
    model = resolve_model("heo-mini")
    potential = load_model(replace(model, elements=(*model.elements, "Xe")), device="cpu")
    xenon = Structure(np.eye(3) * 4, np.array([[0.0, 0, 0], [2, 0, 0]]), ("Xe", "O"), "xe", "test")
    failed, good = potential.predict([xenon, cells[0]], 10_000)
    assert failed.energy_ev is None
    assert "Error" in failed.failure
    assert good.energy_ev == potential.predict(cells[:1])[0].energy_ev


def test_a_left_handed_cell_is_the_same_crystal(cells, potential):
    mirrored = Structure(-cells[0].lattice, cells[0].positions, cells[0].species, "left", "test")
    left, right = potential.predict([mirrored, cells[0]])
    assert left.energy_ev == pytest.approx(right.energy_ev, abs=1e-9)
    np.testing.assert_allclose(left.stress_ev_per_ang3, right.stress_ev_per_ang3, atol=1e-10)


def test_chgnet_predicts_on_the_corrected_energy_scale(potential):
    chgnet = load_model(resolve_model("chgnet:0.3.0"), device="cpu")
    assert (chgnet.energy_scale, chgnet.dtype) == ("mp2020-corrected", "float32")
    assert potential.energy_scale == "pbe-uncorrected"
    magnesia = bulk("MgO", "rocksalt", a=4.21)
    structure = Structure(np.array(magnesia.cell), magnesia.positions, ("Mg", "O"), "mgo", "test")
    prediction = chgnet.predict([structure])[0]
    assert prediction.energy_ev / 2 == pytest.approx(-6.31, abs=0.02)  # CHGNet's own ground state: -6.3139 eV/atom


def test_chgnets_stress_is_the_derivative_of_its_energy_by_strain():
    chgnet = load_model(resolve_model("chgnet:0.3.0"), device="cpu")
    rng = np.random.default_rng(1)
    cell = make_cell(rng, rattle=0.05)
    strain = np.zeros((3, 3))
    strain[0, 0] = 1e-3
    stretched = [
        Structure(
            cell.lattice @ (np.eye(3) + sign * strain),
            cell.positions @ (np.eye(3) + sign * strain),
            cell.species,
            "s",
            "t",
        )
        for sign in (1, -1)
    ]
    mirrored = Structure(-cell.lattice, cell.positions, cell.species, "left", "t")
    plus, minus, middle, left = chgnet.predict([*stretched, cell, mirrored])
    expected = (plus.energy_ev - minus.energy_ev) / (2 * 1e-3) / cell.volume_ang3
    assert middle.stress_ev_per_ang3[0, 0] == pytest.approx(expected, rel=0.03, abs=2e-4)
    # A left-handed cell is the same crystal.
    np.testing.assert_allclose(left.stress_ev_per_ang3, middle.stress_ev_per_ang3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar:UserWarning")
def test_chgnets_numbers_are_those_of_its_own_calculator():
    from chgnet.model.dynamics import CHGNetCalculator

    chgnet = load_model(resolve_model("chgnet:0.3.0"), device="cpu")
    cell = make_cell(np.random.default_rng(2), rattle=0.05)
    atoms = Atoms(cell.species, positions=cell.positions, cell=cell.lattice, pbc=True)
    atoms.calc = CHGNetCalculator(chgnet.as_ase_calculator().model, use_device="cpu")
    atoms.calc.model.requires_grad_(requires_grad=True)
    prediction = chgnet.predict([cell])[0]
    assert prediction.energy_ev == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(prediction.forces_ev_per_ang, atoms.get_forces(), atol=1e-4)
    np.testing.assert_allclose(prediction.stress_ev_per_ang3, atoms.get_stress(voigt=False), atol=1e-5)
