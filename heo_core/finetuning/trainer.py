"""The training process: MACE's trainer, which ends when the process that started it does.

MACE sets global seeds, the default precision and log handlers, so it never runs in a process that does anything else.
Started as `python -m heo_core.finetuning.trainer MACE_ARGUMENTS...` with a pipe as standard input.
"""

from __future__ import annotations

import os
import sys
import threading


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
    from mace.cli.run_train import run
    from mace.tools import build_default_arg_parser

    run(build_default_arg_parser().parse_args(sys.argv[1:]))


if __name__ == "__main__":
    main()
