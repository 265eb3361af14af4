"""Progress of a long task, as an artifact in Prefect's UI and as lines in its log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

_SECONDS_BETWEEN_UPDATES = 2.0
_BAR_LENGTH = 20


class ProgressReporter:
    """Tells how many of a known number of pieces are done."""

    def __init__(self, key: str, what: str, total: int | None) -> None:
        """Make the artifact `key` (lower-case letters, digits, hyphens) that says `what` is being counted."""
        self._what = what
        self._total = total
        self._updated_at = 0.0
        self._artifact_id: UUID | None = None
        with _without_server():
            self._artifact_id = create_progress_artifact(progress=0.0, key=key, description=what)  # type: ignore[assignment]

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` pieces are done; note is added to the line."""
        finished = done == self._total
        if not finished and time.monotonic() - self._updated_at < _SECONDS_BETWEEN_UPDATES:
            return
        self._updated_at = time.monotonic()
        line = f"{self._what}: {done}{f' of {self._total}' if self._total else ''}{f', {note}' if note else ''}"
        get_run_logger().info("%s%s", line, self._draw_bar(done))
        progress = 100.0 * done / self._total if self._total else 0.0
        if self._artifact_id is not None:
            with _without_server():
                update_progress_artifact(artifact_id=self._artifact_id, progress=min(progress, 100.0), description=line)

    def finish(self, done: int, note: str = "") -> None:
        """Say that all is done, also where the number was not known before."""
        self._total = done
        self.update(done, note)

    def _draw_bar(self, done: int) -> str:
        if not self._total:
            return ""
        filled = _BAR_LENGTH * min(done, self._total) // self._total
        return f"  {'█' * filled}{'░' * (_BAR_LENGTH - filled)}"


@contextmanager
def _without_server() -> Iterator[None]:
    """Go on where the server is away: one that cannot be told how far the work is must not end the work."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as exc:
        get_run_logger().warning("progress not shown: %s", exc)
