"""Descriptors of structures, and the picture of a dataset that is drawn from their compositions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import cast

from psycopg.types.json import Jsonb
from sqlalchemy import Table, delete, exists, select
from sqlalchemy.orm import Session

from db.bulk import copy_rows
from db.schema import DatasetMap, DatasetMember, Descriptor
from heo_core.curation.descriptors import Descriptors
from heo_core.records import Array


def list_undescribed(session: Session, dataset_id: int) -> list[int]:
    """Ids of a dataset's structures that have no descriptors yet, in order."""
    described = exists().where(Descriptor.structure_id == DatasetMember.structure_id)
    query = select(DatasetMember.structure_id).where(DatasetMember.dataset_id == dataset_id, ~described)
    return list(session.scalars(query.order_by(DatasetMember.structure_id)))


def add_descriptors(session: Session, described: Mapping[int, Descriptors]) -> None:
    """Store the descriptors of structures, by id; those that are there stay. One writer at a time: hold a lock."""
    present = set(session.scalars(select(Descriptor.structure_id).where(Descriptor.structure_id.in_(described))))
    rows = (
        (structure_id, *(Jsonb(value) if isinstance(value, dict) else value for value in asdict(descriptors).values()))
        for structure_id, descriptors in described.items()
        if structure_id not in present
    )
    names = ("structure_id", *Descriptors.__dataclass_fields__)
    copy_rows(session, cast("Table", Descriptor.__table__), names, rows)


def load_cation_fractions(session: Session, dataset_id: int) -> dict[int, dict[str, float]]:
    """Cation fractions of a dataset's labelled structures by id, in the order of ids."""
    query = (
        select(Descriptor.structure_id, Descriptor.cation_fractions)
        .join(DatasetMember, DatasetMember.structure_id == Descriptor.structure_id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split != "off_equilibrium")
        .order_by(Descriptor.structure_id)
    )
    return dict(session.execute(query).tuples().all())


def has_map(session: Session, dataset_id: int, method: str) -> bool:
    """Whether a dataset's picture was drawn by this method."""
    query = select(DatasetMap.structure_id).where(DatasetMap.dataset_id == dataset_id, DatasetMap.method == method)
    return session.scalar(query.limit(1)) is not None


def add_map(
    session: Session, dataset_id: int, method: str, ids: Iterable[int], embeddings: Array, places: Array
) -> None:
    """Store the picture: embeddings (n, d) and places (n, 2) of the structures with these ids; the old one goes."""
    session.execute(delete(DatasetMap).where(DatasetMap.dataset_id == dataset_id, DatasetMap.method == method))
    rows = (
        (dataset_id, structure_id, method, float(place[0]), float(place[1]), embedding)
        for structure_id, embedding, place in zip(ids, embeddings, places, strict=True)
    )
    columns = ("dataset_id", "structure_id", "method", "x", "y", "embedding")
    copy_rows(session, cast("Table", DatasetMap.__table__), columns, rows)
