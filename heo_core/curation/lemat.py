"""LeMat-Bulk from the Hugging Face Hub, and parquet files in its schema.

`datasets` says which files a config has at a commit on the Hub, and how to understand the README.md of a copy; pyarrow
reads them batch by batch, because `datasets` decodes whole row groups (docs/adr/0005-parquet-read-batch-by-batch.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or httpx2's

from heo_core.curation.rows import ROW_SCHEMA
from heo_core.curation.sources import Batch, Shard, Source, hash_file
from heo_core.errors import SourceError, first_line
from heo_core.params import HUB_DATASET

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard
    from pyarrow.parquet import FileMetaData, ParquetFile

LICENCE = "CC-BY-4.0"
CITATION = "Siron et al., LeMat-Bulk: aggregating and de-duplicating materials databases, doi:10.57967/hf/3762"

# The second is the name that LeMat-Bulk's next schema gives it.
FINGERPRINT_COLUMNS = ("entalpic_fingerprint", "bawl_fingerprint")
# LeMat-Bulk has no column `source`; a file that heo exported has.
_COLUMNS = tuple(name for name in ROW_SCHEMA.names if name not in {"fingerprint", "source"})

# What a stream can break with: the network, the Hub's client, a file cut short.
BROKEN_STREAM = (OSError, ValueError, RuntimeError, HTTPError)

_ROWS_PER_BATCH = 16384
# Of decoded numbers: large cells come in smaller batches.
_BYTES_PER_BATCH = 16 * 1024**2

# From the Hub a shard comes in a few dozen requests, nearly every byte of it once, and at most 14 * 8 MiB of it held,
# however large its row groups are: each of the columns has a block at hand.
_BYTES_PER_REQUEST = 8 * 1024**2
_REQUESTS_HELD = 14
_BYTES_PER_COLUMN_READ = 256 * 1024

# The Hub's client waits for ever in calls for which it names no limit of its own; it names 10 s for a part of a file.
_MAX_SILENCE_S = 30.0


@dataclass(frozen=True)
class ParquetShard(Shard):
    """One parquet file, on this machine or the Hub."""

    def iter_batches(self, min_elements: int) -> Iterator[Batch]:
        """All rows; row groups that hold none with enough elements are passed over but for ids."""
        import pyarrow.parquet as pq

        try:
            # Without a buffer a row group's columns are read whole; with pre_buffer the bytes of all of them are kept.
            with (
                _open(self.uri) as file,
                pq.ParquetFile(file, buffer_size=_BYTES_PER_COLUMN_READ, pre_buffer=False) as parquet,
            ):
                names = find_columns(parquet.schema_arrow, self.uri)
                worth_reading, poor = _rank_row_groups(parquet, min_elements)
                size = _choose_batch_size(parquet.metadata)
                # Threads would each wait out a server that is gone, column by column.
                threads = not self.is_remote
                for batch in parquet.iter_batches(size, worth_reading, list(names), use_threads=threads):
                    yield _to_batch(batch, names, min_elements)
                for batch in parquet.iter_batches(_ROWS_PER_BATCH, poor, ["immutable_id"], use_threads=threads):
                    ids = pc.fill_null(batch["immutable_id"].cast(pa.string()), "")
                    yield Batch(ROW_SCHEMA.empty_table(), batch.num_rows, ids)
        except BROKEN_STREAM as exc:
            raise SourceError(f"reading {self.uri} broke off: {first_line(exc)}") from exc


def _to_batch(batch: pa.RecordBatch, names: dict[str, str], min_elements: int) -> Batch:
    """Part the rows that have too few elements from the others, which come out in ROW_SCHEMA."""
    too_few = pc.fill_null(pc.less(batch["nelements"], min_elements), fill_value=False)
    ids = pc.fill_null(batch["immutable_id"].cast(pa.string()).filter(too_few), "")
    rest = batch.filter(pc.invert(too_few))
    found = {names[column]: rest[column] for column in rest.schema.names}
    columns = [found.get(name, pa.nulls(rest.num_rows)) for name in ROW_SCHEMA.names]
    rows = pa.table(columns, names=ROW_SCHEMA.names).cast(ROW_SCHEMA) if rest.num_rows else ROW_SCHEMA.empty_table()
    return Batch(rows, batch.num_rows, ids)


def _choose_batch_size(metadata: FileMetaData) -> int:
    """Rows that make a batch, from how many numbers a row holds, which the footer says whatever the compression."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    n_values = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    bytes_per_row = 8 * n_values / max(metadata.num_rows, 1)
    return max(64, min(_ROWS_PER_BATCH, int(_BYTES_PER_BATCH / max(bytes_per_row, 1.0))))


def _rank_row_groups(parquet: ParquetFile, min_elements: int) -> tuple[list[int], list[int]]:
    """Row groups that may hold a row with enough elements, and those whose statistics say that they hold none."""
    metadata = parquet.metadata
    if not pa.types.is_integer(parquet.schema_arrow.field("nelements").type):
        return list(range(metadata.num_row_groups)), []  # statistics pass over NaN
    worth_reading: list[int] = []
    poor: list[int] = []
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        columns = (row_group.column(i) for i in range(row_group.num_columns))
        statistics = next((c.statistics for c in columns if c.path_in_schema == "nelements"), None)
        is_poor = bool(
            statistics is not None
            and statistics.has_min_max
            and statistics.has_null_count
            and statistics.null_count == 0
            and statistics.max < min_elements
        )
        (poor if is_poor else worth_reading).append(group)
    return worth_reading, poor


def list_parquet_files(path: Path, config: str | None = None) -> list[Path]:
    """List the parquet file itself, or those of a folder; of a copy of the Hub's repository, those of one config."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    if config and _read_configs(path):
        return _list_config_files(path, config)
    found = (file for file in path.rglob("*") if file.suffix.lower() == ".parquet" and file.is_file())
    return sorted(file for file in found if not file.name.startswith("."))


def find_credit(path: Path) -> tuple[str | None, str | None]:
    """Find licence and citation of a copy of LeMat-Bulk's repository; of another one, the licence it names itself."""
    card = _read_card(path)
    if card is None or not card.data.get("configs"):
        return None, None
    if HUB_DATASET.partition("/")[2] in card.content:
        return LICENCE, CITATION
    licence = card.data.get("license")
    return str(licence) if licence else None, None


def _read_card(folder: Path) -> DatasetCard | None:
    """README.md of a folder that is laid out as a Hub repository; None where there is none to be read."""
    readme = folder / "README.md"
    if not readme.is_file():
        return None
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub import DatasetCard

    try:
        card: DatasetCard = DatasetCard.load(readme, ignore_metadata_errors=True)
    except (ValueError, OSError, yaml.YAMLError):
        return None
    return card


def _read_configs(folder: Path) -> dict[str, Any]:
    """Configs that the header of a README.md names, each with its data files as they stand there."""
    card = _read_card(folder)
    configs = card.data.get("configs") if card else None
    entries = configs if isinstance(configs, list) else []
    return {
        str(entry["config_name"]): entry.get("data_files")
        for entry in entries
        if isinstance(entry, dict) and "config_name" in entry
    }


def _list_config_files(folder: Path, config: str) -> list[Path]:
    from datasets.data_files import sanitize_patterns

    configs = _read_configs(folder)
    if config not in configs:
        there = ", ".join(repr(name) for name in configs)
        raise SourceError(f"{folder} has no config {config!r}; its README.md names {there}")
    # Not searched by `datasets`, which takes brackets in the folder's own name for a pattern.
    try:
        patterns = sanitize_patterns(configs[config] or {}).get("train", ())
        files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    except (TypeError, *BROKEN_STREAM) as exc:
        raise SourceError(f"{folder}: the data_files of config {config!r} are not usable: {first_line(exc)}") from exc
    if not files:
        raise SourceError(f"{folder} holds no file of config {config!r}; its README.md names {', '.join(patterns)}")
    return files


def open_files(paths: Sequence[Path]) -> list[ParquetShard]:
    """Open local parquet files; SourceError, naming the file, when one cannot be read or lacks a column."""
    shards = []
    for path in paths:
        try:
            n_rows = _count_rows(str(path))
        except (pa.ArrowException, OSError) as exc:
            raise SourceError(f"{path} is not a readable parquet file: {first_line(exc)}") from exc
        shards.append(ParquetShard(str(path.resolve()), hash_file(path), n_rows))
    return shards


def _open(uri: str) -> AbstractContextManager[Any]:
    """Open a path on this machine, or a URL such as hf://."""
    if "://" not in uri:
        local: AbstractContextManager[Any] = pa.OSFile(uri)
        return local
    _limit_silence()
    filesystem, path = fsspec.url_to_fs(uri)
    remote: AbstractContextManager[Any] = filesystem.open(
        path, "rb", block_size=_BYTES_PER_REQUEST, cache_type="blockcache", cache_options={"maxblocks": _REQUESTS_HELD}
    )
    return remote


def _limit_silence() -> None:
    """Let the Hub's client give up on a server that says nothing, in every call."""
    from huggingface_hub import get_session

    client = get_session()
    hooks = client.event_hooks
    if _set_timeout not in hooks["request"]:
        client.event_hooks = {**hooks, "request": [*hooks["request"], _set_timeout]}


def _set_timeout(request: Any) -> None:
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: _MAX_SILENCE_S if limits.get(kind) is None else limits[kind]
        for kind in ("connect", "read", "write", "pool")
    }


def _count_rows(uri: str) -> int:
    """Rows of a file that has all the columns."""
    import pyarrow.parquet as pq

    with _open(uri) as file, pq.ParquetFile(file) as parquet:
        find_columns(parquet.schema_arrow, uri)
        return int(parquet.metadata.num_rows)


def open_hub(config: str, revision: str) -> Source:
    """Open one config of LeMat-Bulk on the Hub at a commit, which is resolved and pinned."""
    from datasets import load_dataset_builder
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    uri = f"hf://datasets/{HUB_DATASET}/{config}"
    _limit_silence()
    try:
        commit = str(HfApi().dataset_info(HUB_DATASET, revision=revision, timeout=20).sha)
        builder = load_dataset_builder(HUB_DATASET, config, revision=commit)
        urls = sorted(str(file) for file in (builder.config.data_files or {}).get("train", ()))
        if not urls:
            raise SourceError(f"{uri} at commit {commit} has no file of a split named train")  # noqa: TRY301
        _count_rows(urls[0])
    except SourceError:
        raise
    except RevisionNotFoundError as exc:
        raise SourceError(f"{HUB_DATASET} has no revision {revision!r}{_name_revisions()}") from exc
    except Exception as exc:
        raise SourceError(
            f"{HUB_DATASET} (config {config}, revision {revision}) cannot be opened on the Hugging Face Hub: "
            f"{first_line(exc)}. "
            "Without network, download its parquet files elsewhere and give their folder as source"
        ) from exc
    shards = [ParquetShard(url, f"{commit} {url}", None, is_remote=True) for url in urls]
    split = (builder.info.splits or {}).get("train")
    return Source(uri, commit, LICENCE, CITATION, split.num_examples if split else None, tuple(shards))


def _name_revisions() -> str:
    """Say which revisions the Hub names; nothing where it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        refs = HfApi().list_repo_refs(HUB_DATASET, repo_type="dataset")
    except BROKEN_STREAM:
        return ""
    return f"; there are {', '.join(ref.name for ref in (*refs.branches, *refs.tags))}, and the sha of any commit"


def find_columns(schema: pa.Schema, where: str) -> dict[str, str]:
    """Return the columns to read and what ROW_SCHEMA calls each; SourceError when one is missing or of a wrong type."""
    found = schema.names
    fingerprint = next((name for name in FINGERPRINT_COLUMNS if name in found), None)
    missing = [name for name in _COLUMNS if name not in found]
    if fingerprint is None:
        missing.append(" or ".join(FINGERPRINT_COLUMNS))
    if missing or fingerprint is None:
        raise SourceError(f"{where} lacks the column {', '.join(missing)}; found: {', '.join(sorted(found))}")
    names = {name: name for name in _COLUMNS} | {fingerprint: "fingerprint"}
    if "source" in found:
        names["source"] = "source"
    for column, name in names.items():
        if found.count(column) > 1:
            raise SourceError(f"{where} has {found.count(column)} columns named {column}")
        wanted = ROW_SCHEMA.field(name).type
        if not _can_read(schema.field(column).type, wanted):
            raise SourceError(f"{where}: column {column} is {schema.field(column).type}; it must be {wanted}")
    return names


def _can_read(found: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_null(found):
        return True
    if pa.types.is_dictionary(found):
        return _can_read(found.value_type, wanted)
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and _can_read(found.value_type, wanted.value_type)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
