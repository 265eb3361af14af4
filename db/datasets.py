"""Datasets: store a curated one, find it again, read its splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import batched
from typing import Any, cast

from psycopg.types.json import Jsonb
from sqlalchemy import Table, func, insert, select
from sqlalchemy.orm import Session

from db.bulk import copy_rows
from db.schema import Dataset, DatasetElement, DatasetLeak, DatasetMember, DatasetRejection
from db.schema import Structure as StructureRow
from db.structures import add_structures, to_record
from db.versions import add_version, get_version, label
from heo_core.curation import CuratedDataset, Member
from heo_core.curation.rules import RULE_DESCRIPTIONS
from heo_core.curation.scan import RULES_VERSION
from heo_core.params import RULE_PRESETS, CurationParams, GenerationParams, hash_json
from heo_core.records import Structure
from heo_core.structures.generation import CHECKS

_MEMBERS_PER_COPY = 2000


def make_key(params: CurationParams, source_revision: str) -> str:
    """Return what makes a dataset this one: its parameters and what its source held."""
    # What a preset fills in counts, not its name; and a picture of the dataset changes nothing in it.
    content = params.resolve().model_dump(mode="json", exclude={"map": True, "rules": {"preset"}})
    if not params.off_equilibrium.n_copies:
        del content["off_equilibrium"]
    return hash_json({"params": content, "rules_version": RULES_VERSION, "source_revision": source_revision})


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
    """Store a curated dataset with its members, splits, rejections and leaks, or return it if it is there."""
    dataset, is_new = add_version(
        session,
        Dataset(
            name=params.name,
            key=make_key(params, curated.source.revision),
            content_hash=_hash_content(curated),
            source_uri=curated.source.uri,
            source_revision=curated.source.revision,
            licence=curated.source.licence,
            citation=curated.source.citation,
            params=params.resolve().model_dump(mode="json"),
            n_scanned=curated.n_scanned,
            n_kept=curated.n_kept,
        ),
    )
    if is_new:
        add_members(session, dataset.id, curated.iter_members())
        _add_findings(session, dataset.id, curated)
    return dataset


def _hash_content(curated: CuratedDataset) -> str:
    """Sha256 of members and splits. Copies off equilibrium follow from their parents and the parameters."""
    members = sorted(f"{e.content_hash} {split}" for e, split in zip(curated.entries, curated.splits, strict=True))
    copies = curated.params.off_equilibrium
    if copies.n_copies:
        members.append(copies.compute_hash())
    return hashlib.sha256("\n".join(members).encode()).hexdigest()


def add_members(session: Session, dataset_id: int, members: Iterable[Member]) -> None:
    """Store the structures of a new dataset, each after the one that it is a copy of."""
    ids: dict[str, int] = {}
    for chunk in batched(members, _MEMBERS_PER_COPY):
        ids.update(add_structures(session, (member.structure for member in chunk)))
        rows = (
            (
                dataset_id,
                ids[member.structure.content_hash],
                member.split,
                ids[member.parent_hash] if member.parent_hash else None,
                Jsonb(member.recipe) if member.recipe else None,
            )
            for member in chunk
        )
        columns = ("dataset_id", "structure_id", "split", "parent_id", "recipe")
        copy_rows(session, cast("Table", DatasetMember.__table__), columns, rows)
    count_elements(session, dataset_id)


def count_elements(session: Session, dataset_id: int) -> None:
    """Count in which structures of each split an element occurs, once all members of a dataset are stored."""
    held = (
        select(
            DatasetMember.dataset_id,
            DatasetMember.split,
            func.unnest(StructureRow.elements).label("element"),
            StructureRow.n_elements,
        )
        .join(StructureRow, StructureRow.id == DatasetMember.structure_id)
        .where(DatasetMember.dataset_id == dataset_id)
        .subquery()
    )
    group = (held.c.dataset_id, held.c.split, held.c.element)
    counted = select(*group, func.count(), func.avg(held.c.n_elements)).group_by(*group)
    columns = ["dataset_id", "split", "element", "n_structures", "n_elements_mean"]
    session.execute(insert(DatasetElement).from_select(columns, counted))


def _add_findings(session: Session, dataset_id: int, curated: CuratedDataset) -> None:
    rejections = [
        {"dataset_id": dataset_id, "rule": r.rule, "n_rejected": r.n_rejected, "example_ids": list(r.example_ids)}
        for r in curated.rejections
    ]
    if rejections:
        session.execute(insert(DatasetRejection), rejections)
    leaks = [{"dataset_id": dataset_id} | asdict(leak) | {"examples": list(leak.examples)} for leak in curated.leaks]
    session.execute(insert(DatasetLeak), leaks)


def iter_split(session: Session, dataset_id: int, split: str | None) -> Iterator[tuple[Structure, str]]:
    """Structures of one split, or with None of all, each with its split, in the order of their content hashes.

    They come from the server some at a time, however many there are.
    """
    query = (
        select(StructureRow, DatasetMember.split)
        .join(DatasetMember, DatasetMember.structure_id == StructureRow.id)
        .where(DatasetMember.dataset_id == dataset_id)
        .order_by(StructureRow.content_hash)
        .execution_options(yield_per=500)
    )
    for row, its_split in session.execute(query if split is None else query.where(DatasetMember.split == split)):
        yield to_record(row), its_split


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
    return [
        {
            "rule": r.rule,
            "n_rejected": r.n_rejected,
            "left_out_for": (RULE_DESCRIPTIONS | CHECKS).get(r.rule, ""),
            "example_ids": r.example_ids,
        }
        for r in rows
    ]


def list_leaks(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """List what each pair of splits shares: formulas, chemical systems, fingerprints."""
    query = select(DatasetLeak).where(DatasetLeak.dataset_id == dataset_id)
    rows = session.scalars(query.order_by(DatasetLeak.kind, DatasetLeak.other_split, DatasetLeak.split))
    return [
        {
            "splits": f"{leak.split} / {leak.other_split}",
            "shared": leak.kind,
            "n_shared": leak.n_shared,
            "n_structures": leak.n_structures,
            "examples": leak.examples,
        }
        for leak in rows
    ]


def count_sources(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """Structures of each source, and how many elements and atoms they have, most first."""
    query = (
        select(
            StructureRow.source,
            func.count(),
            func.min(StructureRow.n_elements),
            func.max(StructureRow.n_elements),
            func.max(StructureRow.n_atoms),
        )
        .join(DatasetMember, DatasetMember.structure_id == StructureRow.id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split != "off_equilibrium")
        .group_by(StructureRow.source)
        .order_by(func.count().desc(), StructureRow.source)
    )
    names = ("source", "n_structures", "min_elements", "max_elements", "max_atoms")
    return [dict(zip(names, row, strict=True)) for row in session.execute(query)]


def _describe_params(stored: dict[str, Any]) -> dict[str, str]:
    """Say how a dataset was curated or generated."""
    if "rules" in stored:
        return {"rules": _list_rules(stored["rules"]), "split": _list_fields(stored["split"])}
    defaults = GenerationParams().model_dump(mode="json") | {"name": stored["name"], "parent": None}
    always = ("composition", "prototype" if stored["parent"] is None else "parent", "filling", "seed")
    changed = [name for name in defaults if name in always or stored.get(name) != defaults[name]]
    return {"generated": _list_fields({name: stored.get(name) for name in changed})}


def _list_rules(stored: dict[str, Any]) -> str:
    """Preset, and what was changed in it."""
    preset = RULE_PRESETS.get(stored.get("preset", ""), {})
    same = {name: list(value) if isinstance(value, tuple) else value for name, value in preset.items()}
    changed = {name: value for name, value in stored.items() if name != "preset" and value != same.get(name, ...)}
    return f"preset {stored.get('preset', 'unknown')}" + (f", {_list_fields(changed)}" if changed else "")


def _list_fields(stored: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in stored.items())


def count_functionals(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """Structures under each functional, in any case of letters, most first; "not stated" where a row names none."""
    name = func.coalesce(func.lower(StructureRow.functional), "not stated")
    query = (
        select(name, func.count())
        .join(DatasetMember, DatasetMember.structure_id == StructureRow.id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split != "off_equilibrium")
        .group_by(name)
        .order_by(func.count().desc(), name)
    )
    return [{"functional": functional, "n_structures": n} for functional, n in session.execute(query)]


def summarise(session: Session, dataset_id: int) -> dict[str, Any]:
    """Return what there is to know of a dataset: source, counts, splits, rejections."""
    dataset = get_dataset_by_id(session, dataset_id)
    return {
        "dataset": label(dataset),
        "source": dataset.source_uri,
        "revision": dataset.source_revision,
        "licence": dataset.licence,
        "citation": dataset.citation,
        **_describe_params(dataset.params),
        "scanned": dataset.n_scanned,
        "kept": dataset.n_kept,
        "splits": count_splits(session, dataset_id),
        "sources": count_sources(session, dataset_id),
        "functionals": count_functionals(session, dataset_id),
        "leakage": list_leaks(session, dataset_id),
        "rejections": list_rejections(session, dataset_id),
    }
