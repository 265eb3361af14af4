"""Model files by content: a file's sha256 is its name, so that nothing is stored twice or changed unseen."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from heo_core.errors import ModelError


@dataclass(frozen=True)
class Artifact:
    """A stored file."""

    path: Path
    sha256: str
    size_bytes: int


def compute_sha256(path: Path) -> str:
    """Sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Raise ModelError, naming both hashes, unless a file is the registered one: loading a model file runs code."""
    try:
        found = compute_sha256(path)
    except OSError as exc:
        raise ModelError(f"model file {path} cannot be read: {exc.strerror}") from exc
    if found != expected:
        raise ModelError(f"model file {path} has changed: its sha256 is {found}, registered is {expected}")


def store_artifact(path: Path, root: Path) -> Artifact:
    """Copy a file to root/ab/abcdef....model; atomic, and free when it is there already."""
    sha256 = compute_sha256(path)
    target = root / sha256[:2] / f"{sha256}{path.suffix}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        # A copy under another name first: a kill or a full disk never leaves half a file under the final one.
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=".partial-")
        try:
            with os.fdopen(handle, "wb") as copy, path.open("rb") as original:
                shutil.copyfileobj(original, copy)
                copy.flush()
                os.fsync(copy.fileno())
            Path(partial).chmod(0o644)
            Path(partial).replace(target)
        finally:
            Path(partial).unlink(missing_ok=True)
    return Artifact(target, sha256, target.stat().st_size)
