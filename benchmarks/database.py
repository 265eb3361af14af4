"""How fast structures are written to Postgres, as ratios measured in one run.

    python benchmarks/database.py [--n-structures 20000] [--n-atoms 24]

Starts a Postgres of its own in a temporary folder and writes the same structures in two ways: by COPY, as
db.structures does (indexes, content hashes and the search for those that are there included), and by
`insert ... values`, a hundred rows a statement. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import insert, text

from db import migrations, schema
from db.engine import get_engine, session_scope
from db.structures import add_structures
from deploy.services import down, postgres
from deploy.services.environment import resolved_home
from deploy.services.state import load_state, save_state, services_lock
from flows.settings import Settings
from heo_core.records import Structure

CATIONS = ("Mg", "Co", "Ni", "Cu", "Zn", "Mn", "Fe", "Cr")
BAR_PER_S = 5000.0


def make_structures(count: int, n_atoms: int, seed: int) -> list[Structure]:
    """Make labelled cells of random positions, half of the atoms oxygen."""
    rng = np.random.default_rng(seed)
    return [
        Structure(
            lattice=np.eye(3) * 6.0,
            positions=rng.uniform(0, 6, (n_atoms, 3)),
            species=(*rng.choice(CATIONS, n_atoms - n_atoms // 2), *["O"] * (n_atoms // 2)),
            immutable_id=f"own-{seed}-{i}",
            source="own",
            functional="pbe",
            fingerprint=f"{seed}-{i}",
            energy_ev=float(rng.normal()),
            forces_ev_per_ang=rng.normal(size=(n_atoms, 3)),
            stress_ev_per_ang3=rng.normal(size=(3, 3)),
        )
        for i in range(count)
    ]


@contextmanager
def run_postgres(folder: Path | None = None) -> Iterator[tuple[str, str]]:
    """URLs of a migrated database, its owner's and the superuser's; without a folder it goes when the block ends."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder.resolve()
        settings = Settings(home=Path(home), database_url=None, artifact_store=None, report_root=None)
        with services_lock(resolved_home(settings)):
            state = load_state(resolved_home(settings))
            state.postgres = postgres.start(settings, state.postgres, lambda _: None)
            save_state(resolved_home(settings), state)
        url = str(state.postgres.url)
        password = postgres.Cluster(settings).passwords()["postgres"]
        try:
            migrations.upgrade(settings.resolve_database_url())
            yield settings.resolve_database_url(), f"postgresql://postgres:{password}@{url.rpartition('@')[2]}"
            get_engine(settings.resolve_database_url()).dispose()
        finally:
            down(settings)


def copy(url: str, structures: list[Structure]) -> float:
    """Write by COPY; return seconds."""
    begin = time.perf_counter()
    with session_scope(url) as session:
        add_structures(session, structures)
    return time.perf_counter() - begin


def insert_values(url: str, structures: list[Structure]) -> float:
    """Write by insert ... values; return seconds."""
    begin = time.perf_counter()
    with session_scope(url) as session:
        for start in range(0, len(structures), 100):
            rows = [
                {
                    "content_hash": s.content_hash,
                    "immutable_id": s.immutable_id,
                    "source": s.source,
                    "functional": s.functional,
                    "fingerprint": s.fingerprint,
                    "formula_reduced": s.formula_reduced,
                    "chemical_system": s.chemical_system,
                    "elements": list(s.elements),
                    "n_elements": len(s.elements),
                    "n_atoms": s.n_atoms,
                    "lattice_ang": s.lattice.tolist(),
                    "positions_ang": s.positions.tolist(),
                    "species": list(s.species),
                    "energy_ev": s.energy_ev,
                    "forces_ev_per_ang": None if s.forces_ev_per_ang is None else s.forces_ev_per_ang.tolist(),
                    "stress_ev_per_ang3": None if s.stress_ev_per_ang3 is None else s.stress_ev_per_ang3.tolist(),
                    "fmax_ev_per_ang": s.fmax_ev_per_ang,
                    "volume_per_atom_ang3": s.volume_ang3 / s.n_atoms,
                }
                for s in structures[start : start + 100]
            ]
            session.execute(insert(schema.Structure).values(rows))
    return time.perf_counter() - begin


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-structures", type=int, default=20_000)
    parser.add_argument("--n-atoms", type=int, default=24)
    args = parser.parse_args()
    with run_postgres() as (url, _):
        rates = {}
        for name, way in (("copy", copy), ("insert", insert_values)):
            best = 0.0
            for round_ in range(2):
                with session_scope(url) as session:
                    session.execute(text("truncate structure cascade"))
                seconds = way(url, make_structures(args.n_structures, args.n_atoms, round_))
                best = max(best, args.n_structures / seconds)
            rates[name] = best
            print(f"  {name:<7} {best:9,.0f} structures/s of {args.n_atoms} atoms")
    ratios = {
        "copy_rate_over_5000_per_s": {"value": rates["copy"] / BAR_PER_S, "bar": 1.0, "better": "higher"},
        "copy_rate_over_insert": {"value": rates["copy"] / rates["insert"], "bar": 1.0, "better": "higher"},
    }
    figures = {"structures_per_s": rates, "n_structures": args.n_structures, "n_atoms": args.n_atoms}
    print(json.dumps({"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
