"""Make cells like those of high-entropy oxides, label them with GPAW, and pack what is done into one file.

    python benchmarks/dft_cells.py cells CELLS.extxyz
    OMP_NUM_THREADS=1 python benchmarks/dft_cells.py label CELLS.extxyz FOLDER --python .venv-dft/bin/python
    python benchmarks/dft_cells.py pack FOLDER

`label` takes the cells in their order and keeps one file of JSON for each, whole or not there: started again, it goes
on where it stopped. One that failed is a file too, with its reason. Every beginning of the list is a fair mix: each
metal is in every second cell or so, and a larger cell comes after every seven of eight atoms; last come spinels and
larger rock salts that converge more surely. `pack` writes what is labelled into the bundled reference set `dft-offeq`,
with settings, versions and what failed in the file's metadata, and its part of the card.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms
from ase.io import read, write
from ase.spacegroup import crystal
from reference_sets import MAX_FORCE_EV_PER_ANG, MIN_FORCE_EV_PER_ANG, write_card

from heo_core.assets import REFERENCE_DIR
from heo_core.curation.rows import ROW_SCHEMA
from heo_core.labelling.gpaw_engine import FUNCTIONAL, label_with_gpaw, make_settings
from heo_core.params import GpawParams
from heo_core.records import Structure
from heo_core.structures.perturb import rattle, strain
from heo_core.structures.prototypes import CATION, get_prototype
from heo_core.structures.substitution import make_parent

SEED = 20261126
N_EIGHT_ATOMS = 66
EVERY = 7  # then one larger cell, in turn a rock salt of sixteen atoms and a spinel's primitive cell of fourteen

# Cr and V are in spinels only, as 3+: beside Cu in a rock salt they give up electrons, and the one such cell that was
# tried had not converged after 37 steps.
ROCKSALT = ("Mg", "Ca", "Mn", "Fe", "Co", "Ni", "Cu", "Zn")
SPINEL_A, SPINEL_B = ("Mg", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"), ("Cr", "Mn", "Fe", "Co", "V", "Al")

# Of those spinels the one that was tried had not converged after 1,871 s, nor had four of five rock salts with Co
# beside Fe. These, last in the list, are rock salts without the two, and spinels of ions with an empty, half filled or
# full shell.
N_PLAIN_SPINELS, N_PLAIN_ROCKSALTS = 12, 4
PLAIN_A, PLAIN_B = ("Mg", "Mn", "Zn"), ("Al", "Cr", "Fe")
PLAIN_ROCKSALT = ("Mg", "Ca", "Mn", "Ni", "Cu", "Zn")

# As in the other reference sets, and what a label has beside.
SCHEMA = pa.schema(
    [
        *(field for field in ROW_SCHEMA if field.name != "fingerprint"),
        ("kind", pa.string()),
        ("prototype", pa.string()),
        ("material", pa.string()),
        ("volume_factor", pa.float64()),
        ("moments_mub", pa.list_(pa.float64())),
        ("magnetic_start", pa.string()),
        ("wall_s", pa.float64()),
    ]
)

# Each cell draws its own rattle and strain below these.
RATTLE_ANG, STRAIN, VOLUME_STRAIN = (0.02, 0.12), 0.03, 0.04


def make_cells() -> list[tuple[Structure, dict[str, Any]]]:
    """All cells in their order, each with what it is and how far it was moved."""
    rng = np.random.default_rng(SEED)
    rocksalt, of_a, of_b = _deal(ROCKSALT, rng), _deal(SPINEL_A, rng), _deal(SPINEL_B, rng)
    cells = []
    for i in range(N_EIGHT_ATOMS):
        cells.append(_move(fill_rocksalt((1, 1, 1), _take(rocksalt, 4), rng), f"rocksalt-8/{i + 1}", rng))
        number, place = divmod(i, EVERY)
        if place == EVERY - 1 and number % 2:
            cells.append(_move(fill_rocksalt((2, 1, 1), _take(rocksalt, 5), rng), f"rocksalt-16/{number}", rng))
        elif place == EVERY - 1:
            cells.append(_move(fill_spinel(_take(of_a, 2), _take(of_b, 3), rng), f"spinel-14/{number}", rng))
    of_a, of_b, rocksalt = _deal(PLAIN_A, rng), _deal(PLAIN_B, rng), _deal(PLAIN_ROCKSALT, rng)
    cells.extend(
        _move(fill_spinel(_take(of_a, 2), _take(of_b, 2), rng), f"spinel-14/plain-{i + 1}", rng)
        for i in range(N_PLAIN_SPINELS)
    )
    cells.extend(
        _move(fill_rocksalt((2, 1, 1), _take(rocksalt, 5), rng), f"rocksalt-16/plain-{i + 1}", rng)
        for i in range(N_PLAIN_ROCKSALTS)
    )
    return cells


def _deal(elements: tuple[str, ...], rng: np.random.Generator) -> Iterator[str]:
    """Elements without end, each once before any comes again, in a new order every time."""
    while True:
        yield from rng.permutation(elements)


def _take(dealt: Iterator[str], n: int) -> list[str]:
    """Take the next n different ones; one that is drawn twice is passed over."""
    taken: list[str] = []
    while len(taken) < n:
        element = str(next(dealt))
        if element not in taken:
            taken.append(element)
    return taken


def _share_out(elements: list[str], n_sites: int, rng: np.random.Generator) -> list[str]:
    """Each element on as many sites as the others, or one more, in random order."""
    return [elements[i % len(elements)] for i in rng.permutation(n_sites)]


def fill_rocksalt(repeats: tuple[int, int, int], elements: list[str], rng: np.random.Generator) -> Structure:
    """Fill conventional rock-salt cells, at the lattice that ionic radii give."""
    fractions = {CATION: {element: 1 / len(elements) for element in elements}}
    parent = make_parent(get_prototype("rocksalt"), fractions, repeats)
    cations = iter(_share_out(elements, parent.species.count(CATION), rng))
    species = tuple(next(cations) if name == CATION else name for name in parent.species)
    return Structure(parent.lattice, parent.positions, species, "", "generated")


def fill_spinel(of_a: list[str], of_b: list[str], rng: np.random.Generator) -> Structure:
    """Fill a spinel's primitive cell (two sites A, four B), at the lattice that ionic radii give."""
    fractions = {
        name: {element: 1 / len(elements) for element in elements} for name, elements in (("A", of_a), ("B", of_b))
    }
    edge = float(get_prototype("spinel").compute_lattice(fractions)[0, 0])
    sites = [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2), (0.2625, 0.2625, 0.2625)]
    cellpar = [edge] * 3 + [90] * 3
    cell = crystal(["He", "Ne", "O"], sites, spacegroup=227, setting=2, cellpar=cellpar, primitive_cell=True)
    names = [str(symbol) for symbol in cell.symbols]
    on_a, on_b = (iter(_share_out(e, names.count(n), rng)) for e, n in ((of_a, "He"), (of_b, "Ne")))
    species = tuple(next(on_a) if name == "He" else next(on_b) if name == "Ne" else name for name in names)
    return Structure(np.array(cell.cell), cell.positions, species, "", "generated")


def _move(cell: Structure, name: str, rng: np.random.Generator) -> tuple[Structure, dict[str, Any]]:
    """Strain and rattle a cell, each by an amount of its own."""
    tensor = rng.uniform(-STRAIN, STRAIN, (3, 3))
    tensor = (tensor + tensor.T) / 2 + rng.uniform(-VOLUME_STRAIN, VOLUME_STRAIN) / 3 * np.eye(3)
    sigma = float(rng.uniform(*RATTLE_ANG))
    moved = rattle(strain(cell, tensor), sigma, rng)
    kind, _, _ = name.partition("/")
    recipe = {"prototype": kind.partition("-")[0], "rattle_ang": sigma, "strain": tensor.tolist(), "seed": SEED}
    return Structure(moved.lattice, moved.positions, moved.species, f"dft-offeq/{name}", "generated"), recipe


def write_cells(path: Path) -> None:
    """Write all cells as extxyz."""
    frames = [
        Atoms(s.species, positions=s.positions, cell=s.lattice, pbc=True, info={"name": s.immutable_id, **recipe})
        for s, recipe in make_cells()
    ]
    write(path, frames, format="extxyz")
    print(f"{len(frames)} cells, {sum(len(frame) == 8 for frame in frames)} of eight atoms -> {path}")


def label_cells(path: Path, folder: Path, python: Path, limit_s: float) -> None:
    """Label the cells of a file in their order; those that have a file in the folder are done."""
    settings = make_settings(GpawParams())
    folder.mkdir(parents=True, exist_ok=True)
    for i, atoms in enumerate(read(path, ":")):
        target = folder / f"{i:03d}.json"
        if target.exists():
            if json.loads(target.read_text())["settings"] != settings:
                sys.exit(f"{target} was made with other settings: labels of two scales do not belong together")
            continue
        info = {key: np.asarray(value).tolist() for key, value in atoms.info.items()}
        cell = Structure(np.array(atoms.cell), atoms.positions, tuple(atoms.symbols), info.pop("name"), "generated")
        label = label_with_gpaw(cell, settings, python=python, log=folder / "logs" / f"{i:03d}", limit_s=limit_s)
        row = {
            "name": cell.immutable_id,
            "species": cell.species,
            "lattice_ang": cell.lattice.tolist(),
            "positions_ang": cell.positions.tolist(),
            "recipe": info,
            "settings": settings,
            "label": label.to_json(),
        }
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(row))
        partial.replace(target)
        outcome = label.failure or f"{label.wall_s:.0f} s"
        print(time.strftime("%H:%M:%S"), cell.immutable_id, cell.formula_reduced, outcome, flush=True)


def pack_labels(folder: Path, out: Path) -> None:
    """Write the cells that have labels into the reference set, and its card anew."""
    done = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    left_out = {row["name"]: reason for row in done if (reason := _find_obstacle(row["label"])) is not None}
    labelled = [row for row in done if row["name"] not in left_out]
    if not labelled:
        sys.exit(f"{folder} has no labelled cell yet")
    if any(row["settings"] != labelled[0]["settings"] for row in labelled):
        sys.exit(f"{folder} has labels of several settings: they do not belong together")
    versions = {json.dumps(row["label"]["versions"], sort_keys=True) for row in labelled}
    about = {
        "settings": labelled[0]["settings"],
        "versions": [json.loads(version) for version in sorted(versions)],
        "n_failed": len(left_out),
        "failures": left_out,
    }
    table = pa.Table.from_pylist([_to_row(row) for row in labelled], schema=SCHEMA)
    table = table.replace_schema_metadata({"labels": json.dumps(about)})
    pq.write_table(table, out / "dft-offeq.parquet", compression="zstd", compression_level=19)
    write_card(out)


def _find_obstacle(label: dict[str, Any]) -> str | None:
    """Say why a cell is not in the set: it failed, or lies outside the range of forces that the other sets have too."""
    if label["failure"] is not None:
        return str(label["failure"]).rstrip(": ")
    fmax = float(np.linalg.norm(label["forces_ev_per_ang"], axis=1).max())
    if MIN_FORCE_EV_PER_ANG <= fmax <= MAX_FORCE_EV_PER_ANG:
        return None
    return f"its largest force is {fmax:.1f} eV/Å; allowed: {MIN_FORCE_EV_PER_ANG:g} to {MAX_FORCE_EV_PER_ANG:g}"


def _to_row(row: dict[str, Any]) -> dict[str, Any]:
    """Columns of SCHEMA, without a stress: 520 eV are too few plane waves for one."""
    label = row["label"]
    return {
        "immutable_id": row["name"],
        "source": "gpaw",
        "nelements": float(len(set(row["species"]))),
        "nperiodic_dimensions": 3.0,
        "lattice_vectors": _round(row["lattice_ang"], 8),
        "cartesian_site_positions": _round(row["positions_ang"], 8),
        "species_at_sites": row["species"],
        "energy": round(label["energy_ev"], 6),
        "forces": _round(label["forces_ev_per_ang"], 6),
        "stress_tensor": None,
        "functional": FUNCTIONAL,
        "kind": "rattled",
        "prototype": row["recipe"]["prototype"],
        "moments_mub": [round(moment, 4) + 0.0 for moment in label["moments_mub"]],
        "magnetic_start": label["magnetic_start"],
        "wall_s": round(label["wall_s"], 1),
    }


def _round(values: list[list[float]], decimals: int) -> list[list[float]]:
    return [[round(x, decimals) + 0.0 for x in vector] for vector in values]


def main() -> None:
    """Do one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    cells = steps.add_parser("cells")
    cells.add_argument("out", type=Path)
    label = steps.add_parser("label")
    label.add_argument("cells", type=Path)
    label.add_argument("folder", type=Path)
    label.add_argument("--python", type=Path, required=True, help="interpreter of an environment with GPAW")
    label.add_argument("--limit-s", type=float, default=14400, help="seconds after which a cell is given up")
    pack = steps.add_parser("pack")
    pack.add_argument("folder", type=Path)
    pack.add_argument("out", type=Path, nargs="?", default=REFERENCE_DIR)
    args = parser.parse_args()
    if args.step == "cells":
        write_cells(args.out)
    elif args.step == "pack":
        pack_labels(args.folder, args.out)
    else:
        label_cells(args.cells, args.folder, args.python, args.limit_s)


if __name__ == "__main__":
    main()
