"""Scan a source: check every row, write down what each shard gave, and go on from there after a kill or a break."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from heo_core.curation.row_batch import RowBatch, show_ids
from heo_core.curation.rows import ROW_SCHEMA
from heo_core.curation.rules import check_rows
from heo_core.curation.sources import Batch, Shard, Source
from heo_core.errors import SourceError
from heo_core.params import RuleParams, hash_json

N_EXAMPLES = 5

# Raise this when a rule judges otherwise than before: a dataset of the old rules is then another one.
RULES_VERSION = 1
_ROWS_PER_CHECK = 2048
_BATCHES_PER_CHECK = 16
_BATCHES_AHEAD = 8
# The Hub's client tries each request six times by itself: 23 s where it fails at once, 83 s where the server is silent.
# So a shard that stays broken ends a scan after two and a half minutes, or seven and a half.
_N_TRIES = 5
_FIRST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Progress:
    """How far a scan is; total is None where the source does not say. retries: reads that broke and began again."""

    n_scanned: int
    n_kept: int
    total: int | None
    rows_per_s: float
    n_retries: int = 0


@dataclass
class Tally:
    """Rows that each rule left out, and the ids of the first few in alphabetical order."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, rule: str, ids: Iterable[str], count: int | None = None) -> None:
        """Count rows by their ids; count, where not all ids are given."""
        ids = list(ids)
        self.counts[rule] += len(ids) if count is None else count
        self.examples[rule] = sorted([*self.examples.get(rule, []), *ids])[:N_EXAMPLES]

    def add_few_elements(self, ids: pa.Array) -> None:
        """Count rows of too few elements, of which there are too many to make each id a Python object."""
        if len(ids):
            first = ids.take(pc.select_k_unstable(ids, N_EXAMPLES, [("id", "ascending")]))
            self.add("too_few_elements", show_ids(first), len(ids))

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        for rule, count in other.counts.items():
            self.add(rule, other.examples[rule], count)


@dataclass(frozen=True)
class ScannedShard:
    """What a scan left of one shard: the kept rows, in a file, and the tally of all others."""

    path: Path
    n_rows: int
    n_kept: int
    tally: Tally

    def iter_tables(self) -> Iterator[pa.Table]:
        """Kept rows in ROW_SCHEMA, some at a time."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            for i in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(i)])


def scan_source(
    source: Source,
    rules: RuleParams,
    folder: Path,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[ScannedShard, ...]:
    """Check every row of a source. A shard that folder already holds, from a scan that was killed, is not read again.

    A remote shard that breaks is read again from its beginning, five times at most. Raises SourceError when a shard
    cannot be read to its end; what was finished before stays in folder for the next try.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rules = rules.resolve()
    meter = _Meter(source.n_rows, on_progress)
    scanned = []
    for shard in source.shards:
        # Of the key alone: the same rows are the same work, whatever the file is called.
        stem = hash_json([RULES_VERSION, rules.model_dump(mode="json"), shard.key])[:32]
        found = _load(folder / stem)
        result = found or _scan_with_retries(shard, rules, folder / stem, meter)
        meter.finish(result, is_new=found is None)
        scanned.append(result)
    return tuple(scanned)


class _Meter:
    """Adds up what is done, over shards that are finished and the one that is read now."""

    def __init__(self, total: int | None, on_progress: Callable[[Progress], None] | None) -> None:
        self._total = total
        self._on_progress = on_progress
        self._begin = time.monotonic()
        self._n_read = 0
        self._n_scanned = 0
        self._n_kept = 0
        self.n_retries = 0

    def show(self, n_scanned: int, n_kept: int) -> None:
        """Tell how far the shard is that is read now."""
        if self._on_progress is None:
            return
        seconds = max(time.monotonic() - self._begin, 1e-3)
        self._on_progress(
            Progress(
                n_scanned=self._n_scanned + n_scanned,
                n_kept=self._n_kept + n_kept,
                total=self._total,
                rows_per_s=(self._n_read + n_scanned) / seconds,
                n_retries=self.n_retries,
            )
        )

    def finish(self, shard: ScannedShard, *, is_new: bool) -> None:
        """Count a whole shard, that was read now or found from a scan before."""
        self._n_scanned += shard.n_rows
        self._n_kept += shard.n_kept
        if is_new:
            self._n_read += shard.n_rows
        else:
            self.show(0, 0)


def _scan_with_retries(shard: Shard, rules: RuleParams, stem: Path, meter: _Meter) -> ScannedShard:
    for attempt in range(1, _N_TRIES + 1):
        try:
            return _scan(shard, rules, stem, meter)
        except SourceError as exc:
            # Without a cause it is no stream that broke: a column that is missing stays so.
            if not shard.is_remote or exc.__cause__ is None:
                raise
            if attempt == _N_TRIES:
                exc.add_note(f"tried {_N_TRIES} times; shards that were finished are kept: run the same again to go on")
                raise
            meter.n_retries += 1
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _scan(shard: Shard, rules: RuleParams, stem: Path, meter: _Meter) -> ScannedShard:
    tally = Tally()
    n_rows = n_kept = 0
    part = stem.with_suffix(".part")
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, ROW_SCHEMA) as writer:
        for batches in _gather(_read_ahead(shard.iter_batches(rules.min_elements or 0))):
            for batch in batches:
                tally.add_few_elements(batch.too_few_elements)
            rows = RowBatch(pa.concat_tables(batch.rows for batch in batches))
            for kept in check_rows(rows, rules, tally.add):
                writer.write_table(kept.table)
                n_kept += len(kept)
            n_rows += sum(batch.n_rows for batch in batches)
            meter.show(n_rows, n_kept)
    part.replace(stem.with_suffix(".arrow"))
    # Written last: a shard is finished when this file is there.
    summary = {"n_rows": n_rows, "n_kept": n_kept, "counts": tally.counts, "examples": tally.examples}
    part.write_text(json.dumps(summary))
    part.replace(stem.with_suffix(".json"))
    return ScannedShard(stem.with_suffix(".arrow"), n_rows, n_kept, tally)


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Give the same batches, read by another thread while those before them are checked."""
    pool = ThreadPoolExecutor(max_workers=1)
    ahead = deque(pool.submit(next, batches, None) for _ in range(_BATCHES_AHEAD))
    try:
        while (batch := ahead.popleft().result()) is not None:
            ahead.append(pool.submit(next, batches, None))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _gather(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """Batches until they hold enough rows to check: a rule costs as much for ten rows as for a thousand."""
    gathered: list[Batch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(b.rows.num_rows for b in gathered) >= _ROWS_PER_CHECK or len(gathered) >= _BATCHES_PER_CHECK:
            yield gathered
            gathered = []
    if gathered:
        yield gathered


def _load(stem: Path) -> ScannedShard | None:
    """Read what an earlier scan wrote down of a shard, if it is whole: the machine may have died before it was."""
    try:
        summary = json.loads(stem.with_suffix(".json").read_text())
        tally = Tally(Counter(summary["counts"]), summary["examples"])
        shard = ScannedShard(stem.with_suffix(".arrow"), summary["n_rows"], summary["n_kept"], tally)
        is_whole = sum(table.num_rows for table in shard.iter_tables()) == shard.n_kept
    except (OSError, ValueError, KeyError):
        return None
    return shard if is_whole else None
