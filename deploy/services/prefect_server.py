"""The Prefect server of a home: one process, its database in Postgres, its UI and API on loopback."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress

import psutil

from deploy.services.environment import log_file, resolved_home, server_environment
from deploy.services.ports import LOOPBACK, choose_port, is_free
from deploy.services.prefect_api import PrefectApi
from deploy.services.process import Say, end, end_strays, is_running, last_lines, recognise, spawn, wait
from deploy.services.state import ServerState
from flows.settings import Settings
from heo_core.errors import ServiceError

SERVICE = "server"
PORT_VARIABLE = "HEO_PREFECT_PORT"
DEFAULT_PORT = 4200
WORDS = ("prefect", "server", "start")
START_PATIENCE_S = 240.0  # the first start runs Prefect's migrations, 25 s on two loaded cores
STOP_PATIENCE_S = 10.0


def find(known: ServerState) -> psutil.Process | None:
    """Return the running server of a home."""
    return recognise(known.pid, known.create_time, WORDS)


def launch(settings: Settings, known: ServerState, database_url: str, say: Say) -> ServerState:
    """Start the server's process where it does not run, and return it at once; `wait_until_ready` comes next."""
    database = hashlib.sha256(database_url.encode()).hexdigest()[:16]
    if find(known) is not None and known.database == database:
        return known
    if stop(known):
        say("Prefect server: its database has moved, so it is started again")
    end_strays(resolved_home(settings), SERVICE)
    port = choose_port(PORT_VARIABLE, remembered=known.port, default=DEFAULT_PORT)
    url = f"http://{LOOPBACK}:{port}"
    say(f"Prefect server: starting on port {port}")
    process = spawn(
        [sys.executable, "-m", *WORDS, "--host", LOOPBACK, "--port", str(port)],
        log=log_file(settings, SERVICE),
        environment=server_environment(settings, database_url, url),
        directory=resolved_home(settings),
    )
    return ServerState(
        pid=process.pid,
        create_time=process.create_time(),
        port=port,
        url=url,
        api_url=f"{url}/api",
        database=database,
    )


def wait_until_ready(settings: Settings, state: ServerState, say: Say) -> bool:
    """Wait until the server answers; False if somebody else took its port and another may be tried.

    Raises ServiceError with the end of its log if it ends for any other reason or takes too long.
    """
    with PrefectApi(str(state.api_url), timeout_s=5.0) as api:
        for _ in wait(say, "Prefect server: still starting, the first start makes its tables", START_PATIENCE_S, 0.25):
            process = find(state)
            if process is None:
                if os.environ.get(PORT_VARIABLE) or is_free(int(state.port or 0)):
                    log = last_lines(log_file(settings, SERVICE))
                    raise ServiceError(f"the Prefect server ended while starting; {log}")
                return False
            if _listens(process, state.port) and api.is_healthy():
                return True
    raise ServiceError(
        f"the Prefect server (pid {state.pid}, port {state.port}) does not answer after {START_PATIENCE_S:.0f} s; on a "
        f"busy machine 'heo up' again finds it; "
        f"{last_lines(log_file(settings, SERVICE))}"
    )


def _listens(process: psutil.Process, port: int | None) -> bool:
    """Tell whether this very process has the port: the server of another home may answer there instead."""
    with suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in process.net_connections("tcp4")
        )
    return False


def stop(known: ServerState) -> bool:
    """Stop the server; tell whether it ran."""
    process = find(known)
    if process is None:
        return False
    end([process], STOP_PATIENCE_S)
    return not is_running(process)
