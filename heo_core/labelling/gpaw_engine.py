"""Labels by GPAW, which lives in an environment of its own: one process a structure.

A crash, a time limit or a calculation that does not converge costs one structure and is its failure.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from heo_core.errors import InputError
from heo_core.labelling.label import Label
from heo_core.params import GpawParams
from heo_core.records import Structure

WORKER = Path(__file__).with_name("gpaw_worker.py")

FUNCTIONAL = "pbe+u (gpaw)"

_NUMERICS: dict[str, Any] = {
    "functional": "PBE",
    "convergence": {"density": 1e-4, "eigenstates": 1e-6, "forces": 2e-3},
    # GPAW's own default. Pulay's took half the steps on one rock salt, and hung at a density error of 1e-2 on another.
    "mixer": {"name": "msr1"},
    "eigensolver": {"name": "davidson", "niter": 2},
}


def make_settings(params: GpawParams) -> dict[str, Any]:
    """Everything that the numbers depend on but the structure and the versions, as plain values of JSON."""
    resolved = params.resolve()
    return {"engine": "gpaw", **resolved.model_dump(mode="json", exclude={"preset"}), **_NUMERICS}


def has_stress(settings: dict[str, Any]) -> bool:
    """Whether the stress of these settings can be trusted: below 700 eV plane waves are too few for it."""
    return bool(settings["cutoff_ev"] >= 700)


def find_gpaw_versions(python: Path, *, limit_s: float = 120) -> dict[str, str]:
    """Versions of GPAW and its setups in an interpreter's environment, empty where it has none or cannot be started.

    limit_s: seconds that it may take. InputError where it does not end in them, or says something else.
    """
    code = "from importlib.metadata import version as v; print(v('gpaw'), v('gpaw-data'))"
    try:
        found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, timeout=limit_s)
    except (OSError, subprocess.CalledProcessError):
        return {}
    except subprocess.TimeoutExpired as exc:
        raise InputError(f"{python} did not say in {limit_s:g} s which GPAW it has; run 'make setup-dft'") from exc
    versions = found.stdout.split()
    if len(versions) != 2:
        raise InputError(
            f"{python} said {found.stdout.strip()!r}, not the two versions of GPAW and its setups; run 'make setup-dft'"
        )
    return dict(zip(("gpaw", "gpaw-data"), versions, strict=True))


def label_with_gpaw(
    structure: Structure, settings: dict[str, Any], *, python: Path, log: Path, limit_s: float | None = None
) -> Label:
    """Label one structure in a process of its own, with one thread.

    python: interpreter of an environment with GPAW. log: where GPAW writes its own account, one file a magnetic start;
    its folder is made. limit_s: seconds after which the process is ended. InputError where it cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    request = {
        "lattice_ang": structure.lattice.tolist(),
        "positions_ang": structure.positions.tolist(),
        "species": list(structure.species),
        "settings": settings,
        "log": str(log),
    }
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    except OSError as exc:
        raise InputError(f"GPAW cannot be started with {python}: {exc.strerror}; run 'make setup-dft'") from exc
    with process:
        try:
            output, _ = process.communicate(json.dumps(request), timeout=limit_s)
        except BaseException as exc:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(exc, subprocess.TimeoutExpired):
                raise
            return Label(time.monotonic() - started, f"not done after its limit of {limit_s:g} s")
    lines = output.strip().splitlines()
    try:
        reply = json.loads(lines[-1])
    except (IndexError, ValueError):
        said = "; ".join(lines[-3:]) or "it said nothing"
        return Label(time.monotonic() - started, f"GPAW ended with exit code {process.returncode}: {said}")
    return Label.of_json(reply)
