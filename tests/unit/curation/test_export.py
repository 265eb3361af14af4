"""What is exported is what was stored: to the last bit, for MACE as for curation, or not at all."""

from __future__ import annotations

import errno
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pyarrow.parquet as pq
import pytest
from ase.db import connect
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heo_core.curation.export import ENDINGS, PARQUET_SCHEMA, ExportFormat, export_structures
from heo_core.curation.files import iter_tables
from heo_core.curation.rows import ROW_SCHEMA, iter_structures, source_of
from heo_core.errors import InputError
from heo_core.records import Array, Structure

FORMATS: list[ExportFormat] = ["extxyz", "parquet", "ase-db"]
THIRD = Structure(
    lattice=np.eye(3) * 4.2 / 3,
    positions=np.array([[0, 0, 0], [0.1 + 0.2, 1 / 3, 2e-17]]),
    species=("Mg", "O"),
    immutable_id="agm-1",
    source="agm",
    functional="pbe",
    fingerprint="f-1",
    energy_ev=-11.9 / 7,
    forces_ev_per_ang=np.array([[1e-9 / 3, -0.1234565, 0.5000005], [0.0, -0.0, 1e20]]),
    stress_ev_per_ang3=np.arange(9.0).reshape(3, 3) / 7,
)


def read_back(path: Path) -> list[Structure]:
    """Read an export as curation does: parquet by LeMat-Bulk's columns, the others as a user's own files."""
    if path.suffix == ".parquet":
        table = pq.read_table(path).rename_columns({"entalpic_fingerprint": "fingerprint"})
        return list(iter_structures(table.select(ROW_SCHEMA.names).cast(ROW_SCHEMA)))
    return [structure for table in iter_tables(path) for structure in iter_structures(table)]


def is_same(a: Array | None, b: Array | None) -> bool:
    return a is b if a is None or b is None else bool(np.array_equal(a, b))


numbers = st.floats(-1e6, 1e6)
texts = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
    st.sampled_from(
        ["007", "1e5", "nan", "T", "true", "True", "a b", 'a"b', "a\\", "\\n", "a=b", "[1 2]", "_JSON 1", "\n"]
    ),
)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    n_atoms = draw(st.integers(1, 4))
    arrays = hnp.arrays(float, (n_atoms, 3), elements=numbers)
    immutable_id = draw(texts)
    return Structure(
        lattice=draw(hnp.arrays(float, (3, 3), elements=numbers)),
        positions=draw(arrays),
        species=tuple(draw(st.lists(st.sampled_from(["O", "Mg", "Zr"]), min_size=n_atoms, max_size=n_atoms))),
        immutable_id=immutable_id,
        source=source_of(immutable_id),
        functional=draw(st.none() | texts),
        fingerprint=draw(st.none() | texts),
        energy_ev=draw(st.none() | numbers),
        forces_ev_per_ang=draw(st.none() | arrays),
        stress_ev_per_ang3=draw(st.none() | hnp.arrays(float, (3, 3), elements=numbers)),
    )


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(structures(), min_size=1, max_size=3))
def test_an_export_read_back_gives_the_same_structures(
    tmp_path: Path, file_format: ExportFormat, some: list[Structure]
) -> None:
    path = tmp_path / f"x{ENDINGS[file_format]}"
    assert export_structures([(structure, "train") for structure in some], path, file_format) == len(some)
    back = read_back(path)
    assert [s.content_hash for s in back] == [s.content_hash for s in some]
    for ours, theirs in zip(some, back, strict=True):
        assert (theirs.fingerprint, theirs.functional) == (ours.fingerprint, ours.functional)
        assert theirs.energy_ev == ours.energy_ev
        for name in ("lattice", "positions", "forces_ev_per_ang", "stress_ev_per_ang3"):
            assert is_same(getattr(theirs, name), getattr(ours, name)), name


def test_mace_reads_the_labels_with_all_their_digits(tmp_path: Path) -> None:
    from mace.data.atomic_data import voigt_to_matrix
    from mace.data.utils import KeySpecification, load_from_xyz
    from mace.tools import torch_tools

    path = tmp_path / "x.extxyz"
    export_structures([(THIRD, "train"), (replace(THIRD, immutable_id="a b", energy_ev=None), "test")], path, "extxyz")
    _, (first, second) = load_from_xyz(str(path), KeySpecification.from_defaults())
    assert first.properties["energy"] == THIRD.energy_ev
    assert is_same(first.properties["forces"], THIRD.forces_ev_per_ang)
    assert is_same(first.positions, THIRD.positions)
    assert is_same(first.cell, THIRD.lattice)
    assert first.pbc == (True, True, True)
    stress = torch_tools.to_numpy(voigt_to_matrix(torch_tools.torch.tensor(first.properties["stress"])))
    assert is_same(stress, THIRD.stress_ev_per_ang3)
    assert second.properties["energy"] is None
    assert second.property_weights["energy"] == 0


def test_ase_finds_names_and_splits_in_every_frame(tmp_path: Path) -> None:
    bare = replace(THIRD, immutable_id="T", energy_ev=None, forces_ev_per_ang=None, stress_ev_per_ang3=None)
    export_structures([(THIRD, "train"), (replace(bare, functional=None), "test")], tmp_path / "x.extxyz", "extxyz")
    first, second = ase.io.read(tmp_path / "x.extxyz", ":")
    assert {key: value for key, value in first.info.items() if not key.startswith("REF_")} == {
        "immutable_id": "agm-1",
        "source": "agm",
        "functional": "pbe",
        "fingerprint": "f-1",
        "split": "train",
    }
    assert second.info == {"immutable_id": "T", "source": "agm", "fingerprint": "f-1", "split": "test"}
    assert not {"REF_forces", "forces"} & set(second.arrays)


def test_an_ase_database_can_be_searched_by_name_and_split(tmp_path: Path) -> None:
    pairs = [(THIRD, "train"), (replace(THIRD, immutable_id="12"), "test")]
    export_structures(pairs, tmp_path / "x.db", "ase-db")
    with connect(tmp_path / "x.db") as database:
        row = database.get(immutable_id="agm-1")
        assert (row.energy, row.split, row.source) == (THIRD.energy_ev, "train", "agm")
        assert is_same(row.forces, THIRD.forces_ev_per_ang)
        (other,) = database.select(split="test")
        assert other.data["immutable_id"] == "12"


def test_parquet_has_lemat_bulks_columns_and_what_can_be_told_of_each_structure(tmp_path: Path) -> None:
    structure = replace(
        THIRD, species=("O", "Mg", "O", "O", "Co", "O"), positions=np.zeros((6, 3)), forces_ev_per_ang=np.ones((6, 3))
    )
    export_structures([(structure, "validation")], tmp_path / "x.parquet", "parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.schema == PARQUET_SCHEMA
    (row,) = table.to_pylist()
    expected = {
        "elements": ["Co", "Mg", "O"],
        "nsites": 6,
        "chemical_formula_anonymous": "ABC4",
        "chemical_formula_reduced": "CoMgO4",
        "chemical_formula_descriptive": "O4Mg1Co1",
        "elements_ratios": [1 / 6, 1 / 6, 4 / 6],
        "dimension_types": [1, 1, 1],
        "energy": THIRD.energy_ev,
        "last_modified": None,
        "split": "validation",
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_failure_leaves_the_file_that_was_there_and_nothing_else(tmp_path: Path, file_format: ExportFormat) -> None:
    def broken() -> Iterator[tuple[Structure, str]]:
        for _ in range(700):
            yield THIRD, "train"
        raise KeyboardInterrupt

    path = tmp_path / "x"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        export_structures(broken(), path, file_format)
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert path.read_text() == "before"
    assert export_structures([(THIRD, "train")], path, file_format) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes()[:6] != b"before"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write .*absent/x\.db: No such file or directory"):
        export_structures([(THIRD, "train")], tmp_path / "absent" / "x.db", "ase-db")
    with pytest.raises(InputError, match="it is a folder"):
        export_structures([(THIRD, "train")], tmp_path, "parquet")


def test_a_full_disk_stays_one(tmp_path: Path) -> None:
    def fill() -> Iterator[tuple[Structure, str]]:
        yield THIRD, "train"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        export_structures(fill(), tmp_path / "x.extxyz", "extxyz")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("file_format", FORMATS)
def test_structures_are_written_as_they_come(tmp_path: Path, file_format: ExportFormat) -> None:
    """No more than a group of rows is held: the first is let go of long before the last is made."""
    alive: list[weakref.ref[Structure]] = []
    most = 0

    def stream() -> Iterator[tuple[Structure, str]]:
        nonlocal most
        for i in range(1600):
            structure = replace(THIRD, immutable_id=f"mine-{i}")
            alive.append(weakref.ref(structure))
            yield structure, "train"
            if i % 100 == 0:
                most = max(most, sum(ref() is not None for ref in alive))

    assert export_structures(stream(), tmp_path / "x", file_format) == 1600
    assert most <= 1002
