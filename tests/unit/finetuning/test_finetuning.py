"""Finetuning: what MACE is told, what is read of it, and what happens when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import psutil
import pytest

from heo_core.assets import HEO_MINI_DIR
from heo_core.errors import InputError, TrainingError
from heo_core.finetuning.run import run_training
from heo_core.finetuning.strategy import LR, SMALL_MODEL_LR, choose_lr, make_mace_arguments
from heo_core.finetuning.training_log import TrainingLog
from heo_core.finetuning.training_set import make_training_set, write_extxyz
from heo_core.models import resolve_model
from heo_core.params import FinetuneParams
from heo_core.records import EpochMetrics, Structure

FOUNDATION = HEO_MINI_DIR / "heo-mini.model"


def make_structures(count: int, cation: str = "Ni") -> list[Structure]:
    rng = np.random.default_rng(0)
    ideal = np.array(
        [[0, 0, 0], [2.1, 2.1, 0], [2.1, 0, 2.1], [0, 2.1, 2.1], [2.1, 0, 0], [0, 2.1, 0], [0, 0, 2.1], [2.1, 2.1, 2.1]]
    )
    species = ("Mg", "Co", cation, "Zn", "O", "O", "O", "O")
    return [
        Structure(
            4.2 * np.eye(3),
            ideal + rng.normal(0, 0.05, (8, 3)),
            species,
            f"mp-{i}",
            "mp",
            "pbe",
            energy_ev=-45.0 + rng.normal(0, 0.1),
            forces_ev_per_ang=rng.normal(0, 0.2, (8, 3)),
        )
        for i in range(count)
    ]


def test_structures_that_the_foundation_cannot_take_are_left_out_and_counted() -> None:
    foundation = resolve_model("heo-mini")
    good, unknown = make_structures(6), make_structures(2, cation="Pu")
    unlabelled = [replace(good[0], forces_ev_per_ang=None)]
    training_set = make_training_set([*good, *unknown], [*good[:2], *unlabelled], foundation, FinetuneParams())
    assert training_set.left_out == {"unlabelled": 1, "unknown_element": 2}
    assert len(training_set.train) == 6
    assert len(training_set.validation) == 2


def test_an_unusable_split_and_a_batch_larger_than_it_are_refused() -> None:
    foundation, good = resolve_model("heo-mini"), make_structures(3)
    with pytest.raises(InputError, match="none of the 2 structures of the validation split"):
        make_training_set(good, make_structures(2, cation="Pu"), foundation, FinetuneParams(batch_size=2))
    with pytest.raises(InputError, match="batch_size is 4, but only 3 structures"):
        make_training_set(good, good, foundation, FinetuneParams(batch_size=4))


def test_labels_are_written_under_maces_keys(tmp_path: Path) -> None:
    structures = make_structures(2)
    write_extxyz(tmp_path / "x.extxyz", structures)
    atoms = ase.io.read(tmp_path / "x.extxyz", index=1)
    assert atoms.info["REF_energy"] == pytest.approx(structures[1].energy_ev)
    np.testing.assert_allclose(atoms.arrays["REF_forces"], structures[1].forces_ev_per_ang, atol=1e-7)
    assert atoms.pbc.all()


def test_mace_understands_every_argument_and_none_of_its_traps_is_left_open(tmp_path: Path) -> None:
    script = (
        "import sys, json; from mace.tools import build_default_arg_parser as b; a = b().parse_args(sys.argv[1:]);"
        "print(json.dumps({k: str(v) for k, v in vars(a).items()}))"
    )
    arguments = make_mace_arguments(FinetuneParams(), foundation=FOUNDATION, folder=tmp_path, device="cpu")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    parsed = json.loads(run.stdout.splitlines()[-1])
    assert parsed["multiheads_finetuning"] == "False"
    assert parsed["foundation_model_elements"] == "True"
    assert parsed["E0s"] == "foundation"
    assert parsed["ema"] == "True"
    assert float(parsed["lr"]) == SMALL_MODEL_LR
    assert int(parsed["max_num_epochs"]) == FinetuneParams().max_num_epochs
    assert float(parsed["forces_weight"]) == FinetuneParams().forces_weight


def test_the_learning_rate_suits_the_foundation_unless_it_is_given(tmp_path: Path) -> None:
    large = tmp_path / "large.model"
    with large.open("wb") as stream:
        stream.truncate(30_000_000)
    assert choose_lr(FinetuneParams(), FOUNDATION) == SMALL_MODEL_LR
    assert choose_lr(FinetuneParams(), large) == LR
    assert choose_lr(FinetuneParams(lr=0.002), FOUNDATION) == 0.002


def test_the_log_is_followed_line_by_line_and_half_a_line_waits(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    log = TrainingLog(path)
    assert log.read_new() == []
    evaluation = {"mode": "eval", "epoch": None, "loss": 2.0, "rmse_e_per_atom": 0.1, "rmse_f": 0.3, "mae_f": 0.2}
    path.write_text(
        json.dumps(evaluation) + "\n" + json.dumps({"mode": "opt", "loss": 1.0, "epoch": 0}) + '\n{"mode": "o'
    )
    (before,) = log.read_new()
    assert (before.epoch, before.train_loss, before.forces_rmse_ev_per_ang) == (0, None, 0.3)
    with path.open("a") as stream:
        stream.write('pt", "loss": 3.0, "epoch": 0}\n' + json.dumps(evaluation | {"epoch": 0, "loss": 1.5}) + "\n")
    (first,) = log.read_new()
    assert (first.epoch, first.train_loss, first.validation_loss) == (1, 2.0, 1.5)
    assert log.read_new() == []


@pytest.mark.slow
def test_a_real_training_reports_each_epoch_and_keeps_every_element(tmp_path: Path) -> None:
    import torch

    heard: list[EpochMetrics] = []
    foundation = resolve_model("heo-mini")
    params = FinetuneParams(max_num_epochs=2, batch_size=2)
    training_set = make_training_set(make_structures(4), make_structures(2), foundation, params)
    result = run_training(
        training_set, params, foundation=FOUNDATION, folder=tmp_path / "run", device="cpu", on_epoch=heard.append
    )
    assert [epoch.epoch for epoch in heard] == [0, 1, 2]
    assert all(epoch.validation_loss > 0 for epoch in heard)
    assert result.best_epoch in {1, 2}
    assert result.best_epoch == min(heard[1:], key=lambda epoch: epoch.validation_loss).epoch
    child, parent = (
        torch.load(path, weights_only=False, map_location="cpu") for path in (result.model_path, FOUNDATION)
    )
    assert child.atomic_numbers.tolist() == parent.atomic_numbers.tolist()
    before, after = (dict(model.named_parameters()) for model in (parent, child))
    assert set(before) <= set(after)
    changed = [not torch.equal(before[name].detach(), after[name].detach()) for name in before]
    assert any(changed)


@pytest.mark.slow
def test_a_trainer_that_fails_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    not_a_model = tmp_path / "not.model"
    not_a_model.write_text("no model")
    foundation, params = resolve_model("heo-mini"), FinetuneParams(batch_size=2)
    training_set = make_training_set(make_structures(4), make_structures(2), foundation, params)
    with pytest.raises(TrainingError, match=r"(?s)exit code 1; the end of its log:.*Error"):
        run_training(
            training_set, params, foundation=not_a_model, folder=tmp_path / "run", device="cpu", on_epoch=lambda _: None
        )


def test_the_trainer_ends_when_its_parent_is_killed() -> None:
    # A stand-in for the flow process starts the trainer's watchdog in a child, tells us its pid, and is killed.
    child = "import time; from heo_core.finetuning.trainer import end_with_parent; end_with_parent(); time.sleep(60)"
    parent = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(1)
    assert psutil.pid_exists(pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not psutil.pid_exists(pid)
