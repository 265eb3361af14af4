"""Train, validation, test: seeded, stratified, no group in two splits; and how much two splits share after all."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from heo_core.params import SplitParams
from heo_core.records import Structure

SPLITS = ("train", "validation", "test")
N_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """What there is to know of a structure to find duplicates of it and to choose its split."""

    content_hash: str
    immutable_id: str
    source: str
    fingerprint: str | None
    functional: str | None
    formula_reduced: str
    chemical_system: str
    n_elements: int

    @classmethod
    def of(cls, structure: Structure) -> Entry:
        """Entry of a structure."""
        return cls(
            content_hash=structure.content_hash,
            immutable_id=structure.immutable_id,
            source=structure.source,
            fingerprint=structure.fingerprint,
            functional=structure.functional,
            formula_reduced=structure.formula_reduced,
            chemical_system=structure.chemical_system,
            n_elements=len(structure.elements),
        )


@dataclass(frozen=True)
class Leak:
    """What two splits share: groups of one kind that stand in both, and structures of the second split in such groups.

    examples: the first few such groups in alphabetical order.
    """

    kind: str
    split: str
    other_split: str
    n_shared: int
    n_structures: int
    examples: tuple[str, ...]


_GROUPS: dict[str, Callable[[Entry], str | None]] = {
    "formula": lambda entry: entry.formula_reduced,
    "chemical_system": lambda entry: entry.chemical_system,
    "fingerprint": lambda entry: entry.fingerprint or None,
}


def _no_group(_: Entry) -> None:
    return None


def split_entries(entries: Sequence[Entry], params: SplitParams) -> tuple[str, ...]:
    """Return the split of each entry; it depends on the entries alone, not on their order.

    Groups come in a seeded order. Each goes to the split where it does least harm: where the squares of what the splits
    are off their shares grow least, summed over the strata (source and number of elements, if stratified) and the
    whole.
    """
    get_group = _GROUPS.get(params.group_by, _no_group)
    # An entry without a group, and every entry if nothing is grouped, is a group by itself.
    groups = [get_group(entry) or entry.content_hash for entry in entries]
    strata = [(entry.source, entry.n_elements) if params.stratify else ("", 0) for entry in entries]
    members: dict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        members[group][stratum] += 1
    shares = {"train": params.train, "validation": params.validation, "test": params.test}
    room = _Room(shares, Counter(strata))
    split_of: dict[str, str] = {}
    for group in sorted(members, key=lambda name: _seeded_rank(name, params.seed)):
        split_of[group] = room.give(members[group])
    return tuple(split_of[group] for group in groups)


class _Room:
    """How many structures of each stratum each split still lacks."""

    def __init__(self, shares: Mapping[str, float], sizes: Counter[tuple[str, int]]) -> None:
        n_all = sizes.total()
        self._wanted = {split: {s: share * n for s, n in sizes.items()} for split, share in shares.items()}
        self._wanted_in_all = {split: share * n_all for split, share in shares.items()}
        self._given = {split: Counter[tuple[str, int]]() for split in shares}

    def give(self, group: Counter[tuple[str, int]]) -> str:
        """Put a group into the split that it suits best."""

        def compute_harm(split: str) -> float:
            wanted, given = self._wanted[split], self._given[split]
            harm = sum(2 * n * (given[s] - wanted[s]) + n * n for s, n in group.items())
            n_all = group.total()
            harm += 2 * n_all * (given.total() - self._wanted_in_all[split]) + n_all * n_all
            # Rounded, so that the order of a sum decides nothing.
            return round(harm, 9)

        split = min(self._given, key=compute_harm)
        self._given[split].update(group)
        return split


def find_leaks(entries: Sequence[Entry], splits: Sequence[str]) -> tuple[Leak, ...]:
    """Measure what each pair of splits shares of formulas, chemical systems and fingerprints, also if it is nothing."""
    leaks = []
    for kind, get_group in _GROUPS.items():
        counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for entry, split in zip(entries, splits, strict=True):
            group = get_group(entry)
            if group is not None:
                counts[split][group] += 1
        for first, second in combinations(SPLITS, 2):
            shared = sorted(counts[first].keys() & counts[second].keys())
            n_structures = sum(counts[second][group] for group in shared)
            leaks.append(Leak(kind, first, second, len(shared), n_structures, tuple(shared[:N_EXAMPLES])))
    return tuple(leaks)


def _seeded_rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
