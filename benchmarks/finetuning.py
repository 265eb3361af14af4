"""What following a training costs, as a ratio measured in one run.

    python benchmarks/finetuning.py [--epochs 3] [--structures 120] [--rounds 3]

The same training of heo-mini on the bundled sample is run in turn by a bare `mace_run_train` and by
`heo_core.finetuning.run`, with the same files and the same arguments, both in processes of their own and from start to
end. Ours also follows the epochs, keeps all that a continuation needs, and lets MACE leave out what nobody reads here
(the compiled model). The best of the rounds counts for each, since other work on a machine only ever adds time. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from heo_core.curation import curate, open_source
from heo_core.finetuning.preparation import prepare_training
from heo_core.finetuning.run import run_training
from heo_core.finetuning.strategy import make_mace_arguments
from heo_core.finetuning.training_set import make_training_set
from heo_core.models import resolve_model
from heo_core.params import CurationParams, FinetuneParams
from heo_core.records import EpochMetrics

BAR = 1.03


def prepare(folder: Path, params: FinetuneParams, n_structures: int) -> Path:
    """Write the files of a training; return the foundation's."""
    curation = CurationParams(map="none")
    members = list(curate(open_source(curation), curation).iter_members())
    train, validation = ([m.structure for m in members if m.split == split] for split in ("train", "validation"))
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
    ratio = {"value": best["heo"] / best["mace_run_train"], "bar": BAR, "better": "lower"}
    figures = {"seconds": seconds, "epochs": args.epochs, "structures": args.structures}
    print(json.dumps({"ratios": {"wall_time_over_mace_run_train": ratio}, "figures": figures}))


if __name__ == "__main__":
    main()
