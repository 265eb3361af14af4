"""Replay: cells away from equilibrium that a finetuning sees beside its dataset, so that the model does not soften.

Curated rows are relaxed end points: from them alone a model learns that forces are small. Copies of the same rows,
rattled and strained and labelled by the foundation model itself, tell it what it knew already of larger ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from heo_core.models import Potential
from heo_core.params import ReplayParams
from heo_core.records import Structure
from heo_core.structures.perturb import rattle, remove_labels, strain

# A copy draws its rattle between this part of the largest one and all of it.
_SMALLEST_RATTLE = 0.25


def make_replay_cells(
    structures: Sequence[Structure], params: ReplayParams, rng: np.random.Generator
) -> list[Structure]:
    """Return the cells to replay: at most n_cells of the structures, in a random order.

    Where params.structures is train, they are rattled and strained copies without labels, of a structure several times
    where n_cells asks for more than there are; otherwise the structures as they are.
    """
    order = rng.permutation(len(structures))
    if params.structures != "train":
        return [structures[i] for i in order[: params.n_cells]]
    return [
        _move(structures[order[k % len(order)]], k, params, rng) for k in range(params.n_cells if len(order) else 0)
    ]


def _move(structure: Structure, number: int, params: ReplayParams, rng: np.random.Generator) -> Structure:
    tensor = rng.uniform(-params.strain, params.strain, size=(3, 3))
    tensor = np.triu(tensor) + np.triu(tensor, k=1).T
    sigma = params.rattle_ang * rng.uniform(_SMALLEST_RATTLE, 1.0)
    moved = rattle(strain(structure, tensor), sigma, rng)
    return replace(moved, immutable_id=f"{structure.immutable_id}/replay-{number}")


def label_cells(cells: Sequence[Structure], potential: Potential, params: ReplayParams) -> list[Structure]:
    """Cells with energy, forces and stress of the potential; those with too large forces or a failure are left out."""
    return list(_label(cells, potential, params))


def _label(cells: Sequence[Structure], potential: Potential, params: ReplayParams) -> Iterator[Structure]:
    for cell, prediction in zip(cells, potential.predict(cells), strict=True):
        forces = prediction.forces_ev_per_ang
        if prediction.failure is not None or forces is None:
            continue
        if np.linalg.norm(forces, axis=1).max() <= params.max_force_ev_per_ang:
            yield replace(
                remove_labels(cell),
                source="replay",
                functional=f"{potential.reference} (pseudolabels)",
                energy_ev=prediction.energy_ev,
                forces_ev_per_ang=forces,
                stress_ev_per_ang3=prediction.stress_ev_per_ang3,
            )
