"""Generated sets: cells made by us, stored as a dataset whose only split is `generated`, each with its recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db.datasets import add_members
from db.schema import Dataset, DatasetMember, DatasetRejection
from db.schema import Structure as StructureRow
from db.structures import to_record
from db.versions import add_version
from heo_core.curation import Member
from heo_core.params import GenerationParams, hash_json
from heo_core.records import Structure
from heo_core.structures.generation import GENERATOR_VERSION, GeneratedCell

SPLIT = "generated"

_EXAMPLES = 5


def find_generated(session: Session, params: GenerationParams, parent_sha256: str | None) -> Dataset | None:
    """Return the set that these parameters made before; parent_sha256: of the parent file, where there is one."""
    key = _make_key(params, parent_sha256)
    return session.scalar(select(Dataset).where(Dataset.name == params.name, Dataset.key == key))


def add_generated(
    session: Session, params: GenerationParams, parent_sha256: str | None, cells: Sequence[GeneratedCell]
) -> Dataset:
    """Store cells as the next version of a name, or return the set that is there; failed ones are counted by check."""
    made = [cell.structure for cell in cells if cell.structure is not None]
    members = sorted(f"{structure.content_hash} {SPLIT}" for structure in made)
    dataset, is_new = add_version(
        session,
        Dataset(
            name=params.name,
            key=_make_key(params, parent_sha256),
            content_hash=hashlib.sha256("\n".join(members).encode()).hexdigest(),
            source_uri=params.parent or f"prototype:{params.prototype}",
            source_revision=parent_sha256 or f"generator {GENERATOR_VERSION}",
            params=params.model_dump(mode="json"),
            n_scanned=len(cells),
            n_kept=len(made),
        ),
    )
    if is_new:
        add_members(
            session,
            dataset.id,
            (Member(cell.structure, SPLIT, None, cell.recipe) for cell in cells if cell.structure is not None),
        )
        _add_failures(session, dataset.id, cells)
    return dataset


def load_cells(session: Session, dataset_id: int) -> list[tuple[Structure, dict[str, Any]]]:
    """Cells of a generated set with their recipes, by number."""
    query = (
        select(StructureRow, DatasetMember.recipe)
        .join(DatasetMember, DatasetMember.structure_id == StructureRow.id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split == SPLIT)
    )
    cells = [(to_record(row), recipe or {}) for row, recipe in session.execute(query)]
    return sorted(cells, key=lambda cell: cell[1]["cell"])


def list_cells(session: Session, dataset_id: int, limit: int = 100) -> list[dict[str, Any]]:
    """Composition, size, charge and shortest distance of the first cells, one line a cell."""
    recipe = DatasetMember.recipe
    number = recipe["cell"].as_integer()
    query = (
        select(
            number,
            StructureRow.formula_reduced,
            StructureRow.n_atoms,
            StructureRow.volume_per_atom_ang3,
            recipe["smallest_distance_ang"].as_float(),
            recipe["charge_residual_e_per_formula"].as_float(),
        )
        .join(StructureRow, StructureRow.id == DatasetMember.structure_id)
        .where(DatasetMember.dataset_id == dataset_id, DatasetMember.split == SPLIT)
        .order_by(number)
        .limit(limit)
    )
    names = (
        "cell",
        "formula",
        "n_atoms",
        "volume_per_atom_ang3",
        "smallest_distance_ang",
        "charge_residual_e_per_formula",
    )
    return [dict(zip(names, row, strict=True)) for row in session.execute(query)]


def _make_key(params: GenerationParams, parent_sha256: str | None) -> str:
    # What a parent file holds counts, not where it is.
    left_out = {"name", "parent"} if parent_sha256 is None else {"name", "parent", "prototype"}
    content = params.model_dump(mode="json", exclude=left_out)
    return hash_json({"params": content, "generator": GENERATOR_VERSION, "parent": parent_sha256})


def _add_failures(session: Session, dataset_id: int, cells: Sequence[GeneratedCell]) -> None:
    failed: dict[str, list[GeneratedCell]] = {}
    for cell in cells:
        if cell.failed_check is not None:
            failed.setdefault(cell.failed_check, []).append(cell)
    rows = [
        {
            "dataset_id": dataset_id,
            "rule": check,
            "n_rejected": len(some),
            "example_ids": [f"cell {cell.number}: {cell.failure}" for cell in some[:_EXAMPLES]],
        }
        for check, some in failed.items()
    ]
    if rows:
        session.execute(insert(DatasetRejection), rows)
