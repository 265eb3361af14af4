"""Reading parquet in LeMat-Bulk's schema: what is missing is named, and real rows give the expected counts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from heo_core.assets import SAMPLE_DIR
from heo_core.curation import CuratedDataset, curate, open_source
from heo_core.curation.lemat import open_files
from heo_core.errors import SourceError
from heo_core.params import CurationParams

SHARED = Path(os.environ.get("HEO_SHARED", Path(__file__).parents[4] / "shared"))
SAMPLE_FILE = SAMPLE_DIR / "train-00000-of-00001.parquet"
REAL_ROWS = SHARED / "data" / "lemat_like"
MIN_ELEMENTS = 5


def curate_path(path: Path, **changes: object) -> CuratedDataset:
    params = CurationParams.model_validate({"name": "test", "source": str(path)} | changes)
    return curate(open_source(params), params)


def check_counts(curated: CuratedDataset, expected: dict[str, int]) -> None:
    assert {rejection.rule: rejection.n_rejected for rejection in curated.rejections} == expected


def check_same(one: CuratedDataset, other: CuratedDataset) -> None:
    assert one.n_scanned == other.n_scanned
    assert one.entries == other.entries
    assert one.splits == other.splits
    assert one.leaks == other.leaks
    assert one.rejections == other.rejections


def replace_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


@pytest.fixture(scope="module")
def sample() -> CuratedDataset:
    return curate_path(SAMPLE_DIR)


def test_the_sample_has_the_counts_of_its_card(sample: CuratedDataset) -> None:
    card = json.loads((SAMPLE_DIR / "expected.json").read_text())
    check_counts(sample, card["rejected_one_rule_each"])
    assert sample.n_scanned == card["rows"]
    assert sample.n_kept == card["good_rows"]
    assert len({entry.chemical_system for entry in sample.entries}) == card["good_chemical_systems"]


def test_members_are_the_kept_entries_each_once_and_in_its_split(sample: CuratedDataset) -> None:
    split_of = dict(zip((entry.content_hash for entry in sample.entries), sample.splits, strict=True))
    members = [(member.structure.content_hash, member.split) for member in sample.iter_members()]
    assert len(members) == sample.n_kept
    assert dict(members) == split_of


@pytest.mark.skipif(not REAL_ROWS.exists(), reason="the real LeMat rows are not shipped; HEO_SHARED names their folder")
def test_real_rows_have_the_expected_counts_and_all_good_ones_are_kept() -> None:
    card = json.loads((REAL_ROWS / "expected.json").read_text())
    curated = curate_path(REAL_ROWS)
    expected = dict(card["rejected_one_rule_each"])
    expected["forces_too_large"] += card["real_max_force_above_10_eV_per_ang"]
    check_counts(curated, expected)
    assert curated.n_kept == card["real_rows"] - card["real_max_force_above_10_eV_per_ang"]
    assert all(entry.immutable_id.startswith("heo-") for entry in curated.entries)


def test_merged_renamed_and_shuffled_files_give_the_same_dataset(sample: CuratedDataset, tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    table = table.take(np.random.default_rng(7).permutation(table.num_rows))
    half = table.num_rows // 2
    (tmp_path / "deeper").mkdir()
    pq.write_table(table.slice(half), tmp_path / "a.parquet", row_group_size=50)
    pq.write_table(table.slice(0, half), tmp_path / "deeper" / "b.parquet")
    check_same(sample, curate_path(tmp_path))


def test_the_next_schemas_fingerprint_is_read_too(sample: CuratedDataset, tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    names = ["bawl_fingerprint" if name == "entalpic_fingerprint" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), tmp_path / "next.parquet")
    check_same(sample, curate_path(tmp_path))


def test_both_names_of_the_fingerprint_may_stand_in_one_folder(sample: CuratedDataset, tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    names = ["bawl_fingerprint" if name == "entalpic_fingerprint" else name for name in table.column_names]
    pq.write_table(table.slice(0, 200).rename_columns(names), tmp_path / "next.parquet")
    pq.write_table(table.slice(200), tmp_path / "now.parquet")
    check_same(sample, curate_path(tmp_path))


def test_large_lists_large_strings_and_other_numbers_are_read(sample: CuratedDataset, tmp_path: Path) -> None:
    vectors, texts = pa.large_list(pa.large_list(pa.float64())), pa.large_string()
    wider = {
        "lattice_vectors": vectors,
        "cartesian_site_positions": vectors,
        "forces": vectors,
        "immutable_id": texts,
        "species_at_sites": pa.large_list(texts),
        "nelements": pa.float64(),
        "nperiodic_dimensions": pa.uint32(),
    }
    table = pq.read_table(SAMPLE_FILE)
    for name, kind in wider.items():
        table = replace_column(table, name, table[name].cast(kind))
    pq.write_table(table, tmp_path / "wide.parquet", store_schema=True)
    assert pq.read_schema(tmp_path / "wide.parquet").field("forces").type == vectors
    check_same(sample, curate_path(tmp_path))


def test_single_precision_is_read_as_the_numbers_that_it_holds(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    names = ("energy", "forces", "cartesian_site_positions", "lattice_vectors")
    single = {"energy": pa.float32()} | dict.fromkeys(names[1:], pa.list_(pa.list_(pa.float32())))
    rounded = table
    for name in names:
        narrow = table[name].cast(single[name], safe=False)
        table = replace_column(table, name, narrow)
        rounded = replace_column(rounded, name, narrow.cast(rounded.schema.field(name).type))
    for name, rows in (("single", table), ("rounded", rounded)):
        (tmp_path / name).mkdir()
        pq.write_table(rows, tmp_path / name / "x.parquet")
    curated = curate_path(tmp_path / "single")
    assert curated.n_kept > 300
    check_same(curated, curate_path(tmp_path / "rounded"))


def test_a_path_with_spaces_and_brackets_is_read(sample: CuratedDataset, tmp_path: Path) -> None:
    folder = tmp_path / "my [oxides] *{1}?"
    folder.mkdir()
    file = shutil.copy(SAMPLE_FILE, folder / "a [b] *c.parquet")
    check_same(sample, curate_path(folder))
    check_same(sample, curate_path(file))


# --- row groups whose statistics say enough


def write_poor_group_first(path: Path) -> tuple[pa.Table, pa.Table]:
    """Write two row groups: one of the rows with too few elements, and one of the others."""
    table = pq.read_table(SAMPLE_FILE)
    is_poor = pc.less(table["nelements"], MIN_ELEMENTS)
    poor, rich = table.filter(is_poor), table.filter(pc.invert(is_poor))
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(poor)
        writer.write_table(rich)
    return poor, rich


def spoil(path: Path, row_group: int, column: str) -> None:
    """Overwrite the pages of one column of one row group."""
    columns = pq.read_metadata(path).row_group(row_group)
    chunk = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema.startswith(column))
    begin = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(b"\xff" * chunk.total_compressed_size)


def test_a_row_group_of_too_few_elements_is_passed_over_yet_counted_by_id(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    poor, rich = write_poor_group_first(path)
    assert poor.num_rows > 5
    before = curate_path(path)
    spoil(path, 0, "forces")
    spoil(path, 0, "species_at_sites")
    after = curate_path(path)
    check_same(before, after)
    assert after.n_scanned == poor.num_rows + rich.num_rows
    (rejection,) = (rejection for rejection in after.rejections if rejection.rule == "too_few_elements")
    assert rejection.n_rejected >= poor.num_rows
    assert rejection.example_ids == tuple(sorted(poor["immutable_id"].to_pylist())[:5])


def test_no_row_group_is_passed_over_that_the_rules_want(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    poor, _ = write_poor_group_first(path)
    rules = {"min_elements": int(pc.max(poor["nelements"]).as_py())}
    curate_path(path, rules=rules)
    spoil(path, 0, "forces")
    with pytest.raises(SourceError, match=r"x\.parquet broke off"):
        curate_path(path, rules=rules)


def test_a_file_that_breaks_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_poor_group_first(path)
    spoil(path, 1, "forces")
    with pytest.raises(SourceError, match=r"reading .*x\.parquet broke off: ."):
        curate_path(path)


def test_rows_that_do_not_count_their_elements_are_judged_by_their_species(
    sample: CuratedDataset, tmp_path: Path
) -> None:
    table = pq.read_table(SAMPLE_FILE)
    kind = table.schema.field("nelements").type
    every_second = pa.array(np.arange(table.num_rows) % 2 == 0)
    some = pc.if_else(every_second, table["nelements"], pa.scalar(None, kind))
    small = pc.if_else(pc.less(table["nelements"], MIN_ELEMENTS), table["nelements"], pa.scalar(None, kind))
    for name, nelements in (("some", some), ("small", small), ("none", pa.nulls(table.num_rows, kind))):
        (tmp_path / name).mkdir()
        pq.write_table(replace_column(table, "nelements", nelements), tmp_path / name / "x.parquet", row_group_size=25)
        check_same(sample, curate_path(tmp_path / name))


# --- a copy of the Hub's repository


def write_copy_of_hub(folder: Path) -> pa.Table:
    table = pq.read_table(SAMPLE_FILE)
    for config, rows in (("compatible_pbe", table.slice(0, 300)), ("compatible_pbesol", table.slice(300))):
        (folder / config).mkdir(parents=True)
        pq.write_table(rows, folder / config / "train-00000-of-00001.parquet")
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*\n"
        for config in ("compatible_pbe", "compatible_pbesol")
    )
    (folder / "README.md").write_text(f"---\nlicense: cc-by-4.0\nconfigs:\n{configs}---\n# LeMat-Bulk\n")
    return table


def test_of_a_copy_of_the_hubs_repository_one_config_is_read(tmp_path: Path) -> None:
    write_copy_of_hub(tmp_path / "copy")
    for config, n_rows in (("compatible_pbe", 300), ("compatible_pbesol", 229)):
        curated = curate_path(tmp_path / "copy", hub_config=config)
        assert curated.n_scanned == n_rows
        check_same(curated, curate_path(tmp_path / "copy" / config))
        assert curated.source.licence == "CC-BY-4.0"


def test_a_copy_of_the_hubs_repository_may_lie_under_any_name(tmp_path: Path) -> None:
    write_copy_of_hub(tmp_path / "my [copy] *")
    assert curate_path(tmp_path / "my [copy] *").n_scanned == 300


def test_a_config_that_a_copy_lacks_is_named_and_so_are_those_that_it_has(tmp_path: Path) -> None:
    write_copy_of_hub(tmp_path / "copy")
    with pytest.raises(SourceError, match=r"'compatible_scan'.*'compatible_pbe', 'compatible_pbesol'"):
        curate_path(tmp_path / "copy", hub_config="compatible_scan")


def test_a_config_whose_files_are_not_in_a_copy_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    write_copy_of_hub(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "compatible_pbe")
    with pytest.raises(SourceError, match=r"no file of config 'compatible_pbe'.*names compatible_pbe/train-\*"):
        curate_path(tmp_path / "copy")


@pytest.mark.parametrize(
    "readme",
    ["# My oxides\n\nconfigs: none\n", "---\nconfigs: [\n---\n", "---\nconfigs: mine\n---\n", "---\n- a\n---\n"],
)
def test_a_readme_that_names_no_configs_makes_no_copy_of_the_hub(
    sample: CuratedDataset, tmp_path: Path, readme: str
) -> None:
    shutil.copy(SAMPLE_FILE, tmp_path)
    (tmp_path / "README.md").write_text(readme)
    curated = curate_path(tmp_path)
    check_same(sample, curated)
    assert curated.source.licence is None


# --- what cannot be read


def test_a_missing_column_is_named_and_those_found_are_listed(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(SAMPLE_FILE).drop_columns(["forces", "entalpic_fingerprint"]), tmp_path / "x.parquet")
    with pytest.raises(
        SourceError,
        match=r"x\.parquet lacks the column forces, entalpic_fingerprint or bawl_fingerprint; found: .*energy",
    ):
        curate_path(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "found", "wanted"),
    [
        ("energy", ["much"], "string", "double"),
        ("immutable_id", [7], "int64", "string"),
        ("forces", [[1.0]], "list<element: double>", "list<item: list<item: double>>"),
    ],
)
def test_a_column_of_another_type_is_named_and_so_are_both_types(
    tmp_path: Path, name: str, values: list[object], found: str, wanted: str
) -> None:
    table = pq.read_table(SAMPLE_FILE).slice(0, 4)
    pq.write_table(replace_column(table, name, pa.array(values * 4)), tmp_path / "x.parquet")
    with pytest.raises(SourceError) as raised:
        curate_path(tmp_path)
    assert str(raised.value).endswith(f"x.parquet: column {name} is {found}; it must be {wanted}")


@pytest.mark.parametrize(
    "content", [b"not parquet", b"", SAMPLE_FILE.read_bytes()[:-1000]], ids=["text", "empty", "cut"]
)
def test_a_file_that_is_no_whole_parquet_is_named(tmp_path: Path, content: bytes) -> None:
    shutil.copy(SAMPLE_FILE, tmp_path / "good.parquet")
    (tmp_path / "broken.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"broken\.parquet is not a readable parquet file: ."):
        curate_path(tmp_path)


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere' does not exist; allowed: sample, hub"):
        curate_path(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"holds nothing that can be curated; allowed: parquet"):
        curate_path(tmp_path)


def test_a_source_without_any_row_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.extxyz").touch()
    pq.write_table(pq.read_table(SAMPLE_FILE).slice(0, 0), tmp_path / "none.parquet")
    for name in ("a.extxyz", "none.parquet"):
        with pytest.raises(SourceError, match=rf"{name} holds no structure"):
            curate_path(tmp_path / name)


def test_the_same_rows_in_other_files_are_another_revision_and_under_other_names_the_same(tmp_path: Path) -> None:
    for name in ("other", "renamed"):
        (tmp_path / name).mkdir()
    pq.write_table(pq.read_table(SAMPLE_FILE), tmp_path / "other" / "x.parquet", row_group_size=100)
    shutil.copy(SAMPLE_FILE, tmp_path / "renamed" / "y.parquet")
    first, other, renamed = (
        open_source(CurationParams(name="a", source=str(path))).revision
        for path in (SAMPLE_DIR, tmp_path / "other", tmp_path / "renamed")
    )
    assert first != other
    assert first == renamed


def test_a_copy_of_another_repository_is_not_taken_for_lemat_bulk(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pq.read_table(SAMPLE_FILE).slice(0, 5), tmp_path / "data" / "train-0.parquet")
    header = "---\nlicense: mit\nconfigs:\n- config_name: compatible_pbe\n  data_files: data/*.parquet\n---\n"
    for title, licence in (("# My oxides", "mit"), ("# LeMat-Bulk, a copy", "CC-BY-4.0")):
        (tmp_path / "README.md").write_text(header + title)
        source = open_source(CurationParams(name="a", source=str(tmp_path)))
        assert source.licence == licence
        assert (source.citation is None) == (licence == "mit")


def test_a_number_of_elements_that_is_no_whole_number_costs_its_row_alone(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    expected = curate_path(SAMPLE_DIR)
    for name in ("nelements", "nperiodic_dimensions"):
        values = pa.array([float("nan"), 5.5, None, *(float(v) for v in table[name].to_pylist()[3:])])
        changed = table.set_column(table.column_names.index(name), name, values)
        pq.write_table(changed, tmp_path / "x.parquet", row_group_size=50)
        curated = curate_path(tmp_path)
        assert curated.n_scanned == expected.n_scanned
        lost = {e.immutable_id for e in expected.entries} - {e.immutable_id for e in curated.entries}
        odd = set(table["immutable_id"].to_pylist()[:3])
        assert lost <= (odd if name == "nperiodic_dimensions" else set())


def test_a_column_source_stands_before_what_the_id_tells(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    sources = pa.array(["mine", None] * (table.num_rows // 2) + ["mine"] * (table.num_rows % 2))
    pq.write_table(table.append_column("source", sources), tmp_path / "x.parquet")
    assert {entry.source for entry in curate_path(tmp_path).entries} == {"mine", "7net0"}


def test_large_cells_come_in_small_batches(tmp_path: Path) -> None:
    small = pq.read_table(SAMPLE_FILE)
    pq.write_table(small, tmp_path / "small.parquet")
    positions = pa.array([[[0.0, 0.0, 0.0]] * 20_000] * small.num_rows, small.schema.field("forces").type)
    index = small.column_names.index("cartesian_site_positions")
    pq.write_table(small.set_column(index, "cartesian_site_positions", positions), tmp_path / "large.parquet")
    sizes = {
        name: max(batch.n_rows for batch in open_files([tmp_path / f"{name}.parquet"])[0].iter_batches(5))
        for name in ("small", "large")
    }
    assert sizes["small"] == small.num_rows
    assert sizes["large"] <= 64


def test_text_kept_in_a_dictionary_is_read_as_text(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    for name in ("immutable_id", "functional"):
        table = table.set_column(table.column_names.index(name), name, table[name].dictionary_encode())
    pq.write_table(table, tmp_path / "TRAIN.PARQUET")
    (tmp_path / ".hidden.parquet").write_text("no parquet")
    assert curate_path(tmp_path).entries == curate_path(SAMPLE_DIR).entries
