"""What Prefect 3.8.8's workers lack here; every `prefect worker start` loads this.

A worker lives on when a run comes back before its place is free. Prefect ends a worker over it: when the process of a
run has died, the worker loads the flow to look for hooks, half a minute on a busy machine, and the run keeps its place
meanwhile. The automation that starts crashed runs again may be quicker.

A worker asks for what is due by the server's clock. Prefect takes the machine's own: with one that is an hour behind,
all runs wait for an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from prefect.exceptions import ObjectNotFound
from prefect.workers.base import BaseWorker

_submit = BaseWorker._submit_scheduled_flow_runs  # noqa: SLF001


async def submit_those_without_a_place(self: BaseWorker[Any, Any, Any], flow_run_response: list[Any]) -> list[Any]:
    """Leave runs that still have their place to the next look, seconds later."""
    limiter = self._limiter
    placed = limiter.statistics().borrowers if limiter else ()
    return await _submit(self, [entry for entry in flow_run_response if entry.flow_run.id not in placed])


async def get_those_due_at_the_server(self: BaseWorker[Any, Any, Any]) -> list[Any]:
    """List the runs that are due, or soon due, by the clock that decides when they may begin."""
    answered_at = (await self.client.request("GET", "/health")).headers.get("date")
    now = parsedate_to_datetime(answered_at) if answered_at else datetime.now(UTC)
    try:
        return await self.client.get_scheduled_flow_runs_for_work_pool(
            work_pool_name=self._work_pool_name,
            scheduled_before=now + timedelta(seconds=self._prefetch_seconds),
            work_queue_names=list(self._work_queues),
        )
    except ObjectNotFound:  # the worker makes its pool with its next heartbeat
        return []


BaseWorker._submit_scheduled_flow_runs = submit_those_without_a_place  # type: ignore[method-assign]  # noqa: SLF001
BaseWorker._get_scheduled_flow_runs = get_those_due_at_the_server  # type: ignore[method-assign]  # noqa: SLF001
