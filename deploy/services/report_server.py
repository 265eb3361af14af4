"""The report pages over HTTP, on loopback: a browser follows no link from Prefect's UI to a file."""

from __future__ import annotations

import sys

import psutil

from deploy.services.environment import log_file, resolved_home, service_environment
from deploy.services.ports import LOOPBACK, choose_port
from deploy.services.process import Say, end_strays, recognise, spawn
from deploy.services.state import ReportServerState
from flows.settings import Settings

SERVICE = "reports"
PORT_VARIABLE = "HEO_REPORT_PORT"
DEFAULT_PORT = 4280
WORDS = ("http.server", "--directory")


def find(known: ReportServerState) -> psutil.Process | None:
    """Return the running report server of a home."""
    return recognise(known.pid, known.create_time, WORDS)


def start(settings: Settings, known: ReportServerState, say: Say) -> ReportServerState:
    """Start the report server where it does not run."""
    folder = str(settings.reports)
    process = find(known)
    if process is not None and folder in process.cmdline():
        return known
    end_strays(resolved_home(settings), SERVICE)
    port = choose_port(PORT_VARIABLE, remembered=known.port, default=DEFAULT_PORT)
    say(f"reports: serving {folder} on port {port}")
    settings.reports.mkdir(parents=True, exist_ok=True)
    process = spawn(
        [sys.executable, "-m", "http.server", str(port), "--bind", LOOPBACK, "--directory", folder],
        log=log_file(settings, SERVICE),
        environment=service_environment(settings, SERVICE),
        directory=resolved_home(settings),
    )
    return ReportServerState(
        pid=process.pid, create_time=process.create_time(), port=port, url=f"http://{LOOPBACK}:{port}"
    )
