"""Splits are seeded, share nothing, and come close to the shares that were asked for."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from pydantic import ValidationError

from heo_core.curation.split import split_structures
from heo_core.params import SplitParams
from heo_core.records import Structure


def make_structures(count: int, n_systems: int) -> list[Structure]:
    metals = [
        "Mg",
        "Ni",
        "Co",
        "Zn",
        "Cu",
        "Mn",
        "Fe",
        "Ca",
        "Ti",
        "V",
        "Cr",
        "Sr",
        "Ba",
        "Al",
        "Ga",
        "In",
        "Sn",
        "Zr",
        "Hf",
        "Y",
    ]
    rng = np.random.default_rng(1)
    structures = []
    for i in range(count):
        system = i % n_systems
        species = (metals[system % 20], metals[(system // 20 + system + 7) % 20], "O")
        structures.append(Structure(4 * np.eye(3), rng.random((3, 3)), species, f"mp-{i}", "mp", energy_ev=-float(i)))
    return structures


@pytest.mark.parametrize("group_by", ["chemical_system", "formula"])
def test_no_group_stands_in_two_splits(group_by: str) -> None:
    structures = make_structures(300, 60)
    splits = split_structures(structures, SplitParams(group_by=group_by))
    seen = defaultdict(set)
    for structure, split in zip(structures, splits, strict=True):
        seen[structure.chemical_system if group_by == "chemical_system" else structure.formula_reduced].add(split)
    assert all(len(found) == 1 for found in seen.values())


def test_shares_are_kept_within_one_group() -> None:
    counts = Counter(split_structures(make_structures(300, 60), SplitParams()))
    # 60 systems of 5 structures: no split is off by more than one system.
    assert abs(counts["train"] - 210) <= 5
    assert abs(counts["validation"] - 45) <= 5
    assert abs(counts["test"] - 45) <= 5


def test_the_split_does_not_depend_on_the_order_of_structures() -> None:
    structures = make_structures(100, 40)
    expected = dict(zip([s.content_hash for s in structures], split_structures(structures, SplitParams()), strict=True))
    backwards = structures[::-1]
    found = dict(zip([s.content_hash for s in backwards], split_structures(backwards, SplitParams()), strict=True))
    assert found == expected


def test_another_seed_gives_another_split() -> None:
    structures = make_structures(100, 40)
    assert split_structures(structures, SplitParams(seed=0)) != split_structures(structures, SplitParams(seed=1))


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match="it must be 1"):
        SplitParams(train=0.7, validation=0.2, test=0.2)
