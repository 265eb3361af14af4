"""What waits to be evaluated by itself: the rows of the view `pending_evaluation` that are marked auto."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Text, column, select, table, update
from sqlalchemy.orm import Session

from db.schema import Benchmark
from db.versions import get_version
from heo_core.errors import InputError

_PENDING = table(
    "pending_evaluation",
    column("model", Text),
    column("model_version_id", BigInteger),
    column("benchmark_id", BigInteger),
    column("auto", Boolean),
)


def list_due_models(session: Session) -> dict[str, list[int]]:
    """Benchmarks that every model waits for, by its NAME@VERSION, in the order in which both were made."""
    query = select(_PENDING.c.model, _PENDING.c.benchmark_id).where(_PENDING.c.auto)
    due: dict[str, list[int]] = {}
    for model, benchmark_id in session.execute(query.order_by(_PENDING.c.model_version_id, _PENDING.c.benchmark_id)):
        due.setdefault(model, []).append(benchmark_id)
    return due


def list_due_benchmarks(session: Session, model_version_id: int) -> list[int]:
    """Benchmarks that one model waits for."""
    query = select(_PENDING.c.benchmark_id).where(_PENDING.c.auto, _PENDING.c.model_version_id == model_version_id)
    return list(session.scalars(query.order_by(_PENDING.c.benchmark_id)))


def list_waiting_models(session: Session, benchmark_id: int) -> list[str]:
    """NAME@VERSION of the models that wait for one benchmark."""
    query = select(_PENDING.c.model).where(_PENDING.c.auto, _PENDING.c.benchmark_id == benchmark_id)
    return list(session.scalars(query.order_by(_PENDING.c.model_version_id)))


def mark_auto(session: Session, reference: str, *, auto: bool) -> Benchmark:
    """Mark all versions of a benchmark, those to come included; return the newest.

    InputError for structures of somebody's own, which are for one model.
    """
    benchmark = get_version(session, Benchmark, reference)
    if benchmark.kind == "relax":
        raise InputError(f"{reference} holds structures of one's own, which no other model relaxes by itself")
    session.execute(update(Benchmark).where(Benchmark.name == benchmark.name).values(auto=auto))
    return get_version(session, Benchmark, benchmark.name)
