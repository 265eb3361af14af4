"""What a labeller says of one structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heo_core.records import Array, Structure
from heo_core.structures.perturb import remove_labels


@dataclass(frozen=True, eq=False)
class Label:
    """Reference numbers of one structure, or why there are none: then energy, forces, stress and moments are None.

    forces_ev_per_ang: (n_atoms, 3). stress_ev_per_ang3: (3, 3), ASE's sign; None too where the settings give none that
    can be trusted. moments_mub: (n_atoms,), near each atom, of the state that was kept; total_moment_mub: of the whole
    cell, which is not their sum. starts: each magnetic start with its energy or failure. versions: of what computed it.
    wall_s: seconds, None where nobody measured them.
    """

    wall_s: float | None
    failure: str | None = None
    energy_ev: float | None = None
    forces_ev_per_ang: Array | None = None
    stress_ev_per_ang3: Array | None = None
    moments_mub: Array | None = None
    total_moment_mub: float | None = None
    magnetic_start: str | None = None
    starts: tuple[dict[str, Any], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, reply: Mapping[str, Any]) -> Label:
        """Read what `to_json` or a worker wrote; keys that a label has not are passed over."""
        arrays = {name: reply.get(name) for name in ("forces_ev_per_ang", "stress_ev_per_ang3", "moments_mub")}
        return cls(
            wall_s=reply["wall_s"],
            failure=reply["failure"],
            energy_ev=reply.get("energy_ev"),
            total_moment_mub=reply.get("total_moment_mub"),
            magnetic_start=reply.get("magnetic_start"),
            starts=tuple(reply.get("starts", ())),
            versions=reply.get("versions", {}),
            **{name: None if value is None else np.array(value, dtype=float) for name, value in arrays.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file of JSON."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Origin:
    """Which model relaxed which case of a benchmark to a structure, and whether it was at rest then."""

    benchmark_id: int
    case_index: int
    model_version_id: int
    converged: bool


@dataclass(frozen=True, eq=False)
class Wanted:
    """A structure to label, without labels of its own; origin where a model relaxed it to this."""

    structure: Structure
    origin: Origin | None = None


def apply_label(structure: Structure, label: Label, functional: str) -> Structure:
    """Return the structure with these labels in place of its own; ValueError for a label that is a failure."""
    if label.failure is not None:
        raise ValueError(label.failure)
    return replace(
        remove_labels(structure),
        functional=functional,
        energy_ev=label.energy_ev,
        forces_ev_per_ang=label.forces_ev_per_ang,
        stress_ev_per_ang3=label.stress_ev_per_ang3,
    )
