"""The workers of a home: one process for each work pool, which starts a process for each flow run."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

import psutil

from deploy.services.environment import log_file, resolved_home, worker_digest, worker_environment
from deploy.services.prefect_api import PrefectApi
from deploy.services.process import Say, end, end_strays, last_lines, recognise, spawn, wait
from deploy.services.state import ServicesState, WorkerState
from flows.settings import Settings
from heo_core.errors import ServiceError

WORDS = ("prefect", "worker", "start", "--pool")
START_PATIENCE_S = 120.0
STOP_PATIENCE_S = 10.0  # a worker that outlived its server spins on SIGTERM


@dataclass(frozen=True)
class Pool:
    """A Prefect work pool: how many runs at once, each with how many threads (None: as many as there are cores)."""

    name: str
    limit: int
    threads: int | None
    description: str

    @property
    def service(self) -> str:
        """Name of its worker among the services, and of its log."""
        return f"worker-{self.name}"

    @property
    def worker_name(self) -> str:
        """Name of its worker in Prefect."""
        return f"{self.name} on {socket.gethostname()}"


POOLS = (
    Pool("cpu", 2, 1, "Light steps: curation and reports. Two at a time, one thread each."),
    Pool(
        "gpu", 1, None, "Training and evaluation, one run at a time: on the GPU where there is one, else on all cores."
    ),
)


def find(pool: Pool, known: WorkerState) -> psutil.Process | None:
    """Return the running worker of a pool."""
    return recognise(known.pid, known.create_time, (*WORDS, pool.name))


def living(state: ServicesState) -> dict[str, WorkerState]:
    """Return what is known of each pool's worker; of one that does not run, nothing."""
    return {
        pool.name: known if find(pool, known := state.worker(pool.name)) is not None else WorkerState()
        for pool in POOLS
    }


def start(settings: Settings, pool: Pool, known: WorkerState, api_url: str, say: Say) -> WorkerState:
    """Start the worker of a pool where it does not run with these settings."""
    environment = worker_environment(settings, pool.name, api_url, pool.threads or os.cpu_count() or 1)
    digest = worker_digest(environment)
    running = find(pool, known)
    if running is not None and known.environment == digest:
        return known
    if running is not None:
        say(f"worker {pool.name}: its settings have changed, so it is started again")
        end([running], STOP_PATIENCE_S)
    end_strays(resolved_home(settings), pool.service)
    say(f"worker {pool.name}: starting")
    command = [sys.executable, "-m", *WORDS, pool.name, "--type", "process", "--limit", str(pool.limit)]
    process = spawn(
        [*command, "--name", pool.worker_name],
        log=log_file(settings, pool.service),
        environment=environment,
        directory=resolved_home(settings),
    )
    return WorkerState(pid=process.pid, create_time=process.create_time(), environment=digest)


def wait_until_ready(settings: Settings, pool: Pool, known: WorkerState, api: PrefectApi, say: Say) -> None:
    """Wait until a worker that was started has reported to the server; ServiceError if it ends before."""
    for _ in wait(say, f"worker {pool.name}: still starting", START_PATIENCE_S, 0.25):
        if find(pool, known) is None:
            raise ServiceError(
                f"the worker {pool.name} ended while starting; {last_lines(log_file(settings, pool.service))}"
            )
        heard = api.worker_heartbeat(pool.name, pool.worker_name)
        if heard is not None and known.create_time is not None and heard >= known.create_time:
            return
    raise ServiceError(f"the worker {pool.name} has not reported to the server after {START_PATIENCE_S:.0f} s")
