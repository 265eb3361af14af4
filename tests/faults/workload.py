"""A small workload on real services: three stages, each from a database that holds what the stages before it made."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pyarrow.parquet as pq
from database_content import Content
from psycopg import sql

from db.check import check_files, check_rows
from db.engine import get_engine, session_scope
from deploy.services import down, postgres, up
from deploy.services.bootstrap import source_definition
from deploy.services.environment import resolved_home
from deploy.services.prefect_api import FINAL, PrefectApi
from deploy.services.process import end_marked, marked_processes
from deploy.services.state import load_state
from flows.settings import Settings, as_psycopg_url
from heo_core.assets import SAMPLE_DIR
from heo_core.errors import ServiceError
from heo_core.params import (
    CurationParams,
    EnergyForcesParams,
    EvaluationParams,
    FinetuneParams,
    RelaxParams,
    RuleParams,
    SubstitutionRelaxParams,
)

STAGES = ("curate", "finetune", "evaluate")
POOLS = {"curate": "cpu", "finetune": "gpu", "evaluate": "gpu"}
PATIENCE_S = 900.0
LOOK_S = 1.0
RESTART_PATIENCE_S = 60.0  # a crashed run is started again by an automation, or stays as it is
TRAINER = "heo_core.finetuning.trainer"


def make_parameters(source: Path) -> dict[str, dict[str, Any]]:
    """Parameters of the three stages: seconds of work each, in many small pieces."""
    # A batch cut elsewhere after a kill adds up to other last digits: in float32, 15 steps make too much of them.
    relax = RelaxParams(max_force_calls=15, max_atoms_per_batch=8, dtype="float64")
    params = {
        "curate": CurationParams(name="small", source=str(source), rules=RuleParams(max_n_atoms=16), map="pca"),
        "finetune": FinetuneParams(
            dataset="small", name="child", strategy="naive", max_num_epochs=3, dtype="float32", batch_size=4
        ),
        "evaluate": EvaluationParams(
            models=("heo-mini", "child"),
            dataset="small",
            benchmarks=("energy-forces", "substitution-relax"),
            energy_forces=EnergyForcesParams(split="validation", dtype="float32"),
            substitution_relax=SubstitutionRelaxParams(
                composition="Mg0.5Ni0.5O", supercell=(1, 1, 1), n_cells=3, reference="heo-mini", relax=relax
            ),
        ),
    }
    sent = {stage: {"params": value.model_dump(mode="json")} for stage, value in params.items()}
    sent["finetune"]["assess"] = False
    return sent


def write_source(folder: Path) -> None:
    """Write the first 72 rows of the sample as 24 files, so that a curation has many places to go on from."""
    folder.mkdir(parents=True)
    table = pq.read_table(SAMPLE_DIR / "train-00000-of-00001.parquet")
    for i in range(24):
        pq.write_table(table.slice(i * 3, 3), folder / f"train-{i:02}.parquet")


@dataclass
class Workload:
    """A home with its services, and for each stage the database before it and after it."""

    home: Path
    stages: tuple[str, ...] = STAGES
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage takes from its claim by a worker to its end, when nothing happens to it."""

    @cached_property
    def settings(self) -> Settings:
        """Settings of the home; nothing is started by the clock."""
        return Settings(
            home=self.home,
            database_url=None,
            artifact_store=None,
            report_root=None,
            device="cpu",
            reevaluation_cron="0 0 1 1 *",
        )

    def up(self) -> None:
        """Do what `heo up` does."""
        up(self.settings, gpus="1", say=lambda _: None)

    def down(self) -> None:
        """Do what `heo down` does."""
        down(self.settings)

    @property
    def api(self) -> PrefectApi:
        """A client of the Prefect server."""
        return PrefectApi(str(load_state(resolved_home(self.settings)).server.api_url))

    def prepare(self) -> None:
        """Start the services; run each stage undisturbed, unless an earlier suite has done so with this code."""
        self.up()
        notes = self.home / "undisturbed.json"
        with suppress(OSError, ValueError):
            known = json.loads(notes.read_text())
            if known["definition"] == source_definition():
                self.seconds = known["seconds"]
                return
        notes.unlink(missing_ok=True)
        if not (self.home / "source").exists():
            write_source(self.home / "source")
        self._empty_database()
        for stage in self.stages:
            self._keep(f"before_{stage}")
            run_id = self.start(stage, f"undisturbed-{time.time_ns()}")
            self.wait_until(run_id, lambda run: run["state_type"] != "SCHEDULED")
            begin = time.monotonic()
            if (state := self.wait_for_end(run_id)) != "COMPLETED":
                raise RuntimeError(f"undisturbed, {stage} is {state}")
            self.seconds[stage] = time.monotonic() - begin
            self._keep(f"after_{stage}")
        notes.write_text(json.dumps({"definition": source_definition(), "seconds": self.seconds}))

    def reset(self, stage: str) -> None:
        """Give the database the content that it has before a stage; what was left of work and runs goes."""
        self.cancel_runs()
        shutil.rmtree(self.settings.work, ignore_errors=True)
        self._copy(f"before_{stage}", "heo")

    def cancel_runs(self) -> None:
        """End the runs that have not ended, and their processes."""
        with suppress(ServiceError), self.api as api:
            for run in api.runs_in_flight():
                api.set_state(run["id"], "CANCELLED", "the suite is done with it")
        end_marked(resolved_home(self.settings), lambda marked: marked.flow_run_id is not None)

    def read(self, database: str = "heo") -> Content:
        """Read a database."""
        return Content(self.url(database))

    def expected(self, stage: str) -> Content:
        """Read what a stage leaves when nothing happens to it."""
        return self.read(f"after_{stage}")

    def check(self) -> list[str]:
        """Do what `heo db check` does; return what does not hold."""
        with session_scope(self.url("heo")) as session:
            checks = [*check_rows(session), check_files(session, self.settings.artifacts)]
        return [f"{check.name}: {', '.join(check.examples)}" for check in checks if check.n_violations]

    def start(self, stage: str, key: str) -> str:
        """Make a run of a stage's deployment."""
        body = {
            "parameters": make_parameters(self.home / "source")[stage],
            "state": {"type": "SCHEDULED"},
            "idempotency_key": key,
        }
        with self.api as api:
            run = api.request("POST", f"/deployments/{api.deployment(stage)['id']}/create_flow_run", body)
        return str(run["id"])

    def look(self, run_id: str) -> dict[str, Any] | None:
        """Return a run as the server knows it; None while the server does not answer."""
        try:
            with self.api as api:
                return api.flow_run(run_id)
        except ServiceError:
            return None

    def wait_until(self, run_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until something holds of a run."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            run = self.look(run_id)
            if run is not None and is_so(run):
                return run
            time.sleep(LOOK_S)
        raise TimeoutError(f"run {run_id} is {run and run['state_name']} after {PATIENCE_S:.0f} s")

    def wait_for_process(self, run_id: str) -> None:
        """Wait until a run has a process, as after each of its starts, or has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while self.find_flow(run_id) is None and time.monotonic() < deadline:
            run = self.look(run_id)
            if run is not None and run["state_type"] in FINAL and run["state_type"] != "CRASHED":
                return
            time.sleep(LOOK_S)

    def wait_for_end(self, run_id: str) -> str:
        """Wait until a run has ended for good; return its state, or what it hangs in."""
        deadline, crashed_at, last = time.monotonic() + PATIENCE_S, None, "unknown"
        while time.monotonic() < deadline:
            run = self.look(run_id)
            if run is not None:
                last = str(run["state_type"])
                crashed_at = (crashed_at or time.monotonic()) if last == "CRASHED" else None
                is_over = crashed_at is None or time.monotonic() - crashed_at > RESTART_PATIENCE_S
                if last in FINAL and is_over:
                    return last
            time.sleep(LOOK_S)
        return f"{last} for {PATIENCE_S:.0f} s"

    def find_flow(self, run_id: str) -> psutil.Process | None:
        """Return the process of a run."""
        return next((process for process in self._of_run(run_id) if not _is_trainer(process)), None)

    def find_trainer(self, run_id: str) -> psutil.Process | None:
        """Return the trainer of a run."""
        return next((process for process in self._of_run(run_id) if _is_trainer(process)), None)

    def _of_run(self, run_id: str) -> list[psutil.Process]:
        found = [m.process for m in marked_processes(resolved_home(self.settings)) if m.flow_run_id == run_id]
        return sorted(found, key=lambda process: process.create_time())

    # Databases

    def url(self, database: str) -> str:
        """Return the URL of a database of this home."""
        base = str(load_state(resolved_home(self.settings)).postgres.url).rpartition("/")[0]
        return as_psycopg_url(f"{base}/{database}")

    def _keep(self, name: str) -> None:
        self._copy("heo", name)

    def _copy(self, source: str, target: str) -> None:
        """Make a database anew as a copy of another."""
        for name in (source, target):
            get_engine(self.url(name)).dispose()
        with self.superuser() as connection:
            ended = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
            connection.execute(ended, [source])
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(target)))
            names = sql.Identifier(target), sql.Identifier(source)
            connection.execute(sql.SQL("create database {} template {} owner heo").format(*names))

    def _empty_database(self) -> None:
        from db import migrations

        with self.superuser() as connection:
            connection.execute("drop database if exists heo with (force)")
            connection.execute("create database heo owner heo")
        migrations.upgrade(self.url("heo"))

    def superuser(self) -> psycopg.Connection[Any]:
        """Connect to Postgres as the one who may do everything; each statement counts at once."""
        password = postgres.Cluster(self.settings).passwords()[postgres.SUPERUSER]
        port = load_state(resolved_home(self.settings)).postgres.port
        url = f"postgresql://{postgres.SUPERUSER}:{password}@127.0.0.1:{port}/postgres"
        return psycopg.connect(url, autocommit=True)


def _is_trainer(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return TRAINER in process.cmdline()
    return False
