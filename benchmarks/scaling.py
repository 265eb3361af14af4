"""What several processes gain over one, what a shard costs beside its structures, and 100,000 structures at once.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [workers] [shards] [simulation] [--structures 100000]

Starts a Postgres and a Prefect server of its own in a temporary folder, and runs the product's own flows on them.

workers: cells relaxed by heo-mini in one and in two single-thread processes, which are started and warm before, in
turns; the ratio is that of the best round of each. shards: shards that find every row there. simulation: a benchmark of
many cells, whose relaxations are made up (30 force calls, a final state; one in a thousand fails) instead of computed;
in the middle of it one of the processes is killed. All else is real: flow, tasks, shards, rows, checks. Other work of
the machine makes all seconds longer; its load stands beside them. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from heo_core.params import (
    BenchmarkParams,
    EvaluationParams,
    GenerationParams,
    RelaxParams,
    ScaleParams,
    StructureRelaxParams,
)
from heo_core.records import BenchmarkCase, Relaxation, Structure

if TYPE_CHECKING:
    from deploy.services import Services
    from flows.settings import Settings

BAR = 1.7
N_ATOMS = 20
N_CALLS = 30
CATIONS = ("Mg", "Co", "Ni", "Cu", "Zn", "Mn", "Fe", "Cr")


def dask_setup(_: Any) -> None:
    """Make up relaxations in a worker process, which loads this file before anything else, and count what it asks."""
    import httpx

    from flows import shards

    shards.load_model = load_nothing
    shards.relax_structures = make_up_relaxations
    for client in (httpx.Client, httpx.AsyncClient):
        client.send = count_calls(client.send)


def load_nothing(*_: Any, **__: Any) -> Any:
    """Stand in for a model: nothing asks it for anything."""
    return SimpleNamespace(device="cpu", dtype="float64")


def count_calls(send: Any) -> Any:
    """Wrap a method of httpx so that the path of every request is a line of the file of HEO_SCALING_CALLS."""

    def send_and_count(self: Any, request: Any, **options: Any) -> Any:
        with Path(os.environ.get("HEO_SCALING_CALLS", os.devnull)).open("a") as file:
            file.write(f"{request.method} {request.url.path}\n")
        return send(self, request, **options)

    return send_and_count


def make_up_relaxations(
    _: Any, structures: Sequence[Structure], params: RelaxParams
) -> Iterator[tuple[int, Relaxation]]:
    """Yield what a relaxation of N_CALLS force calls leaves behind; every thousandth structure fails."""
    energies = tuple(np.linspace(-7.0, -7.5, N_CALLS) * N_ATOMS)
    forces, stress = np.full((N_ATOMS, 3), 0.01), np.zeros((3, 3))
    for index, structure in enumerate(structures):
        if int(structure.fingerprint or 0) % 1000 == 999:
            yield index, Relaxation(False, "unknown element: Xe", 0, 0.0, *[None] * 7)
            continue
        yield (
            index,
            Relaxation(
                converged=True,
                failure=None,
                force_calls=N_CALLS,
                wall_s=1.0,
                energy_initial_ev=energies[0],
                energy_final_ev=energies[-1],
                fmax_ev_per_ang=params.fmax / 2,
                cell_fmax_ev_per_ang=0.0,
                lattice=structure.lattice,
                positions=structure.positions,
                forces_ev_per_ang=forces,
                stress_ev_per_ang3=stress,
                energies_ev=energies,
                fmaxes_ev_per_ang=tuple(np.geomspace(2.0, params.fmax / 2, N_CALLS)),
                displacement_rmsd_ang=0.1,
                volume_change_fraction=0.01,
            ),
        )


def make_structures(n: int) -> Iterator[Structure]:
    """Yield cells of random positions, half of the atoms oxygen."""
    rng = np.random.default_rng(0)
    for i in range(n):
        cations = (*rng.choice(CATIONS, N_ATOMS // 2), *["O"] * (N_ATOMS // 2))
        yield Structure(
            np.eye(3) * 6.0, rng.uniform(0, 6, (N_ATOMS, 3)), cations, f"own-{i}", "own", fingerprint=str(i)
        )


def make_cells(n: int) -> list[Structure]:
    """Rock-salt MgNiCuCoZn-O cells of 64 atoms, cations shuffled, rattled by 0.1 Å."""
    from heo_core.structures.generation import generate

    cells = generate(GenerationParams(n=n, rattle_ang=0.1, seed=5))
    return [cell.structure for cell in cells if cell.structure is not None]


class Meter:
    """CPU seconds and memory of the services, this process and its workers, sampled while a block runs."""

    PERIOD_S = 10.0

    def __init__(self, services: Services, settings: Settings) -> None:
        from deploy.services.state import load_state

        state = load_state(services.home)
        self._roots = {"server": state.server.pid, "postgres": state.postgres.pid, "flow": os.getpid()}
        self._url = settings.resolve_database_url()
        self._cpu_s: dict[tuple[str, int], float] = {}
        self.peak_mb: dict[str, float] = {}

    @contextmanager
    def measure(self, found: dict[str, Any]) -> Iterator[None]:
        """Put into `found` what was used while the block ran."""
        self._cpu_s.clear()
        self.peak_mb.clear()
        self._sample()
        before, databases, begin = dict(self._cpu_s), self._count(), time.perf_counter()
        done = threading.Event()
        sampler = threading.Thread(target=self._watch, args=(done,))
        sampler.start()
        yield
        wall_s = time.perf_counter() - begin
        done.set()
        sampler.join()
        time.sleep(3)  # the server writes task runs and logs a little later
        self._sample()
        used: dict[str, float] = {}
        for (name, pid), cpu_s in self._cpu_s.items():
            used[name] = used.get(name, 0.0) + cpu_s - before.get((name, pid), 0.0)
        counted = {key: value - databases[key] for key, value in self._count().items()}
        found |= {"wall_s": wall_s, "cpu_s": used, "peak_mb": dict(self.peak_mb), "databases": counted}
        found["load"] = os.getloadavg()[1]

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(self.PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        memory: dict[str, float] = {}
        for name, root in self._roots.items():
            try:
                processes = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
            for process in processes:
                part = "workers" if name == "flow" and process.pid != root else name
                try:
                    times = process.cpu_times()
                    # Shared pages are shared out: Postgres' buffers count once.
                    memory[part] = memory.get(part, 0.0) + process.memory_full_info().pss / 2**20
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
                self._cpu_s[part, process.pid] = times.user + times.system
        self.peak_mb = {part: max(mb, self.peak_mb.get(part, 0.0)) for part, mb in memory.items()}

    def _count(self) -> dict[str, float]:
        """Transactions and rows of both databases, bytes of Postgres' log, so far."""
        rows = ask(
            self._url,
            "select datname, xact_commit, tup_inserted, tup_updated from pg_stat_database "
            "where datname in ('heo', 'prefect')",
        )
        (wal,) = ask(self._url, "select pg_current_wal_lsn() - '0/0'")[0]
        names = ("transactions", "rows_inserted", "rows_updated")
        counted = {f"{row[0]}_{name}": float(n) for row in rows for name, n in zip(names, row[1:], strict=True)}
        return counted | {"wal_mb": float(wal) / 2**20}


def ask(url: str, query: str, *values: Any) -> list[Any]:
    """Rows of a query."""
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(query.encode(), values).fetchall()


def add_benchmark(settings: Settings, name: str, structures: Sequence[Structure], params: BenchmarkParams) -> str:
    """Store a benchmark that relaxes these; return its NAME@VERSION."""
    from db import evaluations
    from db.engine import session_scope
    from db.versions import label

    with session_scope(settings.resolve_database_url()) as session:
        cases = [BenchmarkCase(structure, None, {}) for structure in structures]
        return label(evaluations.add_benchmark(session, params, cases, name=name, dataset_id=None, reference_id=None))


def evaluate(benchmark: str, scale: ScaleParams) -> int:
    """Run the flow; return the id of the evaluation."""
    from flows.evaluate import evaluate as flow

    params = EvaluationParams(
        models=("heo-mini",), benchmarks=(), stored_benchmarks=(benchmark,), force=True, scale=scale
    )
    return flow(params)[0]


@contextmanager
def timing_shards(found: dict[str, Any]) -> Iterator[None]:
    """Put the seconds of an evaluation's shards into `found`, without what comes before them and after."""
    import flows.benchmarks

    evaluate_remaining = flows.benchmarks._evaluate_remaining  # noqa: SLF001

    def timed(*args: Any) -> None:
        begin = time.perf_counter()
        evaluate_remaining(*args)
        found["shards_s"] = time.perf_counter() - begin

    flows.benchmarks._evaluate_remaining = timed  # noqa: SLF001
    try:
        yield
    finally:
        flows.benchmarks._evaluate_remaining = evaluate_remaining  # noqa: SLF001


def measure_workers(settings: Settings, n_cells: int, rounds: int, per_shard: int | None) -> dict[str, Any]:
    """Seconds of the same relaxations with one and with two processes, in turns."""
    import distributed

    small = add_benchmark(
        settings, "warm-up", make_cells(4)[:4], StructureRelaxParams(relax=RelaxParams(max_force_calls=2))
    )
    cells = add_benchmark(settings, "cells", make_cells(n_cells), StructureRelaxParams())
    clusters = {
        n: distributed.LocalCluster(n_workers=n, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0")
        for n in (1, 2)
    }
    found: dict[str, Any] = {"cells": n_cells, "wall_s": {1: [], 2: []}, "cpu_s": {1: [], 2: []}, "load": []}
    try:
        for turn in range(rounds + 1):
            for n, cluster in clusters.items():
                os.environ["HEO_DASK_SCHEDULER"] = cluster.scheduler_address
                scale = ScaleParams(runner="dask", n_workers=n, structures_per_shard=per_shard)
                with distributed.Client(cluster, set_as_default=False) as client:
                    before, timed = sum(client.run(time.process_time).values()), dict[str, Any]()
                    with timing_shards(timed):
                        evaluate(small if turn == 0 else cells, scale)
                    cpu_s = sum(client.run(time.process_time).values()) - before
                if turn:
                    found["cpu_s"][n].append(cpu_s)
                    found["wall_s"][n].append(timed["shards_s"])
                    found["load"].append(os.getloadavg()[0])
    finally:
        del os.environ["HEO_DASK_SCHEDULER"]
        for cluster in clusters.values():
            cluster.close()
    found["ratio"] = min(found["wall_s"][1]) / min(found["wall_s"][2])
    return found


def measure_shards(settings: Settings, meter: Meter, n_shards: int) -> dict[str, Any]:
    """Run shards of an evaluation that is complete: what is left is what a shard costs by itself."""
    import cloudpickle
    import dask
    import distributed  # noqa: F401  # its defaults come before what is set below
    from prefect import flow
    from prefect.context import serialize_context

    from flows.runners import find_workers, use_runner
    from flows.shards import evaluate_shard

    calls = Path(os.environ["HEO_SCALING_CALLS"])
    scale = ScaleParams(runner="dask", n_workers=2, structures_per_shard=1)
    cell = add_benchmark(settings, "one", make_cells(1), StructureRelaxParams(relax=RelaxParams(max_force_calls=1)))
    evaluation_id = evaluate(cell, ScaleParams())
    found: dict[str, Any] = {"shards": n_shards}

    @flow(name="empty shards")
    def run_empty_shards() -> None:
        with use_runner(scale, settings):
            workers = find_workers()
            if workers is None:
                raise RuntimeError("the runner has no workers")
            call = {"evaluation_id": evaluation_id, "indices": (0,)}
            begin = time.perf_counter()
            list(workers.run(evaluate_shard, [call] * 4))
            found["start_s"] = time.perf_counter() - begin
            calls.write_text("")
            with meter.measure(found):
                list(workers.run(evaluate_shard, [call] * n_shards))
            found["api_calls"] = dict(Counter(re.sub(r"[0-9a-f-]{36}", "ID", line) for line in calls.open()))
            found["context_kb"] = len(cloudpickle.dumps(serialize_context())) / 1024

    with dask.config.set({"distributed.worker.preload": [__file__]}):
        run_empty_shards()
    return found


def simulate(settings: Settings, meter: Meter, n: int, per_shard: int | None) -> dict[str, Any]:
    """Evaluate many structures whose relaxations are made up, kill a worker on the way, and look what is there."""
    import dask
    import distributed  # noqa: F401  # its defaults come before what is set below

    import flows.benchmarks
    from db.check import check_rows
    from db.engine import session_scope
    from flows.runners import split_guided

    url = settings.resolve_database_url()
    found: dict[str, Any] = {"structures": n}
    begin = time.perf_counter()
    many = add_benchmark(settings, "many", list(make_structures(n)), StructureRelaxParams())
    found["store_structures_s"] = time.perf_counter() - begin
    flows.benchmarks.load_model = load_nothing
    scale = ScaleParams(runner="dask", n_workers=2, structures_per_shard=per_shard)
    killer = threading.Thread(target=kill_a_worker, args=(url, n // 2, found))
    killer.start()
    preload = dask.config.set({"distributed.worker.preload": [__file__]})
    with preload, timing_shards(found), meter.measure(found):
        evaluation_id = evaluate(many, scale)
    killer.join()
    found["rows_per_s"] = n / found["shards_s"]
    (row,) = ask(
        url,
        "select state, count(*), count(distinct case_index), count(*) filter (where converged), n_structures, "
        "pg_total_relation_size('relaxation') from evaluation join relaxation on evaluation_id = evaluation.id "
        "join relaxation_total using (evaluation_id) where evaluation.id = %s group by 1, 5",
        evaluation_id,
    )
    names = ("state", "rows", "different_cases", "converged", "counted", "table_bytes")
    found["stored"] = dict(zip(names, row, strict=True))
    with session_scope(url) as session:
        found["violations"] = sum(check.n_violations for check in check_rows(session))
    found["shards"] = -(-n // per_shard) if per_shard else len(split_guided(range(n), 2))
    return found


def kill_a_worker(url: str, at_rows: int, found: dict[str, Any]) -> None:
    """Kill one of the worker processes when so many rows are there."""
    query = "select count(*) from relaxation join evaluation on evaluation.id = evaluation_id where state = 'running'"
    while ask(url, query)[0][0] < at_rows:
        time.sleep(2)
    processes = psutil.Process().children(recursive=True)
    workers = [process for process in processes if "spawn_main" in " ".join(process.cmdline())]
    secrets.choice(workers).kill()
    found["killed"] = True


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="workers, shards, simulation; all without any")
    parser.add_argument("--cells", type=int, default=384, help="cells of 64 atoms that are relaxed")
    parser.add_argument("--rounds", type=int, default=3, help="turns of one and two workers")
    parser.add_argument("--shards", type=int, default=400, help="empty shards")
    parser.add_argument("--structures", type=int, default=100_000, help="structures of the simulation")
    parser.add_argument("--per-shard", type=int, help="structures of a shard; the product's choice without it")
    args = parser.parse_args()
    parts = args.parts or ["workers", "shards", "simulation"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HEO_HOME"] = folder
        os.environ["HEO_SCALING_CALLS"] = str(Path(folder) / "calls")
        os.environ.pop("HEO_DATABASE_URL", None)
        from deploy.services import down, ensure_services
        from flows.settings import load_settings

        settings = load_settings()
        try:
            services = ensure_services(settings)
            figures: dict[str, Any] = {}
            if "workers" in parts:
                figures["workers"] = measure_workers(settings, args.cells, args.rounds, args.per_shard)
            meter = Meter(services, settings)
            if "shards" in parts:
                figures["shards"] = measure_shards(settings, meter, args.shards)
            if "simulation" in parts:
                figures["simulation"] = simulate(settings, meter, args.structures, args.per_shard)
        finally:
            down(settings)
    show(figures)


def show(figures: dict[str, Any]) -> None:
    """Print the figures, and the ratios that have a bar, last."""
    ratios: dict[str, dict[str, Any]] = {}
    for part, found in figures.items():
        for name, value in found.items():
            print(f"  {part:<12} {name:<24} {value}")
    if "workers" in figures:
        ratios["two_workers_over_one"] = {"value": figures["workers"]["ratio"], "bar": BAR, "better": "higher"}
    if "simulation" in figures:
        found = figures["simulation"]
        wrong = abs(found["stored"]["rows"] - found["structures"]) + found["violations"]
        ratios["rows_lost_or_doubled"] = {"value": wrong, "bar": 0, "better": "lower"}
    print(json.dumps({"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
