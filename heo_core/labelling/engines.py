"""What labels structures: GPAW in its own environment, or any potential. Each says on what scale its energies are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from heo_core.labelling.functionals import BY_POTENTIAL
from heo_core.labelling.gpaw_engine import FUNCTIONAL, find_gpaw_versions, has_stress, label_with_gpaw
from heo_core.labelling.label import Label
from heo_core.models.potential import Potential
from heo_core.records import Structure


class Engine(Protocol):
    """Labels structures on one scale.

    settings: all that its energies depend on but the structure, as plain values of JSON. functional: what a labelled
    structure says of its labels. at_once: structures that it takes side by side.
    """

    name: str
    at_once: int
    functional: str
    settings: dict[str, Any]

    def find_versions(self) -> dict[str, str]:
        """Versions that energies depend on and settings do not name, as labels have them; none where nobody can say."""
        ...

    def label(self, structures: Sequence[Structure]) -> Iterator[Label]:
        """One label a structure, in their order, each as soon as it is there; a failure is one of them."""
        ...


class GpawEngine:
    """GPAW, one process a structure.

    python: interpreter of an environment that has GPAW. logs: folder of its own accounts, a file a structure and start,
    called after the structure's content hash. limit_s: seconds after which a structure is given up.
    """

    name = "gpaw"
    at_once = 1
    functional = FUNCTIONAL

    def __init__(self, settings: dict[str, Any], *, python: Path, logs: Path, limit_s: float | None) -> None:
        self.settings = settings
        self._python, self._logs, self._limit_s = python, logs, limit_s

    def find_versions(self) -> dict[str, str]:
        """GPAW's and its setups'; none from an environment without them, whose labels will fail with that reason."""
        return find_gpaw_versions(self._python)

    def label(self, structures: Sequence[Structure]) -> Iterator[Label]:
        """One label a structure; InputError where GPAW cannot be started at all."""
        for structure in structures:
            log = self._logs / structure.content_hash[:16]
            label = label_with_gpaw(structure, self.settings, python=self._python, log=log, limit_s=self._limit_s)
            yield label if has_stress(self.settings) else replace(label, stress_ev_per_ang3=None)


class PotentialEngine:
    """A loaded potential.

    sha256: of its file, None where the weights are part of a package, which package_versions then name.
    """

    name = "potential"
    at_once = 32

    def __init__(self, potential: Potential, *, sha256: str | None, package_versions: dict[str, Any] | None) -> None:
        self.settings = {
            "model": potential.reference,
            "sha256": sha256,
            "package_versions": package_versions if sha256 is None else None,
            "dtype": potential.dtype,
            "energy_scale": potential.energy_scale,
        }
        self.functional = f"{potential.reference}{BY_POTENTIAL}"
        self._potential = potential

    def find_versions(self) -> dict[str, str]:
        """None: its settings name the model's file, or the package that holds it."""
        return {}

    def label(self, structures: Sequence[Structure]) -> Iterator[Label]:
        """One label a structure; the seconds of all are shared out evenly."""
        started = time.monotonic()
        predictions = self._potential.predict(structures)
        wall_s = (time.monotonic() - started) / max(1, len(structures))
        for prediction in predictions:
            yield Label(
                wall_s=wall_s,
                failure=prediction.failure,
                energy_ev=prediction.energy_ev,
                forces_ev_per_ang=prediction.forces_ev_per_ang,
                stress_ev_per_ang3=prediction.stress_ev_per_ang3,
            )
