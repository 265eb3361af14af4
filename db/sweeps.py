"""Sweeps, their trials, and where Optuna keeps what it has drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import cast, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from db.engine import exclusive, session_scope
from db.schema import Dataset, EpochMetric, ModelVersion, Sweep, SweepTrial, TrainingRun
from db.versions import add_version, get_version, label

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

SEARCH_SCHEMA = "optuna"
ENDED = ("completed", "failed")


@dataclass(frozen=True)
class TrialResult:
    """What the training of a trial has left in the database; the model is there only once it is completed."""

    training_run_id: int
    model_version_id: int | None
    score: float | None
    failure: str | None
    flow_run_id: str | None


def make_search_url(url: str) -> str:
    """Return the URL of the same database that leads Optuna to a schema of its own.

    Its tables have common names, `alembic_version` among them, which must not meet ours.
    """
    place = make_url(url)
    own = place.query.get("options", "")
    options = " ".join([*([own] if isinstance(own, str) else own), f"-csearch_path={SEARCH_SCHEMA}"]).strip()
    place = place.update_query_dict({"options": options})
    # Optuna takes what stands in braces for fields of a template.
    return place.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")


@contextmanager
def open_search_storage(url: str) -> Iterator[RDBStorage]:
    """Optuna's storage; its schema and tables are made when they are first needed, by one process at a time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with exclusive(url, "optuna tables"):
        with session_scope(url) as session:
            # Postgres asks for the right to make one even where it is there.
            if session.scalar(text(f"select to_regnamespace('{SEARCH_SCHEMA}') is null")):
                session.execute(text(f"create schema {SEARCH_SCHEMA}"))
        storage = optuna.storages.RDBStorage(make_search_url(url), engine_kwargs={"pool_pre_ping": True})
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def add_sweep(session: Session, *, name: str, key: str, params: dict[str, Any], dataset_id: int, n_trials: int) -> int:
    """Store a sweep, or find the one of this name and key; return its id. A larger number of trials is taken over."""
    row, is_new = add_version(
        session,
        Sweep(name=name, key=key, params=params, dataset_id=dataset_id, n_trials=n_trials, state="running"),
    )
    if not is_new:
        row.n_trials, row.params = max(row.n_trials, n_trials), params
    return row.id


def get_sweep(session: Session, reference: str) -> Sweep:
    """NAME@VERSION or the newest NAME; InputError, naming those there are, if there is none."""
    return get_version(session, Sweep, reference)


def get_sweep_by_id(session: Session, sweep_id: int) -> Sweep:
    """Return one sweep."""
    return session.get_one(Sweep, sweep_id)


def start_sweep(session: Session, sweep_id: int, flow_run_id: str | None) -> None:
    """Mark a sweep as running."""
    row = session.get_one(Sweep, sweep_id)
    row.state, row.failure, row.finished_at, row.flow_run_id = "running", None, None, flow_run_id


def end_sweep(session: Session, sweep_id: int, failure: str | None = None) -> None:
    """Mark a sweep as completed, or say why it broke off."""
    row = session.get_one(Sweep, sweep_id)
    row.state, row.failure, row.finished_at = "failed" if failure else "completed", failure, datetime.now(UTC)


def list_trials(session: Session, sweep_id: int) -> list[SweepTrial]:
    """All trials of a sweep, in order."""
    return list(session.scalars(select(SweepTrial).where(SweepTrial.sweep_id == sweep_id).order_by(SweepTrial.number)))


def add_trial(session: Session, sweep_id: int, optuna_number: int, params: dict[str, Any]) -> SweepTrial:
    """Store a trial that waits to be trained. Only one process at a time adds trials to a sweep."""
    newest = session.scalar(select(func.max(SweepTrial.number)).where(SweepTrial.sweep_id == sweep_id))
    trial = SweepTrial(
        sweep_id=sweep_id,
        number=0 if newest is None else newest + 1,
        optuna_number=optuna_number,
        params=params,
        state="waiting",
        n_tries=0,
    )
    session.add(trial)
    session.flush()
    return trial


def start_trial(session: Session, sweep_id: int, number: int, flow_run_id: str | None) -> None:
    """Mark a trial as running, in another flow run than before."""
    trial = session.get_one(SweepTrial, (sweep_id, number))
    trial.state, trial.flow_run_id, trial.n_tries = "running", flow_run_id, trial.n_tries + 1
    trial.started_at = trial.started_at or datetime.now(UTC)


def complete_trial(session: Session, sweep_id: int, number: int, result: TrialResult, failure: str | None) -> None:
    """Store what a trial's training has made, and, where it has no score, why."""
    trial = session.get_one(SweepTrial, (sweep_id, number))
    trial.state, trial.failure, trial.score = "completed", failure, result.score
    trial.training_run_id, trial.model_version_id = result.training_run_id, result.model_version_id
    trial.flow_run_id = trial.flow_run_id or result.flow_run_id
    trial.finished_at = datetime.now(UTC)


def fail_trial(session: Session, sweep_id: int, number: int, failure: str, training_run_id: int | None) -> None:
    """Store why a trial has no score."""
    trial = session.get_one(SweepTrial, (sweep_id, number))
    trial.state, trial.failure, trial.score = "failed", failure, None
    trial.training_run_id = training_run_id
    trial.finished_at = datetime.now(UTC)


def retry_failed(session: Session, sweep_id: int) -> dict[int, int]:
    """Let the trials that failed wait to be trained again; return by number how often each was started before."""
    failed = (SweepTrial.sweep_id == sweep_id, SweepTrial.state == "failed")
    n_tries = {trial.number: trial.n_tries for trial in session.scalars(select(SweepTrial).where(*failed))}
    again = {"state": "waiting", "failure": None, "finished_at": None}
    session.execute(update(SweepTrial).where(*failed).values(again))
    return n_tries


def find_result(session: Session, *, name: str, dataset_id: int, values: dict[str, Any]) -> TrialResult | None:
    """Find the last training of the model of this name whose parameters hold these values, by dotted names.

    The score is the run's best validation score: that of the run, else the lowest of its epochs.
    """
    epochs = (
        select(func.min(EpochMetric.score))
        .where(EpochMetric.training_run_id == TrainingRun.id, EpochMetric.epoch > 0)
        .scalar_subquery()
    )
    query = (
        select(TrainingRun, ModelVersion.id, func.coalesce(TrainingRun.best_score, epochs))
        .outerjoin(ModelVersion, ModelVersion.training_run_id == TrainingRun.id)
        .where(
            TrainingRun.name == name,
            TrainingRun.dataset_id == dataset_id,
            TrainingRun.params.op("@>")(cast(_nest(values), JSONB)),
        )
        .order_by(TrainingRun.started_at.desc(), TrainingRun.id.desc())
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    if row is None:
        return None
    run, model_version_id, score = row
    return TrialResult(run.id, model_version_id, score, run.failure, run.flow_run_id)


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted names into groups; an empty field is left out, for a training stores what it was filled with."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *groups, field = path.split(".")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        if value is not None:
            place[field] = value
    return nested


def list_ranking(session: Session, sweep_id: int) -> list[dict[str, Any]]:
    """One line a trial, the best first, each searched field in a column of its own."""
    query = text(
        """
        select rank, trial, state, score, params, model, energy_mae_ev_per_atom, forces_mae_ev_per_ang, best_epoch,
            seconds, failure
        from sweep_ranking where sweep_id = :sweep_id order by rank nulls last, trial
        """
    )
    rows = [dict(row) for row in session.execute(query, {"sweep_id": sweep_id}).mappings()]
    lines = []
    for row in rows:
        params, failure = row.pop("params"), row.pop("failure")
        before = {name: row.pop(name) for name in ("rank", "trial", "state", "score")}
        reason = None if failure is None else failure.strip().splitlines()[0]
        lines.append(before | dict(sorted(params.items())) | row | {"failure": reason})
    return lines


def list_sweeps(session: Session) -> list[dict[str, Any]]:
    """One line a sweep, newest first."""
    ended = func.count().filter(SweepTrial.state.in_(ENDED))
    failed = func.count().filter(SweepTrial.state == "failed")
    query = (
        select(Sweep, Dataset, ended, failed, func.min(SweepTrial.score))
        .join(Dataset, Dataset.id == Sweep.dataset_id)
        .outerjoin(SweepTrial, SweepTrial.sweep_id == Sweep.id)
        .group_by(Sweep.id, Dataset.id)
        .order_by(Sweep.created_at.desc(), Sweep.id.desc())
    )
    return [
        {
            "sweep": label(sweep),
            "state": sweep.state,
            "dataset": label(dataset),
            "searched": ", ".join(sorted(sweep.params["space"])),
            "sampler": sweep.params["sampler"],
            "ended": f"{n_ended} of {sweep.n_trials}",
            "failed": n_failed,
            "best score": best,
            "created": sweep.created_at,
        }
        for sweep, dataset, n_ended, n_failed, best in session.execute(query)
    ]


def summarise(session: Session, sweep_id: int) -> dict[str, Any]:
    """Return what there is to know of a sweep, its ranking last."""
    row = get_sweep_by_id(session, sweep_id)
    ranking = list_ranking(session, sweep_id)
    best = ranking[0] if ranking and ranking[0]["rank"] == 1 else None
    ended = [line for line in ranking if line["state"] in ENDED]
    return {
        "sweep": label(row),
        "state": row.state,
        "failure": row.failure,
        "dataset": label(session.get_one(Dataset, row.dataset_id)),
        "sampler": row.params["sampler"],
        "trials": f"{len(ended)} of {row.n_trials} ended",
        "best": None if best is None else best["model"],
        "ranking": ranking,
    }
