"""From a source of rows to a dataset: read, check each row against the rules, drop duplicates, split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from heo_core.curation.lemat import Source, open_source, to_structure
from heo_core.curation.rules import Duplicates, find_broken_rule, order_of_preference
from heo_core.curation.split import split_structures
from heo_core.params import CurationParams, RuleParams
from heo_core.records import Structure

N_EXAMPLES = 5

__all__ = ["CuratedDataset", "Progress", "Rejection", "curate", "open_source"]


@dataclass(frozen=True)
class Rejection:
    """How many rows one rule left out, and the ids of the first few in alphabetical order."""

    rule: str
    n_rejected: int
    example_ids: tuple[str, ...]


@dataclass(frozen=True)
class CuratedDataset:
    """Kept structures, the split of each, and what was left out. n_scanned = kept + all rejections."""

    source: Source
    structures: tuple[Structure, ...]
    splits: tuple[str, ...]
    rejections: tuple[Rejection, ...]
    n_scanned: int


@dataclass(frozen=True)
class Progress:
    """How far a scan is; total is None where the source does not say."""

    n_scanned: int
    n_kept: int
    total: int | None


def curate(
    source: Source, params: CurationParams, on_progress: Callable[[Progress], None] | None = None
) -> CuratedDataset:
    """Read a source to its end and keep the rows that break no rule.

    The result does not depend on the order of rows or files. A malformed row is counted and named, never raised.
    Raises SourceError when the source itself cannot be read.
    """
    tally = _Tally()
    kept: list[Structure] = []
    n_scanned = 0
    for rows in source.iter_batches():
        n_scanned += len(rows)
        for row in rows:
            structure = _check_row(row, params.rules, tally)
            if structure is not None:
                kept.append(structure)
        if on_progress:
            on_progress(Progress(n_scanned, len(kept), source.n_rows))
    structures = _drop_duplicates(kept, tally)
    return CuratedDataset(
        source=source,
        structures=structures,
        splits=split_structures(structures, params.split),
        rejections=tally.summarise(),
        n_scanned=n_scanned,
    )


@dataclass
class _Tally:
    """Counts of rejections while a scan runs."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, rule: str, row_id: str) -> None:
        """Count one row and keep its id if it is among the first in the alphabet."""
        self.counts[rule] += 1
        self.examples[rule] = sorted([*self.examples.get(rule, []), row_id])[:N_EXAMPLES]

    def summarise(self) -> tuple[Rejection, ...]:
        """Rules with their counts, most first."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Rejection(rule, count, tuple(self.examples[rule])) for rule, count in ranked)


def _check_row(row: dict[str, Any], params: RuleParams, tally: _Tally) -> Structure | None:
    # An id is shown even when it is what is wrong, with NUL and the like written out.
    row_id = str(row.get("immutable_id")).encode(errors="backslashreplace").decode().replace("\0", "\\0")
    try:
        rule = find_broken_rule(row, params)
        if rule is None:
            return to_structure(row)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError):
        rule = "malformed_row"
    tally.add(rule, row_id)
    return None


def _drop_duplicates(structures: list[Structure], tally: _Tally) -> tuple[Structure, ...]:
    duplicates = Duplicates()
    kept: list[Structure] = []
    for structure in sorted(structures, key=order_of_preference):
        rule = duplicates.find_broken_rule(structure)
        if rule is None:
            kept.append(structure)
        else:
            tally.add(rule, structure.immutable_id)
    return tuple(kept)
