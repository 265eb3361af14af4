"""Generated cells are what was asked for, each follows from its seed and number, and a bad one never ends the rest."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from pydantic import ValidationError

from heo_core.curation.distances import compute_smallest_distance
from heo_core.errors import InputError
from heo_core.evaluation.substitution_relax import make_cases
from heo_core.params import PROTOTYPE_NAMES, GenerationParams, SubstitutionRelaxParams
from heo_core.structures import generation
from heo_core.structures.files import write_cells
from heo_core.structures.generation import generate
from heo_core.structures.prototypes import get_prototype
from heo_core.structures.symmetry import find_space_group

# Two cations on every sublattice, in a formula that is neutral.
TWO_OF_EACH = {
    "rocksalt": "(MgNi)0.5O",
    "fluorite": "(CeZr)0.5O2",
    "perovskite": "(SrBa)0.5(TiZr)0.5O3",
    "perovskite-pnma": "(LaNd)0.5(CrFe)0.5O3",
    "spinel": "(MgZn)0.5(AlCr)O4",
    "pyrochlore": "(GdY)(TiZr)O7",
    "bixbyite": "(YGd)O3",
    "corundum": "(AlCr)O3",
    "rutile": "(TiSn)0.5O2",
    "alpha-pbo2": "(TiZr)0.5O2",
    "ruddlesden-popper": "(SrBa)(TiZr)0.5O4",
    "ruddlesden-popper-2": "(SrBa)1.5(TiZr)O7",
}


def make(**params):
    return generate(GenerationParams(**params))


@pytest.mark.parametrize("name", PROTOTYPE_NAMES)
def test_cells_of_every_prototype_hold_the_formula_exactly_and_keep_their_distance(name):
    prototype = get_prototype(name)
    (cell,) = make(prototype=name, composition=TWO_OF_EACH[name], n=1, supercell=(2, 1, 1), min_distance_ang=1.8)
    assert cell.failure is None
    n_formulas = 2 * prototype.n_formulas
    counts = Counter(cell.structure.species)
    assert counts.pop("O") == n_formulas * prototype.anions_per_formula
    halves = [count * n_formulas // 2 for count in prototype.per_formula.values()]
    assert sorted(counts.values()) == sorted(half for half in halves for _ in range(2))
    assert cell.recipe["space_group_number"] == prototype.space_group_number
    assert cell.recipe["charge_residual_e_per_formula"] == 0
    distance = compute_smallest_distance(cell.structure.lattice, cell.structure.positions)
    assert cell.recipe["smallest_distance_ang"] == pytest.approx(distance)
    assert json.loads(json.dumps(cell.recipe)) == cell.recipe


def test_a_cell_follows_from_seed_and_number_alone():
    few, many, other = make(n=2, rattle_ang=0.1), make(n=4, rattle_ang=0.1), make(n=2, rattle_ang=0.1, seed=1)
    hashes = [[cell.structure.content_hash for cell in cells] for cells in (few, many, other)]
    assert hashes[0] == hashes[1][:2]
    assert len({*hashes[1], *hashes[2]}) == 6


def test_cells_are_those_of_the_benchmark():
    benchmark = make_cases(SubstitutionRelaxParams(supercell=(2, 2, 2), n_cells=2))
    cells = make(n=2, supercell=(2, 2, 2), rattle_ang=0.1)
    for case, cell in zip(benchmark, cells, strict=True):
        assert case.start.species == cell.structure.species
        np.testing.assert_array_equal(case.start.positions, cell.structure.positions)


def test_the_origins_benchmark_is_128_atoms_whose_compositions_scatter():
    params = SubstitutionRelaxParams.model_validate({"preset": "origin", "relax": {"max_force_calls": 7}})
    cases = make_cases(params)
    assert (len(cases), cases[0].start.n_atoms, params.relax.fmax, params.relax.max_force_calls) == (10, 128, 0.05, 7)
    formulas = [case.start.formula_reduced for case in cases]
    assert (len({*formulas[:5]}), len({*formulas[5:]}), len({*formulas})) == (1, 1, 2)
    lengths = np.linalg.norm(cases[0].start.lattice, axis=1)
    assert lengths == pytest.approx([4 * 4.25 / 2**0.5] * 3)
    with pytest.raises(ValidationError, match="preset 'mine' is unknown; allowed: origin"):
        SubstitutionRelaxParams.model_validate({"preset": "mine"})


def test_exact_cells_share_one_composition_and_iid_cells_do_not():
    exact, iid = (make(n=6, filling=filling) for filling in ("exact", "iid"))
    assert len({cell.structure.formula_reduced for cell in exact}) == 1
    assert len({cell.structure.formula_reduced for cell in iid}) > 3
    assert {cell.structure.species.count("O") for cell in iid} == {32}
    # Too rare for a site of its own in an exact cell of this size.
    rare = {"composition": "Mg0.99Zn0.01O", "supercell": (1, 1, 1)}
    assert all(cell.failure is None for cell in make(**rare, filling="iid"))
    with pytest.raises(InputError, match="4 cation sites are too few to hold Zn"):
        make(**rare)


def test_vacancies_are_the_nearest_whole_number_named_and_counted_into_the_charge():
    cells = make(composition="MgO", n=3, vacancies=0.1)
    for cell in cells:
        assert Counter(cell.structure.species) == {"Mg": 32, "O": 29}  # 3.2 of 32 oxygens
        assert len(cell.recipe["vacancies"]) == 3
        assert cell.recipe["charge_residual_e_per_formula"] == pytest.approx(2 * 3 / 32)
    assert len({tuple(cell.recipe["vacancies"]) for cell in cells}) == 3
    (full,) = make(composition="MgO", n=1)
    kept = np.delete(full.structure.positions, cells[0].recipe["vacancies"], axis=0)
    np.testing.assert_array_equal(cells[0].structure.positions, kept)


def test_vacancies_that_round_to_none_are_an_error():
    with pytest.raises(InputError, match=r"0\.01 of 32 oxygens is 0 vacancies; it must be 1 to 31"):
        make(vacancies=0.01)


def test_strain_and_rattle_are_of_the_stated_size():
    ideal, moved = make(n=1)[0], make(n=1, strain=0.03, rattle_ang=0.01)[0]
    tensor = np.array(moved.recipe["strain"])
    assert np.abs(tensor).max() <= 0.03
    assert tensor == pytest.approx(tensor.T)
    assert moved.structure.lattice == pytest.approx(ideal.structure.lattice @ (np.eye(3) + tensor))
    displacements = moved.structure.positions - ideal.structure.positions @ (np.eye(3) + tensor)
    assert displacements.std() == pytest.approx(0.01, rel=0.2)


def test_cells_that_are_too_close_fail_with_their_reason_and_the_others_go_on():
    cells = make(n=20, rattle_ang=0.1, min_distance_ang=1.75)
    failed = [cell for cell in cells if cell.failure is not None]
    assert 0 < len(failed) < 20
    for cell in cells:
        is_close = cell.recipe["smallest_distance_ang"] < 1.75
        assert (cell.structure is None, cell.failed_check) == (is_close, "distance" if is_close else None)
    assert f"{failed[0].recipe['smallest_distance_ang']:.3f} Å apart, allowed are 1.75 Å" in failed[0].failure


def test_a_parent_of_another_symmetry_or_filling_of_another_composition_is_caught(monkeypatch):
    monkeypatch.setattr(generation, "find_space_group", lambda _: 1)
    assert [cell.failed_check for cell in make(n=2)] == ["space_group"] * 2
    monkeypatch.undo()
    monkeypatch.setattr(generation, "fill", lambda parent, *_: replace(parent, species=("Mg",) * 32 + ("O",) * 32))
    assert [cell.failed_check for cell in make(n=2)] == ["stoichiometry"] * 2
    monkeypatch.setattr(generation, "fill", lambda parent, *_: replace(parent, species=("Ca",) * 32 + ("O",) * 32))
    assert [cell.failed_check for cell in make(n=2, filling="iid")] == ["stoichiometry"] * 2


def test_the_symmetry_of_the_parent_is_found_once_for_all_cells(monkeypatch):
    found = []
    monkeypatch.setattr(generation, "find_space_group", lambda parent: found.append(find_space_group(parent)) or 225)
    assert len(make(n=30)) == 30
    assert found == [225]


def test_cells_of_thousands_of_atoms_are_checked_too():
    (cell,) = make(n=1, supercell=(7, 7, 7))
    assert (cell.structure.n_atoms, cell.recipe["space_group_number"]) == (2744, 225)
    assert cell.recipe["smallest_distance_ang"] == pytest.approx(2.125)


def test_without_a_supercell_cells_are_large_enough_and_near_cubic():
    (cell,) = make(prototype="rutile", composition="TiO2", n=1, min_atoms=100)
    lengths = np.linalg.norm(cell.structure.lattice, axis=1)
    assert 100 <= cell.structure.n_atoms < 200
    assert lengths.max() / lengths.min() <= 1.5


def test_repeats_and_matrices_are_read_as_people_type_them():
    assert GenerationParams(supercell="4x2x2").supercell == (4, 2, 2)
    assert GenerationParams(supercell="[[0,2,2],[2,0,2],[2,2,0]]").supercell == ((0, 2, 2), (2, 0, 2), (2, 2, 0))
    assert GenerationParams(composition='{"A": "LaSr", "B": {"Mn": 1}}').composition == {"A": "LaSr", "B": {"Mn": 1}}
    for wrong in ("4x2", "4 by 2", "[[1,0,0],[1,0,0],[0,0,1]]", "0x1x1"):
        with pytest.raises(ValidationError):
            GenerationParams(supercell=wrong)


# spglib says so of its own calls; icet has not followed yet
@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_quasirandom_cells_are_exact_and_nearer_to_random_than_shuffled_ones():
    pytest.importorskip("icet", reason="icet is an extra that needs a C++ compiler")
    given = {"composition": "(MgNi)0.5O", "supercell": (2, 2, 2)}
    quasirandom = make(**given, n=2, filling="sqs", sqs_steps=500)
    again = make(**given, n=1, filling="sqs", sqs_steps=500)
    assert {cell.structure.formula_reduced for cell in quasirandom} == {"MgNiO2"}
    assert quasirandom[0].structure.species == again[0].structure.species != quasirandom[1].structure.species
    # In a random crystal the product of neighbouring spins has the mean 0.
    shuffled = make(**given, n=20)
    mean = [np.mean([_correlate(cell.structure) ** 2 for cell in cells]) for cells in (quasirandom, shuffled)]
    assert mean[0] < 0.25 * mean[1]


def _correlate(structure) -> float:
    """Mean product of the spins (Mg 1, Ni -1) of neighbouring cations of rock salt."""
    cations = np.array([symbol != "O" for symbol in structure.species])
    fractional = (structure.positions @ np.linalg.inv(structure.lattice))[cations]
    spins = np.where(np.array(structure.species)[cations] == "Mg", 1.0, -1.0)
    separation = fractional[:, None] - fractional
    distances = np.linalg.norm((separation - np.round(separation)) @ structure.lattice, axis=-1)
    is_neighbour = np.isclose(distances, structure.lattice[0, 0] / 8**0.5)
    assert (is_neighbour.sum(axis=1) == 12).all()
    return float((spins[:, None] * spins)[is_neighbour].mean())


def test_without_icet_sqs_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "icet", None)
    with pytest.raises(InputError, match=r"needs icet, which is built by a C\+\+ compiler.*pip install"):
        make(n=1, filling="sqs")


@pytest.mark.parametrize("file_format", ["cif", "poscar", "extxyz"])
def test_written_cells_read_back_as_they_were(tmp_path: Path, file_format):
    cells = [(cell.structure, cell.recipe) for cell in make(n=2, supercell=(1, 1, 1), composition="(MgNi)0.5O")]
    assert write_cells(cells, tmp_path / "made", file_format) == 2
    first, _ = sorted((tmp_path / "made").iterdir())
    atoms = read(first)
    assert Counter(atoms.symbols) == {"Mg": 2, "Ni": 2, "O": 4}
    assert atoms.get_volume() == pytest.approx(cells[0][0].volume_ang3, rel=1e-4)


def test_one_extxyz_file_takes_all_cells_with_their_recipes(tmp_path: Path):
    cells = [(cell.structure, cell.recipe) for cell in make(n=3)]
    write_cells(cells, tmp_path / "all.extxyz", "cif")
    frames = read(tmp_path / "all.extxyz", ":")
    assert [frame.info["recipe"]["cell"] for frame in frames] == [1, 2, 3]
    assert frames[2].info["name"] == cells[2][0].immutable_id
    assert tuple(frames[2].symbols) == cells[2][0].species
