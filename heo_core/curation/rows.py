"""Rows of a source as Arrow tables of one schema, whatever kind of file they came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from heo_core.records import Array, Structure

VECTORS = pa.list_(pa.list_(pa.float64()))

ROW_SCHEMA = pa.schema(
    [
        ("immutable_id", pa.string()),
        ("source", pa.string()),
        # Whole numbers, but of any number a row may hold: one that is odd must not end the scan.
        ("nelements", pa.float64()),
        ("nperiodic_dimensions", pa.float64()),
        ("lattice_vectors", VECTORS),
        ("cartesian_site_positions", VECTORS),
        ("species_at_sites", pa.list_(pa.string())),
        ("energy", pa.float64()),
        ("forces", VECTORS),
        ("stress_tensor", VECTORS),
        ("functional", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
"""LeMat-Bulk's columns that curation reads, in its units (eV, Å, eV/Å); `fingerprint` stands for both of its names.

Any value may be null, and any list of a wrong length: that is for the rules to find. A null `nelements` means that the
source does not count elements, a null `source` that the id tells it.
"""


def make_table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Make a table of plain dicts; a column that a row lacks is null."""
    return pa.Table.from_pylist(list(rows), schema=ROW_SCHEMA)


def iter_structures(table: pa.Table) -> Iterator[Structure]:
    """Structures of rows that break no rule."""
    for row in table.to_pylist():
        yield Structure(
            lattice=np.array(row["lattice_vectors"], dtype=float),
            positions=np.array(row["cartesian_site_positions"], dtype=float),
            species=tuple(row["species_at_sites"]),
            immutable_id=row["immutable_id"],
            source=row["source"] or source_of(row["immutable_id"]),
            functional=row["functional"],
            fingerprint=row["fingerprint"],
            energy_ev=row["energy"],
            forces_ev_per_ang=np.array(row["forces"], dtype=float) if row["forces"] else None,
            stress_ev_per_ang3=_to_stress(row["stress_tensor"]),
        )


# Where two rows hold the same material, the user's own row stays before a database's.
SOURCE_ORDER = ("mp", "agm", "oqmd")


def source_of(immutable_id: str) -> str:
    """Source of a row by its id: agm of agm002153972, else what stands before its first hyphen, else own."""
    if re.match(r"agm\d", immutable_id):
        return "agm"
    prefix, hyphen, _ = immutable_id.partition("-")
    return prefix.lower() if hyphen and prefix else "own"


def _to_stress(stress: list[list[float]] | None) -> Array | None:
    """Stress (3, 3), or None when it is absent, malformed or not finite: a source's stress is never required."""
    try:
        array = np.array(stress, dtype=float)
    except (TypeError, ValueError):
        return None
    return array if array.shape == (3, 3) and np.isfinite(array).all() else None
