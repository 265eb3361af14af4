"""What is done to the service: each kind kills something of a run or under it, and what then starts it again.

A killed service is started again by `heo up`, as a person or a process manager would; nothing is done for the run.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil
from workload import POOLS, STAGES, Workload

from deploy.services import workers
from deploy.services.environment import resolved_home
from deploy.services.process import wait_for_end
from deploy.services.state import WorkerState, load_state, save_state, services_lock

GONE_S = 15.0  # a worker that gets a TERM ends its runs first


@dataclass(frozen=True)
class Strike:
    """One kill to come: of what run at which stage, and the dice."""

    workload: Workload
    run_id: str
    stage: str
    rng: np.random.Generator

    @property
    def worker(self) -> workers.Worker:
        """The worker that has the run."""
        return get_worker(self.stage)

    def pause(self) -> None:
        """Leave a service dead for up to ten seconds."""
        time.sleep(self.rng.uniform(0.0, 10.0))


def kill_flow(strike: Strike) -> str | None:
    """Kill the process of the run."""
    return _send(strike.workload.find_flow(strike.run_id), signal.SIGKILL)


def kill_trainer(strike: Strike) -> str | None:
    """Kill MACE's trainer under a finetuning, some time after it was started."""
    workload = strike.workload
    while workload.find_trainer(strike.run_id) is None and workload.find_flow(strike.run_id) is not None:
        time.sleep(0.5)
    time.sleep(strike.rng.uniform(0.0, 0.3 * workload.seconds["finetune"]))
    return _send(workload.find_trainer(strike.run_id), signal.SIGKILL)


def terminate_worker(strike: Strike) -> str | None:
    """End a worker as `kill` and a shutdown do; its run goes with it."""
    told = _send(find_worker(strike.workload, strike.worker), signal.SIGTERM)
    strike.workload.up()
    return told


def kill_worker(strike: Strike) -> str | None:
    """Kill a worker; its run lives on."""
    told = _send(find_worker(strike.workload, strike.worker), signal.SIGKILL)
    strike.workload.up()
    return told


def kill_worker_and_run(strike: Strike) -> str | None:
    """Kill a worker and its run, as a machine that loses its power does; then the worker alone is started again.

    Nobody runs `heo up`: that the run is dead is known by its silence.
    """
    told = _send(find_worker(strike.workload, strike.worker), signal.SIGKILL)
    _send(strike.workload.find_flow(strike.run_id), signal.SIGKILL)
    start_worker(strike.workload, strike.worker)
    return told


def kill_postgres(strike: Strike) -> str | None:
    """Kill Postgres, or stop it as fast as it is safe; after a while it is started again."""
    number = signal.Signals(strike.rng.choice([signal.SIGKILL, signal.SIGINT]))
    told = _send(_find_known(strike.workload, "postgres"), number)
    strike.pause()
    strike.workload.up()
    return told


def kill_server(strike: Strike) -> str | None:
    """Kill or end the Prefect server; after a while it is started again."""
    number = signal.Signals(strike.rng.choice([signal.SIGKILL, signal.SIGTERM]))
    told = _send(_find_known(strike.workload, "server"), number)
    strike.pause()
    strike.workload.up()
    return told


def start_worker(workload: Workload, worker: workers.Worker) -> None:
    """Start a worker and nothing else, in the place of one that is gone."""
    settings, home = workload.settings, resolved_home(workload.settings)
    with services_lock(home):
        state = load_state(home)
        api_url = str(state.server.api_url)
        state.workers[worker.key] = workers.start(settings, worker, WorkerState(), api_url, lambda _: None)
        save_state(home, state)


def find_worker(workload: Workload, worker: workers.Worker) -> psutil.Process | None:
    """Return the process of a worker."""
    return workers.find(worker, load_state(resolved_home(workload.settings)).worker(worker.key))


def get_worker(stage: str) -> workers.Worker:
    """Return the worker that has the runs of a stage."""
    return next(worker for worker in workers.list_workers(None) if worker.pool.name == POOLS[stage])


@dataclass(frozen=True)
class Kind:
    """A kind of kill, and what of."""

    name: str
    strike: Callable[[Strike], str | None]


# A run is started three times at most, and each of these ends its process.
ENDING = (
    Kind("flow process", kill_flow),
    Kind("worker TERM", terminate_worker),
    Kind("worker and run", kill_worker_and_run),
)
OUTLIVED = (
    Kind("worker KILL", kill_worker),
    Kind("Postgres", kill_postgres),
    Kind("Prefect server", kill_server),
)
TRAINER = Kind("trainer", kill_trainer)
KINDS = (*ENDING, *OUTLIVED, TRAINER)


def plan(number: int) -> tuple[str, list[Kind]]:
    """Return the stage of a run, and what is killed under it, in no order yet.

    Two kills end its process and two do not; two more are of the trainer where there is one. Any 45 runs in a row are
    15 of each stage and have each kind thirty times.
    """
    turn = number // len(STAGES)
    stage, left_out = STAGES[number % len(STAGES)], (number + turn) % len(ENDING)
    kinds = [kind for group in (ENDING, OUTLIVED) for i, kind in enumerate(group) if i != left_out]
    return stage, [*kinds, *([TRAINER] * 2 if stage == "finetune" else [])]


def _find_known(workload: Workload, service: str) -> psutil.Process | None:
    pid = getattr(load_state(resolved_home(workload.settings)), service).pid
    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _send(process: psutil.Process | None, number: signal.Signals) -> str | None:
    """Send a signal and wait for the end, by force after a grace; None where there is nothing to kill."""
    if process is None:
        return None
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return None
    for left in wait_for_end([process], GONE_S):
        with suppress(psutil.Error):
            left.kill()
        wait_for_end([left], GONE_S)
        return f"{number.name}, then SIGKILL"
    return number.name
