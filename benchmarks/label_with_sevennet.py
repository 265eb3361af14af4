"""Label structures with SevenNet 7net-0, in an environment of its own: `sevenn` and `mace-torch` want different e3nn.

    python3.12 -m venv DIR && DIR/bin/pip install sevenn==0.13.0
    OMP_NUM_THREADS=1 DIR/bin/python benchmarks/label_with_sevennet.py IN.extxyz OUT.extxyz
    OMP_NUM_THREADS=1 DIR/bin/python benchmarks/label_with_sevennet.py --relax IN.extxyz OUT.extxyz
    OMP_NUM_THREADS=1 DIR/bin/python benchmarks/label_with_sevennet.py --snapshots IN.extxyz OUT.extxyz

Imports ase, numpy and sevenn only; no part of heo is needed. Every frame gets `REF_energy` (eV), `REF_forces` (eV/Å)
and `REF_stress` (eV/Å³, ASE's order and sign), and keeps what else it carried. With `--relax` atoms and cell are
relaxed first (FIRE); a frame that does not get there is left out, by name. With `--snapshots` a frame becomes several:
itself, what it is on its way down, and a rattled copy of where it got (`kind`); those that are far out are left out.
The labels are a potential's, not DFT.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import FIRE
from sevenn.calculator import SevenNetCalculator

RELAX_FMAX_EV_PER_ANG = 0.02
RELAX_MAX_STEPS = 300

SNAPSHOT_STEPS = (5, 14, 30, 60)
SNAPSHOT_FMAX_EV_PER_ANG, SNAPSHOT_STRESS_EV_PER_ANG3 = 12.0, 0.6
RATTLE_ANG = (0.02, 0.15)


def main() -> None:
    """Read, relax if asked to, label, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--relax", action="store_true", help="relax atoms and cell first")
    parser.add_argument("--snapshots", action="store_true", help="label what lies on the way of a relaxation")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--model", default="7net-0", help="a model that comes inside the sevenn package")
    args = parser.parse_args()
    calculator = SevenNetCalculator(args.model, device=args.device)
    frames = read(args.input, ":")
    rng = np.random.default_rng(0)
    labelled, started = [], time.monotonic()
    for i, frame in enumerate(frames):
        name = frame.info.get("immutable_id", i)
        if args.relax and not relax(frame, calculator):
            print(f"{name}: not relaxed within {RELAX_MAX_STEPS} steps, left out", file=sys.stderr)
            continue
        if args.snapshots:
            labelled += take_snapshots(frame, calculator, rng)
        else:
            labelled.append(label(frame, calculator))
        print(f"{i + 1}/{len(frames)} {name} {time.monotonic() - started:.0f} s", flush=True)
    write(args.output, labelled, format="extxyz")


def relax(atoms: Atoms, calculator: SevenNetCalculator) -> bool:
    """Relax atoms and cell in place; whether the largest force on either fell below the limit."""
    atoms.calc = calculator
    return bool(FIRE(FrechetCellFilter(atoms), logfile=None).run(RELAX_FMAX_EV_PER_ANG, RELAX_MAX_STEPS))


def take_snapshots(atoms: Atoms, calculator: SevenNetCalculator, rng: np.random.Generator) -> list[Atoms]:
    """Label the cell, snapshots of its relaxation and a rattled copy of the last; none that is far out."""
    atoms.calc = calculator
    optimizer = FIRE(FrechetCellFilter(atoms), logfile=None, maxstep=0.12)
    snapshots, done = [label(atoms, calculator)], 0
    for step in SNAPSHOT_STEPS:
        optimizer.run(fmax=0.03, steps=step - done)
        done = step
        snapshots.append(label(atoms, calculator))
    rattled = atoms.copy()
    rattled.positions += rng.normal(0, rng.uniform(*RATTLE_ANG), rattled.positions.shape)
    snapshots.append(label(rattled, calculator))
    kinds = ("start", *["relaxing"] * len(SNAPSHOT_STEPS), "rattled")
    for snapshot, kind in zip(snapshots, kinds, strict=True):
        snapshot.info["kind"] = kind
    return [snapshot for snapshot in snapshots if is_near_enough(snapshot)]


def is_near_enough(atoms: Atoms) -> bool:
    """Whether forces and stress of a labelled cell are finite and within what a small model can learn."""
    forces = np.linalg.norm(atoms.arrays["REF_forces"], axis=1)
    stress = np.abs(atoms.info["REF_stress"])
    return bool(forces.max() <= SNAPSHOT_FMAX_EV_PER_ANG and stress.max() <= SNAPSHOT_STRESS_EV_PER_ANG3)


def label(atoms: Atoms, calculator: SevenNetCalculator) -> Atoms:
    """Return a copy with labels under MACE's keys and without a calculator."""
    bare = atoms.copy()
    atoms.calc = calculator
    bare.info["REF_energy"] = float(atoms.get_potential_energy())
    bare.info["REF_stress"] = np.asarray(atoms.get_stress(), dtype=float)
    bare.arrays["REF_forces"] = np.asarray(atoms.get_forces(), dtype=float)
    return bare


if __name__ == "__main__":
    main()
