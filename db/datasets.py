"""Datasets: store a curated one, find it again, read its splits."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from db.schema import Dataset, DatasetMember, DatasetRejection
from db.schema import Structure as StructureRow
from db.structures import add_structures, to_record
from db.versions import add_version, get_version, label
from heo_core.curation import CuratedDataset
from heo_core.params import CurationParams, hash_json
from heo_core.records import Structure


def make_key(params: CurationParams, source_revision: str) -> str:
    """Return what makes a dataset this one: its parameters and what its source held."""
    return hash_json({"params": params.model_dump(mode="json"), "source_revision": source_revision})


def find_dataset(session: Session, params: CurationParams, source_revision: str) -> Dataset | None:
    """Return the dataset that curating these parameters from this source made before."""
    key = make_key(params, source_revision)
    return session.scalar(select(Dataset).where(Dataset.name == params.name, Dataset.key == key))


def get_dataset(session: Session, reference: str) -> Dataset:
    """NAME@VERSION or the newest NAME; InputError, naming those there are, if there is none."""
    return get_version(session, Dataset, reference)


def get_dataset_by_id(session: Session, dataset_id: int) -> Dataset:
    """Return one dataset."""
    return session.get_one(Dataset, dataset_id)


def add_dataset(session: Session, params: CurationParams, curated: CuratedDataset) -> Dataset:
    """Store a curated dataset with its members, splits and rejections, or return it if it is there."""
    hashes = sorted(f"{s.content_hash} {split}" for s, split in zip(curated.structures, curated.splits, strict=True))
    dataset, is_new = add_version(
        session,
        Dataset(
            name=params.name,
            key=make_key(params, curated.source.revision),
            content_hash=hashlib.sha256("\n".join(hashes).encode()).hexdigest(),
            source_uri=curated.source.uri,
            source_revision=curated.source.revision,
            licence=curated.source.licence,
            citation=curated.source.citation,
            params=params.model_dump(mode="json"),
            n_scanned=curated.n_scanned,
            n_kept=len(curated.structures),
        ),
    )
    if is_new:
        _add_members(session, dataset.id, curated)
    return dataset


def _add_members(session: Session, dataset_id: int, curated: CuratedDataset) -> None:
    ids = add_structures(session, curated.structures)
    members = [
        {"dataset_id": dataset_id, "structure_id": i, "split": split}
        for i, split in zip(ids, curated.splits, strict=True)
    ]
    if members:
        session.execute(insert(DatasetMember), members)
    rejections = [
        {"dataset_id": dataset_id, "rule": r.rule, "n_rejected": r.n_rejected, "example_ids": list(r.example_ids)}
        for r in curated.rejections
    ]
    if rejections:
        session.execute(insert(DatasetRejection), rejections)


def load_split(session: Session, dataset_id: int, split: str) -> dict[int, Structure]:
    """Structures of one split by id, in the order of their content hashes, whatever order they were stored in."""
    query = (
        select(StructureRow)
        .join(DatasetMember, DatasetMember.structure_id == StructureRow.id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split == split)
        .order_by(StructureRow.content_hash)
    )
    return {row.id: to_record(row) for row in session.scalars(query)}


def list_datasets(session: Session) -> list[dict[str, Any]]:
    """One line a dataset, newest first."""
    rows = session.scalars(select(Dataset).order_by(Dataset.created_at.desc(), Dataset.id.desc()))
    return [
        {
            "dataset": label(d),
            "kept": d.n_kept,
            "scanned": d.n_scanned,
            "source": d.source_uri,
            "created": d.created_at,
        }
        for d in rows
    ]


def count_splits(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """Structures, formulas and chemical systems of each split."""
    query = (
        select(
            DatasetMember.split,
            func.count(),
            func.count(StructureRow.formula_reduced.distinct()),
            func.count(StructureRow.chemical_system.distinct()),
        )
        .join(StructureRow, StructureRow.id == DatasetMember.structure_id)
        .where(DatasetMember.dataset_id == dataset_id)
        .group_by(DatasetMember.split)
        .order_by(func.count().desc())
    )
    names = ("split", "n_structures", "n_formulas", "n_chemical_systems")
    return [dict(zip(names, row, strict=True)) for row in session.execute(query)]


def list_rejections(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """Rows that each rule left out, most first."""
    query = select(DatasetRejection).where(DatasetRejection.dataset_id == dataset_id)
    rows = session.scalars(query.order_by(DatasetRejection.n_rejected.desc(), DatasetRejection.rule))
    return [{"rule": r.rule, "n_rejected": r.n_rejected, "example_ids": r.example_ids} for r in rows]


def summarise(session: Session, dataset_id: int) -> dict[str, Any]:
    """Return what there is to know of a dataset: source, counts, splits, rejections."""
    dataset = get_dataset_by_id(session, dataset_id)
    return {
        "dataset": label(dataset),
        "source": dataset.source_uri,
        "revision": dataset.source_revision,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "scanned": dataset.n_scanned,
        "kept": dataset.n_kept,
        "splits": count_splits(session, dataset_id),
        "rejections": list_rejections(session, dataset_id),
    }
