"""Where an evaluation's structures are computed: in the run's own process, or in processes of Dask's, shard by shard.

`dask` starts processes on this machine, or uses those of the scheduler that HEO_DASK_SCHEDULER names; `dask-jobqueue`
has SLURM start them as jobs. They start when the first shard needs them, serve every evaluation of the flow, and end
with it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import batched
from typing import TYPE_CHECKING, Any

from prefect.futures import as_completed
from prefect.logging import get_run_logger
from prefect.tasks import Task

from flows.settings import Settings
from heo_core.errors import EvaluationError, InputError
from heo_core.params import ScaleParams

if TYPE_CHECKING:
    from prefect_dask import DaskTaskRunner

_MAX_STRUCTURES_PER_SHARD = 256

# Of Dask's page about itself, whose own port another flow may have taken.
_ANY_PORT = "127.0.0.1:0"


class Workers:
    """Processes that compute shards."""

    def __init__(self, runner: DaskTaskRunner, scale: ScaleParams) -> None:
        self._runner = runner
        self.scale = scale

    def split(self, indices: Sequence[int]) -> list[tuple[int, ...]]:
        """Cut what is to be done into shards, in the order given."""
        if (size := self.scale.structures_per_shard) is not None:
            return list(batched(indices, size))
        n_workers = self.scale.n_workers or max(1, len(self._runner.client.scheduler_info()["workers"]))
        return split_guided(indices, n_workers)

    def run[R](self, task: Task[..., R], calls: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], R]]:
        """Run a task once for each call; yield each call with its result, and raise the first failure after all.

        A call whose process dies is given to another process; EvaluationError where it takes several with it.
        """
        from distributed.scheduler import KilledWorker

        failures: list[Exception] = []
        futures = {self._runner.submit(task, parameters=call): call for call in calls}
        for future in as_completed(list(futures)):
            try:
                result = future.result()
            except KilledWorker as exc:
                failures.append(EvaluationError(f"a shard's process died, and those that took it over too: {exc}"))
            except Exception as exc:  # noqa: BLE001  # whatever a shard stumbles over, the others are still to be done
                failures.append(exc)
            else:
                # Results stay in the processes that made them, and one that died later would have to be made again.
                future.wrapped_future.release()  # type: ignore[attr-defined]  # of PrefectDaskFuture
                yield futures[future], result
                continue
            get_run_logger().error("shard failed: %s: %s", type(failures[-1]).__name__, failures[-1])
        if failures:
            failures[0].add_note(f"{len(failures)} of {len(calls)} shards failed; the rows of the others are stored")
            raise failures[0]


def split_guided(indices: Sequence[int], n_workers: int) -> list[tuple[int, ...]]:
    """Cut work into shards that grow smaller: each is half of a worker's share of what is left, 256 at most.

    Few shards cost little beside what is computed, and small ones at the end let all workers end together, whatever the
    structures take: guided self-scheduling, 10.1109/TC.1987.5009495.
    """
    shards, start = [], 0
    while left := len(indices) - start:
        size = min(-(-left // (2 * n_workers)), _MAX_STRUCTURES_PER_SHARD)
        shards.append(tuple(indices[start : start + size]))
        start += size
    return shards


_workers: ContextVar[Workers | None] = ContextVar("workers", default=None)


def find_workers() -> Workers | None:
    """Return the processes that compute here; None where the run's own process does."""
    return _workers.get()


@contextmanager
def use_runner(scale: ScaleParams, settings: Settings) -> Iterator[None]:
    """Compute the evaluations of the block where scale says. InputError if a package or a configuration is missing."""
    if scale.runner == "local":
        yield
        return
    with make_runner(scale, settings) as runner:
        runner.logger.setLevel(logging.WARNING)  # it names a dashboard that is not there
        token = _workers.set(Workers(runner, scale))
        try:
            yield
        finally:
            _workers.reset(token)


def make_runner(scale: ScaleParams, settings: Settings) -> DaskTaskRunner:
    """Return Prefect's runner of tasks on Dask; it starts nothing yet. InputError as `use_runner`."""
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as exc:
        raise InputError(
            f"the runner {scale.runner} needs packages that are not installed ({exc.name}): "
            "python -m pip install --constraint constraints.txt 'heo[scale]'; allowed without them: local"
        ) from exc
    import dask

    logging.getLogger("distributed").setLevel(logging.WARNING)
    # A shard waits in the scheduler, not in a process that works on another and may die of it.
    dask.config.set({"distributed.scheduler.worker-saturation": 1.0, "distributed.comm.timeouts.connect": "120s"})
    if scale.runner == "dask-jobqueue":
        from dask_jobqueue import SLURMCluster

        # Jobs that reach the end of their time are replaced by new ones.
        jobs = {"minimum_jobs": scale.n_workers, "maximum_jobs": scale.n_workers}
        return DaskTaskRunner(SLURMCluster, cluster_kwargs=make_slurm_arguments(settings), adapt_kwargs=jobs)
    if settings.dask_scheduler is not None:
        return DaskTaskRunner(address=settings.dask_scheduler)
    local = {
        "n_workers": scale.n_workers or os.cpu_count() or 1,
        "threads_per_worker": 1,
        "memory_limit": 0,  # what a structure needs is not Dask's to judge: it would kill the process
        "dashboard_address": _ANY_PORT,
        "security": True,  # TLS with keys of its own: other users of the machine cannot send it code
    }
    return DaskTaskRunner(cluster_kwargs=local)


def make_slurm_arguments(settings: Settings) -> dict[str, Any]:
    """Return what SLURMCluster is made with, beside `jobqueue.slurm` of Dask's configuration.

    InputError if that does not say what a job needs.
    """
    import dask
    import dask_jobqueue  # noqa: F401  # its defaults are part of the configuration

    config = dask.config.get("jobqueue.slurm")
    missing = [field for field in ("cores", "memory") if config[field] is None]
    if missing:
        raise InputError(
            f"the runner dask-jobqueue does not know {' and '.join(missing)} of a job: write jobqueue.slurm into "
            "~/.config/dask/jobqueue.yaml, as in deploy/slurm/jobqueue.yaml"
        )
    settings.work.mkdir(parents=True, exist_ok=True)
    return {
        "security": True,
        "shared_temp_directory": config["shared-temp-directory"] or str(settings.work),
        "scheduler_options": {"dashboard_address": _ANY_PORT} | config["scheduler-options"],
    }
