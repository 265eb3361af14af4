"""The environment variables that the services of a home, and programs that talk to them, run with."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

from deploy.services.ports import LOOPBACK
from deploy.services.process import HOME_MARK, SERVICE_MARK
from flows.settings import CHECKOUT, FLOW_RUN_MARK, Settings

# A user's own Prefect set-up, a cloud account for instance, must not leak into the services of this project.
FOREIGN_PREFIXES = ("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_UI_", "PREFECT__", "PREFECT_PROFILE", "PREFECT_HOME")

WORKER_SETTINGS = (
    "HEO_HOME",
    "HEO_ARTIFACT_STORE",
    "HEO_REPORT_ROOT",
    "HEO_REPORT_URL",
    "HEO_DEVICE",
    "HEO_ACCELERATION",
    "HEO_ALLOWED_ROOTS",
    "HEO_NOTIFY",
    "HEO_DASK_SCHEDULER",
    "HEO_DFT_PYTHON",
    "HEO_DATABASE_URL",
    "PREFECT_API_URL",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    # Of an artifact store in a bucket.
    "AWS_ENDPOINT_URL",
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def resolved_home(settings: Settings) -> Path:
    """Return the absolute path of the home, by which its processes are marked."""
    return settings.home.expanduser().resolve()


def log_file(settings: Settings, service: str) -> Path:
    """Return the log file of a service."""
    return resolved_home(settings) / "logs" / f"{service}.log"


def service_environment(settings: Settings, service: str) -> dict[str, str]:
    """Return the environment of any service: the caller's without its Prefect set-up, with absolute paths and marks."""
    home = resolved_home(settings)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}
    kept.pop(FLOW_RUN_MARK, None)
    kept |= {
        HOME_MARK: str(home),
        SERVICE_MARK: service,
        "HEO_HOME": str(home),
        "HEO_ARTIFACT_STORE": settings.artifacts.uri,
        "HEO_REPORT_ROOT": str(settings.reports),
        "HEO_DEVICE": settings.device,
        "HEO_ACCELERATION": settings.acceleration,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "NO_PROXY": _without_proxy(),
        "no_proxy": _without_proxy(),
        "PYTHONUNBUFFERED": "1",
    }
    return kept | prefect_environment(settings)


def _without_proxy() -> str:
    """Return the hosts that are reached without a proxy: the user's and the loopback interface."""
    own = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    return ",".join(filter(None, [own, LOOPBACK, "localhost"]))


def prefect_environment(settings: Settings, api_url: str | None = None) -> dict[str, str]:
    """Return what any program needs that imports Prefect: a home of our own, no telemetry, the server's address."""
    variables = {
        "PREFECT_HOME": str(resolved_home(settings) / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Well below the silence after which the automation of `bootstrap` calls a run crashed.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    return variables | ({"PREFECT_API_URL": api_url} if api_url else {})


def server_environment(settings: Settings, database_url: str, url: str) -> dict[str, str]:
    """Return the environment of the Prefect server, `url` being the address that browsers use."""
    return service_environment(settings, "server") | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        # After 5 s without a connection and 10 s without an answer it would say 500: too soon for a busy machine.
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        # In memory, leases are lost with the server: a running training was once killed at 225 s.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "deploy.event_ordering",
        # Runs that ended 90 days ago go, with their logs and artifacts; events stay a week.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_UI_API_URL": f"{url}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(resolved_home(settings) / "prefect" / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }


def private_temporary_folder(home: Path) -> Path:
    """Return a folder for temporary files of this user only.

    Prefect's workers share the folder `runner_storage` in the system's, which belongs to whoever came first. The path
    is short, for multiprocessing puts Unix sockets there; if another user has taken the name, it is in the home.
    """
    for folder in (Path(tempfile.gettempdir()) / f"heo-{os.getuid()}", home / "tmp"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
            break
    return folder


def worker_environment(
    settings: Settings,
    worker: str,
    api_url: str,
    threads: int,
    *,
    gpu: str | None = None,
    python: str = sys.executable,
) -> dict[str, str]:
    """Return the environment of a worker, which its flow runs inherit.

    gpu: the only one that they see. python: what the worker is started with, and its runs find first.
    """
    variables = service_environment(settings, f"worker-{worker}") | prefect_environment(settings, api_url)
    variables |= {
        "PATH": os.pathsep.join([str(Path(python).parent), variables["PATH"]]),
        "TMPDIR": str(private_temporary_folder(resolved_home(settings))),
        "HEO_FLOW_LOG": str(log_file(settings, f"worker-{worker}")),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # Of a server whose own database is away; Prefect's client asks again for a minute.
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait stop one another on a busy machine: 37 s instead of 4 for the same steps.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }
    if gpu is not None:
        variables["CUDA_VISIBLE_DEVICES"] = gpu
    if settings.allowed_roots:
        variables["HEO_ALLOWED_ROOTS"] = os.pathsep.join(map(str, settings.allowed_roots))
    if settings.notify:
        variables["HEO_NOTIFY"] = settings.notify
    if settings.database_url:
        variables["HEO_DATABASE_URL"] = settings.database_url
    return variables


def worker_digest(environment: dict[str, str], python: str = sys.executable) -> str:
    """Digest what a worker must be restarted for: its settings, and which Python runs which checkout."""
    text = repr(([environment.get(name) for name in WORKER_SETTINGS], python, str(CHECKOUT)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
