"""Events of the model registry, by which a Prefect server starts what follows a new or a promoted model.

An event only makes things prompt: what has to be done stands in the database, so one that is lost costs time and
nothing else. They are sent after the commit, for who hears of a model looks it up.
"""

from __future__ import annotations

import logging
import os
import sys
from threading import Thread

import httpx

from db import models
from db.engine import session_scope
from db.versions import label
from flows.settings import Settings, load_settings

MODEL_REGISTERED = "heo.model-version.registered"
MODEL_PROMOTED = "heo.model-version.promoted"

_PROBE_S = 2.0
_SEND_S = 10.0

_logger = logging.getLogger(__name__)


def emit_model_registered(model_version_id: int, settings: Settings | None = None) -> None:
    """Tell the Prefect server of a new model version; a server that is not there is a warning."""
    _emit(MODEL_REGISTERED, model_version_id, settings)


def emit_model_promoted(model_version_id: int, settings: Settings | None = None) -> None:
    """Tell the Prefect server that a version is the production version of its name now; as above."""
    _emit(MODEL_PROMOTED, model_version_id, settings)


def _emit(event: str, model_version_id: int, settings: Settings | None) -> None:
    api_url = _find_api_url()
    problem = "no Prefect server is known: run 'heo up', or set PREFECT_API_URL" if api_url is None else _probe(api_url)
    with session_scope((settings or load_settings()).resolve_database_url()) as session:
        row = models.get_model(session, model_version_id)
    if problem is not None:
        _logger.warning("event %s of %s was not sent: %s", event, label(row), problem)
        return
    # Importing Prefect takes two seconds, which a command without a server does not pay.
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    emit_event(
        event,
        resource={
            "prefect.resource.id": f"heo.model-version.{row.id}",
            "prefect.resource.name": label(row),
        },
        payload={"model_version_id": row.id, "name": row.name, "version": row.version, "sha256": row.sha256},
    )
    # Prefect sends in the background; a process that ends at once would say that something is left to be sent.
    sending = Thread(target=EventsWorker.instance().wait_until_empty, daemon=True)
    sending.start()
    sending.join(_SEND_S)
    if sending.is_alive():
        _logger.warning("event %s of %s was not sent within %g s", event, label(row), _SEND_S)


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
