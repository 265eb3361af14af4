"""Structures: from records to rows and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import batched
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import schema
from heo_core.records import Array, Structure

# Keeps a statement below Postgres' 65,535 parameters.
_ROWS_PER_STATEMENT = 500


def add_structures(session: Session, structures: Sequence[Structure]) -> list[int]:
    """Store structures that are not there yet; return the id of each, in the order given."""
    unique = {structure.content_hash: structure for structure in structures}
    for chunk in batched(sorted(unique), _ROWS_PER_STATEMENT):
        rows = [_to_row(unique[content_hash]) for content_hash in chunk]
        session.execute(insert(schema.Structure).values(rows).on_conflict_do_nothing(index_elements=["content_hash"]))
    ids: dict[str, int] = {}
    for chunk in batched(unique, 10_000):
        query = select(schema.Structure.content_hash, schema.Structure.id).where(
            schema.Structure.content_hash.in_(chunk)
        )
        ids.update((content_hash, row_id) for content_hash, row_id in session.execute(query))
    return [ids[structure.content_hash] for structure in structures]


def load_structures(session: Session, ids: Iterable[int]) -> dict[int, Structure]:
    """Structures by id."""
    found: dict[int, Structure] = {}
    for chunk in batched(ids, 10_000):
        rows = session.scalars(select(schema.Structure).where(schema.Structure.id.in_(chunk)))
        found.update((row.id, to_record(row)) for row in rows)
    return found


def to_record(row: schema.Structure) -> Structure:
    """Turn a row into the record that heo_core works with."""
    return Structure(
        lattice=np.array(row.lattice_ang),
        positions=np.array(row.positions_ang).reshape(-1, 3),
        species=tuple(row.species),
        immutable_id=row.immutable_id,
        source=row.source,
        functional=row.functional,
        fingerprint=row.fingerprint,
        energy_ev=row.energy_ev,
        forces_ev_per_ang=to_array(row.forces_ev_per_ang),
        stress_ev_per_ang3=to_array(row.stress_ev_per_ang3),
    )


def to_array(values: list[list[float]] | None) -> Array | None:
    """Turn a two-dimensional SQL array into a numpy one."""
    return None if values is None else np.array(values)


def to_lists(array: Array | None) -> list[list[float]] | None:
    """Turn an (n, 3) array into what a two-dimensional SQL array takes."""
    return None if array is None else [[float(x) for x in row] for row in array]


def _to_row(structure: Structure) -> dict[str, Any]:
    return {
        "content_hash": structure.content_hash,
        "immutable_id": structure.immutable_id,
        "source": structure.source,
        "functional": structure.functional,
        "fingerprint": structure.fingerprint,
        "formula_reduced": structure.formula_reduced,
        "chemical_system": structure.chemical_system,
        "elements": list(structure.elements),
        "n_elements": len(structure.elements),
        "n_atoms": structure.n_atoms,
        "lattice_ang": to_lists(structure.lattice),
        "positions_ang": to_lists(structure.positions),
        "species": list(structure.species),
        "energy_ev": structure.energy_ev,
        "forces_ev_per_ang": to_lists(structure.forces_ev_per_ang),
        "stress_ev_per_ang3": to_lists(structure.stress_ev_per_ang3),
        "fmax_ev_per_ang": structure.fmax_ev_per_ang,
        "volume_per_atom_ang3": structure.volume_ang3 / structure.n_atoms,
    }
