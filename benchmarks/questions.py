"""How fast the database answers, with 1 million structures and 10 million predictions in it.

    python benchmarks/questions.py [--home FOLDER] [--plans FILE]

Fills a Postgres of its own, then asks every question and search of docs/sql.md, each warm, 20 times, without parallel
workers. CPU time of client and server together counts: what a free core takes, also on a machine with other work. With
--home the data stay there and are found again. --plans writes the plan of each. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from database import run_postgres
from sqlalchemy import select, text

from db.datasets import count_elements
from db.engine import session_scope
from db.evaluations import sum_relaxations
from db.schema import Dataset, Evaluation
from db.search import find_structures
from db.structures import add_structures
from heo_core.records import Structure

PAGE = Path(__file__).parents[1] / "docs" / "sql.md"
CATIONS = (
    *("Mg", "Co", "Ni", "Cu", "Zn", "Mn", "Fe", "Cr", "Ca", "Sr", "Ba", "Al", "Ga", "In", "Sc", "Y", "La", "Ce"),
    *("Pr", "Nd", "Sm", "Gd", "Ti", "Zr", "Hf", "Sn", "V", "Nb", "Ta", "Mo", "W", "Cd", "Li", "Na", "K", "Bi"),
)
N_COMPOSITIONS = 20_000
N_ASKED = 20
SEARCHES: list[dict[str, Any]] = [
    {"contains": ["Co", "Ni"], "only": ["Mg", "Co", "Ni", "Cu", "Zn", "O"]},
    {"any_of": ["La", "Ce"], "ranges": ["n_atoms <= 40", "energy_ev_per_atom < -6"], "limit": 20},
    {"formula": "CoCuMgNiZnO5", "dataset": "set-1"},
    {"chemical_system": "Co-Cu-Mg-Ni-O-Zn"},
]
BAR_MS, LEADERBOARD_BAR_MS = 100.0, 50.0

# Of each composition 49 copies beside itself: a million.
# 20 models on 20 benchmarks of 25,000 structures each, half of a dataset of 50,000; and on 4 of 64 relaxations each.
FILL = {
    "structures": """
        insert into structure (content_hash, immutable_id, source, functional, fingerprint, formula_reduced,
            chemical_system, elements, n_elements, n_atoms, lattice_ang, positions_ang, species, energy_ev,
            forces_ev_per_ang, stress_ev_per_ang3, fmax_ev_per_ang, volume_per_atom_ang3)
        select md5(content_hash || copy), immutable_id || '-' || copy, source, functional, fingerprint, formula_reduced,
            chemical_system, elements, n_elements, n_atoms, lattice_ang, positions_ang, species,
            energy_ev + random_normal(0, 0.3) * n_atoms, forces_ev_per_ang, stress_ev_per_ang3,
            0.05 * exp(random_normal(0, 2)), volume_per_atom_ang3 + random_normal(0, 0.5)
        from generate_series(1, 49) as copy cross join (select * from structure order by id) as structure
    """,
    "descriptors": """
        insert into descriptor (structure_id, cation_fractions, n_cations, entropy_pooled_r, entropy_sublattice_r,
            equimolarity_deviation, radius_mismatch_percent, electronegativity_spread, space_group_number,
            space_group_symbol, prototype)
        select id, '{}', n_elements - 1, random() * 1.79, random() * 1.79, random() * 0.5, random() * 30,
            random() * 0.5, 1 + random() * 229, 'P1', (array['perovskite', 'spinel', 'rocksalt', null])[1 + id % 4]
        from structure order by id
    """,
    "datasets": """
        insert into dataset (name, version, key, content_hash, source_uri, source_revision, params, n_scanned, n_kept)
        select 'set-' || i, 1, i, i, 'own', 'own', '{}', 100000, 50000 from generate_series(1, 20) as i;
        insert into dataset_rejection select id, 'rule-' || i, 2500, '{}' from dataset, generate_series(1, 20) as i;
        insert into dataset_member (dataset_id, structure_id, split)
        select 1 + id % 20, id, case when id / 20 % 2 = 0 then 'train' else 'test' end from structure order by 1, 2
    """,
    "models": """
        insert into model_version (name, version, key, family, reference, elements, params, parent_id)
        select 'model', i, i, 'mace', 'model', '{}', '{}', nullif(i - 1, 0) from generate_series(1, 20) as i
    """,
    "benchmarks": """
        insert into benchmark (name, version, key, kind, params, dataset_id, n_cases)
        select 'energy-forces:' || name, 1, id, 'energy-forces', '{}', id, 25000 from dataset order by id;
        insert into benchmark (name, version, key, kind, params, n_cases)
        select 'substitution-relax', i, i, 'substitution-relax', '{}', 64 from generate_series(1, 4) as i;
        insert into benchmark_case (benchmark_id, case_index, structure_id, recipe)
        select benchmark.id, row_number() over (partition by benchmark.id order by structure_id) - 1, structure_id, '{}'
        from benchmark join dataset_member using (dataset_id) where split = 'test' order by 1, 2;
        insert into benchmark_case (benchmark_id, case_index, structure_id, recipe)
        select benchmark.id, i, benchmark.version * 1000 + i, '{}'
        from benchmark, generate_series(0, 63) as i where kind = 'substitution-relax';
        insert into evaluation (model_version_id, benchmark_id, state, finished_at, device)
        select model_version.id, benchmark.id, 'completed', now(), 'cpu' from model_version, benchmark order by 2, 1
    """,
    # Indexes are made afterwards, all at once.
    "predictions": """
        alter table prediction drop constraint pk_prediction;
        drop index ix_prediction_structure_id, ix_prediction_worst;
        insert into prediction (evaluation_id, structure_id, energy_ev, forces_ev_per_ang, energy_error_ev_per_atom,
            forces_rmse_ev_per_ang, forces_mae_ev_per_ang)
        select evaluation.id, structure_id, -60, array_fill(0.1::double precision, array[10, 3]),
            random_normal(0, 0.03), 0.1 * exp(random_normal(0, 1)), 0.07 * exp(random_normal(0, 1))
        from evaluation
        join benchmark on benchmark.id = evaluation.benchmark_id and benchmark.kind = 'energy-forces'
        join benchmark_case on benchmark_case.benchmark_id = benchmark.id;
        alter table prediction add constraint pk_prediction primary key (evaluation_id, structure_id);
        create index ix_prediction_structure_id on prediction (structure_id);
        create index ix_prediction_worst
            on prediction (evaluation_id, (failure is null), forces_rmse_ev_per_ang desc nulls last)
    """,
    "relaxations": """
        insert into relaxation (evaluation_id, case_index, converged, force_calls, wall_s, energy_final_ev,
            reference_energy_ev, fmax_ev_per_ang, lattice_ang, positions_ang, energies_ev, fmaxes_ev_per_ang)
        select evaluation.id, benchmark_case.case_index, random() < 0.9, 10 + random() * 90, random() * 9,
            structure.energy_ev, structure.energy_ev + structure.n_atoms *
                (random_normal(0, 0.0001) + case when random() < 0.03 then 0.02 else 0 end),
            0.04, structure.lattice_ang, structure.positions_ang, array_fill(-5.0, array[50]),
            array_fill(0.1, array[50])
        from evaluation
        join benchmark on benchmark.id = evaluation.benchmark_id and benchmark.kind = 'substitution-relax'
        join benchmark_case on benchmark_case.benchmark_id = benchmark.id
        join structure on structure.id = benchmark_case.structure_id
    """,
    "summaries": """
        insert into metric (evaluation_id, name, value, unit, n, ci_low, ci_high)
        select evaluation.id, name, random(), 'eV', 25000, 0.1, 0.2 from evaluation, unnest(array[
            'energy_rmse_ev_per_atom', 'energy_mae_ev_per_atom', 'energy_skill', 'forces_rmse_ev_per_ang',
            'forces_mae_ev_per_ang', 'forces_skill', 'forces_softening_slope', 'failed_count', 'convergence_rate',
            'force_calls_median', 'reference_energy_mean_ev_per_atom', 'energy_offset_removed_rmse_ev_per_atom',
            'forces_q95_ev_per_ang', 'energy_q95_ev_per_atom', 'volume_change_mean_fraction']) as name;
        insert into group_metric (evaluation_id, grouping, group_name, name, value, unit, n)
        select evaluation.id, 'element', element, name, random(), 'eV', 1000
        from evaluation,
            (select distinct unnest(elements) from (select elements from structure limit 20000)) as e (element),
            unnest(array['energy_mae_ev_per_atom', 'energy_rmse_ev_per_atom', 'forces_mae_ev_per_ang',
            'forces_rmse_ev_per_ang']) as name
        where evaluation.benchmark_id <= 20;
        insert into comparison (baseline_id, candidate_id, name, value, unit, n, ci_low, ci_high)
        select parent.id, child.id, metric.name, metric.value, metric.unit, metric.n, metric.ci_low, metric.ci_high
        from evaluation as parent join evaluation as child using (benchmark_id)
        join metric on metric.evaluation_id = child.id
        where parent.model_version_id = 1 and child.model_version_id > 1
    """,
}


def make_compositions(count: int) -> list[Structure]:
    """Make labelled oxide cells of ten atoms with four to six cations, one in 200 of the first five: Mg to Zn."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        cations = CATIONS[:5] if i % 200 == 0 else rng.choice(CATIONS, rng.integers(4, 7), replace=False)
        made.append(
            Structure(
                lattice=np.eye(3) * 5.0,
                positions=rng.uniform(0, 5, (10, 3)),
                species=(*map(str, cations), *["O"] * (10 - len(cations))),
                immutable_id=f"own-{i}",
                source="own",
                functional="pbe",
                energy_ev=float(rng.normal(-60, 10)),
                forces_ev_per_ang=rng.normal(size=(10, 3)),
                stress_ev_per_ang3=rng.normal(size=(3, 3)),
            )
        )
    return made


def fill(url: str, superuser_url: str) -> None:
    """Make the rows, in the database itself, and print how long each kind of them took."""
    with session_scope(url) as session:
        add_structures(session, make_compositions(N_COMPOSITIONS))
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        # Foreign keys hold by construction: checking them row by row would take most of the time.
        connection.execute("set session_replication_role = replica")
        connection.execute("set synchronous_commit = off")
        connection.execute("set maintenance_work_mem = '512MB'")
        connection.execute("alter system set max_wal_size = '8GB'")
        connection.execute("select pg_reload_conf()")
        connection.execute("select setseed(0.5)")
        for name, statements in FILL.items():
            begin = time.perf_counter()
            connection.execute(statements)
            print(f"  {name:<12} {time.perf_counter() - begin:7.1f} s", flush=True)
    with session_scope(url) as session:
        for dataset_id in session.scalars(select(Dataset.id)):
            count_elements(session, dataset_id)
        for evaluation_id in session.scalars(select(Evaluation.id)):
            sum_relaxations(session, evaluation_id)
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("vacuum (analyze, parallel 0)")


def read_questions() -> dict[str, str]:
    """Return the SQL of docs/sql.md by the words before it."""
    found = re.findall(r"^([^\n`]+)\n\n```sql\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return {title.rstrip(":"): statement for title, statement in found}


def time_warm(ask: Callable[[], list[Any]], backend_pid: int) -> tuple[float, float, int]:
    """CPU time and quickest wall time in ms of asking again what was just asked, and the number of rows."""
    n_rows = len(ask())
    both = (psutil.Process(), psutil.Process(backend_pid))
    cpu_before = [sum(process.cpu_times()[:2]) for process in both]
    wall = []
    for _ in range(N_ASKED):
        begin = time.perf_counter()
        ask()
        wall.append(time.perf_counter() - begin)
    cpu = sum(sum(process.cpu_times()[:2]) for process in both) - sum(cpu_before)
    return 1000 * cpu / N_ASKED, 1000 * min(wall), n_rows


def main() -> None:
    """Fill, ask, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="folder in which the data stay")
    parser.add_argument("--plans", type=Path, help="file to write the plans to")
    args = parser.parse_args()
    milliseconds: dict[str, float] = {}
    plans: list[str] = []

    def measure(title: str, ask: Callable[[], list[Any]], backend_pid: int) -> None:
        milliseconds[title], wall_ms, n_rows = time_warm(ask, backend_pid)
        print(f"  {milliseconds[title]:6.1f} ms, wall {wall_ms:6.1f} ms, {n_rows:6} rows  {title}", flush=True)

    with run_postgres(args.home) as (url, superuser_url), psycopg.connect(superuser_url, autocommit=True) as connection:
        if not connection.execute("select exists (select from relaxation_total)").fetchone()[0]:
            fill(url, superuser_url)
        connection.execute("set role heo_reader")
        connection.execute("set max_parallel_workers_per_gather = 0")
        for title, statement in read_questions().items():
            measure(title, lambda asked=statement: connection.execute(asked).fetchall(), connection.info.backend_pid)
            lines = connection.execute(f"explain (analyze, costs off, timing off, summary on) {statement}")
            plans.append("\n".join([f"-- {title}", *(line for (line,) in lines), ""]))
        with session_scope(url) as session:
            backend_pid = session.scalar(text("select pg_backend_pid()"))
            session.execute(text("set local max_parallel_workers_per_gather = 0"))
            for asked in SEARCHES:
                title = f"find {', '.join(f'{key} {value}' for key, value in asked.items())}"
                measure(title, lambda asked=asked: find_structures(session, **asked), backend_pid)
    if args.plans:
        args.plans.write_text("\n".join(plans))
    ratios = {
        title: {"value": taken / (LEADERBOARD_BAR_MS if "best" in title else BAR_MS), "bar": 1.0, "better": "lower"}
        for title, taken in milliseconds.items()
    }
    print(json.dumps({"ratios": ratios, "figures": {"milliseconds": milliseconds}}))


if __name__ == "__main__":
    main()
