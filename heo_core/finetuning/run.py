"""Run one training in a process of its own, follow it, and go on with one that was killed."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heo_core.errors import DivergedError, TrainerKilledError, TrainingError
from heo_core.finetuning.strategy import MODEL_NAME, Acceleration, make_mace_arguments
from heo_core.finetuning.training_log import STATE_FILE, STOPPED_FILE, TrainingLog
from heo_core.params import FinetuneParams
from heo_core.records import EpochMetrics

_POLL_S = 0.2
_STOP_GRACE_S = 10.0
_LOG_TAIL_LINES = 15

# A validation loss this many times that before training is on its way to nowhere.
DIVERGED_FACTOR = 20.0

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "MemoryError")


@dataclass(frozen=True)
class TrainingResult:
    """A finished training: the model file, and the epoch (1, 2, ...) whose weights it holds.

    stop_reason: max_num_epochs or patience. best_score: see `heo_core.finetuning.training_log.compute_score`.
    """

    model_path: Path
    best_epoch: int
    best_score: float
    stop_reason: str
    epochs: tuple[EpochMetrics, ...]
    log_tail: str


def is_begun(folder: Path) -> bool:
    """Whether an earlier try has left a finished epoch in `folder`, from which a training goes on."""
    return (folder / "checkpoints" / STATE_FILE).exists()


def run_training(
    params: FinetuneParams,
    *,
    foundation: Path,
    folder: Path,
    device: str,
    on_epoch: Callable[[EpochMetrics], None],
    acceleration: Acceleration = "none",
) -> TrainingResult:
    """Train in `folder`, where `prepare_training` has put the files, from the last finished epoch if there is one.

    on_epoch hears of each epoch within a second, of those of an earlier try too. Raises TrainingError with the log's
    last lines when the trainer fails, TrainerKilledError when a signal ended it, DivergedError when the loss is no
    longer a number or grows without end. The trainer ends when this function does, also when the whole process is
    killed.
    """
    log_path = folder / "trainer.log"
    arguments = make_mace_arguments(
        params, foundation=foundation, folder=folder, device=device, acceleration=acceleration
    )
    results = TrainingLog(folder / "results" / f"{MODEL_NAME}_run-{params.seed}_train.txt")
    epochs: dict[int, EpochMetrics] = {}
    (folder / STOPPED_FILE).unlink(missing_ok=True)
    _drop_unfinished_lines(results.path, folder)
    with _trainer([str(folder), str(params.resolve().patience or 0), *arguments], log_path) as process:
        running = True
        while running:
            running = process.poll() is None
            for epoch in results.read_new():
                if epochs.get(epoch.epoch) != epoch:
                    _check_loss(epoch, epochs.get(0), log_path)
                    epochs[epoch.epoch] = epoch
                    on_epoch(epoch)
            if running:
                time.sleep(_POLL_S)
    log_tail = _read_tail(log_path)
    model_path = folder / f"{MODEL_NAME}.model"
    if process.returncode != 0 or not model_path.exists() or not (folder / STOPPED_FILE).exists():
        error = TrainerKilledError if process.returncode < 0 else TrainingError
        raise error(f"{_explain(process.returncode, log_tail)}; the end of its log:\n{log_tail}")
    stopped = json.loads((folder / STOPPED_FILE).read_text())
    in_order = tuple(epochs[number] for number in sorted(epochs))
    return TrainingResult(
        model_path, stopped["best_epoch"], stopped["best_score"], stopped["reason"], in_order, log_tail
    )


def clear_training(folder: Path, best_epoch: int) -> None:
    """Remove what a finished training needs no more; the checkpoints of its best and of its last epoch stay."""
    for path in folder.iterdir():
        if path.name != "checkpoints":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    checkpoints = folder / "checkpoints"
    # Under its old name the next run of the same parameters, on a new database say, would go on from it.
    (checkpoints / STATE_FILE).replace(checkpoints / "last.pt")
    for path in checkpoints.iterdir():
        if path.name not in {f"epoch-{best_epoch - 1}.pt", "last.pt"}:
            path.unlink()


def _drop_unfinished_lines(path: Path, folder: Path) -> None:
    """Without a kept epoch the trainer starts anew, and lines of an earlier try belong to nothing."""
    if not is_begun(folder):
        path.unlink(missing_ok=True)


@contextmanager
def _trainer(arguments: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "heo_core.finetuning.trainer", *arguments]
    environment = {
        # Threads that spin while they wait make a busy machine several times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONWARNINGS": "ignore",
    }
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


def _check_loss(epoch: EpochMetrics, before: EpochMetrics | None, log_path: Path) -> None:
    losses = (epoch.validation_loss, epoch.train_loss if epoch.train_loss is not None else 0.0)
    if not all(math.isfinite(loss) for loss in losses):
        raise DivergedError(
            f"the loss is no longer a number at epoch {epoch.epoch} (validation {losses[0]}, training {losses[1]}): "
            f"try a smaller lr; the end of its log:\n{_read_tail(log_path)}"
        )
    if before is not None and epoch.validation_loss > DIVERGED_FACTOR * before.validation_loss:
        raise DivergedError(
            f"the training diverges: after epoch {epoch.epoch} the validation loss is {epoch.validation_loss:.4g}, "
            f"before training it was {before.validation_loss:.4g}: try a smaller lr; the end of "
            f"its log:\n{_read_tail(log_path)}"
        )


def _explain(returncode: int, log_tail: str) -> str:
    if any(words in log_tail for words in _OUT_OF_MEMORY):
        return "the trainer ran out of memory: try a smaller batch_size"
    if returncode == -signal.SIGKILL:
        return "the trainer was killed (SIGKILL), as a machine does that runs out of memory: try a smaller batch_size"
    if returncode < 0:
        return f"the trainer was ended by {signal.Signals(-returncode).name}"
    if returncode == 0:
        return "the trainer left no model"
    return f"the trainer ended with exit code {returncode}"


def _read_tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
