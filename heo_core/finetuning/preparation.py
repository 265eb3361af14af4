"""Before the training: the foundation with its E0s, the cells to replay, and the files that MACE reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from heo_core.artifacts import compute_sha256
from heo_core.curation.rows import SOURCE_ORDER
from heo_core.errors import InputError
from heo_core.finetuning.e0s import average_e0s, estimate_e0s, write_with_e0s
from heo_core.finetuning.replay import (
    ReplayCell,
    label_cells,
    load_taught_cells,
    make_replay_cells,
    shift_energies,
)
from heo_core.finetuning.strategy import compute_stress_weight, uses_two_heads
from heo_core.finetuning.training_set import TrainingSet, to_labelled_atoms, write_extxyz
from heo_core.models import Potential, describe, load_model
from heo_core.params import FinetuneParams
from heo_core.records import ModelFile, Structure
from heo_core.whole_file import replacing

_DONE_FILE = "prepared.json"

# Share of the replayed cells that watches their own head, where they have one.
_REPLAY_VALIDATION = 0.1

# How many of the foundation's own cells are replayed; and how often a row stands beside what is replayed: once for
# every two cells a row, three times at most. docs/finetuning.md has what other recipes gain and cost.
_TAUGHT_CELLS_PER_ROW = 9
_CELLS_PER_ROW_COPY, _MOST_ROW_COPIES = 2, 3


@dataclass(frozen=True)
class Preparation:
    """What the training starts from.

    foundation: the model file, with the E0s of the run. e0s: eV by element; empty where MACE fits them (scratch).
    outliers: rows whose energies the E0s were not fitted to, with their errors (eV/atom by immutable_id); None where
    E0s were not estimated. replay: what is replayed (structures, labels, n_cells, n_left_out, n_with_energies,
    row_copies); None for another strategy.
    """

    foundation: Path
    e0s: dict[str, float]
    outliers: dict[str, float] | None
    replay: dict[str, Any] | None


def prepare_training(
    training_set: TrainingSet,
    replayable: Sequence[Structure],
    params: FinetuneParams,
    *,
    foundation: ModelFile,
    folder: Path,
    device: str,
) -> Preparation:
    """Write foundation.model and the extxyz files into `folder`; what an earlier try has finished is taken as it is.

    replayable: structures of the dataset that params.replay names; not read where it names the training split.
    InputError if no cell to replay is left or E0s cannot be fitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / _DONE_FILE
    if done.exists():
        stored = json.loads(done.read_text())
        return Preparation(folder / "foundation.model", stored["e0s"], stored.get("outliers"), stored["replay"])
    params = params.resolve()
    path, e0s, outliers = folder / "foundation.model", dict[str, float](), None
    if params.strategy != "scratch":
        e0s, outliers = _choose_e0s(training_set, params, foundation, device)
        write_with_e0s(foundation, e0s, path)
    train, replay = _to_cells(training_set.train, params), None
    if params.strategy == "replay":
        potential = load_model(_to_model_file(path, foundation), device=device, dtype=params.dtype or "float64")
        params, replayable = _find_taught(training_set, replayable, params, foundation, e0s)
        cells, replay = _choose_replay(training_set, replayable, params, potential)
        train *= replay["row_copies"]
        if uses_two_heads(params):
            if len(cells) < 2:
                raise InputError(
                    "replay.multiheads_finetuning needs two cells or more: one watches their head; 1 is left"
                )
            n_validation = max(1, round(_REPLAY_VALIDATION * len(cells)))
            write_extxyz(folder / "replay.extxyz", cells[n_validation:])
            write_extxyz(folder / "replay-validation.extxyz", cells[:n_validation])
        else:
            train += cells
    write_extxyz(folder / "train.extxyz", train)
    write_extxyz(folder / "validation.extxyz", _to_cells(training_set.validation, params))
    preparation = Preparation(path, e0s, outliers, replay)
    with replacing(done) as partial:
        partial.write_text(json.dumps({"e0s": e0s, "outliers": outliers, "replay": replay}))
    return preparation


def _choose_e0s(
    training_set: TrainingSet, params: FinetuneParams, foundation: ModelFile, device: str
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Return the E0s of the run (eV by element), and their outliers with their errors; None where none were sought."""
    e0s: dict[str, float] = describe(foundation)["e0s"]
    if params.E0s == "average":
        return average_e0s(training_set.train, e0s), None
    if params.E0s == "estimated":
        potential = load_model(foundation, device=device, dtype="float64")
        return estimate_e0s(training_set.train, potential.predict(training_set.train), e0s)
    return e0s, None


def _to_model_file(path: Path, foundation: ModelFile) -> ModelFile:
    """Return the file that was just written, which is ours to load."""
    return ModelFile("mace", foundation.reference, str(path), compute_sha256(path), foundation.elements)


def _to_cells(structures: Sequence[Structure], params: FinetuneParams) -> list[Atoms]:
    """Cells of the dataset, the weight of their stress as a fraction of the run's: MACE multiplies the two."""
    run = compute_stress_weight(params)
    return to_labelled_atoms(structures, stress_weight=params.stress_weight / run if run else 1.0)


def _find_taught(
    training_set: TrainingSet,
    replayable: Sequence[Structure],
    params: FinetuneParams,
    foundation: ModelFile,
    e0s: dict[str, float],
) -> tuple[FinetuneParams, Sequence[Structure]]:
    """Parameters and structures where the foundation's own cells are to be replayed: these, or copies if it has none.

    The labels are on the scale of the foundation's E0s, and move with them.
    """
    if params.replay.structures != "foundation":
        return params, replayable
    taught = load_taught_cells(foundation)
    found: dict[str, Any] = {"structures": "train"}
    if taught:
        before = describe(foundation)["e0s"]
        taught = shift_energies(taught, {element: e0s[element] - before[element] for element in before})
        n_cells = params.replay.n_cells or _TAUGHT_CELLS_PER_ROW * len(training_set.train)
        found = {"structures": "foundation", "labels": "own", "n_cells": n_cells}
    return params.model_copy(update={"replay": params.replay.model_copy(update=found)}), taught


def _choose_replay(
    training_set: TrainingSet, replayable: Sequence[Structure], params: FinetuneParams, potential: Potential
) -> tuple[list[Atoms], dict[str, Any]]:
    """Cells to replay, and what there is to say of them."""
    options, rng = params.replay, np.random.default_rng(params.seed)
    cells = make_replay_cells(training_set.train if options.structures == "train" else replayable, options, rng)
    # On the scale of the dataset's energies are those of its own rows, and the foundation's once its E0s fit them.
    if options.labels == "own":
        own = _take_own_labels(cells, potential, options.max_force_ev_per_ang)
        same_scale = {s.functional for s in own} <= {s.functional for s in training_set.train}
        groups = [(own, params.E0s == "estimated" if options.structures == "foundation" else same_scale)]
    else:
        anchored = [cell for cell in cells if cell.row is not None and options.labels == "anchored"]
        others = [cell for cell in cells if cell.row is None or options.labels != "anchored"]
        groups = [
            (label_cells(anchored, potential, options), True),
            (label_cells(others, potential, options), params.E0s == "estimated"),
        ]
    labelled = [structure for group, _ in groups for structure in group]
    if not labelled:
        raise InputError(
            f"none of the {len(cells)} cells to replay can be used: see replay.structures={options.structures!r}, "
            f"replay.labels={options.labels!r} and replay.max_force_ev_per_ang={options.max_force_ev_per_ang:g}"
        )
    run = compute_stress_weight(params)
    weights = {"weight": options.weight, "stress_weight": options.stress_weight / run if run else 1.0}
    facts = {
        "structures": options.structures,
        "labels": options.labels,
        "n_cells": len(labelled),
        "n_left_out": len(cells) - len(labelled),
        "n_with_energies": sum(len(group) for group, energies in groups if energies),
        "row_copies": options.row_copies or _choose_row_copies(len(labelled), len(training_set.train)),
    }
    atoms = [cell for group, energies in groups for cell in to_labelled_atoms(group, energies=energies, **weights)]
    return atoms, facts


def _choose_row_copies(n_cells: int, n_rows: int) -> int:
    return min(max(n_cells // (_CELLS_PER_ROW_COPY * n_rows), 1), _MOST_ROW_COPIES)


def _take_own_labels(cells: Sequence[ReplayCell], potential: Potential, max_force_ev_per_ang: float) -> list[Structure]:
    """Structures with labels of their own that the model can take; a stress that cannot be trusted is left out."""
    usable = [
        cell.structure
        for cell in cells
        if cell.structure.energy_ev is not None
        and cell.structure.fmax_ev_per_ang is not None
        and cell.structure.fmax_ev_per_ang <= max_force_ev_per_ang
        and not potential.find_obstacle(cell.structure)
    ]
    return [replace(s, stress_ev_per_ang3=None) if s.source in SOURCE_ORDER else s for s in usable]
