"""A curated dataset, and `curate`, which makes one of a source."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heo_core.curation.duplicates import drop_duplicates
from heo_core.curation.off_equilibrium import choose_parents, make_copies
from heo_core.curation.rows import iter_structures
from heo_core.curation.scan import Progress, ScannedShard, Tally, scan_source
from heo_core.curation.sources import Source
from heo_core.curation.split import Entry, Leak, find_leaks, split_entries
from heo_core.errors import SourceError
from heo_core.params import CurationParams
from heo_core.records import Structure


@dataclass(frozen=True)
class Rejection:
    """How many rows one rule left out, and the ids of the first few in alphabetical order."""

    rule: str
    n_rejected: int
    example_ids: tuple[str, ...]


@dataclass(frozen=True)
class Member:
    """A structure of a dataset and its split; for a copy also the content hash of its parent, and how it was made."""

    structure: Structure
    split: str
    parent_hash: str | None = None
    recipe: dict[str, Any] | None = None


@dataclass(frozen=True)
class CuratedDataset:
    """Which rows were kept, their splits, what the splits share, and what was left out.

    n_scanned = n_kept + all rejections. The structures themselves stay on disk until `iter_members` reads them.
    """

    source: Source
    params: CurationParams
    entries: tuple[Entry, ...]
    splits: tuple[str, ...]
    rejections: tuple[Rejection, ...]
    leaks: tuple[Leak, ...]
    n_scanned: int
    shards: tuple[ScannedShard, ...]

    @property
    def n_kept(self) -> int:
        """Structures in train, validation and test."""
        return len(self.entries)

    def iter_members(self) -> Iterator[Member]:
        """Every kept structure once, and after each its rattled and strained copies, where there are any."""
        split_of = {
            (entry.content_hash, entry.fingerprint): split
            for entry, split in zip(self.entries, self.splits, strict=True)
        }
        params = self.params.off_equilibrium
        parents = choose_parents(self.entries, self.splits, params)
        for shard in self.shards:
            for table in shard.iter_tables():
                for structure in iter_structures(table):
                    split = split_of.pop((structure.content_hash, structure.fingerprint), None)
                    if split is None:
                        continue
                    yield Member(structure, split)
                    if structure.content_hash in parents:
                        for copy, recipe in make_copies(structure, params):
                            yield Member(copy, "off_equilibrium", structure.content_hash, recipe)


def curate(
    source: Source,
    params: CurationParams,
    on_progress: Callable[[Progress], None] | None = None,
    folder: Path | None = None,
) -> CuratedDataset:
    """Read a source to its end and keep the rows that break no rule.

    The result does not depend on the order of rows or files. A malformed row is counted and named, never raised.
    Memory does not grow with the source: kept rows go to files in folder (default: one that goes with the result), and
    a scan that was killed goes on from the shards finished there. Raises SourceError when the source cannot be read.
    """
    if folder is None:
        own = Path(tempfile.mkdtemp(prefix="heo-curation-"))
        try:
            curated = curate(source, params, on_progress, own)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise
        weakref.finalize(curated, shutil.rmtree, own, ignore_errors=True)
        return curated
    shards = scan_source(source, params.rules, folder, on_progress)
    if not any(shard.n_rows for shard in shards):
        raise SourceError(f"{source.uri} holds no structure: nothing is stored of it")
    tally = Tally()
    for shard in shards:
        tally.merge(shard.tally)
    entries = drop_duplicates(_iter_entries(shards), params.rules.resolve(), tally)
    splits = split_entries(entries, params.split)
    return CuratedDataset(
        source=source,
        params=params,
        entries=entries,
        splits=splits,
        rejections=_summarise(tally),
        leaks=find_leaks(entries, splits),
        n_scanned=sum(shard.n_rows for shard in shards),
        shards=shards,
    )


def _iter_entries(shards: Sequence[ScannedShard]) -> Iterator[Entry]:
    for shard in shards:
        for table in shard.iter_tables():
            for structure in iter_structures(table):
                yield Entry.of(structure)


def _summarise(tally: Tally) -> tuple[Rejection, ...]:
    """Rules with their counts, most first."""
    ranked = sorted(tally.counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Rejection(rule, count, tuple(tally.examples[rule])) for rule, count in ranked)
