"""Reports: everything that a page shows, read from the database, and the pages that were written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from db import datasets
from db.schema import (
    Benchmark,
    BenchmarkCase,
    Comparison,
    Dataset,
    DatasetMap,
    DatasetMember,
    EpochMetric,
    Evaluation,
    Metric,
    ModelVersion,
    Prediction,
    Relaxation,
    Report,
    Structure,
    TrainingRun,
    VolumeCurve,
)
from db.versions import label
from heo_core.params import hash_json
from heo_core.reporting.data import ReportData, make_frame

# Names that say that labels come from density-functional theory; of any other name the page says that it does not know.
_DFT_FUNCTIONALS = frozenset({"pbe", "pbesol", "scan", "r2scan", "pbe+u", "lda"})

# Force components shown a model: enough to see the cloud, few enough for the page.
_MAX_COMPONENTS = 4000
# Kinds of benchmark whose predictions are drawn one by one.
_DRAWN_KINDS = frozenset({"energy-forces", "off-equilibrium", "forgetting-holdout"})
_TRAINED_ON = frozenset({"train", "validation"})
# Copies off equilibrium carry no labels and stand in no comparison of splits.
_IS_CURATED = DatasetMember.split != "off_equilibrium"


def load_report_data(session: Session, model_ids: Sequence[int]) -> ReportData:
    """Read what the database knows of some models, the one to compare with first."""
    rows = [session.get_one(ModelVersion, model_id) for model_id in model_ids]
    labels = {row.id: label(row) for row in rows}
    evaluations = _load_evaluations(session, model_ids)
    dataset_id = next((row.dataset_id for row in reversed(rows) if row.dataset_id is not None), None)
    predictions, components = _load_predictions(session, _choose_drawn(evaluations), labels)
    return ReportData(
        title=" against ".join([*(labels[row.id] for row in rows[1:]), labels[rows[0].id]]),
        generated_at=datetime.now(UTC),
        heo_version=version("heo"),
        models=make_frame("models", [_model_row(session, row, is_baseline=row is rows[0]) for row in rows]),
        dataset=None if dataset_id is None else _load_dataset(session, dataset_id),
        rejections=make_frame(
            "rejections", [] if dataset_id is None else datasets.list_rejections(session, dataset_id)
        ),
        splits=make_frame("splits", [] if dataset_id is None else datasets.count_splits(session, dataset_id)),
        structures=make_frame("structures", [] if dataset_id is None else _load_structures(session, dataset_id)),
        training_runs=make_frame("training_runs", _load_training_runs(session, model_ids)),
        epochs=make_frame("epochs", _load_epochs(session, rows)),
        benchmarks=make_frame("benchmarks", _load_benchmarks(session, evaluations)),
        metrics=make_frame("metrics", _load_metrics(session, evaluations, labels)),
        comparisons=make_frame("comparisons", _load_comparisons(session, evaluations, labels)),
        predictions=make_frame("predictions", predictions),
        force_components=make_frame("force_components", components),
        relaxations=make_frame("relaxations", _load_relaxations(session, evaluations, labels)),
        volume_curves=make_frame("volume_curves", _load_volume_curves(session, evaluations, labels)),
        curve_points=make_frame("curve_points", _load_curve_points(session, evaluations, labels)),
    )


def add_report(
    session: Session, name: str, model_ids: Sequence[int], *, uri: str, sha256: str, answer: list[str]
) -> int:
    """Store that a page was written; the same page over the same evaluations is one row. Returns its id."""
    evaluation_ids = [evaluation.id for evaluation, _ in _load_evaluations(session, model_ids)]
    key = make_key(session, name, model_ids)
    values = {"uri": uri, "sha256": sha256, "answer": answer, "created_at": datetime.now(UTC)}
    statement = insert(Report).values(key=key, name=name, evaluation_ids=evaluation_ids, **values)
    statement = statement.on_conflict_do_update(index_elements=["key"], set_=values)
    return session.scalars(statement.returning(Report.id)).one()


def make_key(session: Session, name: str, model_ids: Sequence[int]) -> str:
    """Return what makes a report this one: its name, its models and the evaluations there are of them."""
    evaluation_ids = sorted(evaluation.id for evaluation, _ in _load_evaluations(session, model_ids))
    return hash_json({"name": name, "models": list(model_ids), "evaluations": evaluation_ids})


def get_report(session: Session, report_id: int) -> Report:
    """Return one report."""
    return session.get_one(Report, report_id)


def summarise(session: Session, report_id: int) -> dict[str, Any]:
    """Return what a report says and where it is."""
    row = get_report(session, report_id)
    return {"report": row.uri, "answer": row.answer}


type _Evaluations = list[tuple[Evaluation, Benchmark]]


def _load_evaluations(session: Session, model_ids: Sequence[int]) -> _Evaluations:
    """Completed evaluations of these models; of each benchmark, the newest version that any of them ran."""
    query = (
        select(Evaluation, Benchmark)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .where(Evaluation.model_version_id.in_(model_ids), Evaluation.state == "completed")
        .where(Benchmark.kind != "relax")  # structures of somebody's own: results, no comparison
        .order_by(Benchmark.kind, Benchmark.name, Benchmark.version.desc(), Evaluation.id)
    )
    pairs = [(evaluation, benchmark) for evaluation, benchmark in session.execute(query)]
    # Whoever was evaluated first: figures and tables show the models in the order of the report.
    place = {model_id: i for i, model_id in enumerate(model_ids)}
    order = list(dict.fromkeys(benchmark.id for _, benchmark in pairs))
    pairs.sort(key=lambda pair: (order.index(pair[1].id), place[pair[0].model_version_id]))
    newest: dict[str, int] = {}
    for _, benchmark in pairs:
        newest.setdefault(benchmark.name, benchmark.id)
    return [(evaluation, benchmark) for evaluation, benchmark in pairs if newest[benchmark.name] == benchmark.id]


def _choose_drawn(evaluations: _Evaluations) -> _Evaluations:
    """Choose those whose predictions are drawn one by one: not on splits trained on, unless there is nothing else."""
    drawn = [(evaluation, benchmark) for evaluation, benchmark in evaluations if benchmark.kind in _DRAWN_KINDS]
    fair = [
        (evaluation, benchmark) for evaluation, benchmark in drawn if benchmark.params.get("split") not in _TRAINED_ON
    ]
    return fair if any(benchmark.kind == "energy-forces" for _, benchmark in fair) else drawn


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
    }


def _load_dataset(session: Session, dataset_id: int) -> dict[str, Any]:
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
        "label_kind": _judge_labels(functionals),
        "functionals": functionals,
        "n_scanned": row.n_scanned,
        "n_kept": row.n_kept,
        "params": row.params,
    }


def _judge_labels(functionals: list[str]) -> str:
    if any("surrogate" in functional for functional in functionals):
        return "surrogate"
    return "dft" if {functional.lower() for functional in functionals} <= _DFT_FUNCTIONALS else "unknown"


def _load_structures(session: Session, dataset_id: int) -> list[dict[str, Any]]:
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
            places.c.method.label("map_method"),
            places.c.x.label("map_x"),
            places.c.y.label("map_y"),
        )
        .join(DatasetMember, DatasetMember.structure_id == Structure.id)
        .outerjoin(places, places.c.structure_id == Structure.id)
        .where(DatasetMember.dataset_id == dataset_id, _IS_CURATED)
        .order_by(Structure.immutable_id)
    )
    return [dict(row) for row in session.execute(query).mappings()]


def _load_training_runs(session: Session, model_ids: Sequence[int]) -> list[dict[str, Any]]:
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


def _load_epochs(session: Session, rows: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    labels = {row.training_run_id: label(row) for row in rows if row.training_run_id is not None}
    query = select(EpochMetric.__table__).where(EpochMetric.training_run_id.in_(labels))
    found = session.execute(query.order_by(EpochMetric.training_run_id, EpochMetric.epoch)).mappings()
    return [{**row, "label": labels[row["training_run_id"]]} for row in found]


def _load_benchmarks(session: Session, evaluations: _Evaluations) -> list[dict[str, Any]]:
    unique = {benchmark.id: benchmark for _, benchmark in evaluations}
    return [
        {
            "benchmark": label(benchmark),
            "kind": benchmark.kind,
            "version": benchmark.version,
            "n_cases": benchmark.n_cases,
            "reference": label(session.get_one(ModelVersion, benchmark.reference_id))
            if benchmark.reference_id
            else None,
            "params": benchmark.params,
        }
        for benchmark in unique.values()
    ]


def _load_metrics(session: Session, evaluations: _Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    about = {
        evaluation.id: {
            "label": labels[evaluation.model_version_id],
            "benchmark": label(benchmark),
            "kind": benchmark.kind,
        }
        for evaluation, benchmark in evaluations
    }
    query = select(Metric.__table__).where(Metric.evaluation_id.in_(about)).order_by(Metric.evaluation_id, Metric.name)
    return [{**row, **about[row["evaluation_id"]]} for row in session.execute(query).mappings()]


def _load_comparisons(session: Session, evaluations: _Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    of = {evaluation.id: (labels[evaluation.model_version_id], benchmark) for evaluation, benchmark in evaluations}
    query = select(Comparison.__table__).where(Comparison.baseline_id.in_(of), Comparison.candidate_id.in_(of))
    return [
        {
            **row,
            "benchmark": label(of[row["candidate_id"]][1]),
            "kind": of[row["candidate_id"]][1].kind,
            "baseline": of[row["baseline_id"]][0],
            "candidate": of[row["candidate_id"]][0],
        }
        for row in session.execute(query.order_by(Comparison.candidate_id, Comparison.name)).mappings()
    ]


def _load_predictions(
    session: Session, evaluations: _Evaluations, labels: dict[int, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both frames: one a structure, and a seeded sample of force components."""
    predictions: list[dict[str, Any]] = []
    components: list[dict[str, Any]] = []
    for evaluation, benchmark in evaluations:
        query = (
            select(Prediction, Structure)
            .join(Structure, Structure.id == Prediction.structure_id)
            .where(Prediction.evaluation_id == evaluation.id)
            .order_by(Structure.content_hash)
        )
        found = list(session.execute(query))
        model = labels[evaluation.model_version_id]
        predictions += [
            _prediction_row(model, label(benchmark), prediction, structure) for prediction, structure in found
        ]
        components += _sample_components(model, label(benchmark), found)
    return predictions, components


def _prediction_row(model: str, benchmark: str, prediction: Prediction, structure: Structure) -> dict[str, Any]:
    return {
        "label": model,
        "benchmark": benchmark,
        "structure_id": structure.id,
        "immutable_id": structure.immutable_id,
        "formula_reduced": structure.formula_reduced,
        "n_atoms": structure.n_atoms,
        "energy_reference_ev_per_atom": _per_atom(structure.energy_ev, structure.n_atoms),
        "energy_predicted_ev_per_atom": _per_atom(prediction.energy_ev, structure.n_atoms),
        "forces_rmse_ev_per_ang": prediction.forces_rmse_ev_per_ang,
        "forces_mae_ev_per_ang": prediction.forces_mae_ev_per_ang,
        "failure": prediction.failure,
    }


def _sample_components(
    model: str, benchmark: str, found: Sequence[tuple[Prediction, Structure]]
) -> list[dict[str, Any]]:
    """At most _MAX_COMPONENTS force components, the same ones for every model that predicted the same structures."""
    rows = [
        {
            "label": model,
            "benchmark": benchmark,
            "structure_id": structure.id,
            "immutable_id": structure.immutable_id,
            "reference_ev_per_ang": reference,
            "predicted_ev_per_ang": predicted,
        }
        for prediction, structure in found
        if prediction.forces_ev_per_ang is not None and structure.forces_ev_per_ang is not None
        for reference, predicted in zip(
            np.ravel(structure.forces_ev_per_ang), np.ravel(prediction.forces_ev_per_ang), strict=True
        )
    ]
    if len(rows) <= _MAX_COMPONENTS:
        return rows
    chosen = np.random.default_rng(0).choice(len(rows), _MAX_COMPONENTS, replace=False)
    return [rows[i] for i in np.sort(chosen)]


def _load_relaxations(session: Session, evaluations: _Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    of = {evaluation.id: (labels[evaluation.model_version_id], benchmark) for evaluation, benchmark in evaluations}
    query = (
        select(Relaxation, BenchmarkCase, Structure)
        .join(Evaluation, Evaluation.id == Relaxation.evaluation_id)
        .join(
            BenchmarkCase,
            (BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
            & (BenchmarkCase.case_index == Relaxation.case_index),
        )
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .where(Relaxation.evaluation_id.in_(of))
        .order_by(Relaxation.evaluation_id, Relaxation.case_index)
    )
    return [
        {
            "label": of[relaxation.evaluation_id][0],
            "benchmark": label(of[relaxation.evaluation_id][1]),
            "kind": of[relaxation.evaluation_id][1].kind,
            "case_index": relaxation.case_index,
            "case_id": start.immutable_id,
            "formula_reduced": start.formula_reduced,
            "n_atoms": start.n_atoms,
            "rattle_ang": case.recipe.get("rattle_ang"),
            "converged": relaxation.converged,
            "failure": relaxation.failure,
            "force_calls": relaxation.force_calls,
            "fmax_ev_per_ang": relaxation.fmax_ev_per_ang,
            "cell_fmax_ev_per_ang": relaxation.cell_fmax_ev_per_ang,
            "energy_final_ev_per_atom": _per_atom(relaxation.energy_final_ev, start.n_atoms),
            "reference_energy_ev_per_atom": _per_atom(relaxation.reference_energy_ev, start.n_atoms),
            "displacement_rmsd_ang": relaxation.displacement_rmsd_ang,
            "volume_change_fraction": relaxation.volume_change_fraction,
            "energy_above_unrattled_ev_per_atom": relaxation.energy_above_unrattled_ev_per_atom,
            "energies_ev": relaxation.energies_ev,
            "fmaxes_ev_per_ang": relaxation.fmaxes_ev_per_ang,
        }
        for relaxation, case, start in session.execute(query)
    ]


def _load_volume_curves(session: Session, evaluations: _Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    of = {e.id: (labels[e.model_version_id], label(benchmark)) for e, benchmark in evaluations}
    query = select(VolumeCurve.__table__).where(VolumeCurve.evaluation_id.in_(of))
    rows = session.execute(query.order_by(VolumeCurve.evaluation_id, VolumeCurve.material)).mappings()
    return [{**row, "label": of[row["evaluation_id"]][0], "benchmark": of[row["evaluation_id"]][1]} for row in rows]


def _load_curve_points(session: Session, evaluations: _Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Energies of the equations of state, the reference's own beside each model's."""
    of = {e.id: labels[e.model_version_id] for e, benchmark in evaluations if benchmark.kind == "equation-of-state"}
    query = (
        select(Evaluation.id, BenchmarkCase.recipe, Structure, Prediction.energy_ev)
        .join(BenchmarkCase, BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .join(Prediction, (Prediction.evaluation_id == Evaluation.id) & (Prediction.structure_id == Structure.id))
        .where(Evaluation.id.in_(of))
        .order_by(Evaluation.id, BenchmarkCase.case_index)
    )
    return [
        {
            "label": of[evaluation_id],
            "material": recipe["material"],
            "volume_factor": recipe["volume_factor"],
            "volume_ang3_per_atom": structure.volume_per_atom_ang3,
            "energy_reference_ev_per_atom": _per_atom(structure.energy_ev, structure.n_atoms),
            "energy_predicted_ev_per_atom": _per_atom(energy_ev, structure.n_atoms),
        }
        for evaluation_id, recipe, structure, energy_ev in session.execute(query)
    ]


def _per_atom(energy_ev: float | None, n_atoms: int) -> float | None:
    return None if energy_ev is None else energy_ev / n_atoms
