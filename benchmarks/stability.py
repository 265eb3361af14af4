"""CHGNet 0.3.0's map of rock-salt mixtures against the published one.

    python benchmarks/stability.py [--cells 3] [--only-compare | --speed]

The published map: Almishal et al., Nat. Commun. 16, 8211 (2025), CC-BY-4.0, data of github jsivak7/rocksalt-heo-chempot
(benchmarks/data/almishal-2025-rocksalt.csv). All 28 pairs and 56 mixtures of five of the same eight cations are relaxed
by the flow `stability`, in the database of `HEO_HOME`, those of the acceptance first; killed, it goes on where it
stopped. `--only-compare` computes nothing, compares what there is, and writes it to benchmarks/data/stability.csv.
`--speed` measures one force call of heo's CHGNet against CHGNet's own calculator instead. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

DATA = Path(__file__).parent / "data"
PUBLISHED, MEASURED = DATA / "almishal-2025-rocksalt.csv", DATA / "stability.csv"
CATIONS = ("Mg", "Ca", "Mn", "Fe", "Co", "Ni", "Cu", "Zn")
# What the acceptance names; of the pairs with Cu no agreement is asked for.
TABLE_PAIRS = ("MgNi", "MgCo", "NiZn")
TABLE = ("MgCoNiCuZn", "MgMnFeCoNi", "MgFeCoNiZn", "MnFeCoNiZn")
BAR_MEV, BAR_SPREAD_ANG = 6.0, 0.004


def list_stages(n_cells: int) -> list[dict[str, Any]]:
    """Return what is relaxed, in this order: the table, then one cell of every mixture, then further cells."""
    no_copper = tuple(cation for cation in CATIONS if cation not in {"Cu", "Ca"})
    no_calcium = tuple(cation for cation in CATIONS if cation != "Ca")  # what most of the published mixtures are of
    table = [{"cations": no_copper, "n": 2}, *({"cations": split(name), "n": 5} for name in TABLE)]
    rest = [{"cations": cations, "n": n} for n in (5, 2) for cations in (no_copper, no_calcium, CATIONS)]
    stages: list[dict[str, Any]] = [{**stage, "n_cells": 1} for stage in table]
    stages.append({"cations": split(TABLE[0]), "n": 5, "n_cells": n_cells})  # copper: cells differ most
    return stages + [{**stage, "n_cells": cells} for cells in range(1, n_cells + 1) for stage in [*table, *rest]]


def split(name: str) -> tuple[str, ...]:
    """Return the cations of a mixture's name; all symbols here have two letters."""
    return tuple(name[i : i + 2] for i in range(0, len(name), 2))


def relax(n_cells: int) -> None:
    """Run the flow, stage by stage."""
    from deploy.services import ensure_services
    from flows.settings import load_settings
    from heo_core.params import StabilityParams

    ensure_services(load_settings(), workers=False, say=print)
    from flows.stability import stability

    for stage in list_stages(n_cells):
        print(stage, flush=True)
        stability(StabilityParams(references="almishal-2025", **stage))


def load_map() -> list[dict[str, Any]]:
    """Rows of the default protocol against the published oxides that have a number."""
    from db import stability as studies
    from db.engine import session_scope
    from db.models import get_registered_model
    from flows.settings import load_settings
    from heo_core.params import StabilityParams

    params = StabilityParams(references="almishal-2025")
    with session_scope(load_settings().resolve_database_url()) as session:
        model_id = get_registered_model(session, "chgnet-0.3.0").id
        study_id = studies.add_study(session, model_id, params.protocol)
        rows = studies.list_map(session, study_id, params.references)
    return [row for row in rows if row["mixing_enthalpy_ev_per_atom"] is not None]


def compare(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print both maps side by side; return ratios and figures. Ca has no published pair."""
    with PUBLISHED.open() as stream:
        published = {row["composition"]: row for row in csv.DictReader(stream)}
    print(f"{'mixture':<12}{'H_mix':>8}{'published':>11}{'σ_bond':>9}{'published':>11}  cells")
    found: dict[str, dict[str, float]] = {}
    for row in sorted(rows, key=lambda row: (row["n_cations"], row["composition"])):
        name = row["composition"]
        if name not in published:
            continue
        ours = 1000 * row["mixing_enthalpy_ev_per_atom"], row["bond_spread_ang"]
        theirs = 1000 * float(published[name]["mixing_enthalpy_ev_per_atom"]), float(published[name]["bond_spread_ang"])
        found[name] = {"enthalpy": ours[0], "spread": ours[1], "their": theirs[0], "their_spread": theirs[1]}
        print(f"{name:<12}{ours[0]:8.1f}{theirs[0]:11.1f}{ours[1]:9.4f}{theirs[1]:11.4f}  {row['n_converged']}")
    pairs = {n: v for n, v in found.items() if len(n) == 4 and "Cu" not in n}
    fives = {n: v for n, v in found.items() if len(n) == 10}
    ratios: dict[str, Any] = {}
    figures: dict[str, Any] = {"n_pairs_without_cu": len(pairs), "n_fives": len(fives), "n_compositions": len(found)}
    for kind, names in (("table_pairs", TABLE_PAIRS), ("table_fives", TABLE)):
        some = [found[name] for name in names if name in found]
        if some:
            worst = max(abs(v["enthalpy"] - v["their"]) for v in some)
            ratios[f"{kind}_largest_enthalpy_difference_mev_per_atom"] = bar(worst, BAR_MEV)
        if some and kind == "table_pairs":
            worst = max(abs(v["spread"] - v["their_spread"]) for v in some)
            ratios[f"{kind}_largest_spread_difference_ang"] = bar(worst, BAR_SPREAD_ANG)
    figures["pairs_without_cu_beyond_the_bars"] = [
        name
        for name, v in pairs.items()
        if abs(v["enthalpy"] - v["their"]) > BAR_MEV or abs(v["spread"] - v["their_spread"]) > BAR_SPREAD_ANG
    ]
    for kind, some in (("all", found), ("fives", fives)):
        if len(some) > 2:
            values = np.array([list(v.values()) for v in some.values()])
            figures[f"{kind}_rank_correlation_enthalpy"] = float(spearmanr(values[:, 0], values[:, 2]).statistic)
            figures[f"{kind}_rank_correlation_spread"] = float(spearmanr(values[:, 1], values[:, 3]).statistic)
            differences = values[:, 0] - values[:, 2]
            figures[f"{kind}_mean_difference_mev_per_atom"] = float(differences.mean())
            figures[f"{kind}_mean_absolute_difference_mev_per_atom"] = float(np.abs(differences).mean())
    return {"ratios": ratios, "figures": figures}


def measure_speed(rounds: int = 3) -> dict[str, Any]:
    """CPU seconds of a force call on a cell of 60 atoms; the best of some rounds, taken in turn."""
    from ase import Atoms
    from chgnet.model.dynamics import CHGNetCalculator

    from heo_core.models import load
    from heo_core.params import StabilityParams
    from heo_core.stability.mixtures import make_cell

    params = StabilityParams()
    cell = make_cell(params.cations, 1, params)
    calculators = {"heo": load("chgnet:0.3.0", device="cpu").as_ase_calculator(), "chgnet": CHGNetCalculator()}
    seconds: dict[str, list[float]] = {name: [] for name in calculators}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name, calculator in calculators.items():
            positions = cell.positions + rng.normal(0, 1e-3, cell.positions.shape)  # another state: nothing is kept
            atoms = Atoms(cell.species, positions=positions, cell=cell.lattice, pbc=True, calculator=calculator)
            begin = time.process_time()
            atoms.get_forces()
            atoms.get_stress()
            seconds[name].append(time.process_time() - begin)
    best = {name: min(values) for name, values in seconds.items()}
    print({name: f"{value:.2f} s" for name, value in best.items()})
    ratio = {"value": best["heo"] / best["chgnet"], "bar": 0.7, "better": "lower"}
    return {"ratios": {"force_call_over_chgnets_own": ratio}, "figures": {"cpu_s": seconds}}


def bar(value: float, limit: float) -> dict[str, Any]:
    """Return a difference with what it may be at most."""
    return {"value": value, "bar": limit, "better": "lower"}


def main() -> None:
    """Relax, compare, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--only-compare", action="store_true")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    if args.speed:
        print(json.dumps(measure_speed()))
        return
    if not args.only_compare:
        relax(args.cells)
    rows = load_map()
    columns = [
        "composition",
        "mixing_enthalpy_ev_per_atom",
        "mixing_enthalpy_sem_ev_per_atom",
        "bond_spread_ang",
        "bond_spread_sem_ang",
        "decomposition_energy_ev_per_atom",
        "n_converged",
    ]
    with MEASURED.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    print(json.dumps(compare(rows)))


if __name__ == "__main__":
    main()
