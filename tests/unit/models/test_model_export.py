"""A model's file is written whole, with its card, and never over another one unasked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from heo_core.errors import InputError, ModelError
from heo_core.models.export import export_model
from heo_core.records import ModelFile

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CARD = {"model": "child@2", "sha256": SHA256, "warnings": ["softer than its parent"]}


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    stored = tmp_path / "store" / f"{SHA256}.model"
    stored.parent.mkdir()
    stored.write_bytes(CONTENT)
    return ModelFile("mace", "heo-mini@1", str(stored), SHA256)


def test_the_file_and_its_card_stand_side_by_side(model: ModelFile, tmp_path: Path) -> None:
    path, card_path = export_model(model, "child@2", CARD, tmp_path)
    assert (path, card_path) == (tmp_path / "child-2.model", tmp_path / "child-2.json")
    assert path.read_bytes() == CONTENT
    assert json.loads(card_path.read_text()) == CARD
    assert sorted(file.name for file in tmp_path.iterdir()) == ["child-2.json", "child-2.model", "store"]


def test_exporting_again_keeps_the_file_and_renews_the_card(model: ModelFile, tmp_path: Path) -> None:
    path, card_path = export_model(model, "child@2", CARD, tmp_path)
    before = path.stat().st_mtime_ns
    export_model(model, "child@2", {**CARD, "note": "the good one"}, tmp_path)
    assert path.stat().st_mtime_ns == before
    assert json.loads(card_path.read_text())["note"] == "the good one"


@pytest.mark.parametrize("name", ["mine.model", "mine.json"])
def test_another_file_is_overwritten_only_by_force(model: ModelFile, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    out = tmp_path / "mine.model"
    with pytest.raises(InputError, match=rf"{name} is .*child@2: .*--force"):
        export_model(model, "child@2", CARD, out)
    assert [file.read_text() for file in tmp_path.glob("mine.*")] == ["mine"]
    export_model(model, "child@2", CARD, out, force=True)
    assert out.read_bytes() == CONTENT
    assert json.loads(out.with_suffix(".json").read_text()) == CARD


def test_a_changed_file_is_refused_with_both_hashes(model: ModelFile, tmp_path: Path) -> None:
    Path(str(model.path)).write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ModelError, match=f"{found}, registered is {SHA256}"):
        export_model(model, "child@2", CARD, tmp_path / "out.model")
    assert not (tmp_path / "out.model").exists()


def test_a_model_without_a_file_and_a_wrong_ending_are_refused(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="chgnet@1 has no file"):
        export_model(replace(model, path=None, family="chgnet"), "chgnet@1", CARD, tmp_path)
    with pytest.raises(InputError, match=r"out\.json does not end in \.model"):
        export_model(model, "child@2", CARD, tmp_path / "out.json")


def test_a_place_that_cannot_be_written_is_named(model: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out\.model cannot be written"):
        export_model(model, "child@2", CARD, tmp_path / "file" / "out.model")
