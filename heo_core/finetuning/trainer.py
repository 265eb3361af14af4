"""The training process: MACE's trainer, which ends when its parent does, and goes on from its last finished epoch.

MACE sets global seeds, the default precision and log handlers, so it never runs in a process that does anything else.
Started as `python -m heo_core.finetuning.trainer FOLDER PATIENCE MACE_ARGUMENTS...` with a pipe as standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace


def end_with_parent() -> None:
    """End this process when the other end of standard input closes, however its holder died."""

    def wait() -> None:
        # Not sys.stdin: a thread inside its buffer aborts the interpreter when it ends.
        while os.read(0, 1):
            pass
        os._exit(143)

    threading.Thread(target=wait, daemon=True, name="end-with-parent").start()


def main() -> None:
    """Run mace_run_train with this process's arguments."""
    end_with_parent()
    folder, patience, arguments = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    from mace import tools
    from mace.cli import run_train

    from heo_core.finetuning.resumable import EpochCheckpoints, EpochLogger, make_loop

    tools.MetricsLogger, tools.train = EpochLogger, make_loop(folder)
    tools.CheckpointHandler = lambda **_: EpochCheckpoints(folder, patience)
    # MACE also compiles the finished model, for LAMMPS, and goes on where that fails: nobody here reads the result.
    run_train.jit = SimpleNamespace(compile=partial(_refuse, "not compiled"))
    options = tools.build_default_arg_parser().parse_args(arguments)
    two_heads = options.multiheads_finetuning
    run_train.run(options)
    if two_heads:
        _take_off_replay_head(folder / f"{options.name}.model")


def _refuse(reason: str, *_: object) -> None:
    raise NotImplementedError(reason)


def _take_off_replay_head(path: Path) -> None:
    """Leave the finetuned head alone in the finished model."""
    import torch
    from mace.tools.scripts_utils import remove_pt_head

    from heo_core.finetuning.training_log import FINETUNED_HEAD

    # Written by this process a moment ago.
    model = torch.load(path, map_location="cpu", weights_only=False)
    torch.set_default_dtype(next(model.parameters()).dtype)
    torch.save(remove_pt_head(model, FINETUNED_HEAD), path)


if __name__ == "__main__":
    main()
