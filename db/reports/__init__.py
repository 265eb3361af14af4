"""Reports: everything that a page shows, read from the database, and the pages that were written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db import datasets
from db.reports.dataset import load_cells, load_dataset, load_structures
from db.reports.minima import load_labelled_minima
from db.reports.physics import load_physics_checks, load_physics_curves
from db.reports.predictions import load_curve_points, load_predictions, load_volume_curves
from db.reports.relaxations import MAX_OWN, count_own, find_own_jobs, load_relaxations, load_relaxed_cells
from db.reports.results import (
    list_evaluations,
    load_benchmarks,
    load_comparisons,
    load_group_metrics,
    load_metrics,
)
from db.reports.sources import choose_drawn, load_evaluations
from db.reports.training import load_epochs, load_training_runs, load_trials
from db.schema import Dataset, ModelVersion, Report
from db.versions import label
from heo_core.params import hash_json
from heo_core.reporting.data import ReportData, make_frame
from heo_core.reporting.scenes import choose_cases, choose_samples


def load_report_data(session: Session, model_ids: Sequence[int], benchmarks: Sequence[str] = ()) -> ReportData:
    """Read what the database knows of some models, the one to compare with first, on some benchmarks or on all."""
    rows = [session.get_one(ModelVersion, model_id) for model_id in model_ids]
    labels = {row.id: label(row) for row in rows}
    evaluations = load_evaluations(session, model_ids, benchmarks)
    dataset_id = next((row.dataset_id for row in reversed(rows) if row.dataset_id is not None), None)
    structures = make_frame("structures", [] if dataset_id is None else load_structures(session, dataset_id))
    relaxations = make_frame("relaxations", load_relaxations(session, evaluations, labels))
    jobs = find_own_jobs(session, model_ids)
    own = make_frame("own_relaxations", load_relaxations(session, jobs, labels, MAX_OWN))
    drawn = {str(name): choose_cases(rows) for frame in (relaxations, own) for name, rows in frame.groupby("benchmark")}
    predictions, components = load_predictions(session, choose_drawn(evaluations), labels)
    trials, trial_epochs = load_trials(session, model_ids, labels)
    return ReportData(
        title=" against ".join([*(labels[row.id] for row in rows[1:]), labels[rows[0].id]]),
        generated_at=datetime.now(UTC),
        heo_version=version("heo"),
        models=make_frame("models", [_model_row(session, row, is_baseline=row is rows[0]) for row in rows]),
        dataset=None if dataset_id is None else load_dataset(session, dataset_id),
        rejections=make_frame(
            "rejections", [] if dataset_id is None else datasets.list_rejections(session, dataset_id)
        ),
        splits=make_frame("splits", [] if dataset_id is None else datasets.count_splits(session, dataset_id)),
        structures=structures,
        sample_cells=make_frame("sample_cells", load_cells(session, choose_samples(structures))),
        training_runs=make_frame("training_runs", load_training_runs(session, model_ids)),
        epochs=make_frame("epochs", load_epochs(session, rows)),
        trials=make_frame("trials", trials),
        trial_epochs=make_frame("trial_epochs", trial_epochs),
        benchmarks=make_frame("benchmarks", load_benchmarks(session, evaluations)),
        evaluations=make_frame("evaluations", list_evaluations(evaluations, labels)),
        metrics=make_frame("metrics", load_metrics(session, evaluations, labels)),
        group_metrics=make_frame("group_metrics", load_group_metrics(session, evaluations, labels)),
        comparisons=make_frame("comparisons", load_comparisons(session, evaluations, labels)),
        predictions=make_frame("predictions", predictions),
        force_components=make_frame("force_components", components),
        relaxations=relaxations,
        labelled_minima=make_frame("labelled_minima", load_labelled_minima(session, evaluations, labels)),
        relaxed_cells=make_frame("relaxed_cells", load_relaxed_cells(session, [*evaluations, *jobs], labels, drawn)),
        own_relaxations=own,
        n_own_relaxations=count_own(session, model_ids),
        physics_checks=make_frame("physics_checks", load_physics_checks(session, evaluations, labels)),
        physics_curves=make_frame("physics_curves", load_physics_curves(session, evaluations, labels)),
        volume_curves=make_frame("volume_curves", load_volume_curves(session, evaluations, labels)),
        curve_points=make_frame("curve_points", load_curve_points(session, evaluations, labels)),
    )


def list_evaluation_ids(session: Session, model_ids: Sequence[int], benchmarks: Sequence[str] = ()) -> list[int]:
    """List the evaluations that load_report_data reads at the same moment."""
    return [evaluation.id for evaluation, _ in load_evaluations(session, model_ids, benchmarks)]


def add_report(
    session: Session,
    name: str,
    model_ids: Sequence[int],
    evaluation_ids: Sequence[int],
    *,
    uri: str,
    sha256: str,
    answer: list[str],
) -> int:
    """Store that a page was written; the same page over the same evaluations is one row. Returns its id.

    evaluation_ids: those that the page was made from, none for a page that shows no evaluation.
    """
    # What makes a report this one.
    key = hash_json({"name": name, "models": list(model_ids), "evaluations": sorted(evaluation_ids)})
    values = {"uri": uri, "sha256": sha256, "answer": answer, "created_at": datetime.now(UTC)}
    statement = insert(Report).values(key=key, name=name, evaluation_ids=list(evaluation_ids), **values)
    statement = statement.on_conflict_do_update(index_elements=["key"], set_=values)
    return session.scalars(statement.returning(Report.id)).one()


def get_report(session: Session, report_id: int) -> Report:
    """Return one report."""
    return session.get_one(Report, report_id)


def summarise(session: Session, report_id: int) -> dict[str, Any]:
    """Return what a report says and where it is."""
    row = get_report(session, report_id)
    return {"report": row.uri, "answer": row.answer}


def _model_row(session: Session, row: ModelVersion, *, is_baseline: bool) -> dict[str, Any]:
    return {
        "label": label(row),
        "name": row.name,
        "version": row.version,
        "family": row.family,
        "role": "baseline" if is_baseline else "candidate",
        "parent": label(session.get_one(ModelVersion, row.parent_id)) if row.parent_id else None,
        "sha256": row.sha256,
        "licence": row.licence,
        "dataset": label(session.get_one(Dataset, row.dataset_id)) if row.dataset_id else None,
        "n_elements": len(row.elements) or None,
        "created_at": row.created_at,
        "warnings": list(row.warnings or []),
        "reference": row.reference,
        "foundation": label(session.get_one(ModelVersion, row.foundation_id)) if row.foundation_id else None,
        "energy_scale": row.energy_scale,
        "n_parameters": row.n_parameters,
        "r_max_ang": row.r_max_ang,
        "dtype": row.dtype,
        "params_hash": row.params_hash,
        "dataset_hash": row.dataset_hash,
        "code_version": row.code_version,
        "package_versions": row.package_versions,
        "device": row.device,
    }
