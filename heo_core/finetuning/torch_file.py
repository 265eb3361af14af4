"""Files in torch's format that are there whole or not at all, and that say so when the disk is full."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from heo_core.whole_file import replacing


def save_whole(value: Any, path: Path) -> None:
    """Save as torch does, by way of memory; a kill leaves the old file or the new one.

    OSError in the system's words where there is no space: torch itself says `unexpected pos 576 vs 534`.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with replacing(path) as partial:
        partial.write_bytes(buffer.getbuffer())
