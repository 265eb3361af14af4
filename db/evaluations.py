"""Benchmarks and evaluations: define, run in pieces that last, summarise, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import batched
from typing import Any, cast

import numpy as np
from sqlalchemy import Table, delete, exists, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from db.bulk import copy_rows
from db.schema import Benchmark, Comparison, Dataset, Evaluation, GroupMetric, Metric, ModelVersion, RelaxationTotal
from db.schema import BenchmarkCase as CaseRow
from db.schema import PhysicsCheck as PhysicsCheckRow
from db.schema import Prediction as PredictionRow
from db.schema import Relaxation as RelaxationRow
from db.schema import Structure as StructureRow
from db.schema import VolumeCurve as VolumeCurveRow
from db.structures import add_structures, load_structures, to_array, to_lists
from db.versions import add_version, get_version, label
from heo_core.params import BenchmarkParams, hash_json
from heo_core.records import BenchmarkCase, PhysicsCheck, Prediction, Relaxation, VolumeCurve
from heo_core.records import GroupMetric as GroupMetricRecord
from heo_core.records import Metric as MetricRecord

# Postgres takes 65,535 parameters.
_ROWS_PER_QUERY = 10_000


def add_benchmark(
    session: Session,
    params: BenchmarkParams,
    cases: Sequence[BenchmarkCase],
    *,
    name: str,
    dataset_id: int | None,
    reference_id: int | None,
    is_of_files: bool = False,
    auto: bool = False,
) -> Benchmark:
    """Store a benchmark, or return the version that is the same in parameters, structures and reference.

    is_of_files: its structures were read from files, so that no split or dataset of the parameters is meant. auto: the
    mark of a first version; a later one is marked as the one before it.
    """
    parts = [[case.start.content_hash, case.target.content_hash if case.target else None] for case in cases]
    dumped = params.model_dump(mode="json", exclude={"split", "dataset"} if is_of_files else None)
    before = session.scalar(select(Benchmark.auto).where(Benchmark.name == name).limit(1))
    benchmark, is_new = add_version(
        session,
        Benchmark(
            name=name,
            key=hash_json({"params": dumped, "cases": parts, "reference": reference_id}),
            kind=params.kind,
            params=dumped,
            dataset_id=dataset_id,
            reference_id=reference_id,
            n_cases=len(cases),
            auto=auto if before is None else before,
        ),
    )
    if is_new and cases:
        targets = (case.target for case in cases if case.target is not None)
        ids = add_structures(session, [*(case.start for case in cases), *targets])
        rows = [
            {
                "benchmark_id": benchmark.id,
                "case_index": i,
                "structure_id": ids[case.start.content_hash],
                "target_id": ids[case.target.content_hash] if case.target else None,
                "recipe": case.recipe,
            }
            for i, case in enumerate(cases)
        ]
        session.execute(insert(CaseRow), rows)
    return benchmark


def get_benchmark(session: Session, benchmark_id: int) -> Benchmark:
    """Return one benchmark."""
    return session.get_one(Benchmark, benchmark_id)


def get_benchmark_of_evaluation(session: Session, evaluation_id: int) -> Benchmark:
    """Return the benchmark that an evaluation ran."""
    return get_benchmark(session, session.get_one(Evaluation, evaluation_id).benchmark_id)


def load_cases(session: Session, benchmark_id: int) -> tuple[list[int], list[BenchmarkCase]]:
    """Cases of a benchmark in order, with the ids of their start structures."""
    found = load_cases_by_index(session, benchmark_id)
    return [structure_id for structure_id, _ in found.values()], [case for _, case in found.values()]


def load_cases_by_index(
    session: Session, benchmark_id: int, indices: Sequence[int] | None = None
) -> dict[int, tuple[int, BenchmarkCase]]:
    """Id of the start structure, and the case, by case index, in the order of the indices; of all cases without any."""
    rows: list[CaseRow] = []
    query = select(CaseRow).where(CaseRow.benchmark_id == benchmark_id).order_by(CaseRow.case_index)
    if indices is None:
        rows += session.scalars(query)
    else:
        for chunk in batched(indices, _ROWS_PER_QUERY):
            by_index = {row.case_index: row for row in session.scalars(query.where(CaseRow.case_index.in_(chunk)))}
            rows += (by_index[index] for index in chunk)
    wanted = {row.structure_id for row in rows} | {row.target_id for row in rows if row.target_id is not None}
    structures = load_structures(session, wanted)
    return {
        row.case_index: (
            row.structure_id,
            BenchmarkCase(
                start=structures[row.structure_id],
                target=None if row.target_id is None else structures[row.target_id],
                recipe=row.recipe,
            ),
        )
        for row in rows
    }


def list_benchmarks(session: Session) -> list[dict[str, Any]]:
    """One row a benchmark, newest first."""
    query = select(Benchmark, Dataset, ModelVersion).order_by(Benchmark.created_at.desc(), Benchmark.id.desc())
    query = query.outerjoin(Dataset, Dataset.id == Benchmark.dataset_id)
    query = query.outerjoin(ModelVersion, ModelVersion.id == Benchmark.reference_id)
    return [
        {
            "benchmark": label(benchmark),
            "kind": benchmark.kind,
            "structures": benchmark.n_cases,
            "dataset": label(dataset) if dataset else None,
            "reference": label(reference) if reference else None,
            "auto": benchmark.auto,
            "created": benchmark.created_at,
        }
        for benchmark, dataset, reference in session.execute(query)
    ]


def summarise_benchmark(session: Session, reference: str) -> dict[str, Any]:
    """Return what NAME or NAME@VERSION measures, with what parameters, and which models it has measured."""
    benchmark = get_version(session, Benchmark, reference)
    of_dataset = None if benchmark.dataset_id is None else session.get_one(Dataset, benchmark.dataset_id)
    common = None if benchmark.reference_id is None else session.get_one(ModelVersion, benchmark.reference_id)
    query = (
        select(Evaluation, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Evaluation.model_version_id)
        .where(Evaluation.benchmark_id == benchmark.id, Evaluation.replaces_id.is_(None))
        .order_by(Evaluation.id)
    )
    return {
        "benchmark": label(benchmark),
        "kind": benchmark.kind,
        "structures": benchmark.n_cases,
        "dataset": label(of_dataset) if of_dataset else None,
        "reference": label(common) if common else None,
        "auto": benchmark.auto,
        "key": benchmark.key,
        "created": benchmark.created_at,
        "params": benchmark.params,
        "evaluations": [
            {
                "model": label(model),
                "state": evaluation.state,
                "finished": evaluation.finished_at,
                "wall_s": evaluation.wall_s,
                "failure": evaluation.failure,
            }
            for evaluation, model in session.execute(query)
        ],
    }


def find_evaluation(session: Session, model_version_id: int, benchmark_id: int) -> Evaluation | None:
    """Return the evaluation of this model on this benchmark, in whatever state it is."""
    return session.scalar(
        select(Evaluation).where(
            Evaluation.model_version_id == model_version_id,
            Evaluation.benchmark_id == benchmark_id,
            Evaluation.replaces_id.is_(None),
        )
    )


def get_evaluation(session: Session, evaluation_id: int) -> Evaluation:
    """Return one evaluation."""
    return session.get_one(Evaluation, evaluation_id)


def list_remaining(session: Session, evaluation_id: int, among: Sequence[int] | None = None) -> list[int]:
    """List the cases, by index, that an evaluation has no row of, the largest first; among: of these cases alone."""
    evaluation = get_evaluation(session, evaluation_id)
    relaxed = exists().where(
        RelaxationRow.evaluation_id == evaluation_id, RelaxationRow.case_index == CaseRow.case_index
    )
    predicted = exists().where(
        PredictionRow.evaluation_id == evaluation_id, PredictionRow.structure_id == CaseRow.structure_id
    )
    query = (
        select(CaseRow.case_index)
        .join(StructureRow, StructureRow.id == CaseRow.structure_id)
        .where(CaseRow.benchmark_id == evaluation.benchmark_id, ~relaxed, ~predicted)
        .order_by(StructureRow.n_atoms.desc(), CaseRow.case_index)
    )
    return list(session.scalars(query if among is None else query.where(CaseRow.case_index.in_(among))))


_AND = " and "


def add_device(session: Session, evaluation_id: int, device: str) -> None:
    """Store what rows of an evaluation were computed on, beside what others were; in the transaction of the rows."""
    known = select(Evaluation.device).where(Evaluation.id == evaluation_id)
    if device in (session.scalar(known) or "").split(_AND):
        return
    # Again, and locked: another shard may be adding its device.
    others = filter(None, (session.scalar(known.with_for_update(key_share=True)) or "").split(_AND))
    devices = _AND.join(sorted({device, *others}))
    session.execute(update(Evaluation).where(Evaluation.id == evaluation_id).values(device=devices))


def start_evaluation(
    session: Session,
    model_version_id: int,
    benchmark_id: int,
    *,
    flow_run_id: str | None,
    replaces_id: int | None = None,
) -> Evaluation:
    """Store an evaluation as running; rows that an earlier try left are kept, and what they were computed on.

    replaces_id: a completed evaluation of the same pair; the new one stands beside it, and takes its place in
    `complete_evaluation`.
    """
    again = {
        "state": "running",
        "failure": None,
        "flow_run_id": flow_run_id,
        "started_at": datetime.now(UTC),
        "finished_at": None,
    }
    pair = {"model_version_id": model_version_id, "benchmark_id": benchmark_id}
    statement = upsert(Evaluation).values(**pair, replaces_id=replaces_id, **again)
    if replaces_id is None:
        statement = statement.on_conflict_do_update(
            index_elements=list(pair), index_where=Evaluation.replaces_id.is_(None), set_=again
        )
    else:
        statement = statement.on_conflict_do_update(index_elements=["replaces_id"], set_=again)
    evaluation_id = session.scalars(statement.returning(Evaluation.id)).one()
    return session.get_one(Evaluation, evaluation_id, populate_existing=True)


def fail_evaluation(session: Session, evaluation_id: int, failure: str, *, started_at: datetime) -> None:
    """Store why an evaluation is not complete.

    started_at: of the try that failed. Locks go with a Postgres that is started again: one that another run has then
    started again, or completed, stays as that run says.
    """
    session.execute(
        update(Evaluation)
        .where(Evaluation.id == evaluation_id, Evaluation.state == "running", Evaluation.started_at == started_at)
        .values(state="failed", failure=failure, finished_at=datetime.now(UTC))
    )


def add_predictions(
    session: Session,
    evaluation_id: int,
    predictions: Mapping[int, Prediction],
    errors: Mapping[int, Mapping[str, float | None]],
) -> None:
    """Store predictions by structure id, with each structure's errors."""
    rows = [
        {
            "evaluation_id": evaluation_id,
            "structure_id": structure_id,
            "energy_ev": prediction.energy_ev,
            "forces_ev_per_ang": to_lists(prediction.forces_ev_per_ang),
            "stress_ev_per_ang3": to_lists(prediction.stress_ev_per_ang3),
            "failure": prediction.failure,
            **errors[structure_id],
        }
        for structure_id, prediction in predictions.items()
    ]
    if rows:
        session.execute(upsert(PredictionRow).on_conflict_do_nothing(), rows)


def load_predictions(session: Session, evaluation_id: int) -> dict[int, Prediction]:
    """Predictions of an evaluation by structure id."""
    rows = session.scalars(select(PredictionRow).where(PredictionRow.evaluation_id == evaluation_id))
    return {
        row.structure_id: Prediction(
            energy_ev=row.energy_ev,
            forces_ev_per_ang=to_array(row.forces_ev_per_ang),
            stress_ev_per_ang3=to_array(row.stress_ev_per_ang3),
            failure=row.failure,
        )
        for row in rows
    }


def add_relaxations(
    session: Session,
    evaluation_id: int,
    relaxations: Mapping[int, Relaxation],
    trajectory_uris: Mapping[int, str] | None = None,
) -> None:
    """Store how cases relaxed, by index, and where the files with their states are, by COPY; none is changed."""
    uris = trajectory_uris or {}
    # It stays as long as the connection does.
    session.execute(text("create temporary table if not exists new_relaxation (like relaxation) on commit delete rows"))
    rows = (
        [evaluation_id, case_index, uris.get(case_index), *(get(relaxation) for get in _RELAXATION_COLUMNS.values())]
        for case_index, relaxation in relaxations.items()
    )
    copy_rows(session, _RELAXATION_TABLE, _RELAXATION_NAMES, rows, into="new_relaxation")
    session.execute(_INSERT_NEW_RELAXATIONS)


_RELAXATION_COLUMNS: dict[str, Callable[[Relaxation], Any]] = {
    "converged": lambda r: r.converged,
    "failure": lambda r: r.failure,
    "force_calls": lambda r: r.force_calls,
    "wall_s": lambda r: r.wall_s,
    "energy_initial_ev": lambda r: r.energy_initial_ev,
    "energy_final_ev": lambda r: r.energy_final_ev,
    "fmax_ev_per_ang": lambda r: r.fmax_ev_per_ang,
    "cell_fmax_ev_per_ang": lambda r: r.cell_fmax_ev_per_ang,
    "lattice_ang": lambda r: r.lattice,
    "positions_ang": lambda r: r.positions,
    "forces_ev_per_ang": lambda r: r.forces_ev_per_ang,
    "stress_ev_per_ang3": lambda r: r.stress_ev_per_ang3,
    "energies_ev": lambda r: np.array(r.energies_ev),
    "fmaxes_ev_per_ang": lambda r: np.array(r.fmaxes_ev_per_ang),
    "displacement_rmsd_ang": lambda r: r.displacement_rmsd_ang,
    "volume_change_fraction": lambda r: r.volume_change_fraction,
}
_RELAXATION_TABLE = cast("Table", RelaxationRow.__table__)
_RELAXATION_NAMES = ["evaluation_id", "case_index", "trajectory_uri", *_RELAXATION_COLUMNS]
_INSERT_NEW_RELAXATIONS = text(
    f"insert into relaxation ({', '.join(_RELAXATION_NAMES)}) "  # noqa: S608
    f"select {', '.join(_RELAXATION_NAMES)} from new_relaxation on conflict do nothing"
)


def load_relaxations(session: Session, evaluation_id: int) -> dict[int, Relaxation]:
    """Relaxations of an evaluation by case index."""
    rows = session.scalars(select(RelaxationRow).where(RelaxationRow.evaluation_id == evaluation_id))
    return {
        row.case_index: Relaxation(
            converged=row.converged,
            failure=row.failure,
            force_calls=row.force_calls,
            wall_s=row.wall_s,
            energy_initial_ev=row.energy_initial_ev,
            energy_final_ev=row.energy_final_ev,
            fmax_ev_per_ang=row.fmax_ev_per_ang,
            cell_fmax_ev_per_ang=row.cell_fmax_ev_per_ang,
            lattice=to_array(row.lattice_ang),
            positions=to_array(row.positions_ang),
            forces_ev_per_ang=to_array(row.forces_ev_per_ang),
            stress_ev_per_ang3=to_array(row.stress_ev_per_ang3),
            energies_ev=tuple(row.energies_ev),
            fmaxes_ev_per_ang=tuple(row.fmaxes_ev_per_ang),
            displacement_rmsd_ang=row.displacement_rmsd_ang,
            volume_change_fraction=row.volume_change_fraction,
        )
        for row in rows
    }


def load_trajectory_uris(session: Session, evaluation_id: int) -> dict[int, str]:
    """Where the files with every state of a relaxation are, by case index, where there is one."""
    query = select(RelaxationRow.case_index, RelaxationRow.trajectory_uri)
    rows = session.execute(query.where(RelaxationRow.evaluation_id == evaluation_id))
    return {case_index: uri for case_index, uri in rows if uri is not None}


def update_relaxations(
    session: Session, evaluation_id: int, rows: Mapping[int, Mapping[str, float | bool | None]]
) -> None:
    """Store numbers computed after the relaxation (displacement, reference energy, ...) by case index."""
    for case_index, values in rows.items():
        session.execute(
            update(RelaxationRow)
            .where(RelaxationRow.evaluation_id == evaluation_id, RelaxationRow.case_index == case_index)
            .values(**values)
        )


def load_reference_energies(session: Session, evaluation_id: int) -> dict[int, float | None]:
    """Energies of the final states under the benchmark's common reference, eV, by case index."""
    query = select(RelaxationRow.case_index, RelaxationRow.reference_energy_ev)
    return dict(session.execute(query.where(RelaxationRow.evaluation_id == evaluation_id)).tuples().all())


def set_volume_curves(session: Session, evaluation_id: int, rows: Sequence[VolumeCurve]) -> None:
    """Store the equation of state of every material, in place of what is there."""
    session.execute(delete(VolumeCurveRow).where(VolumeCurveRow.evaluation_id == evaluation_id))
    if rows:
        session.execute(insert(VolumeCurveRow), [{"evaluation_id": evaluation_id, **asdict(row)} for row in rows])


def set_physics_checks(session: Session, evaluation_id: int, checks: Sequence[PhysicsCheck]) -> None:
    """Store what a physics benchmark found, in place of what is there."""
    session.execute(delete(PhysicsCheckRow).where(PhysicsCheckRow.evaluation_id == evaluation_id))
    if checks:
        session.execute(
            insert(PhysicsCheckRow), [{"evaluation_id": evaluation_id, **asdict(check)} for check in checks]
        )


def load_physics_checks(session: Session, evaluation_id: int) -> list[PhysicsCheck]:
    """Numbers that a physics benchmark found, in a fixed order."""
    key = (PhysicsCheckRow.kind, PhysicsCheckRow.subject, PhysicsCheckRow.name)
    rows = session.scalars(select(PhysicsCheckRow).where(PhysicsCheckRow.evaluation_id == evaluation_id).order_by(*key))
    return [PhysicsCheck(row.kind, row.subject, row.name, row.value, row.unit, row.failure) for row in rows]


def complete_evaluation(
    session: Session,
    evaluation_id: int,
    metrics: Sequence[MetricRecord],
    wall_s: float,
    *,
    group_metrics: Sequence[GroupMetricRecord] = (),
    cautions: Sequence[str] = (),
    dtype: str | None = None,
) -> None:
    """Store an evaluation's summary and mark it as completed, in one transaction.

    An evaluation that it was started to replace goes in the same transaction, with its rows and comparisons. One that
    is complete already stays as it is: locks go with a Postgres that is started again, and another run was first.
    """
    evaluation = session.get_one(Evaluation, evaluation_id, populate_existing=True, with_for_update=True)
    if evaluation.state == "completed":
        return
    for table, records in ((Metric, metrics), (GroupMetric, group_metrics)):
        session.execute(delete(table).where(table.evaluation_id == evaluation_id))
        if records:
            session.execute(insert(table), [{"evaluation_id": evaluation_id, **asdict(record)} for record in records])
    sum_relaxations(session, evaluation_id)
    if evaluation.replaces_id is not None:
        # The database sets replaces_id to null.
        session.execute(delete(Evaluation).where(Evaluation.id == evaluation.replaces_id))
        session.refresh(evaluation)
    evaluation.state, evaluation.failure, evaluation.finished_at = "completed", None, datetime.now(UTC)
    evaluation.wall_s, evaluation.cautions, evaluation.dtype = wall_s, list(cautions), dtype


def sum_relaxations(session: Session, evaluation_id: int) -> None:
    """Store all relaxations of an evaluation together, in place of what is there; without any, nothing."""
    row = RelaxationRow
    summed = (
        select(
            row.evaluation_id,
            func.count(),
            func.count().filter(row.converged),
            func.count().filter(row.energy_final_ev.is_(None)),
            func.percentile_cont(0.5).within_group(row.force_calls).filter(row.converged),
            func.sum(row.force_calls),
            func.sum(row.wall_s),
            func.avg(row.displacement_rmsd_ang),
            func.avg(row.volume_change_fraction),
        )
        .where(row.evaluation_id == evaluation_id)
        .group_by(row.evaluation_id)
    )
    session.execute(delete(RelaxationTotal).where(RelaxationTotal.evaluation_id == evaluation_id))
    columns = [column.name for column in RelaxationTotal.__table__.columns]
    session.execute(insert(RelaxationTotal).from_select(columns, summed))


def summarise(session: Session, evaluation_ids: Sequence[int]) -> dict[str, Any]:
    """Return the numbers of evaluations, the paired differences between them, and what to know before reading them."""
    return {
        "caution": list_cautions(session, evaluation_ids),
        "metrics": list_metrics(session, evaluation_ids),
        "differences": list_differences(session, evaluation_ids),
    }


def list_metrics(session: Session, evaluation_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Summary numbers of evaluations, one row a number."""
    query = (
        select(Metric, Benchmark, ModelVersion)
        .join(Evaluation, Evaluation.id == Metric.evaluation_id)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .join(ModelVersion, ModelVersion.id == Evaluation.model_version_id)
        .where(Metric.evaluation_id.in_(evaluation_ids))
        .order_by(Benchmark.id, Metric.name, ModelVersion.id)
    )
    return [
        {
            "benchmark": label(benchmark),
            "metric": metric.name,
            "model": label(model),
            "value": metric.value,
            "ci_low": metric.ci_low,
            "ci_high": metric.ci_high,
            "unit": metric.unit,
            "n": metric.n,
        }
        for metric, benchmark, model in session.execute(query)
    ]


def list_differences(session: Session, evaluation_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Paired differences between evaluations, candidate minus baseline, one row a number."""
    baseline, candidate = aliased(Evaluation), aliased(Evaluation)
    before, after = aliased(ModelVersion), aliased(ModelVersion)
    query = (
        select(Comparison, Benchmark, before, after)
        .join(baseline, baseline.id == Comparison.baseline_id)
        .join(candidate, candidate.id == Comparison.candidate_id)
        .join(Benchmark, Benchmark.id == baseline.benchmark_id)
        .join(before, before.id == baseline.model_version_id)
        .join(after, after.id == candidate.model_version_id)
        .where(baseline.id.in_(evaluation_ids), candidate.id.in_(evaluation_ids))
        .order_by(Benchmark.id, Comparison.name, before.id, after.id)
    )
    return [
        {
            "benchmark": label(benchmark),
            "metric": row.name,
            "model": label(model),
            "minus": label(other),
            "difference": row.value,
            "ci_low": row.ci_low,
            "ci_high": row.ci_high,
            "unit": row.unit,
            "n": row.n,
        }
        for row, benchmark, other, model in session.execute(query)
    ]


def list_cautions(session: Session, evaluation_ids: Sequence[int]) -> list[str]:
    """Sentences that must be known before the numbers of these evaluations and their differences are read."""
    of_one = select(Evaluation.cautions).where(Evaluation.id.in_(evaluation_ids)).order_by(Evaluation.id)
    of_two = (
        select(Comparison.caution)
        .where(Comparison.baseline_id.in_(evaluation_ids), Comparison.candidate_id.in_(evaluation_ids))
        .order_by(Comparison.baseline_id, Comparison.candidate_id)
    )
    sentences = [sentence for cautions in session.scalars(of_one) for sentence in cautions]
    return list(dict.fromkeys([*sentences, *(caution for caution in session.scalars(of_two) if caution)]))


def get_replaced(session: Session, evaluation_id: int) -> int | None:
    """Return the evaluation that this one is to replace when it is complete."""
    return session.get_one(Evaluation, evaluation_id).replaces_id


def list_compared(session: Session, evaluation_id: int) -> list[tuple[int, int]]:
    """(baseline, candidate) of every stored comparison in which an evaluation stands."""
    pair = (Comparison.baseline_id, Comparison.candidate_id)
    query = select(*pair).where(or_(*(of == evaluation_id for of in pair))).distinct().order_by(*pair)
    return [(baseline_id, candidate_id) for baseline_id, candidate_id in session.execute(query)]


def describe_scales(session: Session, baseline_id: int, candidate_id: int) -> str | None:
    """Say that the energies of two evaluations' models stand on two scales; None where they do not, or nobody said."""
    model_ids = [session.get_one(Evaluation, i).model_version_id for i in (baseline_id, candidate_id)]
    before, after = (session.get_one(ModelVersion, model_id) for model_id in model_ids)
    if before.energy_scale == after.energy_scale or None in {before.energy_scale, after.energy_scale}:
        return None
    return (
        f"energies of {label(before)} ({before.energy_scale}) and {label(after)} ({after.energy_scale}) stand on two "
        'scales: of their difference read "Energy RMSE, offset removed", not the raw errors'
    )


def describe_judge(session: Session, baseline_id: int, candidate_id: int) -> str | None:
    """Say that one of two evaluations is of the very model under which both are compared; None where none is."""
    baseline, candidate = (session.get_one(Evaluation, i) for i in (baseline_id, candidate_id))
    reference_id = get_benchmark(session, candidate.benchmark_id).reference_id
    if reference_id not in {baseline.model_version_id, candidate.model_version_id}:
        return None
    return (
        f"{label(session.get_one(ModelVersion, reference_id))} is the common reference itself: it relaxes into minima "
        "of its own, and judges them by its own energies"
    )


def set_comparison(
    session: Session,
    baseline_id: int,
    candidate_id: int,
    differences: Sequence[MetricRecord],
    cautions: Mapping[str, str] | None = None,
) -> None:
    """Store the paired differences of two evaluations of one benchmark, with cautions by the name of the metric."""
    session.execute(
        delete(Comparison).where(Comparison.baseline_id == baseline_id, Comparison.candidate_id == candidate_id)
    )
    rows: list[dict[str, Any]] = [
        {
            "baseline_id": baseline_id,
            "candidate_id": candidate_id,
            **asdict(difference),
            "caution": (cautions or {}).get(difference.name),
        }
        for difference in differences
    ]
    if rows:
        session.execute(insert(Comparison), rows)


def has_comparison(session: Session, baseline_id: int, candidate_id: int) -> bool:
    """Whether the paired differences of two evaluations are stored."""
    found = select(Comparison.name).where(
        Comparison.baseline_id == baseline_id, Comparison.candidate_id == candidate_id
    )
    return session.scalar(found.limit(1)) is not None


def load_metrics(session: Session, evaluation_id: int) -> dict[str, MetricRecord]:
    """Summary numbers of one evaluation by name."""
    return _to_records(session.scalars(select(Metric).where(Metric.evaluation_id == evaluation_id)))


def load_comparison(session: Session, baseline_id: int, candidate_id: int) -> dict[str, MetricRecord]:
    """Paired differences of two evaluations by the name of the metric."""
    return _to_records(
        session.scalars(
            select(Comparison).where(Comparison.baseline_id == baseline_id, Comparison.candidate_id == candidate_id)
        )
    )


def _to_records(rows: Iterable[Metric | Comparison]) -> dict[str, MetricRecord]:
    return {row.name: MetricRecord(row.name, row.value, row.unit, row.n, row.ci_low, row.ci_high) for row in rows}
