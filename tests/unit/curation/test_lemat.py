"""Reading parquet in LeMat-Bulk's schema: what is missing is named, and real rows give the expected counts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heo_core.assets import SAMPLE_DIR
from heo_core.curation import CuratedDataset, curate, open_source
from heo_core.errors import SourceError
from heo_core.params import CurationParams

SHARED = Path(os.environ.get("HEO_SHARED", Path(__file__).parents[4] / "shared"))
SAMPLE_FILE = SAMPLE_DIR / "train-00000-of-00001.parquet"
REAL_ROWS = SHARED / "data" / "lemat_like"


def curate_path(path: Path) -> CuratedDataset:
    params = CurationParams(name="test", source=str(path))
    return curate(open_source(params), params)


def check_counts(curated: CuratedDataset, expected: dict[str, int]) -> None:
    assert {rejection.rule: rejection.n_rejected for rejection in curated.rejections} == expected


def test_the_sample_has_the_counts_of_its_card() -> None:
    card = json.loads((SAMPLE_DIR / "expected.json").read_text())
    curated = curate_path(SAMPLE_DIR)
    check_counts(curated, card["rejected_one_rule_each"])
    assert curated.n_scanned == card["rows"]
    assert len(curated.structures) >= 300


@pytest.mark.skipif(not REAL_ROWS.exists(), reason="the real LeMat rows are not shipped; HEO_SHARED names their folder")
def test_real_rows_have_the_expected_counts_and_all_good_ones_are_kept() -> None:
    card = json.loads((REAL_ROWS / "expected.json").read_text())
    curated = curate_path(REAL_ROWS)
    expected = dict(card["rejected_one_rule_each"])
    expected["forces_too_large"] += card["real_max_force_above_10_eV_per_ang"]
    check_counts(curated, expected)
    assert len(curated.structures) == card["real_rows"] - card["real_max_force_above_10_eV_per_ang"]
    assert all(structure.immutable_id.startswith("heo-") for structure in curated.structures)


def test_merged_and_renamed_files_give_the_same_dataset(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    half = table.num_rows // 2
    pq.write_table(table.slice(half), tmp_path / "a.parquet")
    pq.write_table(table.slice(0, half), tmp_path / "b.parquet")
    whole, pieces = curate_path(SAMPLE_DIR), curate_path(tmp_path)
    assert [s.content_hash for s in whole.structures] == [s.content_hash for s in pieces.structures]
    assert whole.splits == pieces.splits
    assert whole.rejections == pieces.rejections


def test_the_next_schemas_fingerprint_is_read_too(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE)
    names = ["bawl_fingerprint" if name == "entalpic_fingerprint" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), tmp_path / "next.parquet")
    assert len(curate_path(tmp_path).structures) == len(curate_path(SAMPLE_DIR).structures)


def test_a_missing_column_is_named_and_those_found_are_listed(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(SAMPLE_FILE).drop_columns(["forces", "entalpic_fingerprint"]), tmp_path / "x.parquet")
    with pytest.raises(
        SourceError, match=r"lacks the column forces, entalpic_fingerprint or bawl_fingerprint; found: .*energy"
    ):
        curate_path(tmp_path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("not parquet")
    with pytest.raises(SourceError, match=r"broken\.parquet is not a readable parquet file"):
        curate_path(tmp_path)


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist; allowed: sample, hub"):
        curate_path(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"holds no \*\.parquet file"):
        curate_path(tmp_path)


def test_the_same_rows_in_other_files_are_another_revision(tmp_path: Path) -> None:
    pq.write_table(pq.read_table(SAMPLE_FILE).slice(1), tmp_path / "x.parquet")
    first = open_source(CurationParams(name="a", source=str(SAMPLE_DIR)))
    second = open_source(CurationParams(name="a", source=str(tmp_path)))
    assert first.revision != second.revision


def test_a_column_of_another_type_is_counted_and_not_raised(tmp_path: Path) -> None:
    table = pq.read_table(SAMPLE_FILE).slice(0, 4)
    text = pa.array(["much"] * table.num_rows)
    index = table.column_names.index("energy")
    pq.write_table(table.set_column(index, "energy", text), tmp_path / "x.parquet")
    curated = curate_path(tmp_path)
    assert not curated.structures
    assert curated.n_scanned == 4
