"""Sources of structures: what they have in common, and which kind a name or path stands for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from heo_core.assets import SAMPLE_CITATION, SAMPLE_DIR, SAMPLE_LICENCE
from heo_core.errors import SourceError
from heo_core.params import CurationParams


@dataclass(frozen=True)
class Batch:
    """Some rows of a shard: those to be checked, in ROW_SCHEMA, and those that already their source counts out.

    n_rows counts both. too_few_elements: ids of the rows whose `nelements` is too small; the rest of them is not read.
    """

    rows: pa.Table
    n_rows: int
    too_few_elements: pa.Array


@dataclass(frozen=True)
class Shard(ABC):
    """A part of a source that is read from its beginning to its end, usually a file.

    key: the same key means the same rows. is_remote: reading it again may help when it breaks.
    """

    uri: str
    key: str
    n_rows: int | None
    is_remote: bool = False

    @abstractmethod
    def iter_batches(self, min_elements: int) -> Iterator[Batch]:
        """All rows, some at a time. SourceError when the shard breaks while it is read."""


@dataclass(frozen=True)
class Source:
    """An opened source. The same revision gives the same rows, in whatever order its files come."""

    uri: str
    revision: str
    licence: str | None
    citation: str | None
    n_rows: int | None
    shards: tuple[Shard, ...]


def open_source(params: CurationParams) -> Source:
    """Open `sample`, `hub`, or a file or folder.

    Raises SourceError, naming what is missing, when it is not there, cannot be read or lacks a column.
    """
    from heo_core.curation import lemat

    if params.source == "sample":
        shards = lemat.open_files(lemat.list_parquet_files(SAMPLE_DIR))
        return make_source("sample (bundled with heo)", shards, SAMPLE_LICENCE, SAMPLE_CITATION)
    if params.source == "hub":
        return lemat.open_hub(params.hub_config, params.hub_revision)
    return _open_path(Path(params.source).expanduser(), params)


def make_source(uri: str, shards: Sequence[Shard], licence: str | None, citation: str | None) -> Source:
    """Put shards together; the revision is the sha256 of their keys."""
    counts = [shard.n_rows for shard in shards]
    return Source(
        uri=uri,
        revision=hashlib.sha256("".join(sorted(shard.key for shard in shards)).encode()).hexdigest(),
        licence=licence,
        citation=citation,
        n_rows=None if None in counts else sum(count or 0 for count in counts),
        shards=tuple(shards),
    )


def hash_file(path: Path) -> str:
    """Sha256 of a file's content; SourceError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as exc:
        raise SourceError(f"{path} cannot be read: {exc.strerror}") from exc


def _open_path(path: Path, params: CurationParams) -> Source:
    from heo_core.curation import files, lemat

    if not path.exists():
        raise SourceError(
            f"source {params.source!r} does not exist; allowed: sample, hub, labels:NAME, a file, or a "
            "folder (parquet, extxyz, ASE database, vasprun.xml, OUTCAR)"
        )
    licence, citation = params.licence, params.citation
    parquet = lemat.list_parquet_files(path, params.hub_config)
    labelled = files.list_label_files(path) if path.is_dir() or files.is_label_file(path) else []
    if parquet and labelled:
        raise SourceError(
            f"folder {str(path)!r} holds both {_name_some(parquet)} and {_name_some(labelled)}; "
            "give a folder of one kind, or one file"
        )
    if parquet:
        shards: list[Shard] = list(lemat.open_files(parquet))
        found = lemat.find_credit(path)
        licence, citation = licence or found[0], citation or found[1]
    elif labelled:
        root = path if path.is_dir() else path.parent
        shards = [
            # Ids come from the place of a file below the folder that was given, so that place is part of what it is.
            FileShard(
                file.resolve().as_uri(),
                f"{file.relative_to(root).as_posix()} {hash_file(file)}",
                files.count_rows(file),
                path=file,
                root=root,
            )
            for file in labelled
        ]
    else:
        raise SourceError(
            f"{str(path)!r} holds nothing that can be curated; allowed: parquet, extxyz (.xyz, .extxyz), "
            "ASE databases (.db), vasprun.xml and OUTCAR"
        )
    return make_source(path.resolve().as_uri(), shards, licence, citation)


def _name_some(paths: Sequence[Path]) -> str:
    return paths[0].name + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


@dataclass(frozen=True)
class FileShard(Shard):
    """A file of the user's own structures."""

    path: Path = Path()
    root: Path = Path()

    def iter_batches(self, min_elements: int) -> Iterator[Batch]:  # noqa: ARG002
        """All rows: such a file does not count elements."""
        from heo_core.curation.files import iter_tables

        for table in iter_tables(self.path, root=self.root):
            yield Batch(table, table.num_rows, pa.array([], pa.string()))
