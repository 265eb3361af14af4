"""What batches, single precision and a better optimiser gain, as ratios measured in one run.

    OMP_NUM_THREADS=1 python benchmarks/relaxation.py [FOLDER] [--rows 192] [--cells 8] [--device cuda]

Against a plain sequential loop over ASE as the origin wrote it: MACE's own calculator and layers in float64, one
structure after the other, relaxed by LBFGSLineSearch with ExpCellFilter. Both sides have the same models (heo-mini, and
one of MACE-MP-0-medium's size with random weights) and the same structures (the rows of FOLDER, parquet in LeMat-Bulk's
schema, or of the bundled sample; random rock-salt cells of 64 atoms), and take turns, in small pieces. Ratios are of
CPU seconds, on which other work of the machine tells least; wall seconds stand beside them. On a GPU both sides compute
there, ours gets all structures at once, and ratios are of wall seconds. The last line is one JSON object.

With --layers: only what MACE's own layers cost and what heo's do (heo_core.models.mace_cpu), by batch size, on a CPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.filters import ExpCellFilter
from ase.optimize import LBFGSLineSearch

from heo_core.curation import curate, open_source
from heo_core.evaluation.metrics import mae, rmse
from heo_core.evaluation.relax import relax_structures
from heo_core.models import Potential, load_model, resolve_model
from heo_core.models import mace as mace_family
from heo_core.models.mace import load_module, make_ase_calculator, quiet
from heo_core.params import CurationParams, GenerationParams, RelaxParams
from heo_core.records import Array, ModelFile, Prediction, Relaxation, Structure
from heo_core.structures.generation import generate

FMAX = 0.05
MAX_STEPS = 200
SEED = 5
MEV = 1e3
LAYER_SIZES = {"heo-mini": (1, 64, 128, 256, 512, 1024), "medium": (1, 64, 128)}


class Clock:
    """CPU and wall seconds, summed by name; what counts is CPU seconds, on a GPU wall seconds."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.cpu_s: dict[str, float] = {}
        self.wall_s: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a name."""
        self._finish_kernels()
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        self._finish_kernels()
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - cpu
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.perf_counter() - wall

    @property
    def counted_s(self) -> dict[str, float]:
        """The seconds that ratios are made of."""
        return self.cpu_s if self.device == "cpu" else self.wall_s

    def compute_ratio(self, theirs: str, ours: str) -> float:
        """Seconds of theirs over those of ours."""
        return self.counted_s[theirs] / self.counted_s[ours]

    def _finish_kernels(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def make_medium_model(path: Path) -> ModelFile:
    """Write a MACE of the size of MACE-MP-0 medium with random weights."""
    from e3nn import o3
    from mace import modules

    torch.manual_seed(SEED)
    elements = list(range(1, 90))
    with quiet():
        block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
        model = modules.ScaleShiftMACE(
            r_max=6.0,
            num_bessel=10,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=block,
            interaction_cls_first=block,
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps("128x0e + 128x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(elements)),
            avg_num_neighbors=60.0,
            atomic_numbers=elements,
            correlation=3,
            radial_type="bessel",
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
        torch.save(model, path)
    return resolve_model(f"file:{path}")


def make_cells(n: int) -> list[Structure]:
    """Rock-salt MgNiCuCoZn-O cells of 64 atoms, cations shuffled, rattled by 0.1 Å."""
    cells = generate(GenerationParams(n=n, rattle_ang=0.1, seed=SEED))
    return [cell.structure for cell in cells if cell.structure is not None]


def read_rows(folder: str | None) -> list[Structure]:
    """Curated rows of a folder, or of the bundled sample, in a seeded order."""
    params = CurationParams(source=folder or "sample", map="none")
    rows = [member.structure for member in curate(open_source(params), params).iter_members()]
    return [rows[i] for i in np.random.default_rng(SEED).permutation(len(rows))]


def make_origin_calculator(model: ModelFile, device: str) -> Any:
    """MACE's own calculator in float64, with MACE's own layers."""
    module = load_module(model, device).double()
    return make_ase_calculator(module, device=device, dtype="float64", where=model.reference)


def predict_as_origin(calculator: Any, structures: Sequence[Structure]) -> list[Prediction]:
    """One structure after the other through ASE."""
    predictions = []
    for structure in structures:
        atoms = make_atoms(structure, calculator)
        predictions.append(Prediction(float(atoms.get_potential_energy()), atoms.get_forces()))
    return predictions


def relax_as_origin(calculator: Any, structure: Structure, steps: int) -> tuple[float, int, bool]:
    """Energy per atom, force calls and convergence by LBFGSLineSearch with ExpCellFilter."""
    calls = [0]
    calculate: Callable[..., None] = calculator.calculate

    def count(*args: Any, **kwargs: Any) -> None:
        calls[0] += 1
        calculate(*args, **kwargs)

    calculator.calculate = count
    try:
        atoms = make_atoms(structure, calculator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ExpCellFilter is deprecated
            converged = LBFGSLineSearch(ExpCellFilter(atoms), logfile=None).run(fmax=FMAX, steps=steps)
        return float(atoms.get_potential_energy()) / len(atoms), calls[0], bool(converged)
    finally:
        calculator.calculate = calculate


def make_atoms(structure: Structure, calculator: Any) -> Atoms:
    """Atoms with their calculator."""
    atoms = Atoms(structure.species, positions=structure.positions, cell=structure.lattice, pbc=True)
    atoms.calc = calculator
    return atoms


def load_both(model: ModelFile, device: str) -> tuple[Potential, Potential]:
    """Load a model in single and in double precision."""
    single, double = (load_model(model, device=device, dtype=dtype) for dtype in ("float32", "float64"))
    return single, double


def measure_predictions(
    name: str, model: ModelFile, rows: Sequence[Structure], turn: int, device: str
) -> dict[str, Any]:
    """Energies and forces of labelled rows: ours in float32 and float64 against the origin's loop, `turn` rows each."""
    single, double = load_both(model, device)
    calculator = make_origin_calculator(model, device)
    rows = [row for row in rows if double.find_obstacle(row) is None]
    clock = Clock(device)
    found: dict[str, list[Prediction]] = {"float32": [], "float64": [], "origin": []}
    for warm_up in (single.predict, double.predict, lambda row: predict_as_origin(calculator, row)):
        warm_up(rows[:1])
    for piece in batched(rows, turn):
        for dtype, potential in (("float32", single), ("float64", double)):
            with clock.measure(dtype):
                found[dtype] += potential.predict(piece)
        with clock.measure("origin"):
            found["origin"] += predict_as_origin(calculator, piece)
    errors = {kind: compute_errors(rows, predictions) for kind, predictions in found.items()}
    off = {
        kind: max(abs(errors[kind][metric] / errors["origin"][metric] - 1) for metric in errors["origin"])
        for kind in ("float32", "float64")
    }
    return {
        "name": name,
        "rows": len(rows),
        "atoms": sum(row.n_atoms for row in rows),
        "cpu_s": clock.cpu_s,
        "wall_s": clock.wall_s,
        "speedup": {kind: clock.compute_ratio("origin", kind) for kind in ("float32", "float64")},
        "largest_change_of_a_metric": off,
    }


def compute_errors(rows: Sequence[Structure], predictions: Sequence[Prediction]) -> dict[str, float]:
    """RMSE and MAE of energies per atom and of force components against the labels."""

    def gather(pairs: list[tuple[Array, Array]]) -> Array:
        return np.concatenate([np.ravel(predicted - reference) for predicted, reference in pairs])

    energies, forces = [], []
    for row, prediction in zip(rows, predictions, strict=True):
        if row.energy_ev is not None and prediction.energy_ev is not None:
            energies.append((np.array(prediction.energy_ev / row.n_atoms), np.array(row.energy_ev / row.n_atoms)))
        if row.forces_ev_per_ang is not None and prediction.forces_ev_per_ang is not None:
            forces.append((prediction.forces_ev_per_ang, row.forces_ev_per_ang))
    return {
        f"{what}_{statistic.__name__}": float(statistic(gather(pairs)) or 0.0)
        for what, pairs in (("energy", energies), ("forces", forces))
        for statistic in (rmse, mae)
    }


def measure_relaxations(model: ModelFile, cells: Sequence[Structure], turn: int, device: str) -> dict[str, Any]:
    """Relax random cells: ours in each precision against the origin's loop, in turns of `turn` cells."""
    single, double = load_both(model, device)
    calculator = make_origin_calculator(model, device)
    for potential in (single, double, double.in_single_precision()):
        potential.predict(cells[:1])
    predict_as_origin(calculator, cells[:1])
    clock = Clock(device)
    origin: list[tuple[float, int, bool]] = []
    ours: dict[str, list[Relaxation]] = {"float32": [], "mixed": [], "float64": []}
    for piece in batched(cells, turn):
        for dtype, potential in (("float32", single), ("mixed", double), ("float64", double)):
            with clock.measure(dtype):
                results = dict(relax_structures(potential, piece, RelaxParams(dtype=dtype, fmax=FMAX)))
            ours[dtype] += [results[i] for i in range(len(piece))]
        with clock.measure("origin"):
            origin += [relax_as_origin(calculator, cell, MAX_STEPS) for cell in piece]
    return {
        "cells": len(cells),
        "cpu_s": clock.cpu_s,
        "wall_s": clock.wall_s,
        "speedup": {dtype: clock.compute_ratio("origin", dtype) for dtype in ours},
        "force_calls": {"origin": sum(calls for _, calls, _ in origin)}
        | {dtype: sum(result.force_calls for result in results) for dtype, results in ours.items()},
        "converged": {"origin": sum(done for *_, done in origin)}
        | {dtype: sum(result.converged for result in results) for dtype, results in ours.items()},
        "energy_above_origin_mev_per_atom": {
            dtype: [
                MEV * (float(result.energy_final_ev or np.nan) / cell.n_atoms - energy)
                for result, cell, (energy, *_) in zip(results, cells, origin, strict=True)
            ]
            for dtype, results in ours.items()
        },
    }


def measure_force_calls(
    model: ModelFile, cells: Sequence[Structure], n_calls: int, turn: int, device: str
) -> dict[str, Any]:
    """Seconds of a force call within a relaxation that is cut short."""
    single = load_model(model, device=device, dtype="float32")
    calculator = make_origin_calculator(model, device)
    clock = Clock(device)
    params = RelaxParams(dtype="float32", fmax=1e-9, max_force_calls=n_calls)
    calls = {"origin": 0, "float32": 0}
    single.predict(cells[:1])
    predict_as_origin(calculator, cells[:1])
    for piece in batched(cells, turn):
        with clock.measure("float32"):
            calls["float32"] += sum(result.force_calls for _, result in relax_structures(single, piece, params))
        with clock.measure("origin"):
            # Moved by the smallest rattle: the first call of each is not spared by what the calculator remembers.
            moved = [replace(cell, positions=cell.positions + 1e-9) for cell in piece]
            calls["origin"] += sum(relax_as_origin(calculator, cell, n_calls - 1)[1] for cell in moved)
    per_call = {kind: clock.counted_s[kind] / calls[kind] for kind in calls}
    return {
        "force_calls": calls,
        "s_per_force_call": per_call,
        "speedup_per_force_call": per_call["origin"] / per_call["float32"],
    }


def measure_layers(model: ModelFile, structures: Sequence[Structure], sizes: Sequence[int]) -> dict[str, Any]:
    """CPU ms an atom of energies and forces by atoms side by side, with MACE's own layers and with heo's: best of 3."""
    use_cpu_layers, found = mace_family.use_cpu_layers, dict[str, Any]()
    potentials = {}
    for layers, put_in in (("mace's", lambda _: None), ("heo's", use_cpu_layers)):
        mace_family.use_cpu_layers = put_in
        potentials |= {(layers, p.dtype): p for p in load_both(model, "cpu")}
    mace_family.use_cpu_layers = use_cpu_layers
    structures = [one for one in structures if potentials["heo's", "float64"].find_obstacle(one) is None]
    n_atoms = sum(structure.n_atoms for structure in structures)
    for (layers, dtype), potential in potentials.items():
        potential.predict(structures[:1])
        for size in sizes:
            seconds = []
            for _ in range(3):
                clock = Clock("cpu")
                with clock.measure("predict"):
                    potential.predict(structures, size)
                seconds.append(clock.cpu_s["predict"])
            found[f"{dtype}, {layers} layers, {size} atoms"] = MEV * min(seconds) / n_atoms
    return found


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="parquet in LeMat-Bulk's schema; the bundled sample without it")
    parser.add_argument("--rows", type=int, default=192, help="rows for heo-mini")
    parser.add_argument("--medium-rows", type=int, default=16, help="rows for the model of random weights")
    parser.add_argument("--cells", type=int, default=8, help="random cells to relax with heo-mini")
    parser.add_argument(
        "--medium-cells", type=int, default=2, help="random cells for the model of random weights; 0: none"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layers", action="store_true", help="only: MACE's own layers against heo's, by batch size")
    args = parser.parse_args()
    device = args.device

    def choose_turn(on_cpu: int) -> int:
        return on_cpu if device == "cpu" else 1_000_000

    mini, rows, cells = (
        resolve_model("heo-mini"),
        read_rows(args.folder),
        make_cells(max(args.cells, args.medium_cells)),
    )
    if args.layers:
        with tempfile.TemporaryDirectory() as folder:
            medium = make_medium_model(Path(folder) / "medium.model")
            for name, model, given in (("heo-mini", mini, rows[: args.rows]), ("medium", medium, rows[:6])):
                for what, value in measure_layers(model, given, LAYER_SIZES[name]).items():
                    print(f"  {name}, {what:<40} {value:8.3f} ms an atom", flush=True)
        return
    ratios: dict[str, dict[str, Any]] = {}
    figures: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }

    def judge(name: str, value: float, bar: float, better: str = "higher") -> None:
        ratios[name] = {"value": value, "bar": bar, "better": better}
        print(f"  {name:<52} {value:10.3f}   bar {bar:g}, {better} is better", flush=True)

    def judge_predictions(figure: dict[str, Any]) -> None:
        name = figure["name"]
        figures[f"energy_and_forces_{name}"] = figure
        judge(f"energy_and_forces_{name}_float32", figure["speedup"]["float32"], 2.3)
        judge(f"energy_and_forces_{name}_float64", figure["speedup"]["float64"], 1.0)
        judge(f"metrics_{name}_float32", figure["largest_change_of_a_metric"]["float32"], 0.01, "lower")

    judge_predictions(measure_predictions("heo_mini", mini, rows[: args.rows], choose_turn(32), device))
    relaxed = figures["relaxation_heo_mini"] = measure_relaxations(mini, cells[: args.cells], choose_turn(4), device)
    judge("relaxation_heo_mini_float32", relaxed["speedup"]["float32"], 12.0)
    judge("relaxation_heo_mini_mixed", relaxed["speedup"]["mixed"], 12.0)
    above = float(np.mean(relaxed["energy_above_origin_mev_per_atom"]["float32"]))
    judge("energy_above_origin_mev_per_atom", above, 0.1, "lower")
    judge("converged_over_origin", relaxed["converged"]["float32"] / max(relaxed["converged"]["origin"], 1), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        medium = make_medium_model(Path(folder) / "medium.model")
        judge_predictions(measure_predictions("medium", medium, rows[: args.medium_rows], choose_turn(2), device))
        if args.medium_cells:
            figure = figures["relaxation_medium"] = measure_force_calls(
                medium, cells[: args.medium_cells], 4, choose_turn(2), device
            )
            judge("force_call_medium_float32", figure["speedup_per_force_call"], 2.2)
    print(json.dumps({"ratios": ratios, "figures": figures}))


if __name__ == "__main__":
    main()
