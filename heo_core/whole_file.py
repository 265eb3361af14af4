"""Files that are there whole or not at all, also after a machine has lost its power."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"
"""How the name of a file begins that is being written; what a kill leaves behind is known by it."""


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield an empty file to write to; at the end what is there is on the disk and in the place of `path`.

    Where anything is raised, `path` stays as it was and what was written is removed. mode: of a new file, less what the
    process's umask takes. Several may write the same path at once: the last to end is the one that stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(PARTIAL + secrets.token_hex(8))
    partial.touch(mode, exist_ok=False)
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
