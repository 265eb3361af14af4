"""Events of models and benchmarks, by which a Prefect server starts the evaluations that follow.

An event only makes things prompt: what has to be done stands in the database, so one that is lost costs time and
nothing else. They are sent after the commit, for who hears of one looks there. Each says how many evaluations it makes
due (`heo.due`), so that nothing is started where there are none.
"""

from __future__ import annotations

import logging
import os
import sys
from threading import Thread
from typing import Any

import httpx

from db import evaluations, models, pending
from db.engine import session_scope
from db.versions import label
from flows.settings import Settings, load_settings

MODEL_REGISTERED = "heo.model-version.registered"
MODEL_PROMOTED = "heo.model-version.promoted"
BENCHMARK_AUTO = "heo.benchmark.auto"

_PROBE_S = 2.0
_SEND_S = 10.0

_logger = logging.getLogger(__name__)


def emit_model_registered(model_version_id: int, settings: Settings | None = None) -> None:
    """Tell the Prefect server of a new model version; a server that is not there is a warning."""
    _emit_of_model(MODEL_REGISTERED, model_version_id, settings or load_settings())


def emit_model_promoted(model_version_id: int, settings: Settings | None = None) -> None:
    """Tell the Prefect server that a version is the production version of its name now; as above."""
    _emit_of_model(MODEL_PROMOTED, model_version_id, settings or load_settings())


def emit_benchmark_auto(benchmark_id: int, settings: Settings | None = None) -> None:
    """Tell the Prefect server of a benchmark that is to run by itself: newly marked so, or in a new version."""
    with session_scope((settings or load_settings()).resolve_database_url()) as session:
        row = evaluations.get_benchmark(session, benchmark_id)
        due = len(pending.list_waiting_models(session, benchmark_id)) if row.auto else 0
    payload = {"benchmark_id": row.id, "name": row.name, "version": row.version}
    _emit(BENCHMARK_AUTO, f"heo.benchmark.{row.id}", label(row), due, payload)


def _emit_of_model(event: str, model_version_id: int, settings: Settings) -> None:
    with session_scope(settings.resolve_database_url()) as session:
        row = models.get_model(session, model_version_id)
        due = len(pending.list_due_benchmarks(session, model_version_id))
    payload = {"model_version_id": row.id, "name": row.name, "version": row.version, "sha256": row.sha256}
    _emit(event, f"heo.model-version.{row.id}", label(row), due, payload)


def _emit(event: str, resource_id: str, name: str, due: int, payload: dict[str, Any]) -> None:
    """Send an event; due: how many evaluations it makes due."""
    api_url = _find_api_url()
    problem = "no Prefect server is known: run 'heo up', or set PREFECT_API_URL" if api_url is None else _probe(api_url)
    if problem is not None:
        _logger.warning("event %s of %s was not sent: %s", event, name, problem)
        return
    # Importing Prefect takes two seconds, which a command without a server does not pay.
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    emit_event(
        event,
        resource={"prefect.resource.id": resource_id, "prefect.resource.name": name, "heo.due": str(due)},
        payload=payload,
    )
    # Prefect sends in the background; a process that ends at once would say that something is left to be sent.
    sending = Thread(target=EventsWorker.instance().wait_until_empty, daemon=True)
    sending.start()
    sending.join(_SEND_S)
    if sending.is_alive():
        _logger.warning("event %s of %s was not sent within %g s", event, name, _SEND_S)


def _find_api_url() -> str | None:
    """Address of the server that Prefect talks to in this process; without one, Prefect would start one of its own."""
    if "prefect" in sys.modules:
        from prefect.settings import PREFECT_API_URL

        api_url: str | None = PREFECT_API_URL.value()
        return api_url
    return os.environ.get("PREFECT_API_URL") or None


def _probe(api_url: str) -> str | None:
    """Say why a server does not answer; None if it does. Prefect itself would try for ten seconds to reach it."""
    try:
        # A proxy of the user's environment must not be asked for a server on this machine.
        httpx.get(f"{api_url.rstrip('/')}/health", timeout=_PROBE_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        return f"the Prefect server at {api_url} does not answer: {exc or type(exc).__name__}"
    return None
