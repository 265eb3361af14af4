"""Make the bundled reference sets of `heo_core/assets/reference`, on which softening and forgetting are measured.

    T=../shared/data/teacher; A=heo_core/assets/reference; W=WORKDIR
    python benchmarks/reference_sets.py starts $W/starts.extxyz
    SEVENNET/bin/python benchmarks/label_with_sevennet.py --relax $W/starts.extxyz $W/relaxed.extxyz
    python benchmarks/reference_sets.py expand $W/relaxed.extxyz $W/cells.extxyz
    SEVENNET/bin/python benchmarks/label_with_sevennet.py $W/cells.extxyz $W/labelled.extxyz
    python benchmarks/reference_sets.py pack --teacher $T --labelled $W/labelled.extxyz --out $A

SEVENNET is an environment of its own (see label_with_sevennet.py). `starts` builds prototypes of simple oxides,
`expand` makes of their relaxed cells a row of volumes for the equation of state and a light rattle for the holdout,
`pack` chooses the cells off equilibrium from the teacher's files and writes three parquet files and a card. The
teacher's files hold extended-xyz frames with `REF_energy`, `REF_forces`, `REF_stress`, `prototype` and `kind`; they are
not part of this project.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms
from ase.build import make_supercell
from ase.io import read, write
from ase.spacegroup import crystal
from ase.stress import voigt_6_to_full_3x3_stress

from heo_core.assets import HEO_MINI_DIR
from heo_core.curation.rows import ROW_SCHEMA
from heo_core.evaluation.reference_sets import REFERENCE_SETS, hash_structures, load_reference_set
from heo_core.structures.ionic_radii import OXYGEN_RADIUS_ANG, find_ionic_radius

SEED = 20261124
FUNCTIONAL = "7net-0 (surrogate, not DFT)"

# nine volumes, as fractions of the labeller's own relaxed one
VOLUME_FACTORS = (0.90, 0.925, 0.95, 0.975, 1.0, 1.025, 1.05, 1.075, 1.10)
RATTLE_ANG = 0.03
MIN_RATTLED_ATOMS = 8

N_OFF_EQUILIBRIUM = 192
MAX_ATOMS = 40
MAX_FORCE_EV_PER_ANG = 10.0
MIN_FORCE_EV_PER_ANG = 0.1
MAX_CELLS_PER_SYSTEM = 2

# name: (space group, setting, sites, cell of the start); the shape matters, the size comes from ionic radii.
Sites = Sequence[tuple[str, tuple[float, float, float]]]
THIRD = 1 / 3
PROTOTYPES: dict[str, tuple[int, int, Sites, tuple[float, ...]]] = {
    "rocksalt": (225, 1, [("A", (0, 0, 0)), ("O", (0.5, 0.5, 0.5))], (4, 4, 4, 90, 90, 90)),
    "fluorite": (225, 1, [("A", (0, 0, 0)), ("O", (0.25, 0.25, 0.25))], (5, 5, 5, 90, 90, 90)),
    "antifluorite": (225, 1, [("A", (0.25, 0.25, 0.25)), ("O", (0, 0, 0))], (5, 5, 5, 90, 90, 90)),
    "corundum": (167, 1, [("A", (0, 0, 0.352)), ("O", (0.306, 0, 0.25))], (5, 5, 13.65, 90, 90, 120)),
    "bixbyite": (
        206,
        1,
        [("A", (0.25, 0.25, 0.25)), ("A", (0.97, 0, 0.25)), ("O", (0.39, 0.15, 0.38))],
        (10, 10, 10, 90, 90, 90),
    ),
    "a-type": (
        164,
        1,
        [("A", (THIRD, 2 * THIRD, 0.245)), ("O", (THIRD, 2 * THIRD, 0.645)), ("O", (0, 0, 0))],
        (3.94, 3.94, 6.13, 90, 90, 120),
    ),
    "rutile": (136, 1, [("A", (0, 0, 0)), ("O", (0.305, 0.305, 0))], (4.6, 4.6, 3.0, 90, 90, 90)),
    "perovskite": (
        221,
        1,
        [("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("O", (0.5, 0.5, 0))],
        (4, 4, 4, 90, 90, 90),
    ),
    "perovskite-pnma": (
        62,
        1,
        [("A", (0.05, 0.25, 0.99)), ("B", (0, 0, 0.5)), ("O", (0.48, 0.25, 0.08)), ("O", (0.29, 0.04, 0.71))],
        (5.6, 7.8, 5.5, 90, 90, 90),
    ),
    "spinel": (
        227,
        2,
        [("A", (0.125, 0.125, 0.125)), ("B", (0.5, 0.5, 0.5)), ("O", (0.2625, 0.2625, 0.2625))],
        (8, 8, 8, 90, 90, 90),
    ),
    "pyrochlore": (
        227,
        2,
        [
            ("A", (0.5, 0.5, 0.5)),
            ("B", (0, 0, 0)),
            ("O", (0.3325, 0.125, 0.125)),
            ("O", (0.375, 0.375, 0.375)),
        ],
        (10, 10, 10, 90, 90, 90),
    ),
    "layered": (
        166,
        1,
        [("A", (0, 0, 0.5)), ("B", (0, 0, 0)), ("O", (0, 0, 0.24))],
        (2.85, 2.85, 14.1, 90, 90, 120),
    ),
    "delafossite": (
        166,
        1,
        [("A", (0, 0, 0)), ("B", (0, 0, 0.5)), ("O", (0, 0, 0.11))],
        (2.9, 2.9, 17.0, 90, 90, 120),
    ),
    "double-perovskite": (
        225,
        1,
        [("A", (0.25, 0.25, 0.25)), ("B", (0, 0, 0)), ("C", (0.5, 0.5, 0.5)), ("O", (0.25, 0, 0))],
        (8, 8, 8, 90, 90, 90),
    ),
    "ruddlesden-popper": (
        139,
        1,
        [("A", (0, 0, 0.355)), ("B", (0, 0, 0)), ("O", (0, 0.5, 0)), ("O", (0, 0, 0.16))],
        (3.9, 3.9, 12.7, 90, 90, 90),
    ),
}

# The binaries of the equation of state, by prototype; charge of the cation.
BINARIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "rocksalt": (2, ("Mg", "Ca", "Sr", "Ba", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Cd")),
    "corundum": (3, ("Al", "Ti", "V", "Cr", "Fe", "Ga")),
    "bixbyite": (3, ("Y", "In")),
    "a-type": (3, ("La", "Nd")),
    "rutile": (4, ("Ti", "V", "Ru", "Sn")),
    "fluorite": (4, ("Zr", "Hf", "Ce")),
    "antifluorite": (1, ("Li",)),
}
# Cations in the order of the sites A, B, C with their charges.
TERNARIES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "perovskite": ((2, 4), ("Sr-Ti", "Ba-Ti", "Ba-Zr", "Sr-Zr", "Ba-Sn", "Sr-Hf", "Sr-Sn", "Sr-V", "Sr-Fe", "Sr-Ru")),
    "perovskite-pnma": (
        (3, 3),
        ("La-Fe", "La-Mn", "La-Cr", "La-Co", "Nd-Ga", "Y-Cr", "Sm-Fe", "Gd-Sc", "Pr-Mn", "Y-Al", "Nd-Ni"),
    ),
    "spinel": (
        (2, 3),
        ("Mg-Al", "Zn-Al", "Co-Al", "Mg-Cr", "Co-Cr", "Zn-Fe", "Ni-Fe", "Mn-Fe", "Zn-Ga", "Cu-Cr", "Cd-In", "Mg-V"),
    ),
    "pyrochlore": ((3, 4), ("Y-Ti", "Gd-Ti", "La-Zr", "Nd-Zr", "Sm-Sn", "La-Hf", "Y-Sn")),
    "layered": ((1, 3), ("Li-Co", "Li-Ni", "Na-Cr", "Li-Cr", "Na-Fe")),
    "delafossite": ((1, 3), ("Cu-Al", "Cu-Ga", "Cu-Cr", "Ag-Al")),
    "ruddlesden-popper": ((2, 4), ("Sr-Ti", "Ba-Zr", "Sr-Ru", "Sr-V")),
}
QUATERNARIES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "double-perovskite": (
        (2, 2, 6),
        ("Ba-Mg-W", "Sr-Ni-W", "Ba-Zn-W", "Sr-Co-W", "Sr-Mg-Mo", "Ba-Ca-W", "Ba-Cd-W", "Sr-Fe-Mo", "Ba-Y-Ru", "Ba-Y-Nb",
         "Sr-Fe-Re", "Ba-Sc-Ta", "La-Ni-Mn", "La-Mg-Ti", "La-Co-Mn", "La-Zn-Ti"),
    ),
}  # fmt: skip


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    starts = commands.add_parser("starts")
    starts.add_argument("output", type=Path)
    expand = commands.add_parser("expand")
    expand.add_argument("input", type=Path)
    expand.add_argument("output", type=Path)
    pack = commands.add_parser("pack")
    pack.add_argument("--teacher", type=Path, required=True)
    pack.add_argument("--labelled", type=Path, required=True)
    pack.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "starts":
        write(args.output, make_starts(), format="extxyz")
    elif args.command == "expand":
        write(args.output, expand_cells(read(args.input, ":")), format="extxyz")
    else:
        pack_sets(args.teacher, args.labelled, args.out)


# --- cells to be labelled -------------------------------------------------------------------------------------------


def make_starts() -> list[Atoms]:
    """Return every prototype with its cations, in cells whose cation-oxygen distances fit the ionic radii."""
    recipes = [(name, (charge,), cation) for name, (charge, cations) in BINARIES.items() for cation in cations]
    for table in (TERNARIES, QUATERNARIES):
        recipes += [(name, charges, cations) for name, (charges, chosen) in table.items() for cations in chosen]
    return [_build(name, charges, cations.split("-")) for name, charges, cations in recipes]


def _build(prototype: str, charges: Sequence[int], cations: Sequence[str]) -> Atoms:
    number, setting, sites, cell = PROTOTYPES[prototype]
    symbols = {"O": "O"} | dict(zip("ABC", cations, strict=False))
    atoms = crystal(
        [symbols[site] for site, _ in sites],
        [place for _, place in sites],
        spacegroup=number,
        setting=setting,
        cellpar=cell,
        primitive_cell=True,
    )
    radii = {c: find_ionic_radius(c, charge) for c, charge in zip(cations, charges, strict=True)}
    distances = atoms.get_all_distances(mic=True)
    oxygens = [i for i, symbol in enumerate(atoms.symbols) if symbol == "O"]
    ratios = [
        (radii[symbol] + OXYGEN_RADIUS_ANG) / distances[i, oxygens].min()
        for i, symbol in enumerate(atoms.symbols)
        if symbol != "O"
    ]
    atoms.set_cell(atoms.cell * np.mean(ratios), scale_atoms=True)
    bare = Atoms(atoms.symbols, scaled_positions=atoms.get_scaled_positions(), cell=atoms.cell, pbc=True)
    bare.info = {"immutable_id": f"7net0-{prototype}-{'-'.join(cations)}", "prototype": prototype}
    return bare


def expand_cells(relaxed: Sequence[Atoms]) -> list[Atoms]:
    """Relaxed cells, a light rattle of each, and of the binaries also the nine volumes."""
    cells = []
    for atoms in relaxed:
        bare = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        name, prototype = atoms.info["immutable_id"], atoms.info["prototype"]
        base = {"prototype": prototype}
        cells.append(_with_info(bare, base, f"{name}/relaxed", set="holdout", kind="relaxed"))
        repeats = int(np.ceil((MIN_RATTLED_ATOMS / len(bare)) ** (1 / 3)))
        rattled = make_supercell(bare, np.eye(3, dtype=int) * repeats)
        rng = np.random.default_rng([SEED, *name.encode()])
        rattled.positions += rng.normal(scale=RATTLE_ANG, size=rattled.positions.shape)
        cells.append(_with_info(rattled, base, f"{name}/rattled", set="holdout", kind="rattled"))
        if prototype in BINARIES:
            for factor in VOLUME_FACTORS:
                scaled = bare.copy()
                scaled.set_cell(bare.cell * factor ** (1 / 3), scale_atoms=True)
                info = {"set": "equation-of-state", "kind": "volume", "volume_factor": factor}
                cells.append(_with_info(scaled, base, f"{name}/volume-{factor:g}", **info))
    return cells


def _with_info(atoms: Atoms, base: dict[str, Any], name: str, **info: Any) -> Atoms:
    atoms = atoms.copy()
    atoms.info = base | {"immutable_id": name} | info
    return atoms


# --- cells off equilibrium ------------------------------------------------------------------------------------------


def choose_off_equilibrium(teacher: Path) -> list[Atoms]:
    """Rattled and relaxing teacher cells of chemical systems that heo-mini was tested on, never trained or chosen on.

    Prototypes take turns, so that each is well represented; within one the order is random with a fixed seed. At most
    two cells of a chemical system.
    """
    tested = set(json.loads((HEO_MINI_DIR / "split.json").read_text())["test"])
    by_prototype: dict[str, list[Atoms]] = defaultdict(list)
    for file in sorted(teacher.glob("*.extxyz")):
        for i, atoms in enumerate(read(file, ":")):
            fmax = float(np.linalg.norm(atoms.arrays["REF_forces"], axis=1).max())
            if (
                "-".join(sorted(set(atoms.symbols))) in tested
                and atoms.info["kind"] in {"rattled", "relaxing"}
                and len(atoms) <= MAX_ATOMS
                and MIN_FORCE_EV_PER_ANG <= fmax <= MAX_FORCE_EV_PER_ANG
            ):
                atoms.info["immutable_id"] = f"7net0-{file.stem.removeprefix('oxides-7net0').strip('-') or 'base'}-{i}"
                by_prototype[atoms.info["prototype"]].append(atoms)
    rng = np.random.default_rng(SEED)
    queues = {name: [cells[i] for i in rng.permutation(len(cells))] for name, cells in sorted(by_prototype.items())}
    chosen: list[Atoms] = []
    per_system: Counter[str] = Counter()
    while any(queues.values()) and len(chosen) < N_OFF_EQUILIBRIUM:
        for queue in queues.values():
            while queue:
                atoms = queue.pop()
                system = "-".join(sorted(set(atoms.symbols)))
                if per_system[system] < MAX_CELLS_PER_SYSTEM:
                    per_system[system] += 1
                    chosen.append(atoms)
                    break
    return chosen[:N_OFF_EQUILIBRIUM]


# --- files ----------------------------------------------------------------------------------------------------------


def pack_sets(teacher: Path, labelled: Path, out: Path) -> None:
    """Write the three sets and their card."""
    out.mkdir(parents=True, exist_ok=True)
    frames = read(labelled, ":")
    trained = find_trained()
    sets = {
        "off-equilibrium": choose_off_equilibrium(teacher),
        "holdout": [f for f in frames if f.info["set"] == "holdout"],
        "equation-of-state": [f for f in frames if f.info["set"] == "equation-of-state"],
    }
    sets["holdout"] = [f for f in sets["holdout"] if "-".join(sorted(set(f.symbols))) not in trained]
    for name, cells in sets.items():
        pq.write_table(_make_table(cells), out / f"{name}.parquet", compression="zstd", compression_level=19)
    write_card(out)


def find_trained() -> set[str]:
    """Chemical systems that the bundled model was trained or chosen on."""
    split = json.loads((HEO_MINI_DIR / "split.json").read_text())
    return set(split["train"]) | set(split["valid"])


def write_card(out: Path) -> None:
    """Say of each set in a folder what it holds, and what its file itself says of its labels."""
    card, trained = {}, find_trained()
    for name in REFERENCE_SETS:
        found = load_reference_set(name, out)
        metadata = pq.read_schema(out / f"{name}.parquet").metadata or {}
        forces = np.concatenate([np.ravel(c.start.forces_ev_per_ang) for c in found])
        systems = {c.start.chemical_system for c in found}
        card[name] = {
            "sha256": hash_structures([c.start for c in found]),
            "n_cells": len(found),
            "n_atoms": sum(c.start.n_atoms for c in found),
            "n_chemical_systems": len(systems),
            "n_systems_in_the_training_of_heo_mini": len(systems & trained),
            "elements": sorted({e for c in found for e in c.start.elements}),
            "kinds": dict(sorted(Counter(c.recipe["kind"] for c in found).items())),
            "prototypes": dict(sorted(Counter(c.recipe["prototype"] for c in found).items())),
            "rms_force_ev_per_ang": round(float(np.sqrt(np.mean(forces**2))), 4),
            "largest_force_ev_per_ang": round(max(c.start.fmax_ev_per_ang or 0 for c in found), 3),
            **json.loads(metadata.get(b"labels", "{}")),
        }
        print(name, {k: v for k, v in card[name].items() if k not in {"elements", "settings", "versions"}})
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")


def _make_table(cells: Iterable[Atoms]) -> pa.Table:
    """Columns as in a curated row, and what a case's recipe needs."""
    rows, recipes = [], []
    for atoms in cells:
        info = atoms.info
        rows.append(
            {
                "immutable_id": info["immutable_id"],
                "source": "7net0",
                "nelements": float(len(set(atoms.symbols))),
                "nperiodic_dimensions": 3.0,
                "lattice_vectors": _round(atoms.cell.array, 8),
                "cartesian_site_positions": _round(atoms.positions, 8),
                "species_at_sites": list(atoms.symbols),
                "energy": round(float(info["REF_energy"]), 6),
                "forces": _round(atoms.arrays["REF_forces"], 6),
                "stress_tensor": _round(voigt_6_to_full_3x3_stress(info["REF_stress"]), 8),
                "functional": FUNCTIONAL,
            }
        )
        recipe = {name: info.get(name) for name in ("kind", "prototype", "volume_factor")}
        if recipe["volume_factor"] is not None:
            recipe["material"] = f"{atoms.symbols.formula.reduce()[0].format('metal')} {info['prototype']}"
        recipes.append(recipe)
    table = pa.Table.from_pylist(rows, schema=ROW_SCHEMA)
    for name, kind in (
        ("kind", pa.string()),
        ("prototype", pa.string()),
        ("material", pa.string()),
        ("volume_factor", pa.float64()),
    ):
        table = table.append_column(name, pa.array([recipe.get(name) for recipe in recipes], kind))
    return table.drop_columns(["fingerprint"])


def _round(values: Any, decimals: int) -> list[list[float]]:
    return [[round(float(x), decimals) + 0.0 for x in row] for row in np.asarray(values)]


if __name__ == "__main__":
    main()
