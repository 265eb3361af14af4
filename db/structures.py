"""Structures: from records to rows and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import batched
from typing import Any, cast

import numpy as np
from sqlalchemy import Table, delete, exists, select, text
from sqlalchemy.orm import Session

from db import schema
from db.bulk import copy_rows
from heo_core.records import Array, Structure

_STRUCTURES_PER_COPY = 2000


def add_structures(session: Session, structures: Iterable[Structure]) -> dict[str, int]:
    """Store structures that are not there yet, by COPY; return the id of each by its content hash."""
    # Two writers of the same structures, each in an order of its own, would wait for each other for ever.
    session.execute(text("select pg_advisory_xact_lock(hashtextextended('writer of structures', 0))"))
    session.execute(text("create temporary table if not exists new_structure (like structure) on commit drop"))
    session.execute(text("alter table new_structure alter id drop not null"))
    ids: dict[str, int] = {}
    for chunk in batched(structures, _STRUCTURES_PER_COPY):
        rows = {structure.content_hash: _to_row(structure) for structure in chunk}
        session.execute(text("truncate new_structure"))
        copy_rows(session, _TABLE, list(_COLUMNS), rows.values(), into="new_structure")
        session.execute(_INSERT_NEW)
        ids.update((content_hash, row_id) for content_hash, row_id in session.execute(_FIND_IDS))
    return ids


def remove_unused(session: Session, ids: Iterable[int]) -> None:
    """Delete those of these structures that no row refers to; for a transaction that has added structures."""
    ids = list(ids)
    if not ids:
        return
    # That transaction's lock keeps others from referring to one of them meanwhile.
    columns = [
        column
        for table in schema.Base.metadata.tables.values()
        for column in table.columns
        if column.references(_TABLE.c.id)
    ]
    unused = [~exists().where(column == _TABLE.c.id) for column in columns]
    session.execute(delete(_TABLE).where(_TABLE.c.id.in_(ids), *unused))


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


_COLUMNS: dict[str, Callable[[Structure], Any]] = {
    "content_hash": lambda s: s.content_hash,
    "immutable_id": lambda s: s.immutable_id,
    "source": lambda s: s.source,
    "functional": lambda s: s.functional,
    "fingerprint": lambda s: s.fingerprint,
    "formula_reduced": lambda s: s.formula_reduced,
    "chemical_system": lambda s: s.chemical_system,
    "elements": lambda s: list(s.elements),
    "n_elements": lambda s: len(s.elements),
    "n_atoms": lambda s: s.n_atoms,
    "lattice_ang": lambda s: s.lattice,
    "positions_ang": lambda s: s.positions,
    "species": lambda s: list(s.species),
    "energy_ev": lambda s: s.energy_ev,
    "forces_ev_per_ang": lambda s: s.forces_ev_per_ang,
    "stress_ev_per_ang3": lambda s: s.stress_ev_per_ang3,
    "fmax_ev_per_ang": lambda s: s.fmax_ev_per_ang,
    "volume_per_atom_ang3": lambda s: s.volume_ang3 / s.n_atoms,
}
_TABLE = cast("Table", schema.Structure.__table__)
_INSERT_NEW = text(
    f"insert into structure ({', '.join(_COLUMNS)}) select {', '.join(_COLUMNS)} from new_structure "  # noqa: S608
    "on conflict (content_hash) do nothing"
)
_FIND_IDS = text("select content_hash, structure.id from structure join new_structure using (content_hash)")


def _to_row(structure: Structure) -> list[Any]:
    return [get(structure) for get in _COLUMNS.values()]
