"""Each rule catches the row that breaks it, and nothing a row may hold makes the scan crash."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heo_core.curation import CuratedDataset, curate
from heo_core.curation.lemat import Source
from heo_core.curation.rules import compute_smallest_distance, find_broken_rule, source_of
from heo_core.params import CurationParams, RuleParams


def make_row(**changes: Any) -> dict[str, Any]:
    """A good row: rock-salt-like CoMgNiZnO4, 8 atoms on a simple cubic grid 2.1 Å apart."""
    grid = [[2.1 * i, 2.1 * j, 2.1 * k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    row: dict[str, Any] = {
        "immutable_id": "mp-1",
        "lattice_vectors": [[4.2, 0.0, 0.0], [0.0, 4.2, 0.0], [0.0, 0.0, 4.2]],
        "cartesian_site_positions": grid,
        "species_at_sites": ["Mg", "O", "O", "Co", "O", "Ni", "Zn", "O"],
        "nperiodic_dimensions": 3,
        "energy": -40.0,
        "forces": [[0.0, 0.0, 0.1]] * 8,
        "stress_tensor": None,
        "functional": "pbe",
        "fingerprint": "f1",
    }
    return row | changes


def replace_species(old: str, new: str) -> list[str]:
    return [new if symbol == old else symbol for symbol in make_row()["species_at_sites"]]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("id_missing", {"immutable_id": ""}),
        ("species_missing", {"species_at_sites": []}),
        ("too_few_elements", {"species_at_sites": replace_species("Co", "Ni")}),
        ("unknown_element", {"species_at_sites": replace_species("Co", "Xx")}),
        ("no_oxygen", {"species_at_sites": replace_species("O", "Al")}),
        ("non_metal_cation", {"species_at_sites": replace_species("Co", "S")}),
        ("metalloid_cation", {"species_at_sites": replace_species("Co", "Si")}),
        ("not_bulk", {"nperiodic_dimensions": 2}),
        ("energy_null", {"energy": None}),
        ("energy_nan", {"energy": math.nan}),
        ("forces_null", {"forces": None}),
        ("forces_empty", {"forces": []}),
        ("forces_ragged", {"forces": [[0.0, 0.0]] * 8}),
        ("forces_wrong_length", {"forces": [[0.0, 0.0, 0.0]] * 7}),
        ("forces_nan", {"forces": [[0.0, 0.0, math.inf]] * 8}),
        ("forces_too_large", {"forces": [[0.0, 0.0, 10.1]] * 8}),
        ("lattice_malformed", {"lattice_vectors": [[4.2, 0.0, 0.0]]}),
        ("positions_wrong_length", {"cartesian_site_positions": [[0.0, 0.0, 0.0]]}),
        ("cell_zero_volume", {"lattice_vectors": [[4.2, 0.0, 0.0], [8.4, 0.0, 0.0], [0.0, 0.0, 4.2]]}),
        (
            "atoms_overlap",
            {
                "cartesian_site_positions": [
                    [0.0, 0.0, 0.0],
                    [4.1, 0.0, 0.0],
                    *make_row()["cartesian_site_positions"][2:],
                ]
            },
        ),
        (None, {}),
    ],
)
def test_a_row_is_rejected_by_the_one_rule_that_it_breaks(rule: str | None, changes: dict[str, Any]) -> None:
    assert find_broken_rule(make_row(**changes), RuleParams()) == rule


def test_rules_follow_their_parameters() -> None:
    silicate = make_row(species_at_sites=replace_species("Co", "Si"))
    assert find_broken_rule(silicate, RuleParams(allow_metalloids=True)) is None
    assert find_broken_rule(make_row(), RuleParams(min_elements=6)) == "too_few_elements"
    assert find_broken_rule(make_row(), RuleParams(max_n_atoms=7)) == "too_many_atoms"
    assert find_broken_rule(make_row(), RuleParams(exclude_sources=("mp",))) == "source_excluded"
    strong = make_row(forces=[[0.0, 0.0, 50.0]] * 8)
    assert find_broken_rule(strong, RuleParams(max_force_ev_per_ang=None)) is None


@pytest.mark.parametrize(
    ("immutable_id", "source"),
    [("mp-19770", "mp"), ("agm002153972", "agm"), ("oqmd-1", "oqmd"), ("17", "own"), ("7net0-01", "7net0")],
)
def test_the_source_is_what_the_id_starts_with(immutable_id: str, source: str) -> None:
    assert source_of(immutable_id) == source


def test_smallest_distance_sees_periodic_images_of_a_skewed_cell() -> None:
    # One atom in a cell whose third vector is almost the sum of the others: the nearest image is c - a - b, 1 Å away.
    lattice = np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 5.0, 1.0]])
    assert compute_smallest_distance(lattice, np.zeros((1, 3))) == pytest.approx(1.0)


class Rows:
    """A source's table that lives in memory."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows


class MemorySource(Source):
    """A source whose rows are given."""

    def iter_batches(self) -> Any:
        yield [dict(row) for row in self.rows.rows]


def curate_rows(rows: list[dict[str, Any]], **params: Any) -> CuratedDataset:
    source = MemorySource("memory", "0", None, None, len(rows), "entalpic_fingerprint", Rows(rows))
    return curate(source, CurationParams(name="test", **params))


def make_distinct_rows(count: int) -> list[dict[str, Any]]:
    thirds = ["Co", "Mn", "Fe", "Cr", "Cu", "Ti", "V", "Ca"]
    return [
        make_row(
            immutable_id=f"mp-{i}",
            fingerprint=f"f{i}",
            species_at_sites=replace_species("Co", thirds[i % len(thirds)]),
            energy=-i,
        )
        for i in range(count)
    ]


def test_every_row_is_either_kept_or_counted() -> None:
    rows = [
        *make_distinct_rows(5),
        make_row(immutable_id="mp-0"),
        make_row(immutable_id="x", forces=None),
        {"immutable_id": "odd"},
    ]
    curated = curate_rows(rows)
    counts = {rejection.rule: rejection.n_rejected for rejection in curated.rejections}
    assert counts == {"duplicate_id": 1, "forces_null": 1, "malformed_row": 1}
    assert len(curated.structures) + sum(counts.values()) == curated.n_scanned == len(rows)


def test_of_two_rows_with_one_fingerprint_the_users_own_stays() -> None:
    curated = curate_rows(
        [make_row(immutable_id="agm7"), make_row(immutable_id="lab-7"), make_row(immutable_id="mp-7")]
    )
    assert [structure.immutable_id for structure in curated.structures] == ["lab-7"]
    assert curated.rejections[0].example_ids == ("agm7", "mp-7")


def test_rows_without_fingerprint_are_not_duplicates_of_each_other() -> None:
    rows = [row | {"fingerprint": None} for row in make_distinct_rows(3)]
    assert len(curate_rows(rows).structures) == 3


@settings(max_examples=15)
@given(st.permutations(make_distinct_rows(12)))
def test_the_dataset_does_not_depend_on_the_order_of_rows(rows: list[dict[str, Any]]) -> None:
    expected = curate_rows(make_distinct_rows(12))
    found = curate_rows(rows)
    assert [s.content_hash for s in found.structures] == [s.content_hash for s in expected.structures]
    assert found.splits == expected.splits


junk = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=2), st.lists(st.floats(), max_size=4)), max_size=4),
)


@given(st.sampled_from(sorted(make_row())), junk)
def test_no_value_of_any_column_crashes_the_scan(column: str, value: Any) -> None:
    curated = curate_rows([make_row(**{column: value})])
    assert curated.n_scanned == 1
    assert len(curated.structures) + sum(r.n_rejected for r in curated.rejections) == 1
