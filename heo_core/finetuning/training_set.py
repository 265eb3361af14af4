"""What a training run learns from: two splits, without the structures that the foundation model cannot take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
from ase import Atoms

from heo_core.errors import InputError
from heo_core.params import FinetuneParams
from heo_core.records import ModelFile, Structure


@dataclass(frozen=True)
class TrainingSet:
    """Structures to train on and to pick the best epoch with; left_out counts the others by reason."""

    train: tuple[Structure, ...]
    validation: tuple[Structure, ...]
    left_out: dict[str, int]


def make_training_set(
    train: Sequence[Structure], validation: Sequence[Structure], foundation: ModelFile, params: FinetuneParams
) -> TrainingSet:
    """Leave out what the foundation model cannot take, and count it.

    Raises InputError when a split is empty or smaller than a batch.
    """
    both = (*train, *validation)
    unlabelled = {id(s) for s in both if s.energy_ev is None or s.forces_ev_per_ang is None}
    unknown = {id(s) for s in both if foundation.unknown_elements(s.species)} - unlabelled
    usable_train, usable_validation = (
        tuple(s for s in split if id(s) not in unlabelled | unknown) for split in (train, validation)
    )
    for name, structures, given in (("train", usable_train, train), ("validation", usable_validation, validation)):
        if not given:
            raise InputError(f"the {name} split of the dataset is empty: 'heo dataset show' says why")
        if not structures:
            raise InputError(
                f"none of the {len(given)} structures of the {name} split can be used to train {foundation.reference}"
            )
    if params.batch_size > len(usable_train):
        raise InputError(
            f"batch_size is {params.batch_size}, but only {len(usable_train)} structures are left to train on"
        )
    reasons = {"unlabelled": len(unlabelled), "unknown_element": len(unknown)}
    left_out = {reason: count for reason, count in reasons.items() if count}
    return TrainingSet(usable_train, usable_validation, left_out)


def write_extxyz(path: Path, structures: Sequence[Structure]) -> None:
    """Write labelled structures with MACE's keys: REF_energy (eV), REF_forces (eV/Å)."""
    ase.io.write(path, [to_labelled_atoms(structure) for structure in structures], format="extxyz")


def to_labelled_atoms(structure: Structure) -> Atoms:
    """ASE atoms with the reference labels in `info` and `arrays`."""
    atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
    atoms.info["REF_energy"] = structure.energy_ev
    atoms.info["immutable_id"] = structure.immutable_id
    atoms.arrays["REF_forces"] = structure.forces_ev_per_ang
    return atoms
