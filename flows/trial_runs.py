"""How the trials of a sweep are trained: as runs of the deployment finetune on its work pool, or in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger

from flows.finetune import finetune
from heo_core.errors import HeoError, ServiceError
from heo_core.params import FinetuneParams

DEPLOYMENT = "finetune/finetune"
SILENCE_S = 600.0  # how long the Prefect server may fail to answer
RESTART_PATIENCE = timedelta(seconds=60)  # in which an automation starts a crashed run again
PATIENCE_S = 60.0  # how long a run may wait before it is asked whether there is a worker for it


@dataclass(frozen=True)
class Sight:
    """What was seen of a training. failed: the database may say more; died: nothing works on it, so start it again."""

    state: Literal["running", "completed", "failed", "given up", "died"]
    message: str = ""


class Runner(Protocol):
    """Starts trainings and sees how they are."""

    max_tries: int
    """Flow runs of one trial: one whose process died is started again."""
    poll_s: float
    """Seconds between two looks."""

    def check(self) -> None:
        """ServiceError where nothing would run."""

    def start(
        self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False
    ) -> str | None:
        """Start a training, or find the one of this key; return its flow run."""

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:
        """See how a training is that was started."""


class HereRunner:
    """Trains one trial after another; a trial that was broken off is trained again, and finds what is done."""

    max_tries = 1
    poll_s = 0.0

    def check(self) -> None:
        """Nothing is needed."""

    def start(self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False) -> None:
        """Leave the training to the first look."""

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:  # noqa: ARG002
        """Train now. What breaks the machine rather than the trial ends the sweep, which goes on when run again."""
        try:
            finetune(params, assess=assess)
        except ServiceError:
            raise
        except (HeoError, RuntimeError, ValueError, MemoryError) as exc:
            return Sight("failed", str(exc) or type(exc).__name__)
        return Sight("completed")


class PoolRunner:
    """Makes runs of the deployment finetune, under the sweep's own run in Prefect's UI, and watches them."""

    max_tries = 3
    poll_s = 2.0

    def __init__(self) -> None:
        """Nothing is asked of the server yet."""
        self._asked_at = time.monotonic()

    def check(self) -> None:
        """ServiceError, with what to do, where there is no deployment or no worker for it."""
        pool, problem = _find_problem()
        if problem is not None:
            raise ServiceError(
                f"trials cannot run on the work pool {pool}: {problem}; run 'heo up', or set runner=here"
            )

    def start(self, params: FinetuneParams, *, name: str, key: str, tags: list[str], assess: bool = False) -> str:
        """Make a flow run, or find the one of this key."""
        run: Any = _ask(
            lambda: run_deployment(
                DEPLOYMENT,
                parameters={"params": params.model_dump(mode="json"), "assess": assess},
                flow_run_name=name,
                tags=tags,
                idempotency_key=key,
                timeout=0,
            )
        )
        return str(run.id)

    def look(self, flow_run_id: str | None, params: FinetuneParams, *, assess: bool = False) -> Sight:  # noqa: ARG002
        """See the state of a flow run."""
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
            pool, problem = _find_problem()
            if problem is not None:
                get_run_logger().warning("trials wait for the work pool %s: %s; run 'heo up'", pool, problem)


def _find_problem() -> tuple[str, str | None]:
    """Name of the deployment's work pool, and why no run of it would start now."""

    def ask(client: SyncPrefectClient) -> tuple[str, str | None]:
        try:
            pool = client.read_deployment_by_name(DEPLOYMENT).work_pool_name
        except ObjectNotFound:
            return "gpu", f"the Prefect server knows no deployment {DEPLOYMENT}"
        if pool is None:
            return "(none)", f"the deployment {DEPLOYMENT} has no work pool"
        if client.read_work_pool(pool).is_paused:
            return pool, "it is paused"
        workers = client.read_workers_for_work_pool(pool)
        online = any(worker.status == WorkerStatus.ONLINE for worker in workers)
        return pool, None if online else "no worker of it is online"

    def connect() -> tuple[str, str | None]:
        with get_client(sync_client=True) as client:
            return ask(client)

    return _ask(connect)


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
        except httpx.TransportError as exc:
            if time.monotonic() - begin > SILENCE_S:
                raise ServiceError(
                    f"the Prefect server has not answered for {SILENCE_S:.0f} s ({exc or type(exc).__name__}); "
                    "trainings that were started go on, and the same sweep, run again, joins them"
                ) from exc
            time.sleep(2.0)
