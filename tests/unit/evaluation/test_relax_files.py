"""Laws of the files of a relaxation: nothing is lost to what cannot be relaxed, and ASE reads what is written."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.db import connect
from ase.io import read, write

from heo_core.errors import InputError
from heo_core.evaluation.relax_files import name_files, read_structures, write_relaxed, write_summary, write_trajectory
from heo_core.records import Frame, Relaxation, Structure

SHARED_SITE = """data_x
_cell_length_a 4.2
_cell_length_b 4.2
_cell_length_c 4.2
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Mg1 Mg 0 0 0 0.5
Ni1 Ni 0 0 0 0.5
O1 O 0.5 0.5 0.5 1.0
"""


@pytest.fixture
def magnesia():
    atoms = bulk("MgO", "rocksalt", a=4.3, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_every_format_gives_the_same_structure(tmp_path, magnesia):
    write(tmp_path / "a.cif", magnesia)
    write(tmp_path / "POSCAR", magnesia, format="vasp")
    write(tmp_path / "a.extxyz", [magnesia, magnesia])
    connect(tmp_path / "a.db").write(magnesia)
    starts = read_structures([tmp_path / name for name in ("a.cif", "POSCAR", "a.extxyz", "a.db")])
    assert [start.name for start in starts] == ["a.cif", "POSCAR", "a.extxyz#1", "a.extxyz#2", "a.db"]
    assert [start.frame for start in starts] == [0, 0, 0, 1, 0]
    for start in starts:
        assert start.structure.formula_reduced == "MgO"
        assert start.structure.immutable_id == start.name
        np.testing.assert_allclose(start.structure.lattice, magnesia.cell, atol=1e-6)


def test_what_cannot_be_relaxed_says_why_and_leaves_the_others(tmp_path, magnesia):
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "words.cif").write_text("hello")
    (tmp_path / "shared.cif").write_text(SHARED_SITE)
    write(tmp_path / "molecule.xyz", Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]))
    write(tmp_path / "mixed.extxyz", [Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]), magnesia])
    names = ("empty.cif", "words.cif", "shared.cif", "molecule.xyz", "absent.cif", "mixed.extxyz")
    *bad, first, second = read_structures([tmp_path / name for name in names])
    reasons = ("cannot be read", "cannot be read", "sites that elements share", "not periodic", "No such file")
    for start, name, reason in zip(bad, names, reasons, strict=False):
        assert start.structure is None
        assert str(tmp_path / name) in start.failure
        assert reason in start.failure
    assert "structure 1 of" in first.failure
    assert (second.failure, second.structure.formula_reduced) == (None, "MgO")


def test_an_occupancy_that_is_not_given_is_one(tmp_path, magnesia):
    for mark in (".", "?"):
        (tmp_path / "a.cif").write_text(SHARED_SITE.replace("Ni1 Ni 0 0 0 0.5\n", "").replace("0.5\nO1", f"{mark}\nO1"))
        (start,) = read_structures([tmp_path / "a.cif"])
        assert (start.failure, start.structure.formula_reduced) == (None, "MgO")


def test_a_name_may_hold_an_at_sign(tmp_path, magnesia):
    write(tmp_path / "a.extxyz", magnesia)
    (tmp_path / "a.extxyz").rename(tmp_path / "a@b.extxyz")
    (start,) = read_structures([tmp_path / "a@b.extxyz"])
    assert (start.name, start.structure.formula_reduced) == ("a@b.extxyz", "MgO")


@pytest.mark.parametrize("n", ["9", "99999999999999999999"])
def test_a_frame_of_more_atoms_than_lines_is_refused_at_once(tmp_path, magnesia, n):
    write(tmp_path / "a.extxyz", [magnesia, magnesia])
    lines = (tmp_path / "a.extxyz").read_text().splitlines()
    lines[10] = n  # the second of two frames of eight atoms
    (tmp_path / "a.extxyz").write_text("\n".join(lines))
    (start,) = read_structures([tmp_path / "a.extxyz"])
    assert f"a frame says that it has {n} atoms, and 8 lines are left" in start.failure


def test_files_of_one_name_are_told_apart(tmp_path, magnesia):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "POSCAR", magnesia, format="vasp")
    paths = [tmp_path / folder / "POSCAR" for folder in ("one", "two", "two")]
    names = name_files([start.structure for start in read_structures(paths)])
    assert names == ["one-POSCAR", "two-POSCAR", "2-two-POSCAR"]


def test_relaxed_structures_and_trajectories_are_read_back(tmp_path, magnesia):
    write(tmp_path / "a.extxyz", [magnesia, magnesia])
    starts = [start.structure for start in read_structures([tmp_path / "a.extxyz"])]
    lattice, positions = np.array(magnesia.cell) * 1.01, magnesia.positions * 1.01
    forces, stress = np.full((8, 3), 0.25), np.diag([0.01, 0.02, 0.03])
    frame = Frame(-40.0, forces, stress, lattice, positions)
    state = {
        "energy_final_ev": -40.0,
        "fmax_ev_per_ang": 0.04,
        "cell_fmax_ev_per_ang": 0.01,
        "forces_ev_per_ang": forces,
        "stress_ev_per_ang3": stress,
    }
    nothing = dict.fromkeys(state)
    common = {"wall_s": 1.0, "energy_initial_ev": -39.0}
    relaxations = [
        Relaxation(True, None, 7, **common, **state, lattice=lattice, positions=positions),
        Relaxation(False, "exploded", 3, **common, **nothing, lattice=None, positions=None),
    ]
    written, lost = write_relaxed(tmp_path / "out", starts, relaxations, "extxyz")
    assert (written.name, lost) == ("a-1.extxyz", None)
    atoms = read(written)
    assert atoms.get_potential_energy() == -40.0
    np.testing.assert_allclose(atoms.get_forces(), forces)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress)
    assert (atoms.info["converged"], atoms.info["force_calls"]) == (True, 7)
    for file_format, name in (("cif", "a-1.cif"), ("poscar", "a-1.vasp")):
        write_relaxed(tmp_path / "out", starts, relaxations, file_format)
        assert read(tmp_path / "out" / name).get_volume() == pytest.approx(magnesia.get_volume() * 1.01**3)
    write_trajectory(tmp_path / "t.extxyz", starts[0].species, [frame, frame])
    assert [atoms.get_potential_energy() for atoms in read(tmp_path / "t.extxyz", index=":")] == [-40.0, -40.0]


def test_a_summary_has_a_line_a_structure_and_a_bad_folder_is_named(tmp_path):
    rows = [{"structure": "a", "energy": -1.5, "failure": None}, {"structure": "b", "energy": None, "failure": "empty"}]
    write_summary(tmp_path / "new" / "summary.csv", rows)
    assert (tmp_path / "new" / "summary.csv").read_text().split() == ["structure,energy,failure", "a,-1.5,", "b,,empty"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_summary(tmp_path / "file" / "summary.csv", rows)


@pytest.mark.parametrize(
    ("starts", "files"),
    [
        (("MgO.cif", "NiO.cif#1", "NiO.cif#2"), ["MgO", "NiO-1", "NiO-2"]),
        (("MgO.cif", "MgO.vasp"), ["MgO-cif", "MgO-vasp"]),
        (("mgo.cif", "MgO.cif"), ["mgo-cif", "MgO-cif-2"]),
        (("é.cif", "氧.cif"), ["cif", "cif-2"]),
        (("é.cif",), ["structure"]),
        (("MgO/cell-1", "MgO/cell-2"), ["MgO-cell-1", "MgO-cell-2"]),
    ],
)
def test_no_two_structures_share_a_file(starts: tuple[str, ...], files: list[str]) -> None:
    cell = Structure(4.2 * np.eye(3), np.zeros((1, 3)), ("Mg",), "", "file")
    assert name_files([replace(cell, immutable_id=name) for name in starts]) == files
