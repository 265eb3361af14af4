"""Structures as a file for other programs: extxyz with MACE's keys, parquet as LeMat-Bulk has it, an ASE database.

Curating such a file gives the same structures again, to the last bit of every number (`Structure.content_hash`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import batched, chain, product
from math import gcd
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heo_core.curation.rows import VECTORS
from heo_core.errors import InputError
from heo_core.records import Array, Structure

type Labelled = tuple[Structure, str]

ExportFormat = Literal["extxyz", "parquet", "ase-db"]
ENDINGS: dict[ExportFormat, str] = {"extxyz": ".extxyz", "parquet": ".parquet", "ase-db": ".db"}

PARQUET_SCHEMA = pa.schema(
    [
        ("elements", pa.list_(pa.string())),
        ("nsites", pa.int32()),
        ("chemical_formula_anonymous", pa.string()),
        ("chemical_formula_reduced", pa.string()),
        ("chemical_formula_descriptive", pa.string()),
        ("nelements", pa.int8()),
        ("dimension_types", pa.list_(pa.int8())),
        ("nperiodic_dimensions", pa.int8()),
        ("lattice_vectors", VECTORS),
        ("immutable_id", pa.string()),
        ("cartesian_site_positions", VECTORS),
        ("species", pa.string()),
        ("species_at_sites", pa.list_(pa.string())),
        ("last_modified", pa.string()),
        ("elements_ratios", pa.list_(pa.float64())),
        ("stress_tensor", VECTORS),
        ("energy", pa.float64()),
        ("magnetic_moments", pa.list_(pa.float64())),
        ("forces", VECTORS),
        ("total_magnetization", pa.float64()),
        ("dos_ef", pa.float64()),
        ("functional", pa.string()),
        ("cross_compatibility", pa.bool_()),
        ("entalpic_fingerprint", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
    ]
)
"""LeMat-Bulk's columns, source and split. What a dataset does not hold (dates, magnetic moments, ...) is null."""

_ROWS_PER_GROUP = 500
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def export_structures(structures: Iterable[Labelled], path: Path, file_format: ExportFormat) -> int:
    """Write structures, each with the name of its split, and return how many; an unlabelled one goes without labels.

    extxyz: REF_energy (eV), REF_forces (eV/Å), REF_stress (nine numbers, eV/Å³) with all digits, and immutable_id,
    source, functional, fingerprint and split. ase-db: the labels as calculator results and the same names as
    key-value pairs; `data` takes the full stress, and a text that ASE would mistake for a number.

    The file takes its name only when it is complete: until then one that was there stays, and a failure leaves nothing.
    Raises InputError when it cannot be written there; a full disk remains the OSError that it is.
    """
    write = _WRITERS[file_format]
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    written = 0

    def count_them() -> Iterator[Labelled]:
        nonlocal written
        for pair in structures:
            written += 1
            yield pair

    try:
        with tempfile.TemporaryDirectory(prefix=".heo-export-", dir=path.parent) as folder:
            partial = Path(folder) / path.name
            write(count_them(), partial)
            os.replace(partial, path)  # noqa: PTH105
    except (OSError, sqlite3.Error) as exc:
        if isinstance(exc, OSError) and exc.errno in _NO_SPACE:
            raise
        raise InputError(f"cannot write {path}: {getattr(exc, 'strerror', None) or exc}") from exc
    return written


# --- extxyz


def _write_extxyz(structures: Iterable[Labelled], path: Path) -> None:
    # ASE's own writer keeps eight decimals: what is read back can round to another sixth, and so to another hash.
    with path.open("w", encoding="utf-8") as stream:
        for structure, split in structures:
            stream.write(_format_frame(structure, split))


def _format_frame(structure: Structure, split: str) -> str:
    columns, properties = [structure.positions], "species:S:1:pos:R:3"
    if structure.forces_ev_per_ang is not None:
        columns.append(structure.forces_ev_per_ang)
        properties += ":REF_forces:R:3"
    fields = [f'Lattice="{_format_numbers(structure.lattice)}"', f"Properties={properties}", 'pbc="T T T"']
    if structure.energy_ev is not None:
        fields.append(f"REF_energy={float(structure.energy_ev)!r}")
    if structure.stress_ev_per_ang3 is not None:
        fields.append(f'REF_stress="{_format_numbers(structure.stress_ev_per_ang3)}"')
    fields += [f"{key}={_quote(text)}" for key, text in _list_texts(structure, split).items()]
    numbers = np.hstack(columns)
    atoms = (f"{symbol:<2} {_format_numbers(row)}" for symbol, row in zip(structure.species, numbers, strict=True))
    return "\n".join([str(structure.n_atoms), " ".join(fields), *atoms, ""])


def _format_numbers(array: Array) -> str:
    return " ".join(map(repr, np.asarray(array, dtype=float).ravel().tolist()))


def _quote(text: str) -> str:
    """Text as ASE reads it back: as it is if it can only be a word, else as JSON in quotes (ASCII, no line breaks)."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:+-]*", text) and not _is_value(text):
        return text
    escaped = json.dumps(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"_JSON {escaped}"'


def _is_value(word: str) -> bool:
    """Whether ASE would read a number or a truth value."""
    try:
        float(word)
    except ValueError:
        return word in {"T", "F", "True", "False", "true", "false", "TRUE", "FALSE"}
    return True


# --- parquet


def _write_parquet(structures: Iterable[Labelled], path: Path) -> None:
    with pq.ParquetWriter(path, PARQUET_SCHEMA, compression="zstd") as writer:
        for batch in batched(structures, _ROWS_PER_GROUP):
            rows = [_to_lemat_row(structure, split) for structure, split in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=PARQUET_SCHEMA))


def _to_lemat_row(structure: Structure, split: str) -> dict[str, Any]:
    counts = Counter(structure.species)
    elements = structure.elements
    sites = [{"name": element, "chemical_symbols": [element], "concentration": [1.0]} for element in elements]
    return {
        "elements": list(elements),
        "nsites": structure.n_atoms,
        "chemical_formula_anonymous": _make_anonymous_formula(counts),
        "chemical_formula_reduced": structure.formula_reduced,
        "chemical_formula_descriptive": "".join(f"{element}{count}" for element, count in counts.items()),
        "nelements": len(elements),
        "dimension_types": [1, 1, 1],
        "nperiodic_dimensions": 3,
        "lattice_vectors": structure.lattice.tolist(),
        "immutable_id": structure.immutable_id,
        "cartesian_site_positions": structure.positions.tolist(),
        "species": json.dumps(sites),
        "species_at_sites": list(structure.species),
        "elements_ratios": [counts[element] / structure.n_atoms for element in elements],
        "stress_tensor": _to_list(structure.stress_ev_per_ang3),
        "energy": structure.energy_ev,
        "forces": _to_list(structure.forces_ev_per_ang),
        "functional": structure.functional,
        "entalpic_fingerprint": structure.fingerprint,
        "source": structure.source,
        "split": split,
    }


def _make_anonymous_formula(counts: Counter[str]) -> str:
    """Letters for elements, the rarest first, for example AB3C20."""
    letters = chain(ascii_uppercase, (a + b for a, b in product(ascii_uppercase, ascii_lowercase)))
    divisor = gcd(*counts.values())
    return "".join(
        f"{letter}{count // divisor if count > divisor else ''}"
        for letter, count in zip(letters, sorted(counts.values()), strict=False)
    )


def _to_list(array: Array | None) -> list[list[float]] | None:
    rows: list[list[float]] | None = None if array is None else array.tolist()
    return rows


# --- ASE database


def _write_ase_db(structures: Iterable[Labelled], path: Path) -> None:
    from ase.db import connect

    with connect(path, type="db", use_lock_file=False) as database:
        for structure, split in structures:
            texts = _list_texts(structure, split)
            data: dict[str, Any] = {key: text for key, text in texts.items() if _is_refused(text)}
            if structure.stress_ev_per_ang3 is not None:
                data["REF_stress"] = structure.stress_ev_per_ang3
            pairs = {key: text for key, text in texts.items() if key not in data}
            database.write(_to_atoms(structure), key_value_pairs=pairs, data=data)


def _is_refused(text: str) -> bool:
    """Whether ASE takes no such text for a key-value pair: it would be read as a number or a truth value."""
    try:
        float(text)
    except ValueError:
        return text in {"True", "False"}
    return True


def _to_atoms(structure: Structure) -> Any:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
    stress = structure.stress_ev_per_ang3
    results = {
        "energy": structure.energy_ev,
        "forces": structure.forces_ev_per_ang,
        "stress": None if stress is None else full_3x3_to_voigt_6_stress(stress),
    }
    if any(value is not None for value in results.values()):
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _list_texts(structure: Structure, split: str) -> dict[str, str]:
    """Return what names a structure, under the keys that it has in a file, without what it lacks."""
    texts = {
        "immutable_id": structure.immutable_id,
        "source": structure.source,
        "functional": structure.functional,
        "fingerprint": structure.fingerprint,
        "split": split,
    }
    return {key: text for key, text in texts.items() if text is not None}


_WRITERS: dict[str, Callable[[Iterable[Labelled], Path], None]] = {
    "extxyz": _write_extxyz,
    "parquet": _write_parquet,
    "ase-db": _write_ase_db,
}
