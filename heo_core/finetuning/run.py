"""Run one training in a process of its own and follow it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from heo_core.errors import TrainingError
from heo_core.finetuning.strategy import MODEL_NAME, make_mace_arguments
from heo_core.finetuning.training_log import TrainingLog
from heo_core.finetuning.training_set import TrainingSet, write_extxyz
from heo_core.params import FinetuneParams
from heo_core.records import EpochMetrics

_POLL_S = 0.5
_STOP_GRACE_S = 10.0
_LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class TrainingResult:
    """A finished training: the model file, and the epoch (1, 2, ...) whose weights it holds."""

    model_path: Path
    best_epoch: int
    epochs: tuple[EpochMetrics, ...]


def run_training(
    training_set: TrainingSet,
    params: FinetuneParams,
    *,
    foundation: Path,
    folder: Path,
    device: str,
    on_epoch: Callable[[EpochMetrics], None],
) -> TrainingResult:
    """Finetune `foundation` in `folder`, which is emptied first; on_epoch hears of each epoch within a second.

    Raises TrainingError with the log's last lines when the trainer fails or the loss is no longer a number.
    The trainer ends when this function does, also when the whole process is killed.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_extxyz(folder / "train.extxyz", training_set.train)
    write_extxyz(folder / "validation.extxyz", training_set.validation)
    log_path = folder / "trainer.log"
    results = TrainingLog(folder / "results" / f"{MODEL_NAME}_run-{params.seed}_train.txt")
    epochs: list[EpochMetrics] = []
    last_epoch_at = time.monotonic()
    with _trainer(
        make_mace_arguments(params, foundation=foundation, folder=folder, device=device), log_path
    ) as process:
        running = True
        while running:
            running = process.poll() is None
            for epoch in results.read_new():
                epoch = replace(epoch, seconds=round(time.monotonic() - last_epoch_at, 3))  # noqa: PLW2901
                last_epoch_at = time.monotonic()
                _check_finite(epoch)
                epochs.append(epoch)
                on_epoch(epoch)
            if running:
                time.sleep(_POLL_S)
    if process.returncode != 0:
        raise TrainingError(
            f"the trainer ended with exit code {process.returncode}; the end of its log:\n{_read_tail(log_path)}"
        )
    model_path = folder / f"{MODEL_NAME}.model"
    trained = [epoch for epoch in epochs if epoch.epoch > 0]
    if not model_path.exists() or not trained:
        raise TrainingError(f"the trainer left no model; the end of its log:\n{_read_tail(log_path)}")
    # MACE keeps the checkpoint of the lowest validation loss, the earliest of equals.
    best = min(trained, key=lambda epoch: epoch.validation_loss)
    return TrainingResult(model_path, best.epoch, tuple(epochs))


@contextmanager
def _trainer(arguments: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "heo_core.finetuning.trainer", *arguments]
    # Threads that spin while they wait make a busy machine several times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONWARNINGS": "ignore"}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin:
            process.stdin.close()


def _check_finite(epoch: EpochMetrics) -> None:
    losses = (epoch.validation_loss, epoch.train_loss if epoch.train_loss is not None else 0.0)
    if not all(math.isfinite(loss) for loss in losses):
        raise TrainingError(f"the loss is no longer a number at epoch {epoch.epoch}: try a smaller lr")


def _read_tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
