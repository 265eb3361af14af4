"""The dataset of a report and its structures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.schema import Dataset, DatasetMap, DatasetMember, Descriptor, Structure
from db.versions import label
from heo_core.labelling.functionals import classify_functionals

# Copies off equilibrium carry no labels and stand in no comparison of splits.
_IS_CURATED = DatasetMember.split != "off_equilibrium"


def load_dataset(session: Session, dataset_id: int) -> dict[str, Any]:
    """Return what the report says of a dataset."""
    row = session.get_one(Dataset, dataset_id)
    query = select(Structure.functional).join(DatasetMember, DatasetMember.structure_id == Structure.id)
    found = session.scalars(query.where(DatasetMember.dataset_id == dataset_id, _IS_CURATED).distinct())
    functionals = sorted(functional or "not stated" for functional in found)
    return {
        "label": label(row),
        "source_uri": row.source_uri,
        "source_revision": row.source_revision,
        "licence": row.licence,
        "citation": row.citation,
        "label_kind": classify_functionals(functionals),
        "functionals": functionals,
        "n_scanned": row.n_scanned,
        "n_kept": row.n_kept,
        "params": row.params,
        "content_hash": row.content_hash,
    }


def load_structures(session: Session, dataset_id: int) -> list[dict[str, Any]]:
    """Return the structures of a dataset, each with its place on the map."""
    # Of two pictures the later name in the alphabet: umap before pca.
    method = session.scalar(select(func.max(DatasetMap.method)).where(DatasetMap.dataset_id == dataset_id))
    places = select(DatasetMap).where(DatasetMap.dataset_id == dataset_id, DatasetMap.method == method).subquery()
    query = (
        select(
            Structure.id.label("structure_id"),
            Structure.immutable_id,
            Structure.formula_reduced,
            Structure.chemical_system,
            Structure.elements,
            Structure.n_elements,
            Structure.n_atoms,
            DatasetMember.split,
            Structure.source,
            (Structure.energy_ev / Structure.n_atoms).label("energy_ev_per_atom"),
            Structure.fmax_ev_per_ang,
            Structure.volume_per_atom_ang3,
            Descriptor.entropy_pooled_r,
            Descriptor.entropy_sublattice_r,
            Descriptor.space_group_number,
            Descriptor.space_group_symbol,
            Descriptor.prototype,
            places.c.method.label("map_method"),
            places.c.x.label("map_x"),
            places.c.y.label("map_y"),
        )
        .join(DatasetMember, DatasetMember.structure_id == Structure.id)
        .outerjoin(Descriptor, Descriptor.structure_id == Structure.id)
        .outerjoin(places, places.c.structure_id == Structure.id)
        .where(DatasetMember.dataset_id == dataset_id, _IS_CURATED)
        .order_by(Structure.immutable_id)
    )
    return [dict(row) for row in session.execute(query).mappings()]


def load_cells(session: Session, structure_ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return the geometry of these structures, in their order."""
    query = select(
        Structure.id.label("structure_id"), Structure.lattice_ang, Structure.positions_ang, Structure.species
    )
    wanted = list(structure_ids)
    found = {
        row["structure_id"]: dict(row) for row in session.execute(query.where(Structure.id.in_(wanted))).mappings()
    }
    return [found[structure_id] for structure_id in wanted if structure_id in found]
