"""What a training run learns from: two splits, without the structures that the foundation model cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
from ase import Atoms

from heo_core.curation.rows import SOURCE_ORDER
from heo_core.errors import InputError
from heo_core.params import FinetuneParams
from heo_core.records import ModelFile, Structure
from heo_core.whole_file import replacing


@dataclass(frozen=True)
class TrainingSet:
    """Structures to train on and to pick the best epoch with; left_out counts the others by reason."""

    train: tuple[Structure, ...]
    validation: tuple[Structure, ...]
    left_out: dict[str, int]


def make_training_set(
    train: Sequence[Structure], validation: Sequence[Structure], foundation: ModelFile, params: FinetuneParams
) -> TrainingSet:
    """Leave out what the foundation model cannot take, and count it. Strategy scratch takes every element.

    Raises InputError when a split is empty or smaller than a batch, or when stress is to be trained on that is absent
    or not to be trusted.
    """
    params = params.resolve()
    both = (*train, *validation)
    unlabelled = {id(s) for s in both if s.energy_ev is None or s.forces_ev_per_ang is None}
    unknown = {id(s) for s in both if foundation.unknown_elements(s.species)} - unlabelled
    if params.strategy == "scratch":
        unknown = set()
    usable_train, usable_validation = (
        tuple(s for s in split if id(s) not in unlabelled | unknown) for split in (train, validation)
    )
    for name, structures, given in (("train", usable_train, train), ("validation", usable_validation, validation)):
        if not given:
            raise InputError(f"the {name} split of the dataset is empty: 'heo dataset show' says why")
        if not structures:
            raise InputError(
                f"none of the {len(given)} structures of the {name} split can be used to train {foundation.reference}: "
                f"{len(unlabelled & {id(s) for s in given})} without energy or forces, "
                f"{len(unknown & {id(s) for s in given})} with an element that it does not know"
            )
    batch_size = params.batch_size or 1
    if batch_size > len(usable_train):
        raise InputError(
            f"batch_size is {batch_size}, but only {len(usable_train)} structures are left to train on; "
            f"allowed: 1 to {len(usable_train)}"
        )
    if params.stress_weight > 0:
        _check_stress(usable_train, params.stress_weight)
    reasons = {"unlabelled": len(unlabelled), "unknown_element": len(unknown)}
    left_out = {reason: count for reason, count in reasons.items() if count}
    return TrainingSet(usable_train, usable_validation, left_out)


def _check_stress(structures: Sequence[Structure], weight: float) -> None:
    with_stress = [s for s in structures if s.stress_ev_per_ang3 is not None]
    if not with_stress:
        raise InputError(
            f"stress_weight is {weight:g}, but no structure of the training split has a stress; allowed: 0"
        )
    doubtful = sorted({s.source for s in with_stress} & set(SOURCE_ORDER))
    if doubtful:
        raise InputError(
            f"stress_weight is {weight:g}, but the stress of the sources {', '.join(doubtful)} is confirmed neither in "
            "sign nor in unit; allowed: 0, or a dataset without these sources"
        )


def write_extxyz(path: Path, cells: Sequence[Atoms]) -> None:
    """Write cells in one step: a kill leaves the old file or the new one."""
    with replacing(path) as partial:
        ase.io.write(partial, list(cells), format="extxyz")


def to_labelled_atoms(
    structures: Sequence[Structure], *, weight: float = 1.0, stress_weight: float = 1.0, energies: bool = True
) -> list[Atoms]:
    """ASE atoms with MACE's keys: REF_energy (eV), REF_forces (eV/Å), REF_stress (eV/Å³), and weights in the loss.

    weight: of each structure; it stands with each label, because MACE's universal loss does not read a structure's own.
    That loss multiplies the errors with it, so that it counts squared below the threshold of Huber's loss.
    stress_weight: of its stress, as a fraction of the run's. energies: false gives the energies no weight, for labels
    on another scale.
    """
    return [_to_labelled(structure, weight, stress_weight, energies=energies) for structure in structures]


def _to_labelled(structure: Structure, weight: float, stress_weight: float, *, energies: bool) -> Atoms:
    atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
    atoms.info = {
        "immutable_id": structure.immutable_id,
        "REF_energy": structure.energy_ev,
        "config_energy_weight": weight if energies else 0.0,
        "config_forces_weight": weight,
        "config_stress_weight": weight * stress_weight,
    }
    atoms.arrays["REF_forces"] = structure.forces_ev_per_ang
    if structure.stress_ev_per_ang3 is not None:
        atoms.info["REF_stress"] = structure.stress_ev_per_ang3
    return atoms
