"""Moved structures carry no labels, and move by what was asked."""

import numpy as np
import pytest

from heo_core.errors import InputError
from heo_core.records import Structure
from heo_core.structures.perturb import rattle, strain


def make_labelled(n_atoms: int = 8) -> Structure:
    return Structure(
        lattice=np.diag([4.0, 5.0, 6.0]),
        positions=np.random.default_rng(0).uniform(0, 4, size=(n_atoms, 3)),
        species=("Mg",) * n_atoms,
        immutable_id="id",
        source="mp",
        functional="pbe",
        fingerprint="f",
        energy_ev=-1.0,
        forces_ev_per_ang=np.zeros((n_atoms, 3)),
        stress_ev_per_ang3=np.zeros((3, 3)),
    )


@pytest.mark.parametrize(
    "moved", [rattle(make_labelled(), 0.1, np.random.default_rng(0)), strain(make_labelled(), np.eye(3) * 0.01)]
)
def test_labels_of_another_geometry_are_dropped(moved):
    assert moved.source == "generated"
    dropped = (moved.functional, moved.fingerprint, moved.energy_ev, moved.forces_ev_per_ang, moved.stress_ev_per_ang3)
    assert dropped == (None,) * 5


def test_rattle_has_the_stated_standard_deviation_and_keeps_the_cell():
    structure = make_labelled(5000)
    moved = rattle(structure, 0.05, np.random.default_rng(1))
    assert (moved.positions - structure.positions).std(axis=0) == pytest.approx([0.05] * 3, rel=0.03)
    assert np.all(moved.lattice == structure.lattice)


def test_rattle_leaves_its_input_alone_and_of_zero_moves_nothing():
    structure = make_labelled()
    before = structure.positions.copy()
    assert np.all(rattle(structure, 0.0, np.random.default_rng(0)).positions == before)
    rattle(structure, 0.1, np.random.default_rng(0))
    assert np.all(structure.positions == before)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_rattle_refuses_what_is_no_length(sigma):
    with pytest.raises(InputError, match="must be a number >= 0"):
        rattle(make_labelled(), sigma, np.random.default_rng(0))


def test_strain_moves_atoms_with_the_cell():
    structure = make_labelled()
    tensor = np.array([[0.1, 0.02, 0.0], [0.02, -0.05, 0.0], [0.0, 0.0, 0.01]])
    moved = strain(structure, tensor)
    before = structure.positions @ np.linalg.inv(structure.lattice)
    assert moved.positions @ np.linalg.inv(moved.lattice) == pytest.approx(before)
    assert moved.volume_ang3 == pytest.approx(structure.volume_ang3 * np.linalg.det(np.eye(3) + tensor))
    assert moved.lattice[0] == pytest.approx([4.4, 0.08, 0.0])


@pytest.mark.parametrize("tensor", [np.zeros((2, 2)), np.full((3, 3), np.nan), np.diag([-1.5, 0.0, 0.0])])
def test_strain_refuses_what_is_no_strain(tensor):
    with pytest.raises(InputError, match="finite 3x3 tensor"):
        strain(make_labelled(), tensor)
