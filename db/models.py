"""Model versions: register, find, hand to heo_core."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.schema import Dataset, ModelVersion
from db.training import list_epochs_of_model
from db.versions import add_version, get_version, label
from heo_core.records import ModelFile


def register_published_model(
    session: Session, model: ModelFile, *, name: str, size_bytes: int | None, energy_scale: str | None
) -> ModelVersion:
    """Register a model that was not made here; the same file under the same name is one version."""
    row, _ = add_version(
        session,
        ModelVersion(
            name=name,
            key=model.sha256 or model.reference,
            family=model.family,
            reference=model.reference,
            sha256=model.sha256,
            size_bytes=size_bytes,
            artifact_uri=model.path,
            elements=list(model.elements),
            energy_scale=energy_scale,
            licence=model.licence,
            params={},
        ),
    )
    # The same file may have moved with its checkout or its artifact store.
    row.artifact_uri = model.path
    return row


def get_registered_model(session: Session, reference: str) -> ModelVersion:
    """NAME@VERSION or the newest NAME; InputError, naming those there are, if it is not registered."""
    return get_version(session, ModelVersion, reference)


def get_model(session: Session, model_version_id: int) -> ModelVersion:
    """Return one version by id."""
    return session.get_one(ModelVersion, model_version_id)


def load_model_file(session: Session, model_version_id: int) -> ModelFile:
    """Return what heo_core needs to load this version."""
    return to_model_file(get_model(session, model_version_id))


def find_newest_finetuned(session: Session) -> ModelVersion | None:
    """Return the model that was finetuned last."""
    query = select(ModelVersion).where(ModelVersion.training_run_id.is_not(None))
    return session.scalar(query.order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc()).limit(1))


def to_model_file(row: ModelVersion) -> ModelFile:
    """Return what heo_core needs to load this version."""
    return ModelFile(
        family=row.family,
        reference=row.reference,
        path=row.artifact_uri,
        sha256=row.sha256,
        elements=tuple(row.elements),
        licence=row.licence,
    )


def list_lineage(session: Session, model_version_id: int) -> tuple[str, ...]:
    """NAME@VERSION of a model and all it descends from, the oldest first."""
    row = get_model(session, model_version_id)
    older = () if row.parent_id is None else list_lineage(session, row.parent_id)
    return (*older, label(row))


def list_models(session: Session) -> list[dict[str, Any]]:
    """One line a model version, newest first."""
    parent = aliased(ModelVersion)
    query = (
        select(ModelVersion, parent, Dataset)
        .outerjoin(parent, parent.id == ModelVersion.parent_id)
        .outerjoin(Dataset, Dataset.id == ModelVersion.dataset_id)
        .order_by(ModelVersion.created_at.desc(), ModelVersion.id.desc())
    )
    return [
        {
            "model": label(model),
            "family": model.family,
            "parent": label(origin) if origin else None,
            "dataset": label(dataset) if dataset else None,
            "elements": len(model.elements) or None,
            "sha256": model.sha256,
            "created": model.created_at,
        }
        for model, origin, dataset in session.execute(query)
    ]


def summarise(session: Session, model_version_id: int) -> dict[str, Any]:
    """Return what there is to know of a model version."""
    row = get_model(session, model_version_id)
    return {
        "model": label(row),
        "lineage": list(list_lineage(session, model_version_id)),
        "family": row.family,
        "elements": len(row.elements) or None,
        "licence": row.licence,
        "sha256": row.sha256,
        "file": row.artifact_uri,
        "epochs": list_epochs_of_model(session, model_version_id),
    }
