"""Runs of our deployments that a flow starts and waits for: they appear under it in Prefect's UI."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import MissingContextError, ObjectNotFound
from prefect.logging import get_logger, get_run_logger

from flows.settings import RESTART_PATIENCE
from heo_core.errors import ServiceError

SILENCE_S = 600.0  # how long the Prefect server may fail to answer
PATIENCE_S = 60.0  # how long a run may wait before it is asked whether there is a worker for it
POLL_S = 2.0


def get_log() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """Return the log of the flow that runs; the program's where none does."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("heo")


@dataclass(frozen=True)
class Sight:
    """What was seen of a run. failed: the database may say more; died: nothing works on it, so start it again."""

    state: Literal["running", "completed", "failed", "given up", "died"]
    message: str = ""


class Deployment:
    """A deployment, by its name FLOW/DEPLOYMENT."""

    def __init__(self, name: str) -> None:
        """Nothing is asked of the server yet."""
        self.name = name
        self._asked_at = time.monotonic()

    def find_problem(self) -> tuple[str, str | None]:
        """Name of its work pool, and why no run of it would start now; None where one would."""

        def ask(client: SyncPrefectClient) -> tuple[str, str | None]:
            try:
                pool = client.read_deployment_by_name(self.name).work_pool_name
            except ObjectNotFound:
                return "(unknown)", f"the Prefect server knows no deployment {self.name}"
            if pool is None:
                return "(none)", f"the deployment {self.name} has no work pool"
            if client.read_work_pool(pool).is_paused:
                return pool, "it is paused"
            workers = client.read_workers_for_work_pool(pool)
            online = any(worker.status == WorkerStatus.ONLINE for worker in workers)
            return pool, None if online else "no worker of it is online"

        def connect() -> tuple[str, str | None]:
            with get_client(sync_client=True) as client:
                return ask(client)

        return _ask(connect)

    def start(self, parameters: dict[str, Any], *, name: str, key: str, tags: list[str]) -> str:
        """Make a run, or find the one of this key; return its id."""
        run: Any = _ask(
            lambda: run_deployment(
                self.name, parameters=parameters, flow_run_name=name, tags=tags, idempotency_key=key, timeout=0
            )
        )
        return str(run.id)

    def look(self, flow_run_id: str | None) -> Sight:
        """See how a run is; one that waits for long, for want of a worker, is a warning in the log."""
        run = None if flow_run_id is None else _read_flow_run(flow_run_id)
        if run is None or run.state is None:
            return Sight("died", "its flow run is gone")
        message = run.state.message or ""
        match run.state.type:
            case StateType.COMPLETED:
                return Sight("completed")
            case StateType.FAILED:
                return Sight("failed", message.removeprefix("Flow run encountered an exception: "))
            case StateType.CANCELLED:
                return Sight("given up", "its flow run was cancelled")
            case StateType.CRASHED if datetime.now(UTC) - run.state.timestamp > RESTART_PATIENCE:
                return Sight("died", message)
            case StateType.SCHEDULED:
                self._warn_of_missing_worker()
        return Sight("running")

    def _warn_of_missing_worker(self) -> None:
        if time.monotonic() - self._asked_at > PATIENCE_S:
            self._asked_at = time.monotonic()
            pool, problem = self.find_problem()
            if problem is not None:
                get_log().warning("work waits for the pool %s: %s; run 'heo up'", pool, problem)


def _read_flow_run(flow_run_id: str) -> FlowRun | None:
    def read() -> FlowRun | None:
        with get_client(sync_client=True) as client:
            try:
                return client.read_flow_run(UUID(flow_run_id))
            except ObjectNotFound:
                return None

    return _ask(read)


def _ask[T](question: Callable[[], T]) -> T:
    """Ask the Prefect server again while it does not answer: it may just be started anew."""
    begin = time.monotonic()
    while True:
        try:
            return question()
        except (httpx.TransportError, httpx.HTTPStatusError) as exc:
            if isinstance(exc, httpx.HTTPStatusError) and not exc.response.is_server_error:
                raise  # a server whose own database is away is waited for, too
            if time.monotonic() - begin > SILENCE_S:
                raise ServiceError(
                    f"the Prefect server has not answered for {SILENCE_S:.0f} s ({exc or type(exc).__name__}); "
                    "what was started goes on, and the same work, run again, joins it"
                ) from exc
            time.sleep(POLL_S)
