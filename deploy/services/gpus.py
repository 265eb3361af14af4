"""The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them: one worker process for each."""

from __future__ import annotations

import os
import subprocess

from heo_core.errors import InputError

AUTO = "auto"


def list_gpus() -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES names, else what nvidia-smi does; importing torch to ask would take seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()


def choose_gpus(asked: str, present: list[str]) -> list[str]:
    """Return the GPUs that get a worker: all that are present for `auto`, or the first N.

    N is believed where no GPU can be seen: in a container there may be no nvidia-smi. InputError for any other word,
    for 0, and for more than there are.
    """
    if asked == AUTO:
        return present
    if not asked.isdecimal() or int(asked) < 1:
        raise InputError(f"--gpus is {asked!r}; allowed: auto, or a number from 1 on")
    chosen = (present or [str(index) for index in range(int(asked))])[: int(asked)]
    if len(chosen) < int(asked):
        raise InputError(f"--gpus is {asked}, but this machine has {len(present)}: {', '.join(present)}")
    return chosen
