"""The user's own files: labels, ids and units as the programs that wrote them mean them, and nothing ends a scan."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect

from heo_core.curation.files import count_rows, is_label_file, iter_tables, list_label_files
from heo_core.curation.rows import ROW_SCHEMA
from heo_core.errors import SourceError

KBAR = 0.1 / 160.21766208
VASP_OF_ASE = Path(ase.__file__).parent / "test" / "testdata" / "vasp"


def read_rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for table in iter_tables(path, **options) for row in table.to_pylist()]


def make_atoms(**info: Any) -> Atoms:
    atoms = Atoms("MgO", positions=[[0, 0, 0], [2.1, 0.0, 0.1]], cell=[4.2, 4.3, 4.4], pbc=True)
    atoms.info.update(info)
    return atoms


def broken(row: dict[str, Any]) -> bool:
    return all(value is None for name, value in row.items() if name != "immutable_id")


# --- extxyz


def test_labels_of_mace_stand_before_those_of_a_calculator(tmp_path: Path) -> None:
    atoms = make_atoms(
        REF_energy=-11.5, REF_stress=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], functional="pbe", bawl_fingerprint="f"
    )
    atoms.arrays["REF_forces"] = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    atoms.calc = SinglePointCalculator(atoms, energy=99.0, forces=np.full((2, 3), 9.0))
    ase.io.write(tmp_path / "a.extxyz", atoms)
    (row,) = read_rows(tmp_path / "a.extxyz")
    assert row == {
        "immutable_id": "own-a-0",
        "source": "own",
        "nelements": 2,
        "nperiodic_dimensions": 3,
        "lattice_vectors": [[4.2, 0, 0], [0, 4.3, 0], [0, 0, 4.4]],
        "cartesian_site_positions": [[0, 0, 0], [2.1, 0, 0.1]],
        "species_at_sites": ["Mg", "O"],
        "energy": -11.5,
        "forces": [[0, 0, 1], [0, 0, -1]],
        "stress_tensor": [[1, 6, 5], [6, 2, 4], [5, 4, 3]],
        "functional": "pbe",
        "fingerprint": "f",
    }


def test_without_them_a_calculator_gives_labels_and_what_is_held_fixed_keeps_its_forces(tmp_path: Path) -> None:
    atoms = make_atoms()
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.25, forces=np.array([[0.5, 0, 0], [-0.5, 0, 0]]), stress=np.array([1.0, 2, 3, 4, 5, 6])
    )
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    with connect(tmp_path / "a.db") as database:
        database.write(atoms)
    for name in ("a.xyz", "a.db"):
        (row,) = read_rows(tmp_path / name)
        assert (row["energy"], row["forces"]) == (-3.25, [[0.5, 0, 0], [-0.5, 0, 0]])
        assert row["stress_tensor"] == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


def test_a_frame_without_labels_or_periodicity_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("1\n\nX 0 0 0\n")
    (row,) = read_rows(tmp_path / "a.xyz")
    assert (row["energy"], row["forces"], row["stress_tensor"], row["functional"]) == (None,) * 4
    assert (row["nperiodic_dimensions"], row["species_at_sites"]) == (0, ["X"])


def test_labels_that_are_no_numbers_are_null_and_not_replaced(tmp_path: Path) -> None:
    frame = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3{} REF_energy={} energy=-1.0\nMg 0 0 0{}\n'
    text = frame.format("", "none", "") + frame.format(":REF_forces:R:1", "nan", " 0.5")
    (tmp_path / "a.xyz").write_text(text)
    first, second = read_rows(tmp_path / "a.xyz")
    assert first["energy"] is None
    assert np.isnan(second["energy"])
    assert second["forces"] is None


def test_a_bad_frame_is_a_row_under_its_id_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, [make_atoms(immutable_id=f"mine-{i}") for i in range(3)], format="extxyz")
    lines = path.read_text().splitlines(keepends=True)
    lines[6] = lines[6].replace("0.00000000", "********", 1)
    path.write_text("".join(lines))
    rows = read_rows(path)
    assert [row["immutable_id"] for row in rows] == ["mine-0", "mine-1", "mine-2"]
    assert [broken(row) for row in rows] == [False, True, False]


@pytest.mark.parametrize(("lines", "lost"), [(slice(9, 11), 2), (slice(8, 9), 2), (slice(6, 7), 1), (slice(8, 11), 2)])
def test_a_frame_that_lacks_lines_costs_no_other(tmp_path: Path, lines: slice, lost: int) -> None:
    path = tmp_path / "a.extxyz"
    ase.io.write(path, [make_atoms(REF_energy=float(i)) for i in range(5)])
    text = path.read_text().splitlines(keepends=True)
    assert len(text) == 20
    del text[lines]
    path.write_text("".join(text))
    rows = read_rows(path)
    assert sum(not broken(row) for row in rows) == 4
    assert sum(broken(row) for row in rows) == 1
    energies = [row["energy"] for row in rows if not broken(row)]
    assert energies == [float(i) for i in range(5) if i != lost]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_file_cut_short_keeps_its_frames_and_counts_the_rest_once(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, [make_atoms() for _ in range(3)], format="extxyz")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-cut]))
    rows = read_rows(path)
    assert [row["immutable_id"] for row in rows] == ["own-a-0", "own-a-1", "own-a-2"]
    assert [broken(row) for row in rows] == [False, False, True]


def test_text_between_frames_ends_a_file_with_one_row_for_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, make_atoms(), format="extxyz")
    path.write_text(path.read_text() + "\n\n" + path.read_text() + "\nnot a frame\n" * 5)
    assert [broken(row) for row in read_rows(path)] == [False, False, True]


def test_ids_are_told_from_the_place_below_the_root_alone(tmp_path: Path) -> None:
    for root in (tmp_path / "one", tmp_path / "other" / "place"):
        for name in ("train.xyz", "a b/train.xyz"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            ase.io.write(root / name, [make_atoms(), make_atoms()], format="extxyz")
        expected = ["own-a%20b:train-0", "own-a%20b:train-1", "own-train-0", "own-train-1"]
        assert [row["immutable_id"] for row in read_rows(root)] == expected
        inner = root / "a b" / "train.xyz"
        assert [row["immutable_id"] for row in read_rows(inner)] == ["own-train-0", "own-train-1"]
        assert [row["immutable_id"] for row in read_rows(inner, root=root)] == expected[:2]


def test_a_material_at_several_frames_names_each_of_them_and_an_immutable_id_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    frames = [make_atoms(material_id="mp-1"), make_atoms(material_id="mp-1"), make_atoms(id=7), make_atoms(name=True)]
    frames += [make_atoms(immutable_id="agm1", material_id="mp-1")] * 2
    ase.io.write(path, frames, format="extxyz")
    assert [row["immutable_id"] for row in read_rows(path)] == ["mp-1", "mp-1-1", "7", "own-a-3", "agm1", "agm1"]


def test_tables_are_bounded_and_of_one_schema(tmp_path: Path) -> None:
    for name in ("a.xyz", "b.xyz"):
        ase.io.write(tmp_path / name, [make_atoms()] * 5, format="extxyz")
    tables = list(iter_tables(tmp_path, 4))
    assert [table.num_rows for table in tables] == [4, 4, 2]
    assert all(table.schema == ROW_SCHEMA for table in tables)


# --- ASE databases


def test_database_rows_give_their_ids_and_a_bad_one_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with connect(path) as database:
        for i in range(3):
            atoms = make_atoms()
            forces = [[0.0, 0.0, float(i)], [0.0, 0.0, 0.0]]
            database.write(atoms, immutable_id=f"mine-{i}", REF_energy=-1.5 * i, data={"REF_forces": np.array(forces)})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE systems SET positions = x'00' WHERE id = 2")
    connection.close()
    rows = read_rows(path)
    assert [row["immutable_id"] for row in rows] == ["mine-0", "own-a-1", "mine-2"]
    assert [broken(row) for row in rows] == [False, True, False]
    assert (rows[2]["energy"], rows[2]["forces"]) == (-3.0, [[0, 0, 2], [0, 0, 0]])
    assert count_rows(path) == 3


def test_a_foreign_sqlite_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photo (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SourceError, match=r"photos\.db is no ASE database: no such table"):
        read_rows(path)
    assert path.read_bytes() == before


# --- VASP


def make_step(free: float, *, n_electronic: int = 2, forces: str = "0.1 0.2 0.3", z: float = 0.5) -> str:
    """One ionic step as VASP 5 writes it: energy at sigma = 0 is free + 3.5, and its own e_0_energy means nothing."""

    def energy(*numbers: float) -> str:
        names = ("e_fr_energy", "e_wo_entrp", "e_0_energy")
        return "".join(f'<i name="{n}"> {x:.8f} </i>' for n, x in zip(names, numbers, strict=True)).join(
            ["<energy>", "</energy>"]
        )

    electronic = f"<scstep>{energy(free + 1, free + 4, free + 3)}</scstep>" * n_electronic
    return f"""<calculation>{electronic}
  <structure><crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 5</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.5 0 {z}</v></varray></structure>
  <varray name="forces"><v>{forces}</v><v>-0.1 -0.2 -0.3</v></varray>
  <varray name="stress"><v>10 1 2</v><v>1 20 3</v><v>2 3 30</v></varray>
  {energy(free + 1.5, free + 3.5, -0.5)}
  <eigenvalues><array><set><set><set comment="kpoint 1"><r>1 1</r></set></set></set></array></eigenvalues>
 </calculation>"""


def make_vasprun(*steps: str, incar: str = "", potential: str = "PAW_PBE", selective: str = "") -> str:
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling><generator><i name="program" type="string">vasp </i></generator>
 <incar>{incar}</incar>
 <kpoints><varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray></kpoints>
 <parameters><separator name="electronic"><i type="int" name="NELM">    60</i></separator>
  <separator name="exchange"><i type="string" name="GGA">--</i><i type="logical" name="LHFCALC"> F  </i></separator>
 </parameters>
 <atominfo><atoms>2</atoms><array name="atoms"><set>
   <rc><c>Mg</c><c>1</c></rc><rc><c>O </c><c>2</c></rc></set></array>
  <array name="atomtypes"><set>
   <rc><c>1</c><c>Mg</c><c>24.3</c><c>2</c><c> {potential} Mg 13Apr2007 </c></rc>
   <rc><c>1</c><c>O </c><c>16.0</c><c>6</c><c> {potential} O 08Apr2002 </c></rc></set></array></atominfo>
 <structure name="initialpos"><crystal><varray name="basis"><v>4 0 0</v><v>0 4 0</v><v>0 0 5</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.5 0 0.5</v></varray>{selective}</structure>
 {"".join(steps)}
</modeling>
"""


def write_run(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_vasprun_gives_its_last_step_at_sigma_zero_with_forces_on_fixed_atoms(tmp_path: Path) -> None:
    selective = '<varray name="selective"><v>F F F</v><v>T T T</v></varray>'
    text = make_vasprun(make_step(-10.0), make_step(-20.0, z=0.25), selective=selective)
    path = write_run(tmp_path / "vasprun.xml", text)
    (row,) = read_rows(path)
    assert row["energy"] == pytest.approx(-20.0 + 1.5 + 2.0, abs=1e-8)
    assert row["forces"] == [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
    np.testing.assert_allclose(row["cartesian_site_positions"], [[0, 0, 0], [2, 0, 1.25]])
    np.testing.assert_allclose(row["stress_tensor"], -KBAR * np.array([[10, 1, 2], [1, 20, 3], [2, 3, 30]]), rtol=1e-9)
    assert (row["species_at_sites"], row["nperiodic_dimensions"]) == (["Mg", "O"], 3)
    atoms = ase.io.read(path)
    assert row["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(row["stress_tensor"], atoms.get_stress(voigt=False), rtol=1e-6)
    np.testing.assert_allclose(row["forces"], atoms.get_forces(apply_constraint=False))


@pytest.mark.skipif(not VASP_OF_ASE.exists(), reason="this ase comes without the files of its tests")
@pytest.mark.parametrize("name", ["vasprun_pstress.xml", "vasprun_dfpt.xml"])
def test_real_vaspruns_agree_with_ase(tmp_path: Path, name: str) -> None:
    path = tmp_path / "vasprun.xml"
    shutil.copy(VASP_OF_ASE / name, path)
    (row,) = read_rows(path)
    atoms = ase.io.read(path)
    assert row["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(row["forces"], atoms.get_forces(apply_constraint=False), atol=1e-12)
    np.testing.assert_allclose(row["stress_tensor"], atoms.get_stress(voigt=False), atol=1e-7)
    np.testing.assert_allclose(row["cartesian_site_positions"], atoms.positions, atol=1e-12)


@pytest.mark.skipif(not VASP_OF_ASE.exists(), reason="this ase comes without the files of its tests")
def test_a_real_outcar_is_read_whole_and_one_cut_short_is_a_broken_row(tmp_path: Path) -> None:
    text = (VASP_OF_ASE / "OUTCAR_example_1").read_text()
    (tmp_path / "CONTCAR").touch()  # as a run leaves it that has not moved an atom yet
    path = write_run(tmp_path / "OUTCAR", text)
    (row,) = read_rows(path)
    assert row["energy"] == pytest.approx(-68.23102426)
    assert row["forces"][0] == [0.030415, -0.114705, -0.460114]
    assert set(row["species_at_sites"]) == {"Ni"}
    path.write_text(text.replace("aborting loop because EDIFF is reached", "aborting loop EDIFF was not reached"))
    (row,) = read_rows(path)
    assert (row["energy"], row["forces"]) == (None, None)
    assert row["species_at_sites"]
    for length in (0, len(text) // 4, len(text) * 9 // 10):
        path.write_text(text[:length])
        (row,) = read_rows(path)
        assert broken(row)


def test_an_unconverged_electronic_loop_and_stars_leave_no_label(tmp_path: Path) -> None:
    unconverged = write_run(tmp_path / "a" / "vasprun.xml", make_vasprun(make_step(-1.0, n_electronic=60)))
    (row,) = read_rows(unconverged)
    assert (row["energy"], row["forces"], row["stress_tensor"]) == (None, None, None)
    assert row["lattice_vectors"]
    stars = write_run(tmp_path / "b" / "vasprun.xml", make_vasprun(make_step(-1.0, forces="******* 0 0")))
    (row,) = read_rows(stars)
    assert row["forces"] is None
    assert row["energy"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("incar", "potential", "functional"),
    [
        ("", "PAW_PBE", "pbe"),
        ("", "PAW", None),
        ('<i type="string" name="GGA">PE</i>', "PAW", "pbe"),
        ('<i type="logical" name="LDAU"> T </i>', "PAW_PBE", "pbe"),
        ('<i type="string" name="GGA">PS</i>', "PAW_PBE", "pbesol"),
        ('<i type="string" name="GGA">RP</i>', "PAW_PBE", None),
        ('<i type="string" name="METAGGA">R2scan</i>', "PAW_PBE", "r2scan"),
        ('<i type="string" name="METAGGA">MBJ</i>', "PAW_PBE", None),
        ('<i type="logical" name="LHFCALC"> T </i>', "PAW_PBE", None),
        ('<i type="int" name="IVDW"> 11 </i>', "PAW_PBE", None),
    ],
)
def test_a_functional_is_named_only_where_it_is_certain(
    tmp_path: Path, incar: str, potential: str, functional: str | None
) -> None:
    path = write_run(tmp_path / "vasprun.xml", make_vasprun(make_step(-1.0), incar=incar, potential=potential))
    (row,) = read_rows(path)
    assert row["functional"] == functional


def test_a_folder_of_runs_counts_each_once_and_broken_ones_too(tmp_path: Path) -> None:
    good = make_vasprun(make_step(-1.0))
    write_run(tmp_path / "a" / "vasprun.xml", good)
    write_run(tmp_path / "a" / "OUTCAR", "not looked at")
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "vasprun.xml.gz").write_bytes(gzip.compress(good.encode()))
    write_run(tmp_path / "c" / "vasprun.xml", good[: len(good) // 2])
    write_run(tmp_path / "d" / "vasprun.xml", "")
    write_run(tmp_path / "e" / "vasprun.xml.relax2", good)
    write_run(tmp_path / "e" / "vasprun.xml.relax1", good)
    write_run(tmp_path / "e" / "OUTCAR.relax1", "not looked at")
    write_run(tmp_path / "f" / "run1_vasprun.xml", good)
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "vasprun.xml.gz").write_bytes(gzip.compress(good.encode())[:-40])
    write_run(tmp_path / ".trash" / "vasprun.xml", "not looked at")
    write_run(tmp_path / "notes.txt", "not looked at")
    rows = {row["immutable_id"]: row for row in read_rows(tmp_path)}
    assert set(rows) == {
        "own-a",
        "own-b:deep",
        "own-c",
        "own-d",
        "own-e:vasprun.xml.relax1",
        "own-e:vasprun.xml.relax2",
        "own-f:run1_vasprun.xml",
        "own-g",
    }
    assert {row_id for row_id, row in rows.items() if broken(row)} == {"own-c", "own-d", "own-g"}
    assert count_rows(tmp_path) == len(rows)


# --- files that are not what they are called


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xyz", "hello\nworld\n", "expected a number of atoms, found 'hello'"),
        ("a.extxyz", "\x00\x01\x02", "expected a number of atoms"),
        ("a.db", "hello", "is no ASE database"),
        ("vasprun.xml", "<html><body/></html>", "is no vasprun.xml: expected <modeling>, found <html>"),
        ("vasprun.xml", "hello", "is no vasprun.xml"),
        ("OUTCAR", "hello", "is no OUTCAR"),
        ("a.txt", "hello", "cannot be read; allowed"),
    ],
)
def test_a_file_that_is_no_such_file_is_named_in_one_line(tmp_path: Path, name: str, content: str, reason: str) -> None:
    path = write_run(tmp_path / name, content)
    with pytest.raises(SourceError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert str(path) in message
    assert reason in message
    assert "\n" not in message


def test_only_files_of_these_names_are_listed_and_a_missing_path_is_an_error(tmp_path: Path) -> None:
    names = ["a.xyz", "b.extxyz", "c.db", "OUTCAR.gz", "x_vasprun.xml", "d.xyz.gz"]
    for name in [*names, "e.json", "f.txt", "POSCAR", "._a.xyz", "OUTCAR.md5", "OUTCAR_notes.txt", "d.db.gz"]:
        (tmp_path / name).touch()
    assert [path.name for path in list_label_files(tmp_path)] == sorted(names)
    assert list_label_files(tmp_path / "f.txt") == []
    assert is_label_file(Path("somewhere/vasprun.xml.relax2.gz"))
    with pytest.raises(SourceError, match="does not exist; allowed"):
        list_label_files(tmp_path / "absent")
    assert count_rows(tmp_path / "a.xyz") is None
