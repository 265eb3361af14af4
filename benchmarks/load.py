"""Fifty evaluations requested at once, while twenty people ask the database and load the report.

    python benchmarks/load.py [--n-runs 50] [--n-people 20] [--home FOLDER]

Starts a home of its own with two workers of the pool gpu. The evaluations are of two cells each, so that it is the
service that is measured; every tenth asks for what another asks for too. People wait two seconds on average between a
query, as heo_reader, and the page. Nothing may be lost, nothing done twice. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import psycopg
from ase.build import bulk

from db import evaluations
from db.check import check_rows
from db.engine import session_scope
from deploy.services import down, postgres, up
from deploy.services.environment import resolved_home
from deploy.services.prefect_api import FINAL, PrefectApi
from deploy.services.state import load_state
from flows.settings import Settings
from heo_core.errors import ServiceError
from heo_core.params import EnergyForcesParams
from heo_core.records import BenchmarkCase, Structure

THINK_S = 2.0
SHARED = 10  # of so many requests, two ask for the same
PATIENCE_S = 4 * 3600.0
QUESTIONS = (
    "select benchmark, rank, model, metric, value, ci_low, ci_high from leaderboard order by benchmark, rank, metric",
    "select model, benchmark, state from pending_evaluation",
    "select * from run_history order by started_at desc limit 20",
    "select * from worst_structures limit 20",
)


@dataclass
class Clock:
    """How long something took, each time, and what went wrong."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def measure(self, work: Callable[[], Any]) -> None:
        """Do something and note how long it took."""
        begin = time.perf_counter()
        try:
            work()
        except (psycopg.Error, httpx.HTTPError) as exc:
            self.errors.append(f"{type(exc).__name__}: {exc}")
        else:
            self.seconds.append(time.perf_counter() - begin)

    def summarise(self) -> dict[str, Any]:
        """Return count, errors, and milliseconds: median, 95th percentile, largest."""
        median, high, largest = (round(1000 * float(np.percentile(self.seconds, q))) for q in (50, 95, 100))
        return {"n": len(self.seconds), "errors": len(self.errors), "ms": [median, high, largest]}


def make_cell(scale: float) -> Structure:
    """Make a labelled cell of MgO."""
    atoms = bulk("MgO", "rocksalt", a=4.25 * scale)
    return Structure(
        lattice=atoms.cell.array,
        positions=atoms.positions,
        species=tuple(atoms.symbols),
        immutable_id=f"load-{scale}",
        source="own",
        functional="none",
        fingerprint=None,
        energy_ev=-12.0,
        forces_ev_per_ang=np.zeros((2, 3)),
        stress_ev_per_ang3=None,
    )


def add_benchmarks(url: str, count: int) -> list[str]:
    """Store benchmarks of the same two cells under different names."""
    cases = [BenchmarkCase(start=make_cell(scale), target=None, recipe={}) for scale in (1.0, 1.05)]
    names = [f"load-{number:03}" for number in range(count)]
    with session_scope(url) as session:
        for name in names:
            params, options = EnergyForcesParams(dtype="float32"), {"dataset_id": None, "reference_id": None}
            evaluations.add_benchmark(session, params, cases, name=name, is_of_files=True, **options)
    return names


def request(api_url: str, deployment_id: str, parameters: dict[str, Any], refusals: list[str]) -> str:
    """Ask for a run of a deployment, and again where the server refuses: the key makes it one run."""
    body = {"parameters": {"params": parameters}, "state": {"type": "SCHEDULED"}, "idempotency_key": uuid4().hex}
    with PrefectApi(api_url, timeout_s=120) as api:
        while True:
            try:
                return str(api.request("POST", f"/deployments/{deployment_id}/create_flow_run", body)["id"])
            except ServiceError as exc:
                refusals.append(str(exc))
                time.sleep(1.0)


def wait_for(api_url: str, run_ids: list[str]) -> list[dict[str, Any]]:
    """Wait until runs have ended."""
    deadline, told = time.monotonic() + PATIENCE_S, -1
    runs: list[dict[str, Any]] = []
    with PrefectApi(api_url, timeout_s=120) as api:
        while time.monotonic() < deadline:
            with suppress(ServiceError):  # a server that is too busy for the benchmark's own look
                runs = api.flow_runs(id={"any_": run_ids})
            ended = sum(run["state_type"] in FINAL for run in runs)
            if ended > told:
                print(f"  {ended} of {len(runs)} runs have ended", file=sys.stderr)
                told = ended
            if ended == len(run_ids):
                return runs
            time.sleep(2.0)
    raise TimeoutError(f"{len(run_ids) - told} runs have not ended after {PATIENCE_S:.0f} s")


def be_a_person(
    reader_url: str, page_url: str, number: int, asked: Clock, loaded: Clock, over: threading.Event
) -> None:
    """Ask the database and load the page, again and again."""
    rng = np.random.default_rng(number)

    def ask() -> None:
        with psycopg.connect(reader_url) as connection:
            connection.execute(str(rng.choice(QUESTIONS))).fetchall()

    while not over.wait(rng.exponential(THINK_S)):
        asked.measure(ask)
        loaded.measure(lambda: httpx.get(page_url, timeout=60, trust_env=False).raise_for_status())


def count(url: str, query: str) -> int:
    """Return the one number of a query."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def measure(home: Path, n_runs: int, n_people: int) -> dict[str, Any]:
    """Start everything, load it, and return the figures."""
    settings = Settings(
        home=home, database_url=None, artifact_store=None, report_root=None, device="cpu", reevaluation_cron="0 0 1 1 *"
    )
    services = up(settings, gpus="2", say=lambda line: print(f"  {line}", file=sys.stderr))
    state = load_state(resolved_home(settings))
    cluster = postgres.Cluster(settings)
    superuser = f"postgresql://postgres:{cluster.passwords()['postgres']}@127.0.0.1:{state.postgres.port}/heo"
    names = add_benchmarks(services.database_url, n_runs - n_runs // SHARED + 1)
    first, names = names[0], names[1:]
    evaluation = {"models": ["heo-mini"], "benchmarks": [], "stored_benchmarks": [first]}
    # The model is registered and the page written before the clock runs.
    refusals: list[str] = []
    with PrefectApi(services.api_url, timeout_s=120) as api:
        evaluate, report = (str(api.deployment(name)["id"]) for name in ("evaluate", "report"))
    wait_for(services.api_url, [request(services.api_url, evaluate, evaluation, refusals)])
    wait_for(services.api_url, [request(services.api_url, report, {"models": ["heo-mini@1"]}, refusals)])
    with psycopg.connect(services.psql_url) as connection:
        page = str(connection.execute("select uri from report").fetchone()[0]).rpartition("/")[2]
    asked, loaded, over = Clock(), Clock(), threading.Event()
    reader = f"{superuser}?options=-c%20role%3Dheo_reader"
    people = [
        threading.Thread(
            daemon=True, target=be_a_person, args=(reader, f"{state.reports.url}/{page}", i, asked, loaded, over)
        )
        for i in range(n_people)
    ]
    for person in people:
        person.start()
    begin = time.monotonic()
    wanted = [evaluation | {"stored_benchmarks": [names[i % len(names)]]} for i in range(n_runs)]
    with ThreadPoolExecutor(n_runs) as pool:
        run_ids = list(pool.map(lambda params: request(services.api_url, evaluate, params, refusals), wanted))
    requested_s = time.monotonic() - begin
    runs = wait_for(services.api_url, run_ids)
    finished_s = time.monotonic() - begin
    over.set()
    for person in people:
        person.join()
    with session_scope(services.database_url) as session:
        violated = [check.name for check in check_rows(session) if check.n_violations]
    of_load = "from evaluation join benchmark on benchmark.id = benchmark_id where benchmark.name > 'load-000'"
    done = count(services.psql_url, f"select count(*) {of_load} and state = 'completed'")
    twice = count(services.psql_url, f"select count(*) - count(distinct benchmark.name) {of_load}")
    per_run = count(services.psql_url, "select count(*) from prediction") / (2 * (done + 1))
    return {
        "runs": n_runs,
        "people": n_people,
        "requested_s": round(requested_s, 1),
        "refused_and_asked_again": len(refusals),
        "finished_s": round(finished_s, 1),
        "completed": sum(run["state_type"] == "COMPLETED" for run in runs),
        "started_more_than_once": sum(run["run_count"] > 1 for run in runs),
        "lost": len(names) - done,
        "doubled": twice,
        "predictions_over_expected": per_run,
        "violated": violated,
        "sql": asked.summarise(),
        "page": loaded.summarise(),
        "errors": [*refusals[:3], *asked.errors[:3], *loaded.errors[:3]],
    }


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-runs", type=int, default=50)
    parser.add_argument("--n-people", type=int, default=20)
    parser.add_argument("--home", type=Path, help="folder of the services; without one it goes in the end")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = (args.home or Path(folder)).resolve()
        try:
            figures = measure(home, args.n_runs, args.n_people)
        finally:
            down(Settings(home=home))
    for name, value in figures.items():
        print(f"  {name:<28} {value}")
    ratios = {
        "completed_over_requested": {"value": figures["completed"] / args.n_runs, "bar": 1.0, "better": "higher"},
        "lost_or_doubled": {"value": figures["lost"] + figures["doubled"], "bar": 0.0, "better": "lower"},
    }
    print(json.dumps({"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
