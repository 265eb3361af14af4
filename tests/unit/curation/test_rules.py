"""Each rule catches the row that breaks it, and nothing a row may hold makes the scan crash."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from heo_core.curation import CuratedDataset, curate
from heo_core.curation.distances import compute_smallest_distance, find_close_pairs
from heo_core.curation.row_batch import RowBatch
from heo_core.curation.rows import ROW_SCHEMA, make_table, source_of
from heo_core.curation.rules import RULE_DESCRIPTIONS, check_rows
from heo_core.curation.sources import Batch, Shard, make_source
from heo_core.elements import ELEMENT_GROUPS
from heo_core.params import RULE_PRESETS, CurationParams, ElementGroup, RuleParams


def make_row(**changes: Any) -> dict[str, Any]:
    """A good row: rock-salt-like CoMgNiZnO4, 8 atoms on a simple cubic grid 2.1 Å apart."""
    grid = [[2.1 * i, 2.1 * j, 2.1 * k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    row: dict[str, Any] = {
        "immutable_id": "mp-1",
        "source": None,
        "nelements": None,
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
    assert find_broken_rule(make_row(**changes)) == rule


def find_broken_rule(row: dict[str, Any], **params: Any) -> str | None:
    broken: list[str] = []
    kept = check_rows(RowBatch(make_table([row])), RuleParams(**params).resolve(), lambda rule, _: broken.append(rule))
    assert len(kept) + len(broken) == 1
    return broken[0] if broken else None


def make_perovskite() -> dict[str, Any]:
    """SrBO3 in a 1 x 1 x 5 cell with five B."""
    corners = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5)]
    species = [symbol for b in ("Ti", "Zr", "Sn", "Hf", "Mn") for symbol in ("Sr", b, "O", "O", "O")]
    positions = [[4.0 * x, 4.0 * y, 4.0 * (z + k)] for k in range(5) for x, y, z in corners]
    return make_row(
        species_at_sites=species,
        cartesian_site_positions=positions,
        lattice_vectors=[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 20.0]],
        forces=[[0.0, 0.0, 0.0]] * 25,
    )


PEROVSKITE = make_perovskite()
# Equal shares of four cations: ln 4 = 1.386 R.
FOUR_CATIONS = make_row()
SILICATE = make_row(species_at_sites=replace_species("Co", "Si"))


@pytest.mark.parametrize(
    ("rule", "row", "params"),
    [
        ("too_few_elements", FOUR_CATIONS, {"min_elements": 6}),
        (None, SILICATE, {"allow_metalloids": True}),
        (None, SILICATE, {"only_metals": False}),
        (None, make_row(species_at_sites=replace_species("Co", "S")), {"only_metals": False}),
        (None, make_row(species_at_sites=replace_species("O", "Al")), {"require_oxygen": False}),
        (None, make_row(nperiodic_dimensions=2), {"require_bulk": False}),
        (None, make_row(energy=None), {"require_energy": False}),
        ("energy_nan", make_row(energy=math.nan), {"require_energy": False}),
        (None, make_row(forces=None), {"require_forces": False}),
        (None, make_row(forces=[]), {"require_forces": False}),
        ("forces_wrong_length", make_row(forces=[[0.0, 0.0, 0.0]]), {"require_forces": False}),
        (None, make_row(forces=[[0.0, 0.0, 50.0]] * 8), {"max_force_ev_per_ang": 0}),
        ("forces_too_large", make_row(forces=[[0.0, 0.0, 3.0]] * 8), {"max_force_ev_per_ang": 2.9}),
        ("too_many_atoms", FOUR_CATIONS, {"max_n_atoms": 7}),
        (None, FOUR_CATIONS, {"max_n_atoms": 8}),
        ("source_excluded", FOUR_CATIONS, {"exclude_sources": ["MP"]}),
        (None, make_row(source="own"), {"exclude_sources": ["mp"]}),
        ("source_excluded", FOUR_CATIONS, {"include_sources": ["agm", "oqmd"]}),
        (None, FOUR_CATIONS, {"include_sources": ["mp"]}),
        ("functional_excluded", FOUR_CATIONS, {"functionals": ["pbesol"]}),
        ("functional_excluded", make_row(functional=None), {"functionals": ["pbe"]}),
        (None, FOUR_CATIONS, {"functionals": ["PBE"]}),
        ("too_few_cations", FOUR_CATIONS, {"min_cations": 5}),
        (None, FOUR_CATIONS, {"min_cations": 4}),
        ("element_excluded", FOUR_CATIONS, {"exclude_elements": ["Zn"]}),
        ("element_excluded", make_row(species_at_sites=replace_species("Co", "Pb")), {"exclude_elements": ["toxic"]}),
        (None, FOUR_CATIONS, {"exclude_elements": ["toxic", "noble_metals"]}),
        (None, FOUR_CATIONS, {"max_equimolarity_deviation": 0.01}),
        (
            "not_equimolar",  # Mg 1/5, Co 2/5, Ni 1/5, Zn 1/5: off 1/4 by 0.15
            make_row(species_at_sites=["Mg", "O", "Co", "Co", "O", "Ni", "Zn", "O"]),
            {"max_equimolarity_deviation": 0.14},
        ),
        (
            None,
            make_row(species_at_sites=["Mg", "O", "Co", "Co", "O", "Ni", "Zn", "O"]),
            {"max_equimolarity_deviation": 0.16},
        ),
        ("entropy_too_low", FOUR_CATIONS, {"min_entropy_r": 1.39, "entropy_of": "pooled"}),
        (None, FOUR_CATIONS, {"min_entropy_r": 1.38, "entropy_of": "pooled"}),
        (None, FOUR_CATIONS, {"min_entropy_r": math.log(4), "entropy_of": "pooled"}),
        ("entropy_too_low", FOUR_CATIONS, {"min_entropy_r": 1.39}),
        (None, FOUR_CATIONS, {"min_entropy_r": 1.38}),
        # A(B5)O3: 1.609 R on the B sublattice, but with A and B pooled 1.498 R.
        (None, PEROVSKITE, {"preset": "heo"}),
        (None, PEROVSKITE, {"min_entropy_r": 1.6, "entropy_of": "sublattice"}),
        ("entropy_too_low", PEROVSKITE, {"min_entropy_r": 1.5, "entropy_of": "pooled"}),
        ("atoms_overlap", FOUR_CATIONS, {"min_distance_ang": 2.2}),
        (None, FOUR_CATIONS, {"min_distance_ang": 2.0}),
        ("cell_zero_volume", FOUR_CATIONS, {"min_volume_per_atom_ang3": 9.3}),  # 4.2 Å cubed, over 8 atoms, is 9.26
        (None, FOUR_CATIONS, {"min_volume_per_atom_ang3": 9.2}),
        ("energy_implausible", make_row(energy=-801.0), {}),
        (None, make_row(energy=-799.0), {}),
        (None, make_row(energy=1e300), {"max_energy_ev_per_atom": 0}),
        ("cell_too_large", make_row(lattice_vectors=[[4.2, 0, 0], [0, 4.2, 0], [0, 0, 1e5]]), {}),
        (None, make_row(lattice_vectors=[[4.2, 0, 0], [0, 4.2, 0], [0, 0, 1e5]]), {"max_volume_per_atom_ang3": 0}),
        ("too_few_elements", FOUR_CATIONS, {"preset": "heo"}),
        (None, FOUR_CATIONS, {"preset": "quickstart"}),
    ],
)
def test_every_rule_follows_its_own_switch(rule: str | None, row: dict[str, Any], params: dict[str, Any]) -> None:
    assert find_broken_rule(row, **params) == rule


def test_a_row_that_does_not_count_its_elements_is_judged_by_its_species() -> None:
    assert find_broken_rule(make_row(nelements=None)) is None
    assert find_broken_rule(make_row(nelements=None), min_elements=6) == "too_few_elements"


def test_a_preset_fills_what_is_left_empty_and_nothing_else() -> None:
    params = RuleParams(preset="heo", min_entropy_r=1.2, max_n_atoms=None).resolve()
    assert params.min_entropy_r == 1.2
    assert params.min_cations == RULE_PRESETS["heo"]["min_cations"] == 5
    assert params.max_n_atoms == 0
    assert RuleParams.model_validate(params.model_dump(mode="json")) == params == params.resolve()
    assert RuleParams(preset="heo").min_entropy_r is None  # so that a form shows what the user has chosen


def test_every_field_has_a_value_in_every_preset() -> None:
    for preset, values in RULE_PRESETS.items():
        assert set(values) == set(RuleParams.model_fields) - {"preset"}
        assert None not in RuleParams(preset=preset).resolve().model_dump().values()


def test_words_with_commas_between_them_are_a_list() -> None:
    assert RuleParams(exclude_elements="toxic, Tc").exclude_elements == ("toxic", "Tc")
    assert RuleParams(exclude_sources="").exclude_sources == ()


def test_an_unknown_element_to_exclude_is_named_with_what_is_allowed() -> None:
    with pytest.raises(ValidationError, match="Xx is neither an element nor one of noble_metals, actinides"):
        RuleParams(exclude_elements=("Xx", "Pb"))
    assert set(ELEMENT_GROUPS) == set(get_args(ElementGroup))


def test_the_documentation_lists_every_rule_in_order() -> None:
    names = list(RULE_DESCRIPTIONS)
    text = (Path(__file__).parents[3] / "docs" / "curation.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+)` \|", text.partition("## Rules")[2].partition("A **preset**")[0], re.MULTILINE)
    assert listed == names
    parameters = set(re.findall(r"`([a-z_0-9]+)`", text))
    assert set(RuleParams.model_fields) - {"preset"} <= parameters


@pytest.mark.parametrize(
    ("immutable_id", "source"),
    [
        ("mp-19770", "mp"),
        ("agm002153972", "agm"),
        ("oqmd-1", "oqmd"),
        ("17", "own"),
        ("7net0-01", "7net0"),
        ("mposcar-1", "mposcar"),
        ("agmodel", "own"),
    ],
)
def test_the_source_is_what_the_id_starts_with(immutable_id: str, source: str) -> None:
    assert source_of(immutable_id) == source


def test_smallest_distance_sees_periodic_images_of_a_skewed_cell() -> None:
    # One atom in a cell whose third vector is almost the sum of the others: the nearest image is c - a - b, 1 Å away.
    lattice = np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [5.0, 5.0, 1.0]])
    assert compute_smallest_distance(lattice, np.zeros((1, 3))) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(0.3, 3.0))
def test_close_pairs_are_those_that_the_slow_way_finds(seed: int, n_atoms: int, distance: float) -> None:
    rng = np.random.default_rng(seed)
    lattices = rng.normal(scale=3.0, size=(6, 3, 3))
    sizes = rng.integers(1, n_atoms + 1, size=6)
    positions = [rng.normal(scale=4.0, size=(size, 3)) for size in sizes]
    found = find_close_pairs(lattices, np.concatenate(positions), sizes, distance)
    smallest = [compute_smallest_distance(*cell) for cell in zip(lattices, positions, strict=True)]
    decided = np.abs(np.array(smallest) - distance) > 1e-9
    assert (found == (np.array(smallest) < distance))[decided].all()


def test_close_pairs_of_a_large_cell_are_found_too() -> None:
    grid = 2.0 * np.array([[i, j, k] for i in range(11) for j in range(11) for k in range(11)], dtype=float)
    lattices, sizes = np.eye(3)[None] * 22.0, np.array([len(grid)])
    assert not find_close_pairs(lattices, grid, sizes, 1.9).any()
    moved = grid.copy()
    moved[0] = [21.5, 0.0, 0.0]  # half an Å beyond the boundary from where it was, 1.5 Å from its last neighbour
    assert find_close_pairs(lattices, moved, sizes, 1.9).all()


@dataclass(frozen=True)
class MemoryShard(Shard):
    """A shard whose rows are given."""

    table: pa.Table = field(default_factory=ROW_SCHEMA.empty_table)

    def iter_batches(self, min_elements: int) -> Iterator[Batch]:
        yield Batch(self.table, self.table.num_rows, pa.array([], pa.string()))


def curate_rows(rows: list[dict[str, Any]], **params: Any) -> CuratedDataset:
    return curate_table(make_table(rows), **params)


def curate_table(table: pa.Table, **params: Any) -> CuratedDataset:
    source = make_source("memory", [MemoryShard("memory", "0", table.num_rows, table=table)], None, None)
    return curate(source, CurationParams(name="test", **params))


def list_ids(curated: CuratedDataset) -> list[str]:
    return [member.structure.immutable_id for member in curated.iter_members()]


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
    assert counts == {"duplicate_id": 1, "forces_null": 1, "unreadable": 1}
    assert curated.n_kept == len(list_ids(curated)) == 5
    assert curated.n_kept + sum(counts.values()) == curated.n_scanned == len(rows)


def test_of_two_rows_with_one_fingerprint_the_users_own_stays() -> None:
    curated = curate_rows(
        [make_row(immutable_id="agm7"), make_row(immutable_id="lab-7"), make_row(immutable_id="mp-7")]
    )
    assert list_ids(curated) == ["lab-7"]
    assert curated.rejections[0].example_ids == ("agm7", "mp-7")


def test_a_material_under_another_functional_stays_but_not_under_another_spelling_of_it() -> None:
    rows = [make_row(immutable_id=f"mp-{i}", functional=name) for i, name in enumerate(("pbe", "PBE", "scan"))]
    assert list_ids(curate_rows(rows)) == ["mp-0", "mp-2"]


def test_duplicates_stay_where_their_rules_are_off() -> None:
    rows = [make_row(immutable_id="mp-1"), make_row(immutable_id="mp-2"), make_row(immutable_id="mp-2", energy=-1.0)]
    assert curate_rows(rows).n_kept == 1
    assert curate_rows(rows, rules={"drop_duplicate_fingerprints": False}).n_kept == 2
    both_off = {"drop_duplicate_fingerprints": False, "drop_duplicate_ids": False}
    assert curate_rows(rows, rules=both_off).n_kept == 3
    again = curate_rows([*rows, rows[0]], rules=both_off)
    assert again.n_kept == 3
    assert [(r.rule, r.n_rejected) for r in again.rejections] == [("duplicate_row", 1)]


def test_rows_without_fingerprint_are_not_duplicates_of_each_other() -> None:
    rows = [row | {"fingerprint": None} for row in make_distinct_rows(3)]
    assert curate_rows(rows).n_kept == 3


def test_rows_without_labels_are_kept_without_them_where_none_are_asked_for() -> None:
    curated = curate_rows(
        [make_row(energy=None, forces=None)], rules={"require_energy": False, "require_forces": False}
    )
    (member,) = curated.iter_members()
    assert member.structure.energy_ev is None
    assert member.structure.forces_ev_per_ang is None


# Rows that share ids, fingerprints, content, or all but one of these.
ALIKE = [
    *make_distinct_rows(6),
    make_row(immutable_id="mp-0", fingerprint=None),
    make_row(immutable_id="mp-0", fingerprint="f9"),
    make_row(immutable_id="agm2", fingerprint="f9"),
    make_row(immutable_id="agm2", fingerprint="f9", energy=-1.0),
    make_row(immutable_id="own-3", fingerprint="f1", functional="pbesol"),
    make_row(immutable_id="own-4", fingerprint="f1"),
]


@settings(max_examples=40, deadline=None)
@given(st.permutations(ALIKE))
def test_the_dataset_does_not_depend_on_the_order_of_rows(rows: list[dict[str, Any]]) -> None:
    expected, found = curate_rows(ALIKE), curate_rows(rows)
    assert found.entries == expected.entries
    assert found.splits == expected.splits
    assert found.rejections == expected.rejections
    kept = {(e.immutable_id, e.fingerprint, e.functional) for e in found.entries}
    members = [m.structure for m in found.iter_members()]
    assert {(s.immutable_id, s.fingerprint, s.functional) for s in members} == kept
    assert len(members) == found.n_kept


def test_the_same_material_under_another_functional_is_no_duplicate() -> None:
    assert curate_rows([make_row(), make_row(immutable_id="mp-2", functional="scan")]).n_kept == 2


def test_copies_off_equilibrium_carry_no_labels_and_are_the_same_every_time() -> None:
    params = {"off_equilibrium": {"n_copies": 2, "max_structures": 1, "of_split": "test", "strain": 0.1}}
    members, again = (list(curate_rows(make_distinct_rows(6), **params).iter_members()) for _ in range(2))
    copies = [member for member in members if member.split == "off_equilibrium"]
    assert len(copies) == 2
    assert len(members) == 8
    parents = {m.structure.content_hash: m for m in members if m.parent_hash is None}
    for copy in copies:
        parent = parents[copy.parent_hash or ""]
        assert parent.split == "test"
        assert copy.structure.species == parent.structure.species
        assert copy.structure.energy_ev is copy.structure.forces_ev_per_ang is None
        assert copy.recipe is not None
        tensor = np.array(copy.recipe["strain"])
        assert np.allclose(copy.structure.lattice, parent.structure.lattice @ (np.eye(3) + tensor))
        assert 0.0 < np.abs(tensor).max() <= 0.1
    assert [m.structure.content_hash for m in again] == [m.structure.content_hash for m in members]


numbers = st.one_of(st.none(), st.floats())
vectors = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.lists(numbers, max_size=4)), max_size=9))
JUNK: dict[str, st.SearchStrategy[Any]] = {
    "immutable_id": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    "source": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    "nelements": numbers,
    "nperiodic_dimensions": numbers,
    "lattice_vectors": vectors,
    "cartesian_site_positions": vectors,
    "species_at_sites": st.one_of(
        st.none(), st.lists(st.one_of(st.none(), st.sampled_from(["O", "Mg", "Xx", "", "\0"])), max_size=9)
    ),
    "energy": numbers,
    "forces": vectors,
    "stress_tensor": vectors,
    "functional": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    "fingerprint": st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=JUNK), min_size=1, max_size=4))
def test_no_value_of_any_column_crashes_the_scan(changes: list[dict[str, Any]]) -> None:
    assert set(JUNK) == set(ROW_SCHEMA.names)
    rows = [make_row(**change) for change in changes]
    curated = curate_rows([*rows, make_row(immutable_id="own-good", fingerprint="good")])
    assert curated.n_scanned == len(rows) + 1
    assert curated.n_kept + sum(r.n_rejected for r in curated.rejections) == curated.n_scanned
    assert "own-good" in list_ids(curated)
    assert all("\0" not in text for r in curated.rejections for text in r.example_ids)


@given(st.binary(max_size=8))
def test_text_that_is_no_utf8_is_counted_under_a_name_that_can_be_shown(junk: bytes) -> None:
    table = make_table([make_row(), make_row(fingerprint="f2")])
    ids = pa.array([junk, b"mp-2"]).view(pa.string())
    curated = curate_table(table.set_column(0, "immutable_id", ids))
    assert curated.n_kept + sum(r.n_rejected for r in curated.rejections) == 2
    assert "mp-2" in list_ids(curated)
    for rejection in curated.rejections:
        assert all(text.encode().decode() == text for text in rejection.example_ids)


def test_a_scan_that_was_cut_short_goes_on_from_the_shards_that_were_finished(tmp_path: Path) -> None:
    tables = [make_table(make_distinct_rows(8)[i : i + 4]) for i in (0, 4)]
    shards = [MemoryShard(f"memory {i}", str(i), 4, table=table) for i, table in enumerate(tables)]
    broken = [shards[0], BrokenShard("broken", "1", 4)]
    params = CurationParams(name="test")
    with pytest.raises(ZeroDivisionError):
        curate(make_source("memory", broken, None, None), params, folder=tmp_path)
    # What the first shard held is read from the folder: its rows are gone from the source.
    emptied = [MemoryShard("memory 0", "0", 4), shards[1]]
    curated = curate(make_source("memory", emptied, None, None), params, folder=tmp_path)
    assert sorted(list_ids(curated)) == sorted(f"mp-{i}" for i in range(8))


def test_what_reached_the_disk_only_in_part_is_scanned_again(tmp_path: Path) -> None:
    source = make_source("memory", [MemoryShard("memory", "0", 4, table=make_table(make_distinct_rows(4)))], None, None)
    curate(source, CurationParams(name="test"), folder=tmp_path)
    (written,) = tmp_path.glob("*.arrow")
    written.write_bytes(written.read_bytes()[:-100])
    curated = curate(source, CurationParams(name="test"), folder=tmp_path)
    assert curated.n_kept == len(list_ids(curated)) == 4


class BrokenShard(MemoryShard):
    """A shard that breaks after its first rows."""

    def iter_batches(self, min_elements: int) -> Iterator[Batch]:
        yield Batch(make_table([make_row(immutable_id="lost")]), 1, pa.array([], pa.string()))
        raise ZeroDivisionError
