"""Training runs and their epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.schema import EpochMetric, ModelVersion, TrainingRun
from db.versions import add_version
from heo_core.records import EpochMetrics


def find_model_of_key(session: Session, key: str) -> ModelVersion | None:
    """Return the model that the run of these parameters on this data and foundation made, if it has."""
    query = select(ModelVersion).join(TrainingRun, TrainingRun.id == ModelVersion.training_run_id)
    return session.scalar(query.where(TrainingRun.key == key))


def start_training_run(session: Session, key: str, *, continues: bool, **columns: Any) -> int:
    """Store a run as running and return its id.

    One of the same key that was killed or failed is started again; where it continues from an epoch that it had
    finished, its epochs stay.
    """
    again = {
        **columns,
        "state": "running",
        "failure": None,
        "best_epoch": None,
        "best_score": None,
        "stop_reason": None,
        "log_tail": None,
        "started_at": datetime.now(UTC),
        "finished_at": None,
        "wall_s": None,
    }
    statement = insert(TrainingRun).values(key=key, n_train=0, n_validation=0, left_out={}, **again)
    resumes = TrainingRun.n_resumes + 1 if continues else 0
    statement = statement.on_conflict_do_update(index_elements=["key"], set_={**again, "n_resumes": resumes})
    run_id = session.scalars(statement.returning(TrainingRun.id)).one()
    if not continues:
        session.execute(delete(EpochMetric).where(EpochMetric.training_run_id == run_id))
    return run_id


def describe_training_run(session: Session, training_run_id: int, **columns: Any) -> None:
    """Store what is known of a run once its data are prepared."""
    session.execute(update(TrainingRun).where(TrainingRun.id == training_run_id).values(**columns))


def add_epochs(session: Session, training_run_id: int, epochs: Iterable[EpochMetrics]) -> None:
    """Store epochs; one that is there already is overwritten."""
    for epoch in epochs:
        values = asdict(epoch)
        statement = insert(EpochMetric).values(training_run_id=training_run_id, **values)
        session.execute(statement.on_conflict_do_update(index_elements=["training_run_id", "epoch"], set_=values))


def fail_training_run(session: Session, training_run_id: int, failure: str) -> None:
    """Store why a run ended without a model; one that has ended already stays as it is."""
    run = session.get_one(TrainingRun, training_run_id)
    if run.state != "running":
        return
    run.state, run.failure, run.finished_at = "failed", failure, datetime.now(UTC)
    run.wall_s = (run.finished_at - run.started_at).total_seconds()


def complete_training_run(
    session: Session, training_run_id: int, model: Mapping[str, Any], **columns: Any
) -> ModelVersion:
    """Store the model that a run made and mark the run as completed, in one transaction."""
    run = session.get_one(TrainingRun, training_run_id)
    run.state, run.finished_at = "completed", datetime.now(UTC)
    run.wall_s = (run.finished_at - run.started_at).total_seconds()
    for name, value in columns.items():
        setattr(run, name, value)
    stored, _ = add_version(session, ModelVersion(**model, training_run_id=training_run_id, wall_s=run.wall_s))
    return stored


def list_epochs_of_model(session: Session, model_version_id: int) -> list[dict[str, Any]]:
    """Epochs of the run that made a model, in order."""
    columns = [column for column in EpochMetric.__table__.columns if column.name != "training_run_id"]
    query = (
        select(*columns)
        .join(ModelVersion, ModelVersion.training_run_id == EpochMetric.training_run_id)
        .where(ModelVersion.id == model_version_id)
        .order_by(EpochMetric.epoch)
    )
    return [dict(row) for row in session.execute(query).mappings()]
