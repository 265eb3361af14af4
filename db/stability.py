"""Studies of stability: oxides and cells as they are relaxed, mixtures as they are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from db.schema import ModelVersion, StabilityCell, StabilityComposition, StabilityOxide, StabilityStudy
from db.structures import to_lists
from db.versions import label
from heo_core.params import hash_json
from heo_core.records import Relaxation
from heo_core.stability.mixing import Mixture, MixtureCell
from heo_core.stability.oxides import Oxide


def add_study(session: Session, model_version_id: int, protocol: dict[str, Any]) -> int:
    """Return the id of the study of a model with `StabilityParams.protocol`; it is made if it is not there."""
    key = hash_json({"params": protocol, "model": model_version_id})
    row = {"key": key, "model_version_id": model_version_id, "params": protocol}
    session.execute(upsert(StabilityStudy).values(row).on_conflict_do_nothing(index_elements=["key"]))
    return session.scalars(select(StabilityStudy.id).where(StabilityStudy.key == key)).one()


def get_model_of_study(session: Session, study_id: int) -> ModelVersion:
    """Return the model version that relaxes the cells of a study."""
    return session.get_one(ModelVersion, session.get_one(StabilityStudy, study_id).model_version_id)


def remove_failures(session: Session, study_id: int) -> None:
    """Forget cells and oxides that gave no number: they wait again."""
    cells, oxides = StabilityCell, StabilityOxide
    session.execute(delete(cells).where(cells.study_id == study_id, cells.failure.is_not(None)))
    session.execute(delete(oxides).where(oxides.study_id == study_id, oxides.energy_ev_per_atom.is_(None)))


def add_oxide(session: Session, study_id: int, oxide: Oxide) -> None:
    """Store the oxide of one cation; a second time nothing happens."""
    session.execute(upsert(StabilityOxide).values(study_id=study_id, **asdict(oxide)).on_conflict_do_nothing())


def load_oxides(session: Session, study_id: int) -> list[Oxide]:
    """Oxides of a study, in a fixed order."""
    query = select(StabilityOxide).where(StabilityOxide.study_id == study_id)
    rows = session.scalars(query.order_by(StabilityOxide.cation, StabilityOxide.polymorph))
    return [Oxide(row.cation, row.polymorph, row.energy_ev_per_atom, row.failure) for row in rows]


def add_cell(
    session: Session,
    study_id: int,
    composition: str,
    number: int,
    *,
    species: Sequence[str],
    relaxation: Relaxation | None,
    bond_spread_ang: float | None,
    failure: str | None,
) -> None:
    """Store one cell, relaxed or failed; a second time nothing happens. relaxation: None where it was not made."""
    row: dict[str, Any] = {
        "study_id": study_id,
        "composition": composition,
        "number": number,
        "species": list(species),
        "bond_spread_ang": bond_spread_ang,
        "failure": failure,
        "converged": False,
        "force_calls": 0,
        "wall_s": 0.0,
    }
    if relaxation is not None:
        row |= {
            "converged": relaxation.converged,
            "force_calls": relaxation.force_calls,
            "wall_s": relaxation.wall_s,
        }
    if relaxation is not None and relaxation.lattice is not None and relaxation.energy_final_ev is not None:
        row |= {
            "energy_ev_per_atom": relaxation.energy_final_ev / len(species),
            "volume_per_atom_ang3": float(abs(np.linalg.det(relaxation.lattice))) / len(species),
            "lattice_ang": to_lists(relaxation.lattice),
            "positions_ang": to_lists(relaxation.positions),
        }
    session.execute(upsert(StabilityCell).values(row).on_conflict_do_nothing())


def list_done(session: Session, study_id: int) -> set[tuple[str, int]]:
    """(composition, number) of every cell that has a row."""
    query = select(StabilityCell.composition, StabilityCell.number).where(StabilityCell.study_id == study_id)
    return {(composition, number) for composition, number in session.execute(query)}


def load_cells(session: Session, study_id: int) -> dict[str, list[MixtureCell]]:
    """Cells by composition, in the order of their numbers."""
    query = select(StabilityCell).where(StabilityCell.study_id == study_id)
    cells: dict[str, list[MixtureCell]] = {}
    for row in session.scalars(query.order_by(StabilityCell.composition, StabilityCell.number)):
        cell = MixtureCell(row.energy_ev_per_atom, row.bond_spread_ang, row.converged, row.failure)
        cells.setdefault(row.composition, []).append(cell)
    return cells


def set_mixtures(session: Session, study_id: int, reference_set: str, mixtures: Sequence[Mixture]) -> None:
    """Store what the cells of mixtures say against a set of oxides, in place of what is there."""
    for mixture in mixtures:
        row = {"study_id": study_id, "reference_set": reference_set, **asdict(mixture)}
        row["cations"] = list(mixture.cations)
        statement = upsert(StabilityComposition).values(row)
        key = ("study_id", "reference_set", "composition")
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=row))


def list_map(session: Session, study_id: int, reference_set: str, n_cations: int | None = None) -> list[dict[str, Any]]:
    """Rows of the view stability_map of a study and a set of oxides, the lowest enthalpy first."""
    query = text(
        "select * from stability_map where study_id = :study_id and reference_set = :reference_set "
        "and (cast(:n_cations as int) is null or n_cations = :n_cations) "
        "order by mixing_enthalpy_ev_per_atom nulls last, composition"
    )
    given = {"study_id": study_id, "reference_set": reference_set, "n_cations": n_cations}
    return [dict(row) for row in session.execute(query, given).mappings()]


def describe_study(session: Session, study_id: int) -> dict[str, Any]:
    """Return the protocol of a study and NAME@VERSION of its model."""
    study = session.get_one(StabilityStudy, study_id)
    return {"model": label(session.get_one(ModelVersion, study.model_version_id)), **study.params}
