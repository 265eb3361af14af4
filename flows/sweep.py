"""Sweep: search parameters of a finetuning, each trial a training of its own, and rank them by validation score."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from db import datasets, models, sweeps
from db.engine import exclusive, session_scope
from db.schema import Sweep, SweepTrial
from db.versions import label
from flows.admission import admit, limit
from flows.deployment_runs import Sight
from flows.registry import is_published, register_foundation_model
from flows.settings import Settings, load_settings
from flows.trial_runs import HereRunner, PoolRunner, Runner
from flows.tries import AGAIN
from heo_core import search
from heo_core.errors import TrainingError, first_line
from heo_core.params import FinetuneParams, SweepParams, hash_json

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

NO_SCORE = "its training stored no validation score"
NO_MODEL = "its flow run has completed, but there is no model of it"


@task(name="define the sweep", cache_policy=NO_CACHE, **AGAIN)
def define_sweep(params: SweepParams) -> int:
    """Return the id of the sweep of these parameters on this dataset and foundation; a second time it is found."""
    settings = load_settings()
    url = settings.resolve_database_url()
    references = (params.base.foundation, *params.space.get("foundation", ()))
    foundation_ids = [register_foundation_model(reference, settings) for reference in references]
    with session_scope(url) as session:
        dataset = datasets.get_dataset(session, params.base.dataset)
        foundations = [models.get_model(session, i) for i in foundation_ids]
        fixed = {"dataset": label(dataset)}
        if not is_published(params.base.foundation):
            fixed["foundation"] = label(foundations[0])
        # A newer version of either must not get into a sweep that goes on.
        pinned = params.model_copy(update={"base": params.base.model_copy(update=fixed)})
        searched = pinned.model_dump(mode="json", include={"base", "space", "sampler", "seed"})
        made_of = {"dataset": dataset.content_hash, "foundations": [row.sha256 or row.reference for row in foundations]}
        return sweeps.add_sweep(
            session,
            name=params.name,
            key=hash_json(searched | made_of),
            params=pinned.model_dump(mode="json"),
            dataset_id=dataset.id,
            n_trials=params.count_trials(),
        )


def run_trials(sweep_id: int, params: SweepParams) -> None:
    """Train every trial that has not ended; one process at a time works on a sweep."""
    settings = load_settings()
    url = settings.resolve_database_url()
    runner: Runner = HereRunner() if params.runner == "here" else PoolRunner()
    logger = get_run_logger()
    with exclusive(
        url, f"sweep:{sweep_id}", on_wait=lambda: logger.info("another run of the same sweep is on: waiting for it")
    ):
        work = _Work(sweep_id, runner, 1 if params.runner == "here" else params.n_parallel, settings)
        try:
            work.run()
        except BaseException as exc:
            # Ctrl-C and a cancelled run included. Trainings on the pool go on; the next run joins them.
            with session_scope(url) as session:
                sweeps.end_sweep(session, sweep_id, str(exc) or "interrupted")
            raise


class _Work:
    """The trials of one sweep: rows in our table say how they are, Optuna's say what was drawn."""

    def __init__(self, sweep_id: int, runner: Runner, n_parallel: int, settings: Settings) -> None:
        """Read the sweep."""
        self._id, self._runner, self._n_parallel = sweep_id, runner, n_parallel
        self._url = settings.resolve_database_url()
        self._log = get_run_logger()
        with session_scope(self._url) as session:
            self._sweep = sweeps.get_sweep_by_id(session, sweep_id)
        self._params = SweepParams.model_validate(self._sweep.params)
        self._study = f"{label(self._sweep)} ({sweep_id})"
        self._n_tries_before: dict[int, int] = {}  # of trials that are trained again: none of their deaths counts now

    def run(self) -> None:
        """Draw, start and watch trials until as many as were asked for have ended."""
        if self._params.retry_failed:
            with session_scope(self._url) as session:
                self._n_tries_before = sweeps.retry_failed(session, self._id)
        trials = self._list_trials()
        if len(trials) < self._sweep.n_trials or not all(map(_has_ended, trials)):
            self._runner.check()
        with session_scope(self._url) as session:
            sweeps.start_sweep(session, self._id, flow_run.get_id())
        with sweeps.open_search_storage(self._url) as storage:
            for trial in filter(_has_ended, trials):
                # It may have been killed between our row and Optuna's.
                search.tell(storage, self._study, trial.optuna_number, trial.score)
            while not self._step(storage):
                pass
        if self._params.assess:
            self._assess_best()
        with session_scope(self._url) as session:
            sweeps.end_sweep(session, self._id)

    def _assess_best(self) -> None:
        """Measure the best model against its parent, on the pool where the trials are; what fails is a warning."""
        scored = [trial for trial in self._list_trials() if trial.score is not None]
        if not scored:
            return
        best = min(scored, key=lambda trial: (trial.score or 0.0, trial.number))
        params = self._params.make_trial(best.params, name_trial_model(self._sweep, best.number))
        what = f"assessment of {_describe(best)}"
        self._log.info("%s, the best", what)
        for n_tries in range(1, self._runner.max_tries + 1):
            flow_run_id = self._start(params, what, n_tries, best.number, assess=True)
            while (sight := self._runner.look(flow_run_id, params, assess=True)).state == "running":
                time.sleep(self._runner.poll_s)
            if sight.state == "completed":
                return
            self._log.warning("%s: %s", what, first_line(RuntimeError(sight.message)))
            if sight.state != "died":
                return

    def _start(self, params: FinetuneParams, what: str, n_tries: int, number: int, *, assess: bool) -> str | None:
        # The database may have been made anew on a server that remembers the runs of the old one.
        key = f"{self._study} of {self._sweep.created_at.isoformat()}, {what}, try {n_tries}"
        tags = ["sweep", f"sweep:{label(self._sweep)}", f"trial:{number}"]
        name = f"{label(self._sweep)} {what}"
        return self._runner.start(params, name=name, key=key, tags=tags, assess=assess)

    def _step(self, storage: BaseStorage) -> bool:
        """See how every open trial is and fill the places that are free; return whether the sweep is done."""
        still = [t for t in self._list_trials() if not _has_ended(t) and not self._advance(t, storage)]
        n_drawn = self._draw(self._n_parallel - len(still), storage)
        if still and not n_drawn:
            time.sleep(self._runner.poll_s)
        return not still and not n_drawn

    def _list_trials(self) -> list[SweepTrial]:
        with session_scope(self._url) as session:
            return sweeps.list_trials(session, self._id)

    def _draw(self, n_free: int, storage: BaseStorage) -> int:
        """Draw as many new trials as there is place for; return how many."""
        trials = self._list_trials()
        tried = {trial.optuna_number: trial.params for trial in trials}
        n_new = max(0, min(n_free, self._sweep.n_trials - len(trials)))
        for _ in range(n_new):
            number, values = search.draw(storage, self._study, self._params, tried)
            with session_scope(self._url) as session:
                sweeps.add_trial(session, self._id, number, values)
            tried[number] = values
        return n_new

    def _advance(self, trial: SweepTrial, storage: BaseStorage) -> bool:
        """Start a trial, or see how it is; return whether it has ended."""
        try:
            params = self._params.make_trial(trial.params, name_trial_model(self._sweep, trial.number))
        except ValueError as exc:
            return self._end(trial, Sight("given up", first_line(exc)), storage)
        is_new = trial.state == "waiting"
        sight = Sight("died") if is_new else self._runner.look(trial.flow_run_id, params)
        if sight.state == "running":
            return False
        if sight.state != "died" or (not is_new and self._find_result(trial, has_model=True)):
            return self._end(trial, sight, storage)
        n_tries = trial.n_tries - self._n_tries_before.get(trial.number, 0)
        if n_tries >= self._runner.max_tries and not is_new:
            reason = f"its process died {n_tries} times: {sight.message or 'no reason given'}"
            return self._end(trial, Sight("given up", reason), storage)
        what = _describe(trial)
        if not is_new:
            self._log.warning("%s: its process died, so it is started again: %s", what, sight.message)
        flow_run_id = self._start(params, what, trial.n_tries + 1, trial.number, assess=False)
        with session_scope(self._url) as session:
            sweeps.start_trial(session, self._id, trial.number, flow_run_id)
        self._log.info("started %s", what)
        return False

    def _find_result(self, trial: SweepTrial, *, has_model: bool = False) -> sweeps.TrialResult | None:
        name = name_trial_model(self._sweep, trial.number)
        with session_scope(self._url) as session:
            found = sweeps.find_result(session, name=name, dataset_id=self._sweep.dataset_id, values=trial.params)
        return None if has_model and (found is None or found.model_version_id is None) else found

    def _end(self, trial: SweepTrial, sight: Sight, storage: BaseStorage) -> bool:
        """Store how a trial has ended, then tell Optuna."""
        result, score = self._find_result(trial), None
        with session_scope(self._url) as session:
            if result is not None and result.model_version_id is not None:
                # What went wrong after the training, in the assessment for instance, leaves the score as it is.
                score = result.score if result.score is not None and math.isfinite(result.score) else None
                lack = NO_SCORE if score is None else None
                sweeps.complete_trial(session, self._id, trial.number, replace(result, score=score), lack)
                problem = lack or sight.message
            else:
                problem = NO_MODEL if sight.state == "completed" else sight.message or "no reason given"
                if sight.state == "failed" and result is not None and result.failure:
                    problem = result.failure  # with the last lines of the log
                run_id = None if result is None else result.training_run_id
                sweeps.fail_trial(session, self._id, trial.number, problem, run_id)
        if problem:
            self._log.warning("%s: %s", _describe(trial), problem.strip().splitlines()[0])
        search.tell(storage, self._study, trial.optuna_number, score)
        ended = [other for other in self._list_trials() if _has_ended(other)]
        if score is not None:
            best = min((other for other in ended if other.score is not None), key=lambda other: other.score or 0.0)
            self._log.info(
                "%s: score %.5g; best of %d (of %d): %.5g, trial %d",
                _describe(trial),
                score,
                len(ended),
                self._sweep.n_trials,
                best.score,
                best.number,
            )
        return True


def name_trial_model(sweep: Sweep, number: int) -> str:
    """NAME-t00, NAME-t01, ... for the first version of a sweep, NAME-v2-t00, ... for the second."""
    version = "" if sweep.version == 1 else f"-v{sweep.version}"
    return f"{sweep.name}{version}-t{number:02}"


def _has_ended(trial: SweepTrial) -> bool:
    return trial.state in sweeps.ENDED


def _describe(trial: SweepTrial) -> str:
    values = ", ".join(
        f"{field}={value:g}" if isinstance(value, float) else f"{field}={value}"
        for field, value in sorted(trial.params.items())
    )
    return f"trial {trial.number} ({values})"


@task(name="show the ranking", cache_policy=NO_CACHE, **AGAIN)
def show_ranking(sweep_id: int) -> None:
    """Put the ranking into Prefect's UI; TrainingError where no trial has a score."""
    with session_scope(load_settings().resolve_database_url()) as session:
        ranking: list[dict[str, Any]] = sweeps.list_ranking(session, sweep_id)
        name = label(sweeps.get_sweep_by_id(session, sweep_id))
    create_table_artifact(
        ranking,
        key="sweep-ranking",
        description=f"{name}: trials by validation score, the lower the better; the view sweep_ranking",
    )
    if not any(line["rank"] for line in ranking):
        reason = next((line["failure"] for line in ranking if line["failure"]), "no reason given")
        raise TrainingError(f"none of {len(ranking)} trials has a score; the first: {reason}")


@flow(name="sweep", flow_run_name="sweep {params.name}", timeout_seconds=limit(days=28), description=__doc__)
def sweep(params: SweepParams) -> int:
    """Return the id of the sweep."""
    admit(params)
    sweep_id = define_sweep(params)
    run_trials(sweep_id, params)
    show_ranking(sweep_id)
    return sweep_id
