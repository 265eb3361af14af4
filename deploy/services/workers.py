"""The workers of a home: one process for each work pool, which starts a process for each flow run."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

import psutil

from deploy.services.environment import log_file, resolved_home, worker_digest, worker_environment
from deploy.services.process import Say, end, end_strays, recognise, spawn
from deploy.services.state import ServicesState, WorkerState
from flows.settings import Settings

WORDS = ("prefect", "worker", "start", "--pool")
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
        [*command, "--name", f"{pool.name} on {socket.gethostname()}"],
        log=log_file(settings, pool.service),
        environment=environment,
        directory=resolved_home(settings),
    )
    return WorkerState(pid=process.pid, create_time=process.create_time(), environment=digest)
