"""Replay: cells away from equilibrium that a finetuning sees beside its dataset, so that the model does not soften.

Curated rows are relaxed end points: from them alone a model learns that forces are small. Cells that the foundation
model was trained on, with the labels that it was taught, keep up what it knows of larger ones; heo-mini comes with
some.

Of most foundations there are none at hand. Then copies of the curated rows, rattled and strained and labelled by the
foundation itself, tell it what it knew already.

Bare labels of the foundation contradict the dataset, though: the two disagree on where the minimum is, and the copies
pull it back. So the labels of a copy are *anchored*: to what the foundation says of the copy is added what it gets
wrong at the curated row itself, the force error as a constant and the energy error as the potential that belongs to it,

    F(x0 + u) = F_model(x0 + u) + [F_row(x0) - F_model(x0)]
    E(x0 + u) = E_model(x0 + u) + [E_row(x0) - E_model(x0)] - [F_row(x0) - F_model(x0)] · u,

which moves the minimum to the row's and leaves the curvature, the stiffness, to the foundation.

Other copies have their cations shuffled: a random decoration of the same sites, where no row says anything and the
foundation's labels stand as they are. They hold the model elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heo_core.assets import HEO_MINI_DIR
from heo_core.curation.rows import iter_structures
from heo_core.models import Potential, resolve_model
from heo_core.params import ReplayParams
from heo_core.records import Array, ModelFile, Prediction, Structure
from heo_core.structures.perturb import draw_strain, rattle, remove_labels, strain

# A copy draws its rattle between this part of the largest one and all of it.
_SMALLEST_RATTLE = 0.25


@dataclass(frozen=True, eq=False)
class ReplayCell:
    """A cell to replay. A copy has the curated row that it was made from, and by how much its atoms were rattled.

    displacement: (n_atoms, 3), Å, from where the strain alone would have put the atoms.
    """

    structure: Structure
    row: Structure | None = None
    displacement: Array | None = None


def load_taught_cells(foundation: ModelFile) -> list[Structure]:
    """Cells that the foundation was trained on, with the labels that it was taught; none where it comes without."""
    import pyarrow.parquet as pq

    if foundation.sha256 != resolve_model("heo-mini").sha256:
        return []
    return list(iter_structures(pq.read_table(HEO_MINI_DIR / "replay.parquet")))


def shift_energies(structures: Sequence[Structure], e0_shifts: Mapping[str, float]) -> list[Structure]:
    """Structures whose energies move with the energies of their atoms: e0_shifts is by how much (eV), by element."""
    return [
        replace(s, energy_ev=s.energy_ev + sum(e0_shifts[symbol] for symbol in s.species))
        for s in structures
        if s.energy_ev is not None
    ]


def make_replay_cells(
    structures: Sequence[Structure], params: ReplayParams, rng: np.random.Generator
) -> list[ReplayCell]:
    """Return the cells to replay: at most params.n_cells of the structures (by default all), in a random order.

    Where params.structures is train, they are rattled and strained copies without labels, of a structure several times
    where n_cells asks for more than there are; otherwise the structures as they are.
    """
    order = rng.permutation(len(structures))
    if params.structures != "train":
        return [ReplayCell(structures[i]) for i in order[: params.n_cells]]
    n_copies = (params.n_cells or len(order)) if len(order) else 0
    n_shuffled = round(params.shuffled_fraction * n_copies)
    return [_copy(structures[order[k % len(order)]], k, params, rng, shuffled=k < n_shuffled) for k in range(n_copies)]


def _copy(row: Structure, number: int, params: ReplayParams, rng: np.random.Generator, *, shuffled: bool) -> ReplayCell:
    strained = strain(row, draw_strain(params.strain, rng))
    moved = rattle(strained, params.rattle_ang * rng.uniform(_SMALLEST_RATTLE, 1.0), rng)
    named = replace(moved, immutable_id=f"{row.immutable_id}/replay-{number}")
    if shuffled:
        return ReplayCell(replace(named, species=_shuffle_cations(row.species, rng)))
    return ReplayCell(named, row, moved.positions - strained.positions)


def _shuffle_cations(species: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """Let the cations change places; what is oxygen stays."""
    cations = iter(rng.permutation([symbol for symbol in species if symbol != "O"]))
    return tuple(symbol if symbol == "O" else str(next(cations)) for symbol in species)


def label_cells(cells: Sequence[ReplayCell], potential: Potential, params: ReplayParams) -> list[Structure]:
    """Cells with energy (eV), forces (eV/Å) and stress (eV/Å³, not anchored) of the potential.

    Left out are those that it fails on and those with a force above params.max_force_ev_per_ang.
    """
    predictions = potential.predict([cell.structure for cell in cells])
    if params.labels == "anchored":
        rows = {id(cell.row): cell.row for cell in cells if cell.row is not None}
        at_rows = dict(zip(rows, potential.predict(list(rows.values())), strict=True))
        predictions = [
            _anchor(cell, prediction, at_rows[id(cell.row)]) if cell.row is not None else prediction
            for cell, prediction in zip(cells, predictions, strict=True)
        ]
    kind = "anchored" if params.labels == "anchored" and params.structures == "train" else "foundation's"
    functional = f"{potential.reference} ({kind} labels)"
    return list(_label(cells, predictions, functional, params.max_force_ev_per_ang))


def _anchor(cell: ReplayCell, prediction: Prediction, at_row: Prediction) -> Prediction:
    """Correct what the model says of a copy by its error at the row."""
    row = cell.row
    if row is None or row.energy_ev is None or row.forces_ev_per_ang is None or cell.displacement is None:
        return prediction
    values = (prediction.energy_ev, prediction.forces_ev_per_ang, at_row.energy_ev, at_row.forces_ev_per_ang)
    energy, forces, energy_at_row, forces_at_row = values
    if energy is None or forces is None or energy_at_row is None or forces_at_row is None:
        return Prediction(None, None, failure=prediction.failure or at_row.failure)
    missing = row.forces_ev_per_ang - forces_at_row
    work = float(np.sum(missing * cell.displacement))
    return replace(
        prediction, energy_ev=energy + row.energy_ev - energy_at_row - work, forces_ev_per_ang=forces + missing
    )


def _label(
    cells: Sequence[ReplayCell], predictions: Sequence[Prediction], functional: str, max_force_ev_per_ang: float
) -> Iterator[Structure]:
    for cell, prediction in zip(cells, predictions, strict=True):
        forces = prediction.forces_ev_per_ang
        if prediction.failure is not None or forces is None:
            continue
        if np.linalg.norm(forces, axis=1).max() <= max_force_ev_per_ang:
            yield replace(
                remove_labels(cell.structure),
                source="replay",
                functional=functional,
                energy_ev=prediction.energy_ev,
                forces_ev_per_ang=forces,
                stress_ev_per_ang3=prediction.stress_ev_per_ang3,
            )
