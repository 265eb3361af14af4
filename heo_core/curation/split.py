"""Train, validation, test: seeded, reproducible whatever the row order, and no group in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from heo_core.params import SplitParams
from heo_core.records import Structure


def split_structures(structures: Sequence[Structure], params: SplitParams) -> tuple[str, ...]:
    """Return the split of each structure.

    Groups come in a seeded order that depends on their names alone; each goes to the split that lacks most of its
    share.
    """
    groups = [_group_of(structure, params.group_by) for structure in structures]
    sizes = Counter(groups)
    shares = {"train": params.train, "validation": params.validation, "test": params.test}
    lacking = {split: share * len(structures) for split, share in shares.items()}
    split_of: dict[str, str] = {}
    for group in sorted(sizes, key=lambda name: _seeded_rank(name, params.seed)):
        split = max(lacking, key=lambda name: lacking[name] / shares[name])
        split_of[group] = split
        lacking[split] -= sizes[group]
    return tuple(split_of[group] for group in groups)


def _group_of(structure: Structure, group_by: str) -> str:
    if group_by == "chemical_system":
        return structure.chemical_system
    if group_by == "formula":
        return structure.formula_reduced
    return structure.content_hash


def _seeded_rank(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
