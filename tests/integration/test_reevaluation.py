"""Models that are evaluated by themselves: real services and workers, and a benchmark of two cells marked auto."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from deploy.services.prefect_api import PrefectApi
from deploy.services.state import load_state
from heo_core.assets import HEO_MINI_DIR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 300.0  # of a machine with other things to do; alone it is a quarter of a minute
SECRET = "planted-3f9c1e"


@dataclass(frozen=True)
class Service:
    """A home with everything running, and questions to it."""

    home: Path

    def python(self, *arguments: str) -> str:
        own = ("HEO_", "PREFECT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        given = {
            "HEO_HOME": str(self.home),
            "HEO_REEVALUATION_CRON": "*/2 * * * *",
            "OMP_NUM_THREADS": "1",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        result = subprocess.run(
            [sys.executable, *arguments],
            env=kept | given,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def heo(self, *arguments: str) -> str:
        return self.python("-m", "deploy.cli.main", *arguments)

    def add_model(self, name: str) -> str:
        return self.heo("models", "add", str(HEO_MINI_DIR / "heo-mini.model"), "--name", name)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(str(load_state(self.home).postgres.url)) as connection:
            return connection.execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        with psycopg.connect(str(load_state(self.home).postgres.url)) as connection:
            connection.execute(sql)

    def evaluations(self, model: str) -> list[tuple[Any, ...]]:
        return self.query(
            f"""
            select benchmark.name, benchmark.version, evaluation.state, count(prediction.structure_id)
            from evaluation
            join model_version on model_version.id = model_version_id
            join benchmark on benchmark.id = benchmark_id
            left join prediction on prediction.evaluation_id = evaluation.id
            where model_version.name = '{model}' group by evaluation.id, 1, 2, 3 order by 1, 2
            """
        )

    def runs(self, **criteria: dict[str, Any]) -> list[dict[str, Any]]:
        with PrefectApi(str(load_state(self.home).server.api_url)) as api:
            return api.flow_runs(**criteria)


def wait_for(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not look() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert look()


def write_cells(path: Path, scales: tuple[float, ...]) -> None:
    cells = []
    for scale in scales:
        cell = bulk("MgO", "rocksalt", a=4.25 * scale)
        cell.calc = SinglePointCalculator(cell, energy=-12.0, forces=[[0.0] * 3] * 2)
        cells.append(cell)
    write(path, cells)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("unattended"))
    cells = service.home / "cells.extxyz"
    write_cells(cells, (1.0, 1.05))
    service.heo("up")
    # The bundled benchmarks that run by themselves take minutes: here they do not.
    service.python("-c", "from flows.benchmarks import store_auto_benchmarks as store; store()")
    service.execute("update benchmark set auto = false")
    service.heo("benchmark", "add", "tiny", "--kind", "energy-forces", "--files", str(cells), "--set", "dtype=float32")
    service.heo("benchmark", "auto", "tiny", "on")
    yield service
    service.heo("down")


def test_a_model_that_is_added_is_evaluated_at_once_and_its_report_is_linked(service: Service) -> None:
    service.add_model("prompt")
    wait_for(lambda: service.evaluations("prompt") == [("tiny", 1, "completed", 2)])
    wait_for(lambda: service.query("select 1 from report where name = 'prompt-1'"))
    (run,) = service.runs(name={"any_": ["reevaluate prompt@1"]})
    looks = service.runs(name={"any_": ["look for what waits"]})
    assert "AUTOMATION" in {look["created_by"]["type"] for look in looks if look["created_by"]}
    wait_for(lambda: service.runs(id={"any_": [run["id"]]})[0]["state_type"] == "COMPLETED")
    with PrefectApi(str(load_state(service.home).server.api_url)) as api:
        artifacts = api.request("POST", "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    links = [artifact for artifact in artifacts if artifact["key"] in {"report-link", "report-answer"}]
    assert len(links) == 2
    assert all(f"{load_state(service.home).reports.url}/prompt-1-" in link["data"] for link in links)


def test_what_nobody_heard_of_is_caught_up_with_by_the_clock(service: Service) -> None:
    os.kill(int(load_state(service.home).server.pid or 0), signal.SIGKILL)
    assert "was not sent" in service.add_model("unheard")
    os.kill(int(load_state(service.home).workers["gpu"].pid or 0), signal.SIGKILL)
    service.heo("up")
    wait_for(lambda: service.evaluations("unheard") == [("tiny", 1, "completed", 2)])
    assert len(service.runs(name={"any_": ["reevaluate unheard@1"]})) == 1


def test_a_new_version_of_a_benchmark_runs_for_the_models_there_are_once_however_often_it_is_asked_for(
    service: Service, tmp_path: Path
) -> None:
    service.add_model("early")
    wait_for(lambda: service.evaluations("early") == [("tiny", 1, "completed", 2)])
    service.execute("update model_version set state = 'archived' where name <> 'early'")
    done = service.query("select xmin::text, finished_at from evaluation order by id")
    write_cells(tmp_path / "more.extxyz", (1.0, 1.02, 1.05))
    options = ("--kind", "energy-forces", "--files", str(tmp_path / "more.extxyz"), "--set", "dtype=float32")
    service.heo("benchmark", "add", "tiny", *options)
    with PrefectApi(str(load_state(service.home).server.api_url)) as api:
        deployment = api.deployment("reevaluate")
        for key in ("one", "other"):  # beside the event and the clock
            api.create_flow_run(deployment["id"], idempotency_key=f"test-{key}", tags=[])
    wait_for(lambda: service.evaluations("early") == [("tiny", 1, "completed", 2), ("tiny", 2, "completed", 3)])
    asked = {"idempotency_key": {"any_": ["test-one", "test-other"]}}
    wait_for(lambda: {run["state_type"] for run in service.runs(**asked)} == {"COMPLETED"})
    assert len(service.runs(name={"any_": ["reevaluate early@1"]})) == 2
    assert service.query("select xmin::text, finished_at from evaluation order by id")[: len(done)] == done
    assert service.query("select count(*) from pending_evaluation where auto") == [(0,)]


def test_no_secret_is_in_logs_parameters_artifacts_or_reports(service: Service) -> None:
    state = load_state(service.home)
    passwords = json.loads((service.home / "postgres" / "passwords.json").read_text()).values()
    secrets = [SECRET, *passwords]
    assert len(secrets) > 2
    with PrefectApi(str(state.server.api_url)) as api:
        said = [*api.flow_runs(), *api.deployments(), *api.request("POST", "/artifacts/filter", {})]
        said += api.request("POST", "/logs/filter", {"limit": 200})
    assert len(said) > 10
    places = {"Prefect": json.dumps(said)}
    for folder in ("logs", "reports", "artifacts", "work"):
        for file in (service.home / folder).rglob("*"):
            if file.is_file():
                places[str(file)] = file.read_bytes().decode(errors="replace")
    assert [(place, secret) for place, text in places.items() for secret in secrets if secret in text] == []
