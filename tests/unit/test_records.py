"""Structures know their formula, and are the same when their content is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heo_core.artifacts import compute_sha256, store_artifact
from heo_core.records import ModelFile, Structure

ROCKSALT = Structure(
    lattice=4.2 * np.eye(3),
    positions=np.arange(24, dtype=float).reshape(8, 3),
    species=("Ni", "O", "Mg", "O", "O", "Mg", "Ni", "O"),
    immutable_id="mp-1",
    source="mp",
    energy_ev=-40.0,
    forces_ev_per_ang=np.full((8, 3), 0.1),
)


def test_formula_system_and_forces_are_derived_by_hand_computable_rules() -> None:
    assert ROCKSALT.formula_reduced == "MgNiO2"
    assert ROCKSALT.chemical_system == "Mg-Ni-O"
    assert ROCKSALT.volume_ang3 == pytest.approx(4.2**3)
    assert ROCKSALT.fmax_ev_per_ang == pytest.approx(0.1 * 3**0.5)


def test_the_content_hash_ignores_noise_and_the_sign_of_zero_and_sees_all_else() -> None:
    noisy = replace(ROCKSALT, positions=ROCKSALT.positions + 1e-9, forces_ev_per_ang=ROCKSALT.forces_ev_per_ang - 1e-9)
    assert noisy.content_hash == ROCKSALT.content_hash
    assert replace(ROCKSALT, lattice=-0.0 + ROCKSALT.lattice).content_hash == ROCKSALT.content_hash
    moved = replace(ROCKSALT, positions=ROCKSALT.positions + 1e-3)
    others = [moved, replace(ROCKSALT, energy_ev=-40.1), replace(ROCKSALT, immutable_id="mp-2")]
    assert len({ROCKSALT.content_hash, *(other.content_hash for other in others)}) == 4


def test_a_model_names_the_elements_that_it_does_not_know() -> None:
    model = ModelFile("mace", "x", None, None, elements=("O", "Mg"))
    assert model.unknown_elements(ROCKSALT.species) == ["Ni"]
    assert ModelFile("chgnet", "x", None, None).unknown_elements(ROCKSALT.species) == []


def test_an_artifact_is_stored_once_under_its_hash(tmp_path) -> None:
    first, second = tmp_path / "a.model", tmp_path / "b.model"
    for file in (first, second):
        file.write_bytes(b"weights")
    root = tmp_path / "store"
    stored = store_artifact(first, root)
    assert store_artifact(second, root) == stored
    assert stored.path.name == f"{compute_sha256(first)}.model"
    assert [path for path in root.rglob("*") if path.is_file()] == [stored.path]


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path, monkeypatch) -> None:
    file = tmp_path / "a.model"
    file.write_bytes(b"weights")

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("heo_core.artifacts.shutil.copyfileobj", fail)
    with pytest.raises(OSError, match="No space left"):
        store_artifact(file, tmp_path / "store")
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
