"""The trainings of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from db.schema import Dataset, EpochMetric, ModelVersion, Sweep, SweepTrial, TrainingRun
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
            "e0s": run.e0s,
            "e0_outliers": run.e0_outliers,
            "replay": run.replay,
            "best_epoch": run.best_epoch,
            "wall_s": run.wall_s,
            "train_s": run.train_s,
            "device": run.device,
            "params": {**run.params, "mace_run_train": " ".join(run.mace_arguments)},
            "versions": run.versions,
        }
        for run, model, parent, dataset in session.execute(query)
    ]


def load_epochs(session: Session, rows: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """Return every epoch of the trainings that made these models."""
    return _load_epochs(session, {row.training_run_id: label(row) for row in rows if row.training_run_id is not None})


def _load_epochs(session: Session, labels: dict[int, str]) -> list[dict[str, Any]]:
    query = select(EpochMetric.__table__).where(EpochMetric.training_run_id.in_(labels))
    found = session.execute(query.order_by(EpochMetric.training_run_id, EpochMetric.epoch)).mappings()
    return [{**row, "label": labels[row["training_run_id"]]} for row in found]


def load_trials(
    session: Session, model_ids: Sequence[int], labels: dict[int, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return every trial of the sweeps that these models came from, and every epoch of those trials."""
    own = select(SweepTrial.sweep_id).where(SweepTrial.model_version_id.in_(model_ids))
    best = aliased(EpochMetric)
    query = (
        select(SweepTrial, Sweep, TrainingRun, best)
        .join(Sweep, Sweep.id == SweepTrial.sweep_id)
        .outerjoin(TrainingRun, TrainingRun.id == SweepTrial.training_run_id)
        .outerjoin(best, (best.training_run_id == TrainingRun.id) & (best.epoch == TrainingRun.best_epoch))
        .where(SweepTrial.sweep_id.in_(own))
        .order_by(SweepTrial.sweep_id, SweepTrial.number)
    )
    trials, names = [], {}
    for trial, sweep, run, epoch in session.execute(query):
        name = f"{label(sweep)} trial {trial.number}"
        if trial.model_version_id in labels:
            name = labels[trial.model_version_id]
        if run is not None:
            names[run.id] = name
        trials.append(
            {
                "label": name,
                "sweep": label(sweep),
                "strategy": run.strategy if run else None,
                "state": trial.state,
                "failure": trial.failure,
                "params": trial.params,
                "score": trial.score,
                "best_epoch": run.best_epoch if run else None,
                "energy_rmse_ev_per_atom": epoch.energy_rmse_ev_per_atom if epoch else None,
                "forces_rmse_ev_per_ang": epoch.forces_rmse_ev_per_ang if epoch else None,
                "train_s": run.train_s if run else None,
            }
        )
    return trials, _load_epochs(session, names)
