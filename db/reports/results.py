"""What was measured: benchmarks, what they cost, metrics and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations
from db.schema import BenchmarkCase, Comparison, GroupMetric, Metric, ModelVersion, Structure
from db.versions import label

# Kinds of benchmark that compare predictions with labels; the others relax structures or ask for physics.
_LABELLED_KINDS = frozenset({"energy-forces", "off-equilibrium", "forgetting-holdout", "equation-of-state"})
# Kinds whose cases may be several rattled copies of one structure.
_RATTLED_KINDS = frozenset({"rattle-relax", "substitution-relax"})


def load_benchmarks(session: Session, evaluations: Evaluations) -> list[dict[str, Any]]:
    """Return the benchmarks of these evaluations."""
    unique = {benchmark.id: benchmark for _, benchmark in evaluations}
    labelled = [benchmark.id for benchmark in unique.values() if benchmark.kind in _LABELLED_KINDS]
    functionals = list_functionals(session, labelled)
    rattled = [benchmark.id for benchmark in unique.values() if benchmark.kind in _RATTLED_KINDS]
    n_structures = _count_structures(session, rattled)
    return [
        {
            "benchmark": label(benchmark),
            "kind": benchmark.kind,
            "version": benchmark.version,
            "n_cases": benchmark.n_cases,
            "n_structures": n_structures.get(benchmark.id),
            "reference": label(session.get_one(ModelVersion, benchmark.reference_id))
            if benchmark.reference_id
            else None,
            "functionals": functionals.get(benchmark.id, []),
            "params": benchmark.params,
            "key": benchmark.key,
        }
        for benchmark in unique.values()
    ]


def find_origin() -> ColumnElement[str]:
    """Return from which structure or random cell a case starts, several rattled ones from one; NULL if from none."""
    recipe = BenchmarkCase.recipe
    return func.coalesce(recipe["content_hash"].astext, recipe["cell"].astext)


def _count_structures(session: Session, benchmark_ids: Sequence[int]) -> dict[int, int]:
    """Return from how many structures or random cells the cases of each benchmark start, by its id."""
    query = (
        select(BenchmarkCase.benchmark_id, func.count(find_origin().distinct()))
        .where(BenchmarkCase.benchmark_id.in_(benchmark_ids))
        .group_by(BenchmarkCase.benchmark_id)
    )
    return {benchmark_id: n for benchmark_id, n in session.execute(query) if n}


def list_functionals(session: Session, benchmark_ids: Sequence[int]) -> dict[int, list[str]]:
    """Return the distinct names of the labels of each benchmark, by its id."""
    query = (
        select(BenchmarkCase.benchmark_id, Structure.functional)
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .where(BenchmarkCase.benchmark_id.in_(benchmark_ids), Structure.functional.is_not(None))
        .distinct()
        .order_by(BenchmarkCase.benchmark_id, Structure.functional)
    )
    found: dict[int, list[str]] = {}
    for benchmark_id, functional in session.execute(query):
        found.setdefault(benchmark_id, []).append(functional)
    return found


def load_metrics(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return every metric of these evaluations."""
    about = _name_evaluations(evaluations, labels)
    query = select(Metric.__table__).where(Metric.evaluation_id.in_(about)).order_by(Metric.evaluation_id, Metric.name)
    return _name_rows(session.execute(query).mappings().all(), about)


def load_group_metrics(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return every metric of these evaluations by element, source and number of elements."""
    about = _name_evaluations(evaluations, labels)
    table = GroupMetric.__table__
    query = select(table).where(GroupMetric.evaluation_id.in_(about)).order_by(*table.primary_key)
    return _name_rows(session.execute(query).mappings().all(), about)


def list_evaluations(evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return where each evaluation ran, how long it took, and what must be known of it."""
    about = _name_evaluations(evaluations, labels)
    return [
        {
            **about[row.id],
            "device": row.device,
            "dtype": row.dtype,
            "wall_s": row.wall_s,
            "cautions": list(row.cautions),
        }
        for row, _ in evaluations
    ]


def _name_rows(rows: Sequence[RowMapping], about: dict[int, dict[str, str]]) -> list[dict[str, Any]]:
    """Rows with what `about` says of their evaluations, in the order of the evaluations."""
    place = {evaluation_id: i for i, evaluation_id in enumerate(about)}
    return [{**row, **about[row["evaluation_id"]]} for row in sorted(rows, key=lambda row: place[row["evaluation_id"]])]


def _name_evaluations(evaluations: Evaluations, labels: dict[int, str]) -> dict[int, dict[str, str]]:
    return {
        evaluation.id: {
            "label": labels[evaluation.model_version_id],
            "benchmark": label(benchmark),
            "kind": benchmark.kind,
        }
        for evaluation, benchmark in evaluations
    }


def load_comparisons(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return the paired differences between these evaluations."""
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
