"""Three parts that stand in for MACE's own inside the training process, so that a training goes on where it stopped.

MACE's training loop calls them as it calls its own: the logger adds learning rate, seconds and a robust score to each
evaluation; the checkpoints keep all that a continuation needs, written in one step; the loop puts a kept state back,
and ends when the score no longer improves. Weights, optimiser, scheduler, averages, order of batches and random numbers
are kept, so on one machine a training that was killed ends with the same weights as one that was not. On a CPU the loop
also gets a convolution that takes less time than MACE's own.

Only `heo_core.finetuning.trainer` imports this module: with it come torch and mace-torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mace import tools

from heo_core.finetuning.torch_file import save_whole
from heo_core.finetuning.training_log import FINETUNED_HEAD, STATE_FILE, STOPPED_FILE, compute_score
from heo_core.models.mace_cpu import fused_convolutions
from heo_core.whole_file import replacing


class PatienceExhaustedError(Exception):
    """Leaves MACE's loop after the epoch that has just been kept; nothing went wrong."""


class EpochLogger(tools.MetricsLogger):  # type: ignore[misc]
    """Writes MACE's lines, each evaluation with learning rate, seconds and score."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optimizer: Any = None
        self.is_continued = False
        self.score: float | None = None
        self._evaluated_at = time.monotonic()

    def log(self, d: dict[str, Any]) -> None:
        """Write one line."""
        if d["mode"] == "eval":
            if d["epoch"] is None and self.is_continued:
                return  # MACE evaluates before its first step; in a continuation that is no epoch
            lr = self.optimizer.param_groups[0]["lr"] if self.optimizer else None
            d = dict(d) | {"lr": lr}
            if d["head"] == FINETUNED_HEAD:
                now = time.monotonic()
                self.score = compute_score(d.get("mae_f"), d.get("mae_e_per_atom"))
                d |= {"score": self.score, "seconds": now - self._evaluated_at}
                self._evaluated_at = now
        super().log(d)

    def sync(self) -> int:
        """Bring the lines written so far to the disk; return their bytes."""
        with Path(self.path).open("rb") as stream:
            os.fsync(stream.fileno())
            return os.fstat(stream.fileno()).st_size

    def cut(self, size: int) -> None:
        """Forget what was written after the kept epoch: in a new file, so that who follows the old one can tell."""
        path = Path(self.path)
        kept = path.read_bytes()[:size]
        with replacing(path) as partial:
            partial.write_bytes(kept)


class EpochCheckpoints:
    """Each epoch's averaged weights, and one file with all that a continuation needs."""

    def __init__(self, folder: Path, patience: int) -> None:
        """Keep them in folder/checkpoints. patience: epochs without a better score after which to stop; 0: never."""
        self._folder = folder / "checkpoints"
        self._patience = patience
        self._logger: Any = None
        self._ema: Any = None
        self._train_loader: Any = None
        self.best: tuple[float, int] | None = None
        self._epochs_without_gain = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the score has not improved for so many epochs that the training ends."""
        return 0 < self._patience <= self._epochs_without_gain

    def save(self, state: Any, epochs: int, keep_last: bool = False) -> None:  # noqa: ARG002 (MACE's own signature)
        """Keep a finished epoch; MACE calls this while the model holds the averaged weights."""
        averaged = state.model.state_dict()
        save_whole(averaged, self._folder / f"epoch-{epochs}.pt")
        score = self._logger.score
        if score is not None and (self.best is None or score < self.best[0]):
            self.best, self._epochs_without_gain = (score, epochs), 0
        else:
            self._epochs_without_gain += 1
        raw = dict(averaged)
        if self._ema is not None:
            names = [name for name, _ in state.model.named_parameters()]
            raw |= dict(zip(names, self._ema.collected_params, strict=True))
        kept = {
            "epoch": epochs,
            "model": raw,
            "optimizer": state.optimizer.state_dict(),
            "lr_scheduler": state.lr_scheduler.state_dict(),
            "ema": None if self._ema is None else self._ema.state_dict(),
            "batches": self._train_loader.generator.get_state(),
            "random": torch.get_rng_state(),
            "best": self.best,
            "epochs_without_gain": self._epochs_without_gain,
            "log_bytes": self._logger.sync(),
        }
        save_whole(kept, self._folder / STATE_FILE)
        if self.is_exhausted:
            raise PatienceExhaustedError

    def load_latest(self, state: Any, swa: bool = False, device: Any = None) -> int | None:  # noqa: ARG002
        """Give the model the best epoch's weights: MACE asks for them when its loop is done."""
        if self.best is None:
            return None
        weights = torch.load(self._folder / f"epoch-{self.best[1]}.pt", map_location=device, weights_only=True)
        state.model.load_state_dict(weights)
        return self.best[1]

    def restore(self, arguments: dict[str, Any]) -> int:
        """Put the kept state, if there is one, into what MACE's loop was given; return the epoch to start with."""
        self._logger, self._ema = arguments["logger"], arguments["ema"]
        self._train_loader = arguments["train_loader"]
        path = self._folder / STATE_FILE
        if not path.exists():
            return 0
        kept = torch.load(path, map_location=arguments["device"], weights_only=True)
        for name in ("model", "optimizer", "lr_scheduler"):
            arguments[name].load_state_dict(kept[name])
        if self._ema is not None:
            self._ema.load_state_dict(kept["ema"])
        self._train_loader.generator.set_state(kept["batches"].cpu())
        torch.set_rng_state(kept["random"].cpu())
        self.best, self._epochs_without_gain = kept["best"], kept["epochs_without_gain"]
        self._logger.cut(kept["log_bytes"])
        self._logger.is_continued = True
        # MACE's loop leaves this step out before the first epoch that it runs.
        arguments["lr_scheduler"].step()
        return int(kept["epoch"]) + 1


def make_loop(folder: Path) -> Callable[..., None]:
    """Return MACE's loop, from the kept epoch on, until the last one or until patience is exhausted."""
    run_loop = tools.train

    def train(**arguments: Any) -> None:
        checkpoints: EpochCheckpoints = arguments["checkpoint_handler"]
        arguments["logger"].optimizer = arguments["optimizer"]
        start, reason = checkpoints.restore(arguments), "max_num_epochs"
        if checkpoints.is_exhausted:
            reason = "patience"
        elif start < arguments["max_num_epochs"]:
            try:
                with _choose_convolution(arguments):
                    run_loop(**arguments | {"start_epoch": start})
            except PatienceExhaustedError:
                reason = "patience"
        if checkpoints.best is None:
            raise RuntimeError("no epoch has an error on the validation split")
        score, epoch = checkpoints.best
        # MACE counts its first pass as epoch 0.
        (folder / STOPPED_FILE).write_text(json.dumps({"reason": reason, "best_epoch": epoch + 1, "best_score": score}))

    return train


def _choose_convolution(arguments: dict[str, Any]) -> AbstractContextManager[None]:
    """MACE's own convolution on a GPU, the compiled one on a CPU."""
    on_cpu = torch.device(arguments["device"]).type == "cpu"
    return fused_convolutions(arguments["model"]) if on_cpu else nullcontext()
