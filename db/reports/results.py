"""What was measured: benchmarks, metrics and paired differences."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations
from db.schema import Comparison, Metric, ModelVersion
from db.versions import label


def load_benchmarks(session: Session, evaluations: Evaluations) -> list[dict[str, Any]]:
    """Return the benchmarks of these evaluations."""
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


def load_metrics(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return every metric of these evaluations."""
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
