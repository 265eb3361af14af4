"""Structures know their formula, and are the same when their content is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
