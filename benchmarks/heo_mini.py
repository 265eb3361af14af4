"""Make the two bundled assets: the sample dataset and the small potential `heo-mini`.

Both are made from *teacher* cells: extended-xyz files of high-entropy oxide cells whose energies, forces and stresses
were computed with the potential SevenNet 7net-0 (not with DFT). Every frame carries `REF_energy` (eV), `REF_forces`
(eV/Å), `REF_stress` (eV/Å³, ASE order and sign), `prototype` and `kind`.

    A=heo_core/assets
    python benchmarks/heo_mini.py sample --teacher DIR --out $A/sample
    python benchmarks/heo_mini.py train --teacher DIR --sample $A/sample --work WORKDIR --out $A/heo-mini
    python benchmarks/heo_mini.py train --refit-e0s --teacher DIR --sample $A/sample --work WORKDIR --out $A/heo-mini
    python benchmarks/heo_mini.py card --teacher DIR --sample $A/sample --work WORKDIR --out $A/heo-mini
    python benchmarks/heo_mini.py replay --teacher DIR --sample $A/sample --out $A/heo-mini

`sample` writes rows in the column layout of LeMat-Bulk v1.0: rock-salt cells that a curation should accept, and rows
that each break exactly one curation rule. `train` trains a MACE from scratch on the chemical systems that the sample
does *not* use, and on `data/`, cells of other structure types that `prototype_cells.py` and `label_with_sevennet.py`
made; `train --refit-e0s` then shifts its E0s by a fit on the training cells. `card` measures the model and writes
`card.json`. `replay` writes the training cells beside the model, for a finetuning to replay. Chemical systems
(sets of elements), never single frames, are what is split: frames of one relaxation follow each other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read

SAMPLE_SEED = 20261123
SPLIT_SEED = 7
PROTOTYPE_SPLIT_SEED = 5
TRAIN_SEED = 11

FORCE_LIMIT_EV_PER_ANG = 10.0
MAX_SAMPLE_ATOMS = 64
MIN_ELEMENTS = 5
LAB_CATIONS = frozenset({"Mg", "Ni", "Cu", "Co", "Zn"})
NON_METALS = ("S", "Cl", "F", "N", "P", "Br", "C")
METALLOIDS = ("Ge", "Si", "B", "Sb", "As", "Te")
NOT_METAL = frozenset({*NON_METALS, *METALLOIDS, "H", "He", "Ne", "Ar", "Kr", "Xe", "Rn", "Se", "I", "At", "Po"})

NEAR_FILE_MARK = "near"
N_FAMILY_SYSTEMS = 54
N_SINGLE_SYSTEMS = 25
MAX_ROWS_PER_SYSTEM = 4

DECOYS = {
    "too_few_elements": 25,
    "no_oxygen": 8,
    "non_metal_cation": 8,
    "metalloid_cation": 6,
    "forces_null": 10,
    "forces_empty": 5,
    "forces_nan": 4,
    "forces_wrong_length": 4,
    "forces_ragged": 3,
    "energy_null": 4,
    "energy_nan": 3,
    "positions_wrong_length": 3,
    "atoms_overlap": 3,
    "cell_zero_volume": 3,
    "forces_too_large": 4,
    "unknown_element": 3,
    "not_bulk": 3,
    "duplicate_fingerprint": 5,
    "duplicate_id": 3,
}

FUNCTIONAL = "7net-0 (surrogate, not DFT)"
PROTOTYPE_CELLS = Path(__file__).parent / "data" / "oxides-7net0-prototypes.extxyz.gz"
PROTOTYPE_HELD_OUT = 20  # one chemical system in so many
LAST_MODIFIED = "2026-11-23"
PARQUET_NAME = "train-00000-of-00001.parquet"

FLOATS = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        ("elements", pa.list_(pa.string())),
        ("nsites", pa.int32()),
        ("chemical_formula_anonymous", pa.string()),
        ("chemical_formula_reduced", pa.string()),
        ("chemical_formula_descriptive", pa.string()),
        ("nelements", pa.int8()),
        ("dimension_types", pa.list_(pa.int8())),
        ("nperiodic_dimensions", pa.int8()),
        ("lattice_vectors", pa.list_(FLOATS)),
        ("immutable_id", pa.string()),
        ("cartesian_site_positions", pa.list_(FLOATS)),
        ("species", pa.string()),
        ("species_at_sites", pa.list_(pa.string())),
        ("last_modified", pa.string()),
        ("elements_ratios", FLOATS),
        ("stress_tensor", pa.list_(FLOATS)),
        ("energy", pa.float64()),
        ("magnetic_moments", FLOATS),
        ("forces", pa.list_(FLOATS)),
        ("total_magnetization", pa.float64()),
        ("dos_ef", pa.float64()),
        ("functional", pa.string()),
        ("cross_compatibility", pa.bool_()),
        ("entalpic_fingerprint", pa.string()),
    ]
)

MODEL_NAME = "heo-mini"
MODEL_VERSION = "1.3.0"
EPOCHS = 120
E0_RIDGE = 0.1

Row = dict[str, Any]


# ------------------------------------------------------------------------------------------------------------- teacher


def load_teacher(folder: Path) -> list[Atoms]:
    """All teacher frames, files in the order of their names; `info` gains `frame` (a running number) and `source`."""
    frames: list[Atoms] = []
    for path in sorted(folder.glob("*.extxyz")):
        for atoms in read(path, index=":"):
            atoms.info["frame"] = len(frames)
            atoms.info["source"] = path.stem
            frames.append(atoms)
    if not frames:
        raise FileNotFoundError(f"no *.extxyz files in {folder}")
    return frames


def chemical_system(symbols: Iterable[str]) -> str:
    """Elements in alphabetical order joined by dashes: `Co-Mg-Ni-O-Zn`."""
    return "-".join(sorted(set(symbols)))


def system_of(atoms: Atoms) -> str:
    """Return the chemical system of a cell."""
    return chemical_system(atoms.get_chemical_symbols())


def fmax(atoms: Atoms) -> float:
    """Return the largest force on any atom, eV/Å."""
    return float(np.linalg.norm(atoms.arrays["REF_forces"], axis=1).max())


def is_acceptable(atoms: Atoms) -> bool:
    """Tell whether this is a rock-salt cell that every curation rule should let through."""
    elements = set(atoms.get_chemical_symbols())
    return (
        atoms.info["prototype"] == "rocksalt"
        and "O" in elements
        and len(elements) >= MIN_ELEMENTS
        and not (elements - {"O"}) & NOT_METAL
        and len(atoms) <= MAX_SAMPLE_ATOMS
        and bool(np.isfinite(atoms.arrays["REF_forces"]).all())
        and fmax(atoms) <= FORCE_LIMIT_EV_PER_ANG
    )


# -------------------------------------------------------------------------------------------------------------- sample


def select_accepted(frames: Sequence[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """Choose the cells of the sample that should be accepted.

    All rock-salt systems of the near-equilibrium file, then systems with a relaxation path, then systems with a single
    rattled cell; within the last two those with the most Mg, Ni, Cu, Co and Zn come first, ties in random order.
    """
    distinct = {fingerprint_of(atoms): atoms for atoms in frames if is_acceptable(atoms)}
    by_system: dict[str, list[Atoms]] = defaultdict(list)
    for atoms in distinct.values():
        by_system[system_of(atoms)].append(atoms)
    near = sorted(s for s, cells in by_system.items() if any(NEAR_FILE_MARK in c.info["source"] for c in cells))
    others = sorted(set(by_system) - set(near))
    rng.shuffle(others)
    others.sort(key=lambda system: -len(LAB_CATIONS & set(system.split("-"))))
    families = [s for s in others if any(c.info["kind"] == "relaxed" for c in by_system[s]) and len(by_system[s]) > 2]
    singles = [s for s in others if len(by_system[s]) == 1]
    chosen = near + families[:N_FAMILY_SYSTEMS] + singles[:N_SINGLE_SYSTEMS]
    return [atoms for system in chosen for atoms in pick_rows(by_system[system], rng)]


def pick_rows(cells: Sequence[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """At most `MAX_ROWS_PER_SYSTEM` cells of one system, the one with the smallest forces always among them."""
    ordered = sorted(cells, key=fmax)
    rest = [ordered[1 + i] for i in rng.permutation(len(ordered) - 1)]
    return sorted([ordered[0], *rest[: MAX_ROWS_PER_SYSTEM - 1]], key=lambda atoms: atoms.info["frame"])


def geometry_fingerprint(symbols: Sequence[str], cell: np.ndarray, positions: np.ndarray) -> str:
    """Hash one geometry: symbols, cell and positions rounded to 1e-4 Å."""
    text = json.dumps([list(symbols), np.round(cell, 4).tolist(), np.round(positions, 4).tolist()])
    return "geom-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def fingerprint_of(atoms: Atoms) -> str:
    """Fingerprint of a teacher cell (a few stand twice in the files, as the end of a path and as a relaxed cell)."""
    return geometry_fingerprint(atoms.get_chemical_symbols(), np.asarray(atoms.cell), atoms.positions)


def stress_matrix(voigt: Sequence[float]) -> list[list[float]]:
    """ASE's xx, yy, zz, yz, xz, xy as a 3x3 matrix, eV/Å³."""
    xx, yy, zz, yz, xz, xy = (round(float(v), 8) for v in voigt)
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def row_from_cell(atoms: Atoms, immutable_id: str, symbols: Sequence[str] | None = None) -> Row:
    """One LeMat-Bulk v1.0 row of a teacher cell; `symbols` replaces the cell's own."""
    from pymatgen.core import Composition  # slow to import

    symbols = list(symbols or atoms.get_chemical_symbols())
    counts = Counter(symbols)
    elements = sorted(counts)
    known = Composition({e: n for e, n in counts.items() if e != "Xx"})
    cell, positions = np.round(np.asarray(atoms.cell), 8), np.round(atoms.positions, 8)
    species = [{"name": e, "chemical_symbols": [e], "concentration": [1.0]} for e in elements]
    return {
        "elements": elements,
        "nsites": len(symbols),
        "chemical_formula_anonymous": known.anonymized_formula,
        "chemical_formula_reduced": known.reduced_composition.alphabetical_formula.replace(" ", ""),
        "chemical_formula_descriptive": known.formula.replace(" ", ""),
        "nelements": len(elements),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": cell.tolist(),
        "immutable_id": immutable_id,
        "cartesian_site_positions": positions.tolist(),
        "species": json.dumps(species),
        "species_at_sites": symbols,
        "last_modified": LAST_MODIFIED,
        "elements_ratios": [round(counts[e] / len(symbols), 8) for e in elements],
        "stress_tensor": stress_matrix(atoms.info["REF_stress"]),
        "energy": round(float(atoms.info["REF_energy"]), 6),
        "magnetic_moments": None,
        "forces": np.round(atoms.arrays["REF_forces"], 8).tolist(),
        "total_magnetization": None,
        "dos_ef": None,
        "functional": FUNCTIONAL,
        "cross_compatibility": True,
        "entalpic_fingerprint": geometry_fingerprint(symbols, cell, positions),
    }


def _swap_cation(symbols: Sequence[str], replacement: str, rng: np.random.Generator) -> list[str]:
    """All atoms of one random cation become `replacement`; the number of elements stays."""
    cation = rng.choice(sorted(set(symbols) - {"O"}))
    return [replacement if s == cation else s for s in symbols]


def _no_oxygen(symbols: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Oxygen becomes a metal that the cell does not have."""
    metal = rng.choice(sorted({"Al", "Ti", "Zr"} - set(symbols)))
    return [str(metal) if s == "O" else s for s in symbols]


SYMBOL_BREAKERS: dict[str, Callable[[Sequence[str], np.random.Generator], list[str]]] = {
    "no_oxygen": _no_oxygen,
    "non_metal_cation": lambda symbols, rng: _swap_cation(symbols, str(rng.choice(NON_METALS)), rng),
    "metalloid_cation": lambda symbols, rng: _swap_cation(symbols, str(rng.choice(METALLOIDS)), rng),
    "unknown_element": lambda symbols, _: ["Xx", *symbols[1:]],
}


def _first_force(force: list[float]) -> Callable[[Row], Row]:
    """Replace the first atom's force."""
    return lambda row: {"forces": [force, *row["forces"][1:]]}


def _overlap(row: Row) -> Row:
    """Put the second atom 0.05 Å beside the first."""
    first, _, *rest = row["cartesian_site_positions"]
    return {"cartesian_site_positions": [first, [first[0] + 0.05, *first[1:]], *rest]}


FIELD_BREAKERS: dict[str, Callable[[Row], Row]] = {
    "forces_null": lambda _: {"forces": None},
    "forces_empty": lambda _: {"forces": []},
    "forces_nan": _first_force([0.0, float("nan"), 0.0]),
    "forces_wrong_length": lambda row: {"forces": row["forces"][:-1]},
    "forces_ragged": lambda row: {"forces": [*row["forces"][:-1], row["forces"][-1][:2]]},
    "forces_too_large": _first_force([250.0, 0.0, 0.0]),
    "energy_null": lambda _: {"energy": None},
    "energy_nan": lambda _: {"energy": float("nan")},
    "positions_wrong_length": lambda row: {"cartesian_site_positions": row["cartesian_site_positions"][:-1]},
    "atoms_overlap": _overlap,
    "cell_zero_volume": lambda row: {"lattice_vectors": [*row["lattice_vectors"][:2], row["lattice_vectors"][1]]},
    "not_bulk": lambda _: {"dimension_types": [1, 1, 0], "nperiodic_dimensions": 2},
}


def decoy_rows(frames: Sequence[Atoms], accepted: Sequence[Atoms], rng: np.random.Generator) -> list[Row]:
    """Rows that each break exactly one rule, from cells that are not accepted rows (duplicates apart)."""
    used = {system_of(atoms) for atoms in accepted}
    good = [atoms for atoms in frames if is_acceptable(atoms) and system_of(atoms) not in used]
    small = [atoms for atoms in frames if len(atoms) <= MAX_SAMPLE_ATOMS and fmax(atoms) <= FORCE_LIMIT_EV_PER_ANG]
    few = [atoms for atoms in small if len(set(atoms.get_chemical_symbols())) < MIN_ELEMENTS]
    six = [atoms for atoms in good if len(set(atoms.get_chemical_symbols())) > MIN_ELEMENTS]
    six = _shuffled(six, rng)[: DECOYS["unknown_element"]]
    taken = {atoms.info["frame"] for atoms in six}
    pools = {"too_few_elements": _shuffled(few, rng), "unknown_element": six}
    default = _shuffled([atoms for atoms in good if atoms.info["frame"] not in taken], rng)
    rows: list[Row] = []
    for rule, count in DECOYS.items():
        if rule.startswith("duplicate"):
            continue
        pool = pools.get(rule, default)
        for number in range(count):
            atoms = pool.pop()
            symbols = atoms.get_chemical_symbols()
            if rule in SYMBOL_BREAKERS:
                symbols = SYMBOL_BREAKERS[rule](symbols, rng)
            row = row_from_cell(atoms, f"7net0-{rule}-{number:04d}", symbols)
            changes = FIELD_BREAKERS[rule](row) if rule in FIELD_BREAKERS else {}
            rows.append({**row, **changes, "entalpic_fingerprint": f"decoy-{rule}-{number:04d}"})
    return rows


def duplicate_rows(accepted: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    """Copy accepted rows: some under a new id with the same fingerprint, some under the same id."""
    n_fingerprint, n_id = DECOYS["duplicate_fingerprint"], DECOYS["duplicate_id"]
    picks = [accepted[i] for i in rng.choice(len(accepted), n_fingerprint + n_id, replace=False)]
    renamed = [{**row, "immutable_id": f"7net0-duplicate-{k:03d}"} for k, row in enumerate(picks[:n_fingerprint])]
    return renamed + [dict(row) for row in picks[n_fingerprint:]]


def _shuffled(items: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Return a shuffled copy."""
    return [items[i] for i in rng.permutation(len(items))]


def make_sample(teacher: Path, out: Path, seed: int) -> dict[str, Any]:
    """Write the sample's parquet file and `expected.json`; returns what `expected.json` holds."""
    rng = np.random.default_rng(seed)
    frames = load_teacher(teacher)
    cells = select_accepted(frames, rng)
    accepted = [row_from_cell(atoms, f"7net0-{atoms.info['frame']:06d}") for atoms in cells]
    rows = _shuffled(accepted + decoy_rows(frames, cells, rng), rng) + duplicate_rows(accepted, rng)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / (PARQUET_NAME + ".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial, compression="zstd", compression_level=19)
    partial.replace(out / PARQUET_NAME)
    expected = {
        "rows": len(rows),
        "good_rows": len(accepted),
        "rejected_one_rule_each": DECOYS,
        "good_chemical_systems": len({system_of(a) for a in cells}),
        "good_rows_by_kind": dict(Counter(a.info["kind"] for a in cells)),
        "good_rows_fmax_below_0.05": sum(fmax(a) < 0.05 for a in cells),
        "seed": seed,
        "note": "every decoy breaks exactly the named rule; a duplicate stands after the row that it repeats",
    }
    write_json(out / "expected.json", expected)
    return expected


def load_sample_systems(folder: Path) -> set[str]:
    """Chemical systems of the sample's accepted rows (decoys are recognised by the word in their id)."""
    table = pq.read_table(folder / PARQUET_NAME, columns=["immutable_id", "elements"]).to_pylist()
    return {chemical_system(row["elements"]) for row in table if row["immutable_id"].split("-")[1].isdigit()}


# --------------------------------------------------------------------------------------------------------------- train


def split_by_system(
    frames: Sequence[Atoms], excluded: set[str], seed: int, test: float = 0.10, valid: float = 0.025
) -> dict[str, list[Atoms]]:
    """Train, valid and test cells with no chemical system in two of them and none of `excluded` in any."""
    systems = sorted({system_of(a) for a in frames} - excluded)
    order = [systems[i] for i in np.random.default_rng(seed).permutation(len(systems))]
    n_test, n_valid = round(test * len(order)), round(valid * len(order))
    part = dict.fromkeys(order[:n_test], "test") | dict.fromkeys(order[n_test : n_test + n_valid], "valid")
    split: dict[str, list[Atoms]] = {"train": [], "valid": [], "test": []}
    for atoms in frames:
        if (system := system_of(atoms)) not in excluded:
            split[part.get(system, "train")].append(atoms)
    return split


def split_prototypes(excluded: set[str]) -> dict[str, list[Atoms]]:
    """Cells of other structure types to train on and, of chemical systems that are not trained on, to test on.

    None of a system in `excluded`.
    """
    frames = [atoms for atoms in read(PROTOTYPE_CELLS, index=":", format="extxyz") if system_of(atoms) not in excluded]
    systems = sorted({tuple(sorted({int(z) for z in atoms.numbers})) for atoms in frames})
    np.random.default_rng(PROTOTYPE_SPLIT_SEED).shuffle(systems)
    held_out = {chemical_system(chemical_symbols[z] for z in s) for s in systems[: len(systems) // PROTOTYPE_HELD_OUT]}
    split: dict[str, list[Atoms]] = {"train": [], "test": []}
    for atoms in frames:
        atoms.info["source"] = "prototypes"
        split["test" if system_of(atoms) in held_out else "train"].append(atoms)
    return split


def load_split(teacher: Path, sample: Path) -> dict[str, list[Atoms]]:
    """Split of all cells: train, valid and test as the teacher's, and prototypes, the unseen ones of other types."""
    sample_systems = load_sample_systems(sample)
    split = split_by_system(load_teacher(teacher), sample_systems, SPLIT_SEED)
    kept = sample_systems | {system_of(atoms) for part in ("valid", "test") for atoms in split[part]}
    others = split_prototypes(kept)
    return split | {"train": split["train"] + others["train"], "prototypes": others["test"]}


def train(teacher: Path, sample: Path, work: Path, out: Path, *, epochs: float) -> Path:
    """Split, train, and install the model."""
    from heo_mini_training import train_network

    work.mkdir(parents=True, exist_ok=True)
    split = load_split(teacher, sample)
    elements = sorted({int(z) for cells in split.values() for a in cells for z in a.numbers})
    missing = set(elements) - {int(z) for a in split["train"] for z in a.numbers}
    if missing:
        raise ValueError(f"atomic numbers {sorted(missing)} stand in no training cell")
    facts = {
        "elements": elements,
        "epochs": epochs,
        "cells": {part: len(cells) for part, cells in split.items()},
    }
    write_split(out, split, load_sample_systems(sample))
    started = time.time()
    model = work / f"{MODEL_NAME}.model"
    train_network(split["train"], split["valid"], elements, epochs=epochs, seed=TRAIN_SEED, out=model)
    write_json(work / "facts.json", facts | {"training_wall_s": round(time.time() - started)})
    return install(model, out)


def refit_e0s(teacher: Path, sample: Path, work: Path, out: Path) -> Path:
    """Shift the installed model's E0s by a ridge fit of its energy errors on the training cells against composition.

    A small model cannot learn each element's mean exactly; forces and stress do not change. Errors and counts are per
    atom, so that every cell weighs the same.
    """
    import torch

    path = out / f"{MODEL_NAME}.model"
    cells = load_split(teacher, sample)["train"]
    model = torch.load(path, map_location="cpu", weights_only=False)
    numbers = [int(z) for z in model.atomic_numbers]
    fractions = np.array([[np.mean(atoms.numbers == z) for z in numbers] for atoms in cells])
    energies, _ = predict(path, cells)
    errors = (np.array([atoms.info["REF_energy"] for atoms in cells]) - energies) / [len(atoms) for atoms in cells]
    gram = fractions.T @ fractions + E0_RIDGE * np.eye(len(numbers))
    shift = torch.tensor(np.linalg.solve(gram, fractions.T @ errors))
    e0s = model.atomic_energies_fn.atomic_energies
    e0s += shift.to(e0s.dtype).reshape(1, -1) if e0s.ndim == 2 else shift.to(e0s.dtype)
    facts = json.loads((work / "facts.json").read_text())
    write_json(work / "facts.json", facts | {"e0s_refitted": {"cells": len(cells), "ridge": E0_RIDGE}})
    shifted = work / f"{MODEL_NAME}-e0s.model"
    torch.save(model, shifted)
    return install(shifted, out)


def install(model: Path, out: Path) -> Path:
    """Copy a model into the assets in one step, so that nobody reads half a file."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{MODEL_NAME}.model"
    partial = target.with_suffix(".part")
    shutil.copyfile(model, partial)
    partial.replace(target)
    return target


def write_split(out: Path, split: dict[str, list[Atoms]], sample_systems: set[str]) -> None:
    """Which chemical systems the model has seen and which not, so that later users can avoid a leak."""
    out.mkdir(parents=True, exist_ok=True)
    systems = {part: sorted({system_of(a) for a in cells}) for part, cells in split.items()}
    write_json(out / "split.json", {"seed": SPLIT_SEED, **systems, "sample": sorted(sample_systems)}, indent=None)


# ---------------------------------------------------------------------------------------------------------------- card


def predict(model: Path, frames: Sequence[Atoms], dtype: str = "float32") -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies (eV) and forces (eV/Å) of all cells, in batches."""
    import torch
    from mace.data import AtomicData, config_from_atoms
    from mace.tools import AtomicNumberTable, torch_geometric

    torch.set_default_dtype(getattr(torch, dtype))
    network = torch.load(model, map_location="cpu", weights_only=False).to(getattr(torch, dtype))
    table, cutoff = AtomicNumberTable([int(z) for z in network.atomic_numbers]), float(network.r_max)
    plain = [Atoms(a.numbers, positions=a.positions, cell=a.cell, pbc=True) for a in frames]
    data = [AtomicData.from_config(config_from_atoms(a), z_table=table, cutoff=cutoff) for a in plain]
    energies: list[np.ndarray] = []
    forces: list[np.ndarray] = []
    for batch in torch_geometric.dataloader.DataLoader(data, batch_size=16, shuffle=False):
        output = network(batch.to_dict(), compute_stress=False)
        energies.append(output["energy"].detach().numpy())
        forces += np.split(output["forces"].detach().numpy(), batch.ptr[1:-1].numpy())
    return np.concatenate(energies), forces


def compute_errors(model: Path, frames: Sequence[Atoms]) -> dict[str, float | int]:
    """Predict and compare; see `compare`."""
    return compare(frames, *predict(model, frames))


def compute_subset_errors(
    model: Path, frames: Sequence[Atoms], subsets: dict[str, Callable[[Atoms], bool]]
) -> dict[str, dict[str, float | int]]:
    """Errors on several subsets of the same cells, which are predicted once."""
    energies, forces = predict(model, frames)
    errors = {}
    for name, belongs in subsets.items():
        keep = [i for i, atoms in enumerate(frames) if belongs(atoms)]
        errors[name] = compare([frames[i] for i in keep], energies[keep], [forces[i] for i in keep])
    return errors


def compare(frames: Sequence[Atoms], energies: np.ndarray, forces: Sequence[np.ndarray]) -> dict[str, float | int]:
    """Errors per atom (energy) and per component (forces) beside the zero-force baseline and the softening slope."""
    n_atoms = np.array([len(a) for a in frames])
    energy_error = (energies - np.array([a.info["REF_energy"] for a in frames])) / n_atoms
    reference = np.concatenate([a.arrays["REF_forces"].ravel() for a in frames])
    predicted = np.concatenate([f.ravel() for f in forces])
    error = predicted - reference
    return {
        "n_structures": len(frames),
        "n_atoms": int(n_atoms.sum()),
        "energy_rmse_ev_per_atom": _rms(energy_error),
        "energy_mae_ev_per_atom": round(float(np.abs(energy_error).mean()), 5),
        "energy_mean_error_ev_per_atom": round(float(energy_error.mean()), 5),
        "forces_rmse_ev_per_ang": _rms(error),
        "forces_mae_ev_per_ang": round(float(np.abs(error).mean()), 5),
        "forces_zero_rmse_ev_per_ang": _rms(reference),
        "forces_zero_mae_ev_per_ang": round(float(np.abs(reference).mean()), 5),
        "softening_slope": round(float(predicted @ reference / (reference @ reference)), 4),
    }


def _rms(values: np.ndarray) -> float:
    """Root mean square, five decimals."""
    return round(float(np.sqrt(np.mean(np.square(values)))), 5)


def cells_from_rows(rows: Iterable[Row]) -> list[Atoms]:
    """Cells with reference labels from LeMat-like rows."""
    cells = []
    for row in rows:
        symbols, positions = row["species_at_sites"], row["cartesian_site_positions"]
        atoms = Atoms(symbols, positions=positions, cell=row["lattice_vectors"], pbc=True)
        atoms.info["REF_energy"] = row["energy"]
        atoms.arrays["REF_forces"] = np.array(row["forces"], dtype=float)
        cells.append(atoms)
    return cells


def load_rows(folder: Path, wanted: Callable[[str], bool]) -> list[Atoms]:
    """Cells of the parquet rows whose id is `wanted`, each id once, no force above the limit."""
    columns = ["immutable_id", "species_at_sites", "cartesian_site_positions", "lattice_vectors", "energy", "forces"]
    rows: dict[str, Row] = {}
    for path in sorted(folder.glob("*.parquet")):
        rows |= {row["immutable_id"]: row for row in pq.read_table(path, columns=columns).to_pylist()}
    cells = cells_from_rows(row for name, row in rows.items() if wanted(name))
    return [atoms for atoms in cells if fmax(atoms) <= FORCE_LIMIT_EV_PER_ANG]


def milliseconds_per_atom(model: Path, atoms: Atoms) -> float:
    """Energy and forces of one cell through the ASE calculator in float32, best of three means of five calls."""
    from mace.calculators import MACECalculator

    atoms = atoms.copy()
    atoms.calc = MACECalculator(model_paths=str(model), device="cpu", default_dtype="float32")
    means = []
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(5):
            atoms.positions[0, 0] += 1e-4
            atoms.get_forces()
        means.append((time.perf_counter() - started) / 5)
    return round(1e3 * min(means[1:]) / len(atoms), 3)


def make_card(teacher: Path, sample: Path, work: Path, out: Path, lemat: Path | None) -> dict[str, Any]:
    """Measure the installed model and write `card.json`."""
    import torch
    from heo_mini_training import ARCHITECTURE, OPTIMISATION

    model = out / f"{MODEL_NAME}.model"
    facts = json.loads((work / "facts.json").read_text())
    split = load_split(teacher, sample)
    test = split["test"]
    subsets: dict[str, Callable[[Atoms], bool]] = {
        "heldout_teacher_systems": lambda _: True,
        "heldout_teacher_systems_forces_up_to_10_ev_per_ang": lambda atoms: fmax(atoms) <= FORCE_LIMIT_EV_PER_ANG,
        "heldout_teacher_near_equilibrium": lambda atoms: NEAR_FILE_MARK in atoms.info["source"],
    }
    accepted = load_rows(sample, lambda name: name.split("-")[1].isdigit())
    errors = compute_subset_errors(model, test, subsets)
    errors["heldout_prototype_systems"] = compute_errors(model, split["prototypes"])
    errors["sample_accepted_rows"] = compute_errors(model, accepted)
    if lemat is not None:
        errors["lemat_real_rows"] = compute_errors(model, load_rows(lemat, lambda name: name.startswith("heo-")))
    example = max(accepted, key=len).repeat((2, 2, 1))
    card = {
        "name": MODEL_NAME,
        "version": MODEL_VERSION,
        "family": "mace",
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "size_bytes": model.stat().st_size,
        "dtype": "float32",
        "elements": [chemical_symbols[z] for z in facts["elements"]],
        "licence": "MIT",
        "labels": "SevenNet 7net-0 (sevenn 0.13.0, MIT): a potential, not DFT",
        "energy_scale": "PBE(+U), uncorrected, as learned by 7net-0",
        "errors": errors,
        "speed": {
            "n_atoms": len(example),
            "threads": torch.get_num_threads(),
            "ms_per_atom_energy_forces_float32": milliseconds_per_atom(model, example),
        },
        "recipe": {
            "script": "benchmarks/heo_mini.py",
            "mace_torch": "0.3.16",
            "architecture": ARCHITECTURE,
            "optimisation": OPTIMISATION,
            "E0s": "ridge fit of energies per atom against composition",
            "seeds": {"sample": SAMPLE_SEED, "split": SPLIT_SEED, "train": TRAIN_SEED},
            **{key: value for key, value in facts.items() if key != "elements"},
        },
    }
    write_json(out / "card.json", card)
    return card


def make_replay(teacher: Path, sample: Path, out: Path) -> str:
    """Write the training cells as curated rows; returns what was written."""
    from heo_core.curation.rows import ROW_SCHEMA

    empty = dict.fromkeys(ROW_SCHEMA.names)
    rows = []
    for number, cell in enumerate(load_split(teacher, sample)["train"]):
        row = row_from_cell(cell, f"heo-mini-{number:04d}") | {"source": "7net0", "nperiodic_dimensions": 3}
        rows.append(empty | {name: value for name, value in row.items() if name in empty})
        rows[-1]["forces"] = np.round(row["forces"], 5).tolist()
        for name in ("cartesian_site_positions", "lattice_vectors"):
            rows[-1][name] = np.round(row[name], 6).tolist()
    target = out / "replay.parquet"
    partial = target.with_suffix(".part")
    table = pa.Table.from_pylist(rows, schema=ROW_SCHEMA)
    pq.write_table(table, partial, compression="zstd", compression_level=19)
    partial.replace(target)
    return f"{target}: {len(rows)} cells, {target.stat().st_size / 1e6:.1f} MB"


def write_json(path: Path, value: object, indent: int | None = 1) -> None:
    """Write JSON in one step."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(value, indent=indent) + "\n")
    partial.replace(path)


# -------------------------------------------------------------------------------------------------------- command line


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sample = commands.add_parser("sample", help="write the sample dataset")
    sample.add_argument("--seed", type=int, default=SAMPLE_SEED)
    training = commands.add_parser("train", help="train heo-mini")
    training.add_argument("--epochs", type=float, default=EPOCHS, help="passes over the training cells")
    training.add_argument(
        "--refit-e0s", action="store_true", help="shift the installed model's E0s, after the training"
    )
    card = commands.add_parser("card", help="measure heo-mini and write card.json")
    card.add_argument("--lemat", type=Path, help="folder of LeMat-like parquet files with real rows (ids heo-*)")
    replay = commands.add_parser("replay", help="write cells for a finetuning to replay")
    for command in (sample, training, card, replay):
        command.add_argument("--teacher", type=Path, required=True, help="folder of the teacher's *.extxyz files")
        command.add_argument("--out", type=Path, required=True)
    for command in (training, card, replay):
        command.add_argument("--sample", type=Path, required=True, help="folder that `sample` wrote")
    for command in (training, card):
        command.add_argument("--work", type=Path, required=True, help="folder for the training run")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one subcommand and print what it made."""
    args = parse_arguments(argv)
    if args.command == "sample":
        print(json.dumps(make_sample(args.teacher, args.out, args.seed), indent=1))
    elif args.command == "replay":
        print(make_replay(args.teacher, args.sample, args.out))
    elif args.command == "card":
        print(json.dumps(make_card(args.teacher, args.sample, args.work, args.out, args.lemat)["errors"], indent=1))
    elif args.refit_e0s:
        print(refit_e0s(args.teacher, args.sample, args.work, args.out))
    else:
        print(train(args.teacher, args.sample, args.work, args.out, epochs=args.epochs))


if __name__ == "__main__":
    main()
