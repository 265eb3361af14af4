"""The trainings of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.schema import Dataset, EpochMetric, ModelVersion, TrainingRun
from db.versions import label


def load_training_runs(session: Session, model_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the trainings that made these models."""
    child, foundation = aliased(ModelVersion), aliased(ModelVersion)
    query = (
        select(TrainingRun, child, foundation, Dataset)
        .join(child, child.training_run_id == TrainingRun.id)
        .join(foundation, foundation.id == TrainingRun.foundation_id)
        .join(Dataset, Dataset.id == TrainingRun.dataset_id)
        .where(child.id.in_(model_ids))
        .order_by(TrainingRun.id)
    )
    return [
        {
            "label": label(model),
            "foundation": label(parent),
            "dataset": label(dataset),
            "strategy": run.strategy,
            "state": run.state,
            "failure": run.failure,
            "n_train": run.n_train,
            "n_validation": run.n_validation,
            "left_out": run.left_out,
            "best_epoch": run.best_epoch,
            "wall_s": run.wall_s,
            "device": run.device,
            "params": {**run.params, "mace_run_train": " ".join(run.mace_arguments)},
            "versions": run.versions,
        }
        for run, model, parent, dataset in session.execute(query)
    ]


def load_epochs(session: Session, rows: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """Return every epoch of the trainings that made these models."""
    labels = {row.training_run_id: label(row) for row in rows if row.training_run_id is not None}
    query = select(EpochMetric.__table__).where(EpochMetric.training_run_id.in_(labels))
    found = session.execute(query.order_by(EpochMetric.training_run_id, EpochMetric.epoch)).mappings()
    return [{**row, "label": labels[row["training_run_id"]]} for row in found]
