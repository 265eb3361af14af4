"""How long a training on the CPU takes beside MACE's own, as ratios measured in one run.

    OMP_NUM_THREADS=1 python benchmarks/finetuning.py [--epochs 3] [--structures 120] [--rounds 3]

The same training of heo-mini on the bundled sample is run in turn by a bare `mace_run_train` and by
`heo_core.finetuning.run`, with the same files and the same arguments, both in processes of their own and from start to
end. Ours also follows the epochs and keeps all that a continuation needs; it computes the messages by compiled loops,
and leaves out what nobody reads here (the model compiled for LAMMPS).

Then steps alone, in turn with MACE's own convolution and with ours: the derivatives of the loss on energies, forces and
stress by all weights, of heo-mini and of random weights of MACE-MP-0 medium's size. The best of the rounds counts for
each, since other work on a machine only ever adds time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from heo_mini_training import to_graphs
from mace.modules.loss import UniversalLoss
from mace.tools import torch_geometric
from relaxation import Clock, make_medium_model

from heo_core.curation import curate, open_source
from heo_core.finetuning.preparation import prepare_training
from heo_core.finetuning.run import run_training
from heo_core.finetuning.strategy import make_mace_arguments
from heo_core.finetuning.training_set import make_training_set, to_labelled_atoms
from heo_core.models import resolve_model
from heo_core.models.mace import load_module
from heo_core.models.mace_cpu import fused_convolutions
from heo_core.params import CurationParams, FinetuneParams
from heo_core.records import EpochMetrics, ModelFile, Structure

BAR = 1.03
STEP_BAR = 1.0


def read_sample() -> tuple[list[Structure], list[Structure]]:
    """Training and validation split of the bundled sample."""
    curation = CurationParams(map="none")
    members = list(curate(open_source(curation), curation).iter_members())
    train, validation = ([m.structure for m in members if m.split == split] for split in ("train", "validation"))
    return train, validation


def prepare(folder: Path, params: FinetuneParams, n_structures: int) -> Path:
    """Write the files of a training; return the foundation's."""
    train, validation = read_sample()
    foundation = resolve_model("heo-mini")
    training_set = make_training_set(train[:n_structures], validation[: n_structures // 4], foundation, params)
    prepare_training(training_set, [], params, foundation=foundation, folder=folder, device="cpu")
    return folder / "foundation.model"


def train_bare(folder: Path, foundation: Path, params: FinetuneParams) -> float:
    """Seconds of mace_run_train by itself."""
    arguments = make_mace_arguments(params, foundation=foundation, folder=folder, device="cpu")
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONWARNINGS": "ignore"}
    begin = time.perf_counter()
    command = [sys.executable, "-m", "mace.cli.run_train", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - begin


def train_ours(folder: Path, foundation: Path, params: FinetuneParams) -> float:
    """Seconds of the same training by heo_core."""
    heard: list[EpochMetrics] = []
    begin = time.perf_counter()
    run_training(params, foundation=foundation, folder=folder, device="cpu", on_epoch=heard.append)
    return time.perf_counter() - begin


def measure_steps(model: ModelFile, structures: Sequence[Structure], rounds: int) -> dict[str, Any]:
    """CPU ms an atom of a step with either convolution, and how far the derivatives differ from MACE's own."""
    module = load_module(model, "cpu")
    weights = [weight.requires_grad_(True) for weight in module.parameters()]
    known = [s for s in structures if not model.unknown_elements(s.species)]
    graphs = to_graphs(to_labelled_atoms(known), module.atomic_numbers.tolist(), float(module.r_max))
    batch, loss = torch_geometric.Batch.from_data_list(graphs), UniversalLoss(1.0, 10.0, 10.0)
    clock, best, derivatives = Clock("cpu"), dict[str, float](), dict[str, np.ndarray]()
    for _ in range(rounds + 1):  # the first compiles
        for name, convolution in (("mace", contextlib.nullcontext()), ("heo", fused_convolutions(module))):
            module.zero_grad()
            with convolution, clock.measure(name):
                loss(pred=module(batch.to_dict(), training=True, compute_stress=True), ref=batch).backward()
            ms = 1000 * clock.cpu_s.pop(name) / sum(s.n_atoms for s in known)
            best[name] = min(best.get(name, ms), ms)
            derivatives[name] = np.concatenate([w.grad.numpy().ravel() for w in weights if w.grad is not None])
    difference = np.abs(derivatives["heo"] - derivatives["mace"]).max() / np.abs(derivatives["mace"]).max()
    return {"cpu_ms_per_atom": best, "largest_difference_of_derivatives": float(difference)}


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--structures", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    params = FinetuneParams(strategy="naive", dtype="float32", max_num_epochs=args.epochs).resolve()
    seconds: dict[str, list[float]] = {"mace_run_train": [], "heo": []}
    for _ in range(args.rounds):
        for name, train in (("mace_run_train", train_bare), ("heo", train_ours)):
            with tempfile.TemporaryDirectory() as name_of_folder:
                folder = Path(name_of_folder)
                foundation = prepare(folder, params, args.structures)
                seconds[name].append(train(folder, foundation, params))
            print(f"  {name:<15} {seconds[name][-1]:7.1f} s")
    best = {name: min(values) for name, values in seconds.items()}
    ratios = {"wall_time_over_mace_run_train": {"value": best["heo"] / best["mace_run_train"], "bar": BAR}}
    figures: dict[str, Any] = {"seconds": seconds, "epochs": args.epochs, "structures": args.structures}
    structures = read_sample()[0]
    with tempfile.TemporaryDirectory() as name_of_folder:
        medium = make_medium_model(Path(name_of_folder) / "medium.model")
        for name, model, n in (("heo-mini", resolve_model("heo-mini"), 8), ("medium", medium, 4)):
            figure = figures[f"step_{name}"] = measure_steps(model, structures[:n], args.rounds)
            cpu_ms = figure["cpu_ms_per_atom"]
            ratios[f"step_{name}_over_mace"] = {"value": cpu_ms["heo"] / cpu_ms["mace"], "bar": STEP_BAR}
            print(f"  step of {name:<9} {cpu_ms['mace']:.2f} and {cpu_ms['heo']:.2f} CPU ms an atom")
    print(
        json.dumps({"ratios": {key: ratio | {"better": "lower"} for key, ratio in ratios.items()}, "figures": figures})
    )


if __name__ == "__main__":
    main()
