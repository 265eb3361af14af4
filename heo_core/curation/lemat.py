"""Rows in LeMat-Bulk's schema: from the Hub, from local parquet, or the bundled sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from heo_core.assets import SAMPLE_CITATION, SAMPLE_DIR, SAMPLE_LICENCE
from heo_core.curation.rules import source_of
from heo_core.errors import SourceError
from heo_core.params import HUB_DATASET, CurationParams
from heo_core.records import Structure

LICENCE = "CC-BY-4.0"
CITATION = "Siron et al., LeMat-Bulk: aggregating and de-duplicating materials databases, doi:10.57967/hf/3762"

COLUMNS = (
    "immutable_id",
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "nperiodic_dimensions",
    "energy",
    "forces",
    "stress_tensor",
    "functional",
)
# The second is the name that LeMat-Bulk's next schema gives it.
FINGERPRINT_COLUMNS = ("entalpic_fingerprint", "bawl_fingerprint")
_ROWS_PER_BATCH = 1024


@dataclass(frozen=True)
class Source:
    """An opened source of rows.

    revision: commit of a Hub dataset, or the sha256 of local files; the same revision gives the same rows.
    """

    uri: str
    revision: str
    licence: str | None
    citation: str | None
    n_rows: int | None
    fingerprint_column: str
    rows: Any

    def iter_batches(self) -> Iterator[list[dict[str, Any]]]:
        """Rows as plain dicts, in batches; `fingerprint` is there under that name whatever the source calls it.

        Raises SourceError when the source breaks while it is read.
        """
        batches = self.rows.with_format("arrow").iter(batch_size=_ROWS_PER_BATCH)
        while True:
            try:
                table = next(batches, None)
            except (OSError, ValueError, RuntimeError, httpx.HTTPError) as exc:
                raise SourceError(f"reading {self.uri} broke off: {_first_line(exc)}") from exc
            if table is None:
                return
            rows: list[dict[str, Any]] = table.to_pylist()
            for row in rows:
                row["fingerprint"] = row.pop(self.fingerprint_column)
            yield rows


def open_source(params: CurationParams) -> Source:
    """Open `sample`, `hub`, or a parquet file or folder.

    Raises SourceError, naming what is missing, when it is not there, cannot be read or lacks a column.
    """
    if params.source == "sample":
        return _open_local(
            SAMPLE_DIR, uri="sample (bundled with heo)", licence=SAMPLE_LICENCE, citation=SAMPLE_CITATION
        )
    if params.source == "hub":
        return _open_hub(params.hub_config, params.hub_revision)
    path = Path(params.source).expanduser()
    return _open_local(path, uri=path.resolve().as_uri(), licence=None, citation=None)


def to_structure(row: dict[str, Any]) -> Structure:
    """Make a structure of a row that breaks no rule."""
    stress = row["stress_tensor"]
    return Structure(
        lattice=np.array(row["lattice_vectors"], dtype=float),
        positions=np.array(row["cartesian_site_positions"], dtype=float),
        species=tuple(row["species_at_sites"]),
        immutable_id=str(row["immutable_id"]),
        source=source_of(str(row["immutable_id"])),
        functional=row["functional"],
        fingerprint=row["fingerprint"],
        energy_ev=float(row["energy"]),
        forces_ev_per_ang=np.array(row["forces"], dtype=float),
        stress_ev_per_ang3=None if stress is None or np.shape(stress) != (3, 3) else np.array(stress, dtype=float),
    )


def _open_local(path: Path, *, uri: str, licence: str | None, citation: str | None) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import load_dataset

    files = _list_parquet_files(path)
    n_rows = 0
    fingerprint_column = ""
    for file in files:
        try:
            with pq.ParquetFile(file) as parquet:
                n_rows += parquet.metadata.num_rows
                fingerprint_column = _check_columns(parquet.schema_arrow.names, str(file))
        except (pa.ArrowException, OSError) as exc:
            raise SourceError(f"{file} is not a readable parquet file: {_first_line(exc)}") from exc
    rows = load_dataset(
        "parquet",
        data_files=[str(file) for file in files],
        split="train",
        streaming=True,
        columns=[*COLUMNS, fingerprint_column],
    )
    return Source(uri, _hash_files(files), licence, citation, n_rows, fingerprint_column, rows)


def _open_hub(config: str, revision: str) -> Source:
    from datasets import load_dataset, load_dataset_builder
    from huggingface_hub import HfApi

    uri = f"hf://datasets/{HUB_DATASET}/{config}"
    try:
        commit = HfApi().dataset_info(HUB_DATASET, revision=revision, timeout=20).sha
        info = load_dataset_builder(HUB_DATASET, config, revision=commit).info
        fingerprint_column = _check_columns(list(info.features), uri) if info.features else FINGERPRINT_COLUMNS[0]
        rows = load_dataset(
            HUB_DATASET, config, split="train", revision=commit, streaming=True, columns=[*COLUMNS, fingerprint_column]
        )
    except SourceError:
        raise
    except Exception as exc:
        raise SourceError(
            f"{HUB_DATASET} (config {config}, revision {revision}) cannot be opened on the Hugging Face Hub: "
            f"{_first_line(exc)}. "
            "Without network, download its parquet files elsewhere and give their folder as source"
        ) from exc
    n_rows = info.splits["train"].num_examples if info.splits else None
    return Source(uri, str(commit), LICENCE, CITATION, n_rows, fingerprint_column, rows)


def _list_parquet_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        raise SourceError(
            f"source {str(path)!r} does not exist; allowed: sample, hub, a parquet file, or a folder of them"
        )
    files = sorted(path.rglob("*.parquet"))
    if not files:
        raise SourceError(f"folder {str(path)!r} holds no *.parquet file")
    return files


def _check_columns(found: list[str], where: str) -> str:
    """Return the name of the fingerprint column; SourceError when any column that is needed is missing."""
    fingerprint = next((name for name in FINGERPRINT_COLUMNS if name in found), None)
    missing = [name for name in COLUMNS if name not in found]
    if fingerprint is None:
        missing.append(" or ".join(FINGERPRINT_COLUMNS))
    if missing or fingerprint is None:
        raise SourceError(f"{where} lacks the column {', '.join(missing)}; found: {', '.join(sorted(found))}")
    return fingerprint


def _hash_files(files: list[Path]) -> str:
    """Sha256 over the files' own hashes, whatever the files are called."""
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0] if lines else type(exc).__name__
