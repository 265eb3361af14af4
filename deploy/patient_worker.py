"""A worker lives on when a run comes back before its place is free; every `prefect worker start` loads this.

Prefect 3.8.8 ends a worker over it. When the process of a run has died, the worker loads the flow to look for hooks,
half a minute on a busy machine, and the run keeps its place meanwhile. The automation that starts crashed runs again
may be quicker.
"""

from __future__ import annotations

from typing import Any

from prefect.workers.base import BaseWorker

_submit = BaseWorker._submit_scheduled_flow_runs  # noqa: SLF001


async def submit_those_without_a_place(self: BaseWorker[Any, Any, Any], flow_run_response: list[Any]) -> list[Any]:
    """Leave runs that still have their place to the next look, seconds later."""
    limiter = self._limiter
    placed = limiter.statistics().borrowers if limiter else ()
    return await _submit(self, [entry for entry in flow_run_response if entry.flow_run.id not in placed])


BaseWorker._submit_scheduled_flow_runs = submit_those_without_a_place  # type: ignore[method-assign]  # noqa: SLF001
