"""One structure with GPAW: a JSON request on stdin, one line of JSON on stdout.

Run by path with the interpreter of an environment that has GPAW, one process a structure (`gpaw_engine.py` starts it),
so that a crash or a time limit costs one structure. Nothing of heo can be imported here: it is another environment.

Request: `lattice_ang` (3 x 3), `positions_ang` (n_atoms x 3), `species`, `settings` (which `gpaw_engine.py` makes)
and `log` (where GPAW writes its own account). Reply: energy, forces, stress, moments, magnetic starts and versions in
ASE's units, or `failure`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the request, compute, write the reply as the last line; a failure is a reply too."""
    end_with_parent()
    request = json.load(sys.stdin)
    started = time.monotonic()
    try:
        reply = label(request)
    except Exception as exc:  # noqa: BLE001 the reason is the row
        traceback.print_exc()
        reply = {"failure": f"{type(exc).__name__}: {exc}".strip()}
    print(json.dumps(reply | {"wall_s": time.monotonic() - started}))  # noqa: T201 the reply


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however it died: nobody would read the reply."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(143)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def label(request: dict[str, Any]) -> dict[str, Any]:
    """Converge each magnetic start and label the structure in the state of lowest energy.

    A start that does not converge is passed over, with its reason, as long as another one does.
    """
    from gpaw import KohnShamConvergenceError  # type: ignore[import-not-found]

    settings = request["settings"]
    starts: list[dict[str, Any]] = []
    best = None
    for name in settings["magnetic_starts"]:
        atoms = make_atoms(request, name)
        atoms.calc = make_calculator(settings, atoms, Path(request["log"]).with_suffix(f".{name}.log"))
        try:
            energy = float(atoms.get_potential_energy(force_consistent=False))
        except KohnShamConvergenceError as exc:
            starts.append({"start": name, "energy_ev": None, "failure": f"not converged: {exc}".rstrip(": ")})
            continue
        starts.append({"start": name, "energy_ev": energy, "failure": None})
        if best is None or energy < best[0]:
            best = energy, name, atoms
    if best is None:
        return {"failure": "; ".join(f"{s['start']}: {s['failure']}" for s in starts), "starts": starts}
    energy, name, atoms = best
    return {
        "energy_ev": energy,
        "forces_ev_per_ang": atoms.get_forces().tolist(),
        "stress_ev_per_ang3": atoms.get_stress(voigt=False).tolist(),
        "moments_mub": atoms.get_magnetic_moments().tolist(),
        "total_moment_mub": float(atoms.get_magnetic_moment()),
        "magnetic_start": name,
        "starts": starts,
        "versions": find_versions(),
        "failure": None,
    }


def make_atoms(request: dict[str, Any], start: str) -> Any:
    """Make the cell with its start moments: all up, or every other magnetic cation down."""
    from ase import Atoms

    settings, species = request["settings"], request["species"]
    moments = [settings["start_moments_mub"].get(element, 0.0) for element in species]
    if start == "antiferromagnetic":
        sign = 1.0
        for i, moment in enumerate(moments):
            if moment > settings["start_moments_mub"].get("O", 0.0):
                moments[i], sign = sign * moment, -sign
    atoms = Atoms(species, positions=request["positions_ang"], cell=request["lattice_ang"], pbc=True)
    atoms.set_initial_magnetic_moments(moments)
    return atoms


def make_calculator(settings: dict[str, Any], atoms: Any, log: Path) -> Any:
    """GPAW in plane waves; no symmetry but time reversal, for no cell here has any that is worth looking for."""
    from gpaw import GPAW

    u = {element: value for element, value in settings["hubbard_u_ev"].items() if element in atoms.symbols}
    return GPAW(
        mode={"name": "pw", "ecut": settings["cutoff_ev"]},
        xc=settings["functional"],
        kpts={"size": settings["kpoints"], "gamma": True},
        spinpol=True,
        setups={element: f":d,{value}" for element, value in u.items()},
        occupations={"name": "fermi-dirac", "width": settings["smearing_ev"]},
        symmetry={"point_group": False},
        convergence=settings["convergence"],
        mixer=settings["mixer"],
        eigensolver=settings["eigensolver"],
        maxiter=settings["max_iterations"],
        txt=str(log),
    )


def find_versions() -> dict[str, str]:
    """Return what the numbers depend on."""
    import ase
    import gpaw
    import gpaw_data  # type: ignore[import-not-found]
    import numpy as np
    import scipy

    modules: dict[str, Any] = {"gpaw": gpaw, "gpaw-data": gpaw_data, "ase": ase, "numpy": np, "scipy": scipy}
    found = {name: str(getattr(module, "__version__", "unknown")) for name, module in modules.items()}
    libraries: Callable[[], dict[str, str]] = gpaw.get_libraries
    return found | libraries()


if __name__ == "__main__":
    main()
