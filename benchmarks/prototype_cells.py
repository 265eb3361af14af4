"""Make oxide cells of many structure types, for `heo-mini` to learn more than the parents of high-entropy oxides.

    python benchmarks/prototype_cells.py --teacher DIR --n 330 --out STARTS.extxyz
    OMP_NUM_THREADS=1 SEVENNET/bin/python benchmarks/label_with_sevennet.py --snapshots STARTS.extxyz OUT.extxyz

A structure type is drawn from AFLOW's prototypes, which come inside pymatgen (Mehl et al., Comput. Mater. Sci. 136, S1
(2017), doi:10.1016/j.commatsci.2017.01.017). One of its species becomes oxygen, the others become two to five metals
that the teacher's cells have. The cell is scaled until no two atoms are closer than their radii allow, then strained
and rattled. What such a start is worth shows only once it is relaxed: so the labels are of snapshots of its relaxation.
"""

from __future__ import annotations

import argparse
import gzip
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.io import write
from heo_mini import load_teacher
from matscipy.neighbours import neighbour_list

SEED = 7
OXYGEN = 8
MAX_PROTOTYPE_ATOMS, MAX_ATOMS = 36, 44
VOLUME_A3_PER_ATOM = (6.0, 45.0)

# Kinds known from oxides are drawn with this chance, any kind with the rest.
OXIDE_KINDS = (
    *("perovskite", "spinel", "rutile", "elpasolite", "ilmenite", "corundum", "heusler", "fluorite"),
    *("garnet", "pyrochlore", "delafossite", "halite", "rock", "zircon", "scheelite"),
)
OXIDE_CHANCE = 0.4

# Shortest distances: O-O in Å; others as parts of the sum of covalent radii.
OXYGEN_DISTANCE_ANG, METAL_OXYGEN, METAL_METAL = 2.5, 0.93, 0.88

type Prototype = tuple[str, np.ndarray, np.ndarray, list[str]]


def load_prototypes() -> list[Prototype]:
    """Name, cell (Å), fractional positions and species of AFLOW's prototypes of several species that are small."""
    packed = files("pymatgen.analysis.prototypes").joinpath("aflow_prototypes.json.gz").read_bytes()
    prototypes = []
    for entry in json.loads(gzip.decompress(packed)):
        sites, tags = entry["snl"]["sites"], entry["tags"]
        species = [site["species"][0]["element"] for site in sites]
        if len(set(species)) >= 2 and len(species) <= MAX_PROTOTYPE_ATOMS:
            cell = np.array(entry["snl"]["lattice"]["matrix"])
            name = str(tags.get("mineral") or tags.get("aflow") or "")
            prototypes.append((name, cell, np.array([site["abc"] for site in sites]), species))
    return prototypes


def make_start(
    prototypes: list[Prototype], oxides: list[Prototype], metals: list[int], rng: np.random.Generator
) -> Atoms | None:
    """Draw one cell; None where the draw came to nothing (too large, too few elements, an absurd volume)."""
    drawn = oxides if rng.random() < OXIDE_CHANCE else prototypes
    name, cell, positions, species = drawn[rng.integers(len(drawn))]
    kinds = sorted(set(species))
    most = kinds[int(np.argmax([species.count(kind) for kind in kinds]))]
    oxygen = most if rng.random() < 0.7 else kinds[rng.integers(len(kinds))]
    n_metals = int(rng.integers(2, 6))
    mixture = rng.choice(metals, size=n_metals, replace=False)
    numbers = [OXYGEN if kind == oxygen else 1 for kind in species]
    atoms = Atoms(numbers=numbers, cell=cell, scaled_positions=positions, pbc=True)
    if len(atoms) <= 14 and rng.random() < 0.5:
        repeats = [1, 1, 1]
        repeats[int(np.argmin(np.linalg.norm(cell, axis=1)))] = 2
        atoms, species = atoms.repeat(repeats), species * 2
    cations = [i for i in range(len(atoms)) if atoms.numbers[i] != OXYGEN]
    if len(cations) < 2 or len(atoms) > MAX_ATOMS:
        return None
    fill_sites(atoms, {i: species[i] for i in cations}, mixture, rng)
    if len(set(atoms.numbers)) < 3:
        return None
    for _ in range(3):
        atoms.set_cell(atoms.cell / compute_tightness(atoms), scale_atoms=True)
    tensor = rng.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + (tensor + tensor.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.0, 0.08), atoms.positions.shape)
    smallest, largest = VOLUME_A3_PER_ATOM
    if not smallest < atoms.get_volume() / len(atoms) < largest:
        return None
    atoms.info = {"prototype": name[:40].replace(" ", "_") or "x"}
    return atoms


def fill_sites(atoms: Atoms, sites: dict[int, str], mixture: np.ndarray, rng: np.random.Generator) -> None:
    """Put metals on the sites (index -> kind): of the whole mixture, or of one or two of its metals a kind."""
    kinds = sorted(set(sites.values()))
    if len(kinds) > 1 and rng.random() < 0.6:
        for kind in kinds:
            of_kind = rng.choice(mixture, size=int(rng.integers(1, 3)), replace=False)
            for i in (i for i, of_site in sites.items() if of_site == kind):
                atoms.numbers[i] = rng.choice(of_kind)
    else:
        for i in sites:
            atoms.numbers[i] = rng.choice(mixture)


def compute_tightness(atoms: Atoms) -> float:
    """Smallest ratio of a distance to the shortest that its pair may have; 2 where no atoms are near each other."""
    first, second, distances = neighbour_list("ijd", atoms, 6.0)
    if not len(distances):
        return 2.0
    oxygen, radii = atoms.numbers == OXYGEN, covalent_radii[atoms.numbers]
    sums = radii[first] + radii[second]
    both, either = oxygen[first] & oxygen[second], oxygen[first] | oxygen[second]
    shortest = np.where(both, OXYGEN_DISTANCE_ANG, np.where(either, METAL_OXYGEN, METAL_METAL) * sums)
    return float((distances / shortest).min())


def main() -> None:
    """Draw cells until there are enough, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of *.extxyz files, for their elements")
    parser.add_argument("--n", type=int, required=True, help="number of cells")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    metals = sorted({int(z) for atoms in load_teacher(args.teacher) for z in atoms.numbers} - {OXYGEN})
    prototypes, rng = load_prototypes(), np.random.default_rng(args.seed)
    oxides = [p for p in prototypes if any(kind in p[0].lower() for kind in OXIDE_KINDS)]
    starts: list[Atoms] = []
    while len(starts) < args.n:
        start = make_start(prototypes, oxides, metals, rng)
        if start is not None:
            starts.append(start)
    write(args.out, starts, format="extxyz")
    print(f"{len(starts)} cells in {args.out}")


if __name__ == "__main__":
    main()
