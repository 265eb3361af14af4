"""The workers of a home: processes that start a process for each flow run. One a work pool, and one for each GPU."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from deploy.services.environment import log_file, resolved_home, worker_digest, worker_environment
from deploy.services.prefect_api import PrefectApi
from deploy.services.process import Say, end, end_strays, last_lines, recognise, spawn, wait
from deploy.services.state import ServicesState, WorkerState
from flows.settings import CHECKOUT, Settings
from heo_core.errors import ServiceError

WORDS = ("prefect", "worker", "start", "--pool")
START_PATIENCE_S = 120.0
STOP_PATIENCE_S = 10.0  # a worker that outlived its server spins on SIGTERM


@dataclass(frozen=True)
class Pool:
    """A Prefect work pool: how many runs a worker of it has at once, each with how many threads (None: all cores).

    The pool itself has no limit, for more machines may serve it. venv: folder in the checkout of the environment that
    its worker runs in, where that is another than ours. needs: folder of one that its runs start processes in.
    has_gpu: its runs compute on a GPU where there is one; where there are several, each has a worker.
    """

    name: str
    limit: int
    threads: int | None
    description: str
    venv: str | None = None
    needs: str | None = None
    has_gpu: bool = False

    @property
    def python(self) -> str:
        """What its worker is started with."""
        return sys.executable if self.venv is None else str(CHECKOUT / self.venv / "bin" / "python")

    @property
    def is_served(self) -> bool:
        """Whether its environment is whole on this machine, as deploy/setup.sh leaves it: then it has a worker."""
        environment = self.venv or self.needs
        if environment is None:
            return True
        folder = CHECKOUT / environment
        return (folder / ".heo-installed").exists() and not (folder / ".heo-installing").exists()


POOLS = (
    Pool("cpu", 2, 1, "Light steps: curation and reports. A worker runs two at a time, with one thread each."),
    Pool(
        "gpu",
        1,
        None,
        "Training and evaluation: a worker runs one at a time, on its GPU where there is one, else on all cores.",
        has_gpu=True,
    ),
    Pool(
        "sevennet",
        1,
        None,
        "SevenNet models, in an environment of their own: 'make setup-sevennet' makes it, 'heo up' starts its worker.",
        ".venv-sevennet",
        has_gpu=True,
    ),
    Pool(
        "dft",
        1,
        1,
        "Reference labels by DFT: 'make setup-dft' installs GPAW, 'heo up' starts a worker, which runs one at a time.",
        needs=".venv-dft",
    ),
)
GPU_POOL = POOLS[1]


@dataclass(frozen=True)
class Worker:
    """One worker process: of a pool, and where there are several GPUs, of one of them."""

    pool: Pool
    gpu: str | None = None
    share: int = 1
    """Workers of the pool on this machine, which share its cores."""

    @property
    def key(self) -> str:
        """Its name on this machine: the pool's, and its GPU."""
        return self.pool.name if self.gpu is None else f"{self.pool.name}-{self.gpu}"

    @property
    def service(self) -> str:
        """Name among the services, and of its log."""
        return f"worker-{self.key}"

    @property
    def name(self) -> str:
        """Name in Prefect."""
        return f"{self.key}{_on_this_machine()}"

    @property
    def threads(self) -> int:
        """Threads of each of its runs."""
        return self.pool.threads or max(1, (os.cpu_count() or 1) // self.share)


def is_of_this_machine(name: str) -> bool:
    """Tell whether a worker of this name in Prefect is one that `heo up` starts on this machine."""
    return name.endswith(_on_this_machine())


def _on_this_machine() -> str:
    return f" on {socket.gethostname()}"


def list_workers(gpus: Sequence[str] | None) -> tuple[Worker, ...]:
    """Return the workers of a machine with these GPUs: one a pool, but one for each GPU where there are several."""
    pools = [pool for pool in sorted(POOLS, key=lambda pool: pool is GPU_POOL) if pool.is_served]
    return tuple(worker for pool in pools for worker in _list_of_pool(pool, gpus or ()))


def _list_of_pool(pool: Pool, gpus: Sequence[str]) -> tuple[Worker, ...]:
    if not pool.has_gpu or len(gpus) < 2:
        return (Worker(pool),)
    return tuple(Worker(pool, gpu, len(gpus)) for gpu in gpus)


def find(worker: Worker, known: WorkerState) -> psutil.Process | None:
    """Return the process of a worker."""
    return recognise(known.pid, known.create_time, (*WORDS, worker.pool.name))


def living(state: ServicesState) -> dict[str, WorkerState]:
    """Return the eldest running worker of each pool; nothing of a pool's where none of them runs."""
    eldest = {pool.name: WorkerState() for pool in POOLS}
    for worker in list_workers(state.gpus):
        known, other = state.worker(worker.key), eldest[worker.pool.name]
        is_elder = other.create_time is None or (known.create_time or 0) < other.create_time
        if is_elder and find(worker, known) is not None:
            eldest[worker.pool.name] = known
    return eldest


def start(settings: Settings, worker: Worker, known: WorkerState, api_url: str, say: Say) -> WorkerState:
    """Start a worker where it does not run with these settings."""
    python = worker.pool.python
    environment = worker_environment(settings, worker.key, api_url, worker.threads, gpu=worker.gpu, python=python)
    digest = worker_digest(environment, python)
    running = find(worker, known)
    if running is not None and known.environment == digest:
        return known
    if running is not None:
        say(f"worker {worker.key}: its settings have changed, so it is started again")
        end([running], STOP_PATIENCE_S)
    end_strays(resolved_home(settings), worker.service)
    say(f"worker {worker.key}: starting")
    command = [python, "-m", *WORDS, worker.pool.name, "--type", "process", "--limit", str(worker.pool.limit)]
    process = spawn(
        [*command, "--name", worker.name],
        log=log_file(settings, worker.service),
        environment=environment,
        directory=resolved_home(settings),
    )
    return WorkerState(pid=process.pid, create_time=process.create_time(), environment=digest)


def wait_until_ready(settings: Settings, worker: Worker, known: WorkerState, api: PrefectApi, say: Say) -> None:
    """Wait until a worker that was started has reported to the server; ServiceError if it ends before."""
    for _ in wait(say, f"worker {worker.key}: still starting", START_PATIENCE_S, 0.25):
        if find(worker, known) is None:
            raise ServiceError(
                f"the worker {worker.key} ended while starting; {last_lines(log_file(settings, worker.service))}"
            )
        heard = api.worker_heartbeat(worker.pool.name, worker.name)
        if heard is not None and known.create_time is not None and heard >= known.create_time:
            return
    raise ServiceError(f"the worker {worker.key} has not reported to the server after {START_PATIENCE_S:.0f} s")
