"""What the steps hand to each other: frozen records of plain values and numpy arrays, in ASE's units (eV, Å)."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Digits kept by the content hash: far below any physical difference, far above the noise of a file format.
_HASH_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Structure:
    """A periodic cell, with reference labels where there are any.

    lattice: (3, 3), rows are the lattice vectors, Å. positions: (n_atoms, 3), Cartesian, Å. species: a symbol an atom.
    energy_ev: total energy of the cell. forces_ev_per_ang: (n_atoms, 3). stress_ev_per_ang3: (3, 3), ASE's sign.
    """

    lattice: Array
    positions: Array
    species: tuple[str, ...]
    immutable_id: str
    source: str
    functional: str | None = None
    fingerprint: str | None = None
    energy_ev: float | None = None
    forces_ev_per_ang: Array | None = None
    stress_ev_per_ang3: Array | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.species)

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Different elements, in alphabetical order."""
        return tuple(sorted(set(self.species)))

    @property
    def chemical_system(self) -> str:
        """Elements joined by hyphens, for example Co-Mg-O."""
        return "-".join(self.elements)

    @cached_property
    def formula_reduced(self) -> str:
        """Smallest whole-number formula, elements in alphabetical order, for example CoMgO2."""
        counts = Counter(self.species)
        divisor = gcd(*counts.values())
        return "".join(
            f"{element}{count // divisor if count > divisor else ''}" for element, count in sorted(counts.items())
        )

    @property
    def volume_ang3(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def fmax_ev_per_ang(self) -> float | None:
        """Length of the largest reference force, eV/Å; None without forces."""
        if self.forces_ev_per_ang is None:
            return None
        return float(np.linalg.norm(self.forces_ev_per_ang, axis=1).max())

    @cached_property
    def content_hash(self) -> str:
        """Sha256 of geometry, labels and origin: the same row read twice is one structure."""
        digest = hashlib.sha256()
        for array in (self.lattice, self.positions, self.forces_ev_per_ang, self.stress_ev_per_ang3, self.energy_ev):
            if array is not None:
                with np.errstate(over="ignore"):
                    rounded = np.round(np.asarray(array, dtype="<f8"), _HASH_DECIMALS)
                # + 0.0 makes minus zero zero
                digest.update((rounded + 0.0).tobytes())
            digest.update(b"|")
        digest.update("|".join([*self.species, self.immutable_id, self.source, self.functional or ""]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class ModelFile:
    """A model that can be loaded: its family, and for a file its path and the sha256 that the path must have.

    elements: symbols that the model knows; empty when it knows all that pymatgen does. energy_scale: what its energies
    are relative to; None where nobody said.
    """

    family: str
    reference: str
    path: str | None
    sha256: str | None
    elements: tuple[str, ...] = ()
    licence: str | None = None
    energy_scale: str | None = None

    def unknown_elements(self, species: tuple[str, ...] | list[str]) -> list[str]:
        """Return those of the elements that this model does not know, sorted."""
        return sorted(set(species) - set(self.elements)) if self.elements else []


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one structure. failure says why there is no number; then energy and forces are None."""

    energy_ev: float | None
    forces_ev_per_ang: Array | None
    stress_ev_per_ang3: Array | None = None
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One evaluated state: forces (n_atoms, 3) in eV/Å, stress (3, 3) in eV/Å³ with ASE's sign.

    lattice (3, 3), rows are the lattice vectors, Å. positions: (n_atoms, 3), Cartesian, not wrapped, Å.
    """

    energy_ev: float
    forces_ev_per_ang: Array
    stress_ev_per_ang3: Array
    lattice: Array
    positions: Array

    @property
    def fmax_ev_per_ang(self) -> float:
        """Length of the largest force, eV/Å."""
        return float(np.linalg.norm(self.forces_ev_per_ang, axis=1).max())

    @property
    def volume_ang3(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.lattice)))

    def is_finite(self) -> bool:
        """Whether every number is one."""
        parts = (self.energy_ev, self.forces_ev_per_ang, self.stress_ev_per_ang3, self.lattice, self.positions)
        return all(bool(np.isfinite(part).all()) for part in parts)


@dataclass(frozen=True, eq=False)
class Relaxation:
    """How one structure relaxed, judged on its final state by our own check of forces and stress.

    lattice (3, 3) and positions (n_atoms, 3) are the final state in Å, atoms in the order given and not wrapped;
    forces_ev_per_ang (n_atoms, 3) and stress_ev_per_ang3 (3, 3) are what the model says there.
    force_calls counts every evaluation of the model for this structure, the first and the last included.
    cell_fmax_ev_per_ang: largest row of V·stress/n_atoms, ASE's cell force at zero strain, of the mean stress alone
    with a hydrostatic filter; 0 with a fixed cell.
    energies_ev and fmaxes_ev_per_ang: one value a force call. trajectory: every state, where it was asked for.
    displacement_rmsd_ang and volume_change_fraction: of the final state, from the start.
    A structure that failed outright (unknown element, exploded, collapsed, not finite) has no final state: energies and
    arrays are None. One that merely did not converge has one, and its failure says so.
    """

    converged: bool
    failure: str | None
    force_calls: int
    wall_s: float
    energy_initial_ev: float | None
    energy_final_ev: float | None
    fmax_ev_per_ang: float | None
    cell_fmax_ev_per_ang: float | None
    lattice: Array | None
    positions: Array | None
    stress_ev_per_ang3: Array | None
    energies_ev: tuple[float, ...] = ()
    fmaxes_ev_per_ang: tuple[float, ...] = ()
    forces_ev_per_ang: Array | None = None
    displacement_rmsd_ang: float | None = None
    volume_change_fraction: float | None = None
    trajectory: tuple[Frame, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkCase:
    """One start structure of a relaxation benchmark and, where there is one, the structure it should relax to.

    recipe: how the start was made (seed, rattle, cell), so that a row explains itself.
    """

    start: Structure
    target: Structure | None
    recipe: dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation: `<quantity>_<statistic>`, its unit, and its 95 % interval where one was computed.

    value is None where there is nothing to average; n is the number of structures behind it.
    """

    name: str
    value: float | None
    unit: str
    n: int
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class GroupMetric:
    """One number of an evaluation over a part of its structures or atoms: one element, source or number of elements.

    grouping: "element", "source" or "n_elements". value and n as in `Metric`.
    """

    grouping: str
    group_name: str
    name: str
    value: float | None
    unit: str
    n: int


@dataclass(frozen=True)
class PhysicsCheck:
    """One number of one check on one subject (a cell, an oxide, a pair); without a value, failure says why."""

    kind: str
    subject: str
    name: str
    value: float | None
    unit: str
    failure: str | None = None


@dataclass(frozen=True)
class VolumeCurve:
    """Energy against volume of one material under one model; None where there is no number, and failure then says why.

    Errors are predicted / reference - 1. energy_volume_rmse: root mean square over the volumes of the difference of the
    two curves E(V) - E(V_ref), eV/atom, V_ref being the reference's own relaxed volume.
    """

    material: str
    n_volumes: int
    reference_volume_ang3_per_atom: float | None = None
    reference_bulk_modulus_gpa: float | None = None
    equilibrium_volume_ang3_per_atom: float | None = None
    bulk_modulus_gpa: float | None = None
    equilibrium_volume_error_fraction: float | None = None
    bulk_modulus_error_fraction: float | None = None
    energy_volume_rmse_ev_per_atom: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class EpochMetrics:
    """One evaluation of a training run on its validation split. epoch 0 is the foundation model before any step.

    score: MAE of forces in eV/Å plus MAE of energies in eV/atom, which picks the best epoch. lr: learning rate of the
    epoch. replay_...: on held-back replayed cells, where these have an output head of their own.
    """

    epoch: int
    train_loss: float | None
    validation_loss: float
    energy_rmse_ev_per_atom: float
    energy_mae_ev_per_atom: float | None
    forces_rmse_ev_per_ang: float
    forces_mae_ev_per_ang: float | None
    forces_q95_ev_per_ang: float | None
    seconds: float | None
    stress_rmse_ev_per_ang3: float | None = None
    stress_mae_ev_per_ang3: float | None = None
    lr: float | None = None
    score: float | None = None
    replay_energy_rmse_ev_per_atom: float | None = None
    replay_forces_rmse_ev_per_ang: float | None = None
