"""Which tasks are tried again: those that can be repeated, after a failure that may pass by itself."""

from __future__ import annotations

from typing import Any, TypedDict

import httpx
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from heo_core.errors import ServiceError


class Tries(TypedDict):
    """Arguments of `prefect.task`."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Any


def may_pass(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Whether a task failed because a database, a server or a network was not there; never for what it was given."""
    # Prefect hands out a coroutine where it sees an event loop, unless it is told not to.
    error = state.result(raise_on_failure=False, _sync=True)  # type: ignore[call-overload]
    if isinstance(error, httpx.HTTPStatusError):  # a Prefect server whose own database is away
        return error.response.is_server_error
    return isinstance(error, ServiceError | httpx.TransportError | ConnectionError | TimeoutError)


AGAIN = Tries(retries=3, retry_delay_seconds=[5, 30, 120], retry_condition_fn=may_pass)
"""For tasks that find what an earlier try has done: every task that asks the database."""
