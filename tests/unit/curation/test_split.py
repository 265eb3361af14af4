"""Splits are seeded, share nothing, and come close to the shares that were asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from heo_core.curation.split import SPLITS, Entry, find_leaks, split_entries
from heo_core.params import SplitParams


def make_entries(count: int, n_systems: int) -> list[Entry]:
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
    entries = []
    for i in range(count):
        system = i % n_systems
        name = f"{metals[system % 20]}-{metals[(system // 20 + system + 7) % 20]}-O"
        source = ("mp", "agm", "oqmd")[system % 3]
        entries.append(Entry(f"hash-{i:04}", f"{source}-{i}", source, f"f{i // 2}", None, f"{name}{i % 2}", name, 3))
    return entries


@pytest.mark.parametrize("group_by", ["chemical_system", "formula", "fingerprint"])
def test_no_group_stands_in_two_splits(group_by: str) -> None:
    entries = make_entries(300, 60)
    splits = split_entries(entries, SplitParams(group_by=group_by))
    leaks = {(leak.kind, leak.split, leak.other_split): leak.n_shared for leak in find_leaks(entries, splits)}
    assert [
        leaks[group_by, *pair] for pair in (("train", "test"), ("train", "validation"), ("validation", "test"))
    ] == [
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
def test_shares_are_kept_however_small_the_strata_are(size: int) -> None:
    entries = [Entry(f"h{i}", f"x-{i}", f"source{i // size}", None, None, f"F{i}", f"S{i}", 5) for i in range(600)]
    counts = Counter(split_entries(entries, SplitParams()))
    assert abs(counts["train"] - 420) <= 2
    assert abs(counts["validation"] - 120) <= 2
    assert abs(counts["test"] - 60) <= 2


@pytest.mark.parametrize("seed", range(3))
def test_shares_are_kept_within_one_group_where_groups_are_uneven(seed: int) -> None:
    sizes = [40, 25, 20, *[10] * 5, *[5] * 20, *[1] * 300]
    systems = [system for system, size in enumerate(sizes) for _ in range(size)]
    entries = [Entry(f"h{i}", f"mp-{i}", "mp", None, None, f"S{s}", f"S{s}", 5) for i, s in enumerate(systems)]
    counts = Counter(split_entries(entries, SplitParams(seed=seed)))
    for split, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        assert abs(counts[split] - share * len(entries)) <= max(sizes)


def test_each_source_is_shared_out_alike() -> None:
    entries = make_entries(900, 180)
    splits = split_entries(entries, SplitParams())
    for source in ("mp", "agm", "oqmd"):
        counts = Counter(split for entry, split in zip(entries, splits, strict=True) if entry.source == source)
        assert abs(counts["train"] / 300 - 0.7) < 0.02
        assert abs(counts["validation"] / 300 - 0.2) < 0.02
        assert abs(counts["test"] / 300 - 0.1) < 0.02


def test_the_split_does_not_depend_on_the_order_of_entries() -> None:
    entries = make_entries(100, 40)
    expected = dict(zip(entries, split_entries(entries, SplitParams()), strict=True))
    backwards = entries[::-1]
    assert dict(zip(backwards, split_entries(backwards, SplitParams()), strict=True)) == expected


def test_another_seed_gives_another_split() -> None:
    entries = make_entries(100, 40)
    assert split_entries(entries, SplitParams(seed=0)) != split_entries(entries, SplitParams(seed=1))


def test_a_random_split_leaks_and_the_leak_is_measured() -> None:
    # Ten structures of one formula: whatever the seed, some are in each split.
    entries = [Entry(f"h{i}", f"mp-{i}", "mp", "", None, "MgO", "Mg-O", 2) for i in range(10)]
    splits = split_entries(entries, SplitParams(group_by="none"))
    counts = Counter(splits)
    assert counts == {"train": 7, "validation": 2, "test": 1}
    leaks = [leak for leak in find_leaks(entries, splits) if leak.kind == "formula"]
    assert {(leak.split, leak.other_split): leak.n_structures for leak in leaks} == {
        ("train", "validation"): 2,
        ("train", "test"): 1,
        ("validation", "test"): 1,
    }
    assert all(leak.n_shared == 1 and leak.examples == ("MgO",) for leak in leaks)
    # Structures without a fingerprint share none.
    assert all(leak.n_shared == 0 for leak in find_leaks(entries, splits) if leak.kind == "fingerprint")


def test_no_entries_give_no_splits_and_no_leaks() -> None:
    assert split_entries([], SplitParams()) == ()
    assert {leak.n_shared for leak in find_leaks([], [])} == {0}
    assert len(find_leaks([], [])) == 9


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=40), st.integers(0, 5))
def test_every_entry_gets_one_split(kinds: list[tuple[int, int]], seed: int) -> None:
    entries = [
        Entry(f"h{i}", f"mp-{i}", f"source{source}", None, None, f"F{group}", f"S{group}", source)
        for i, (group, source) in enumerate(kinds)
    ]
    splits = split_entries(entries, SplitParams(seed=seed))
    assert len(splits) == len(entries)
    assert set(splits) <= set(SPLITS)


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match="it must be 1"):
        SplitParams(train=0.7, validation=0.2, test=0.2)
