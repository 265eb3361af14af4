"""VASP without VASP: inputs that a licence completes, and finished runs on one scale."""

from pathlib import Path

import ase
import numpy as np
import pytest

from heo_core.errors import InputError, SourceError
from heo_core.labelling.vasp import read_runs, read_settings, write_inputs
from heo_core.records import Structure

REAL_RUN = Path(ase.__file__).parent / "test" / "testdata" / "vasp" / "vasprun_dfpt.xml"
CELL = np.eye(3) * 4.2
FRACTIONAL = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def make_run(folder, *, metal="Co", u="3.32", encut="520", converged=True):
    """Write a run of two atoms as vasprun.xml has it, cut to what is read; forces are 0.1 and -0.1 eV/Å along x."""
    folder.mkdir(parents=True)
    lines = ["<modeling>", f"<incar><i name='ENCUT'> {encut}</i><i name='GGA'>PE</i><i name='NELM'>3</i>"]
    lines.append(f"<i type='logical' name='LDAU'> T</i><v name='LDAUU'> {u} 0.0</v></incar>")
    lines.append(
        f"<atominfo><array name='atoms'><set><rc><c>{metal}</c><c>1</c></rc><rc><c>O</c><c>2</c></rc></set></array>"
    )
    for element in (metal, "O"):
        pseudopotential = f"<rc><c>1</c><c>{element}</c><c>16</c><c>9</c><c>PAW_PBE {element}</c></rc>"
        lines.append(f"<array name='atomtypes'><set>{pseudopotential}</set></array>")
    lines.append("</atominfo><calculation>")
    steps = 2 if converged else 3
    energies = "<energy><i name='e_fr_energy'>-9.5</i><i name='e_0_energy'>-9.4</i></energy>"
    lines += [f"<scstep>{energies}</scstep>"] * steps
    basis = "".join(f"<v>{a} {b} {c}</v>" for a, b, c in CELL)
    positions = "".join(f"<v>{a} {b} {c}</v>" for a, b, c in FRACTIONAL)
    lines.append(f"<structure><crystal><varray name='basis'>{basis}</varray></crystal>")
    lines.append(f"<varray name='positions'>{positions}</varray></structure>")
    lines.append("<varray name='forces'><v>0.1 0 0</v><v>-0.1 0 0</v></varray>")
    lines.append("<energy><i name='e_fr_energy'>-9.5</i></energy></calculation></modeling>")
    (folder / "vasprun.xml").write_text("\n".join(lines))


def test_inputs_begin_cobalt_in_high_spin_and_converge_tightly_without_a_licence(tmp_path):
    cell = Structure(CELL, FRACTIONAL @ CELL, ("Co", "O"), "CoO.cif", "generated")
    (folder,) = write_inputs([cell], tmp_path / "inputs")
    incar = (folder / "INCAR").read_text()
    assert "MAGMOM = 1*5.0 1*0.6" in incar
    assert "EDIFF = 1e-06" in incar
    assert "LDAUU = 3.32 0" in incar
    assert sorted(path.name for path in folder.iterdir()) == ["INCAR", "KPOINTS", "POSCAR", "POTCAR.spec"]
    assert (folder / "POTCAR.spec").read_text().split() == ["Co", "O"]


def test_inputs_of_shuffled_cations_have_one_block_a_type_and_every_metal_its_moment(tmp_path):
    positions = np.array([[0, 0, 0], [2.1, 2.1, 0], [2.1, 0, 2.1], [2.1, 0, 0], [0, 2.1, 0], [0, 0, 2.1]])
    cell = Structure(CELL, positions, ("Mn", "Co", "Mn", "O", "O", "O"), "mixed", "generated")
    (folder,) = write_inputs([cell], tmp_path / "inputs")
    incar = (folder / "INCAR").read_text()
    assert (folder / "POTCAR.spec").read_text().split() == ["Mn_pv", "Co", "O"]
    assert "MAGMOM = 3*5.0 3*0.6" in incar
    assert "LDAUU = 3.9 3.32 0" in incar


def test_u_belongs_to_its_type_where_an_element_is_several(tmp_path):
    make_run(tmp_path / "a", metal="Co")
    file = tmp_path / "a" / "vasprun.xml"
    twice = "<array name='atomtypes'><set><rc><c>1</c><c>Mg</c><c>24</c><c>2</c><c>PAW_PBE Mg</c></rc></set></array>"
    text = file.read_text().replace("<atominfo>", f"<atominfo>{twice}", 1).replace("3.32 0.0", "0 3.32 0")
    file.write_text(text.replace("</atominfo>", f"{twice}</atominfo>", 1))
    assert read_settings(file)["hubbard_u_ev"] == {"Co": 3.32}


def test_runs_of_several_elements_share_one_scale_and_one_that_did_not_converge_says_so(tmp_path):
    make_run(tmp_path / "a", metal="Co")
    make_run(tmp_path / "b", metal="Ni", u="6.2", converged=False)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "vasprun.xml").write_text("<modeling><incar>")
    (good, bad), settings, left_out = read_runs(tmp_path)
    assert list(left_out) == [tmp_path / "cut" / "vasprun.xml"]
    assert settings["hubbard_u_ev"] == {"Co": 3.32, "Ni": 6.2}
    assert settings["pseudopotentials"] == {"Co": "PAW_PBE Co", "O": "PAW_PBE O", "Ni": "PAW_PBE Ni"}
    assert good.label.energy_ev == pytest.approx(-9.4)
    np.testing.assert_allclose(good.label.forces_ev_per_ang, [[0.1, 0, 0], [-0.1, 0, 0]])
    assert bad.label.energy_ev is None
    assert bad.label.failure == "the run did not converge, or has no forces"
    assert bad.structure.species == ("Ni", "O")


@pytest.mark.skipif(not REAL_RUN.exists(), reason="this ase comes without the files of its tests")
def test_a_real_run_says_what_its_energy_depends_on():
    settings = read_settings(REAL_RUN)
    assert (settings["ENCUT"], settings["GGA"], settings["ISMEAR"], settings["hubbard_u_ev"]) == (400.0, "PE", 0.0, {})
    assert settings["pseudopotentials"] == {"Na": "PAW_PBE Na 08Apr2002", "Cl": "PAW_PBE Cl 06Sep2000"}


@pytest.mark.parametrize("other", [{"encut": "400"}, {"u": "4.0"}])
def test_runs_on_two_scales_are_refused_with_the_run_and_what_differs(tmp_path, other):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", **other)
    with pytest.raises(InputError, match=r"b/vasprun.xml has (ENCUT 400.0, the runs before it 520.0|hubbard_u_ev)"):
        read_runs(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no vasprun"):
        read_runs(tmp_path)
