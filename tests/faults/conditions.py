"""What goes wrong around the service without killing it: no space, no artifact store, a clock that is off.

Each is put on while a stage runs, and taken away; then the same is asked for again. A run under it may fail, and says
why; in the end the database is as if nothing had been.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from kills import find_worker, get_worker, start_worker
from workload import LOOK_S, PATIENCE_S, Workload

from deploy.services.postgres import Cluster

SMALL_BYTES = 512 * 1024  # less than a model or a checkpoint
SPARE_BYTES = 64 * 1024**2  # what Postgres has beside its files before its disk is filled
FULL_S = 60.0
LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@dataclass(frozen=True)
class Condition:
    """Something that goes wrong, and the stage that it is put on."""

    name: str
    stage: str
    put_on: Callable[[Workload, str], AbstractContextManager[None]]

    def cannot_be_put_on(self) -> str | None:
        """Say what this machine lacks for it; None where it lacks nothing."""
        if self.put_on in (small_disk, full_database_disk) and os.geteuid() != 0:
            return "only root mounts a file system"
        if self.name.startswith("clock") and not LIBFAKETIME.exists():
            return f"there is no {LIBFAKETIME}: install Debian's libfaketime"
        return None


@contextmanager
def small_disk(workload: Workload, _: str) -> Iterator[None]:
    """Give unfinished work a file system that has too little space; only root can."""
    folder = workload.settings.work
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs"]
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # its process may not be gone yet


@contextmanager
def full_database_disk(workload: Workload, stage: str) -> Iterator[None]:
    """Let the file system under Postgres be full for a minute while a run goes on; only root can.

    Once there is space, `heo up` starts what has ended over it, as somebody does who has made the space.
    """
    data = Cluster(workload.settings).data
    workload.down()
    aside = data.rename(data.with_name("data-aside"))
    data.mkdir()
    n_bytes = SPARE_BYTES + sum(path.lstat().st_size for path in aside.rglob("*"))
    owner = aside.stat()
    options = ["-t", "tmpfs", "-o", f"size={n_bytes},uid={owner.st_uid},gid={owner.st_gid},mode=700", "tmpfs"]
    subprocess.run(["mount", *options, str(data)], check=True)
    subprocess.run(["cp", "-a", f"{aside}/.", str(data)], check=True)
    workload.up()
    with ThreadPoolExecutor(1) as pool:
        filled = pool.submit(_fill_for_a_while, workload, data / "ballast")
        try:
            yield
            filled.result()
        finally:
            workload.down()
            shutil.rmtree(aside)
            subprocess.run(["cp", "-a", str(data), str(aside)], check=True)
            subprocess.run(["umount", str(data)], check=True)
            data.rmdir()
            aside.rename(data)
            (data / "ballast").unlink(missing_ok=True)
    workload.up()


def _fill_for_a_while(workload: Workload, ballast: Path) -> None:
    """Wait until a run is under way, take all space of a file system until Postgres ends over it, and give it back."""
    deadline = time.monotonic() + PATIENCE_S
    with workload.api as api:
        while not any(run["state_type"] == "RUNNING" for run in api.runs_in_flight()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no run was under way within {PATIENCE_S:.0f} s")
            time.sleep(LOOK_S)
    superuser = workload.superuser()
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    with superuser, suppress(psycopg.Error):
        while True:  # its log of changes grows, as under much writing, until a file more is wanted
            superuser.execute("select pg_logical_emit_message(false, 'ballast', repeat('x', 1000000))")
    time.sleep(FULL_S)
    ballast.unlink()
    workload.up()


@contextmanager
def small_files(workload: Workload, stage: str) -> Iterator[None]:
    """Let a worker and its runs write no large file, which any user can be told by the system."""
    process = find_worker(workload, get_worker(stage))
    before = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_store(workload: Workload, _: str) -> Iterator[None]:
    """Take the artifact store away, as a lost mount does; once it is back, it hides what was written in its place."""
    store = workload.home / "artifacts"
    away = store.rename(workload.home / "artifacts-away")
    try:
        yield
    finally:
        shutil.rmtree(store, ignore_errors=True)
        away.rename(store)


def clock_off(offset: str) -> Callable[[Workload, str], AbstractContextManager[None]]:
    """Let the clock of a worker and its runs be off; the server's and the database's are right."""

    @contextmanager
    def put_on(workload: Workload, stage: str) -> Iterator[None]:
        wrong = {"LD_PRELOAD": str(LIBFAKETIME), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        _restart(workload, stage, wrong)
        try:
            yield
        finally:
            _restart(workload, stage, {})

    return put_on


def _restart(workload: Workload, stage: str, variables: dict[str, str]) -> None:
    worker = get_worker(stage)
    process = find_worker(workload, worker)
    process.kill()
    process.wait(10)
    kept = dict(os.environ)
    os.environ.update(variables)
    try:
        start_worker(workload, worker)
    finally:
        os.environ.clear()
        os.environ.update(kept)


CONDITIONS = (
    Condition("disk full: tmpfs", "finetune", small_disk),
    Condition("disk full: RLIMIT_FSIZE", "finetune", small_files),
    Condition("disk full under Postgres", "evaluate", full_database_disk),
    Condition("artifact store gone", "evaluate", no_store),
    Condition("clock of the worker an hour ahead", "evaluate", clock_off("+1h")),
    Condition("clock of the worker an hour behind", "curate", clock_off("-1h")),
)
