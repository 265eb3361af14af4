"""The quickstart: one run of the pipeline with its default parameters, found again however often it is asked for.

A run is known by its tags, `quickstart` and the digest of the sources it was made from. Its idempotency key counts the
runs of one definition, so that two quickstarts at once, or one that was killed half-way, share a run.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.services import flow_runs, prefect_server, workers
from deploy.services.bootstrap import source_definition
from deploy.services.environment import log_file, resolved_home
from deploy.services.prefect_api import FINAL, IN_FLIGHT, Json, PrefectApi
from deploy.services.process import last_lines
from deploy.services.state import load_state
from flows.settings import RESTART_PATIENCE, Settings
from heo_core.errors import ServiceError

DEPLOYMENT = "pipeline"
REPORT_FILE = "pipeline.json"  # PipelineParams().reporting.name, without importing pydantic
TAG = "quickstart"
POLL_S = 1.0
CHECK_S = 5.0  # how often the processes behind a run are looked at
SILENCE_S = 20.0  # how long the server may fail to answer
LOOK_BACK = timedelta(seconds=10)
INFO, ERROR = 20, 40
MACHINERY = re.compile(  # what Prefect says of itself
    r"Running \d+ deployment pull|Executing deployment step|Deployment step|All deployment steps"
    r"|Beginning (sub)?flow run|Finished in state Completed"
)


@dataclass(frozen=True)
class Report:
    """The newest report, as the pipeline flow wrote it down."""

    path: Path
    summary: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The run that answers a quickstart: `done` before, `followed` because it goes on already, or `started` now."""

    kind: str
    run: Json


@dataclass(frozen=True)
class LogLine:
    """Something that a flow or task said."""

    timestamp: str
    step: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class StateChange:
    """The followed run came into another state."""

    run: Json

    @property
    def name(self) -> str:
        """Name of the state, such as Running."""
        return str(self.run["state_name"])

    @property
    def is_final(self) -> bool:
        """Tell whether the run has ended."""
        return self.run["state_type"] in FINAL


Event = LogLine | StateChange


def latest_report(settings: Settings) -> Report | None:
    """Return the pipeline's newest report; None if there is none or its file is gone."""
    try:
        latest = json.loads((settings.reports / REPORT_FILE).read_text())
        report = Report(Path(latest["path"]), tuple(str(line) for line in latest.get("summary", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if report.path.is_file() else None


def choose_run(settings: Settings, api: PrefectApi, *, again: bool) -> Choice:
    """Find the run that goes on or is done already, else start one."""
    definition = source_definition()
    deployment = api.deployment(DEPLOYMENT)
    runs = api.flow_runs(tags={"all_": [TAG]}, deployment_id={"any_": [deployment["id"]]})
    for run in runs:
        if run["state_type"] in IN_FLIGHT:
            return Choice("followed", run)
    same = [run for run in runs if _definition_tag(definition) in run["tags"]]
    done = [run for run in same if run["state_type"] == "COMPLETED"]
    if done and not again and latest_report(settings) is not None:
        return Choice("done", done[0])
    key = f"{TAG}-{definition}-{_next_number(same)}"
    tags = [TAG, _definition_tag(definition)]
    return Choice("started", api.create_flow_run(deployment["id"], idempotency_key=key, tags=tags))


def _definition_tag(definition: str) -> str:
    """Return the tag of the runs of one definition."""
    return f"definition:{definition}"


def _next_number(runs: list[Json]) -> int:
    """Return the number of the next run; runs may have been deleted, so they are not merely counted."""
    numbers = [int(str(run["idempotency_key"]).rpartition("-")[2]) for run in runs if run["idempotency_key"]]
    return max(numbers, default=0) + 1


def follow(settings: Settings, api: PrefectApi, run_id: str) -> Iterator[Event]:
    """Yield what a run and its subflows say and each state it comes into, until it has ended.

    Raises ServiceError if the server falls silent or if nothing is there that could go on with the run.
    """
    logs = _Logs(api, run_id)
    state_id, answered, checked = None, time.monotonic(), time.monotonic()
    while True:
        try:
            run, lines = api.flow_run(run_id), logs.fresh()
        except ServiceError as exc:
            if time.monotonic() - answered > SILENCE_S or not _server_runs(settings):
                raise ServiceError(f"{exc}; 'heo quickstart' again goes on from there") from exc
        else:
            answered = time.monotonic()
            if _is_about_to_restart(run):
                continue
            change = StateChange(run) if run["state_id"] != state_id else None
            state_id = run["state_id"]
            if change is not None and not change.is_final:
                yield change
            yield from lines
            if change is not None and change.is_final:
                yield from logs.last()
                yield change
                return
            if answered - checked >= CHECK_S:
                checked = answered
                _check_processes(settings, api, run)
        time.sleep(POLL_S)


def _is_about_to_restart(run: Json) -> bool:
    """Tell whether a run has just crashed: an automation starts it again within seconds, which is then followed."""
    if run["state_type"] != "CRASHED":
        return False
    time.sleep(POLL_S)
    return datetime.now(UTC) - datetime.fromisoformat(run["state"]["timestamp"]) < RESTART_PATIENCE


def _server_runs(settings: Settings) -> bool:
    """Tell whether the Prefect server's process is there."""
    return prefect_server.find(load_state(resolved_home(settings)).server) is not None


def _check_processes(settings: Settings, api: PrefectApi, run: Json) -> None:
    """End runs that were killed, and raise ServiceError if this one waits for a worker that is gone."""
    home = resolved_home(settings)
    state = load_state(home)
    living = workers.living(state)
    with suppress(ServiceError):  # the server may be busy: the next look will do
        flow_runs.crash_orphans(api, home, living, lambda _: None)
    pool = next((pool for pool in workers.POOLS if pool.name == run["work_pool_name"]), None)
    if pool is not None and run["state_type"] == "SCHEDULED" and living[pool.name].pid is None:
        service = next(worker.service for worker in workers.list_workers(state.gpus) if worker.pool is pool)
        log = last_lines(log_file(settings, service))
        raise ServiceError(f"the worker of the pool {pool.name} has ended; run 'heo quickstart' again; {log}")


@dataclass
class _Logs:
    """The log records of a run and of its subflows, each given once."""

    api: PrefectApi
    run_id: str
    seen: set[str] = field(default_factory=set)
    steps: dict[str, str] = field(default_factory=dict)
    after: str | None = None

    def fresh(self) -> list[LogLine]:
        """Return what was said since the last call."""
        records = self.api.logs([self.run_id, *self._subflows()], self.after)
        lines = [self._line(record) for record in records if record["id"] not in self.seen and _matters(record)]
        self.seen |= {record["id"] for record in records}
        if len(records) > 1:
            # Records arrive in batches, late ones between earlier ones: look back a little.
            newest = datetime.fromisoformat(records[-1]["timestamp"])
            self.after = (newest - LOOK_BACK).isoformat()
        return lines

    def last(self) -> list[LogLine]:
        """Return what is said in the end: a process sends its last records after its state."""
        time.sleep(POLL_S)
        with suppress(ServiceError):
            return self.fresh()
        return []

    def _subflows(self) -> list[str]:
        """Return the ids of the subflows, and learn their names."""
        runs = self.api.flow_runs(parent_flow_run_id={"any_": [self.run_id]})
        for run in runs:
            if run["id"] not in self.steps:
                self.steps[run["id"]] = self.api.flow_name(run["flow_id"])
        return [run["id"] for run in runs]

    def _line(self, record: Json) -> LogLine:
        """Give a record the name of its step: the subflow, else the task, else the pipeline itself."""
        step = self.steps.get(record["flow_run_id"])
        if step is None and record["task_run_id"] is not None:
            step = self._task(record["task_run_id"])
        message = str(record["message"]).strip()
        return LogLine(record["timestamp"], step or DEPLOYMENT, message, record["level"] >= ERROR)

    def _task(self, task_run_id: str) -> str:
        """Return the name of a task without the random letters of its run."""
        if task_run_id not in self.steps:
            try:
                name = self.api.task_run_name(task_run_id)
            except ServiceError:
                return DEPLOYMENT  # its record may arrive after its first words
            self.steps[task_run_id] = re.sub(r"-[0-9a-f]{3}$", "", name)
        return self.steps[task_run_id]


def _matters(record: Json) -> bool:
    """Tell whether a reader of the quickstart wants to see a record."""
    is_ours = not str(record["name"]).startswith("prefect.flow_runs.worker")
    return record["level"] >= INFO and is_ours and MACHINERY.match(record["message"]) is None
