"""Copies of curated structures away from equilibrium, where the labels of relaxed end points say nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from heo_core.curation.split import Entry
from heo_core.params import OffEquilibriumParams
from heo_core.records import Structure
from heo_core.structures.perturb import draw_strain, rattle, strain


def choose_parents(entries: Sequence[Entry], splits: Sequence[str], params: OffEquilibriumParams) -> frozenset[str]:
    """Content hashes of the structures to copy: of one split, the first of a seeded order."""
    if params.n_copies == 0:
        return frozenset()
    hashes = [e.content_hash for e, split in zip(entries, splits, strict=True) if split == params.of_split]
    ranked = sorted(hashes, key=lambda name: hashlib.sha256(f"{params.seed}:{name}".encode()).hexdigest())
    return frozenset(ranked[: params.max_structures])


def make_copies(structure: Structure, params: OffEquilibriumParams) -> Iterator[tuple[Structure, dict[str, Any]]]:
    """Rattled and strained copies without labels, each with its recipe; they depend on structure and seed alone."""
    for copy in range(params.n_copies):
        digest = hashlib.sha256(f"{params.seed}:{structure.content_hash}:{copy}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        rng = np.random.default_rng(seed)
        tensor = draw_strain(params.strain, rng)
        moved = rattle(strain(structure, tensor), params.rattle_ang, rng)
        recipe = {"rattle_ang": params.rattle_ang, "strain": tensor.tolist(), "seed": seed}
        yield replace(moved, immutable_id=f"{structure.immutable_id}/off-equilibrium-{copy}"), recipe
