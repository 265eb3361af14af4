"""What is known about the services of a home between two commands: `services.json`, and the lock around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from heo_core.errors import ServiceError
from heo_core.whole_file import replacing

STATE_FILE = "services.json"
LOCK_FILE = "services.lock"


class ProcessState(BaseModel):
    """A process as it was when it started; a pid counts only together with its start time."""

    model_config = ConfigDict(extra="ignore")

    pid: int | None = None
    create_time: float | None = None

    def forget_process(self) -> None:
        """Remember the rest, a port for instance, but no process."""
        self.pid = self.create_time = None


class PostgresState(ProcessState):
    """The embedded Postgres; `url` is the database `heo`, `prefect_url` the one of the Prefect server."""

    port: int | None = None
    url: str | None = None
    prefect_url: str | None = None


class ServerState(ProcessState):
    """The Prefect server; `url` is its UI, `database` a digest of the URL of its database."""

    port: int | None = None
    url: str | None = None
    api_url: str | None = None
    database: str | None = None


class ReportServerState(ProcessState):
    """The server of the report pages."""

    port: int | None = None
    url: str | None = None


class WorkerState(ProcessState):
    """A worker; `environment` is a digest of the settings it was started with."""

    environment: str | None = None


class ServicesState(BaseModel):
    """All services of one home, and which definition of the deployments its server was given last."""

    model_config = ConfigDict(extra="ignore")

    postgres: PostgresState = PostgresState()
    server: ServerState = ServerState()
    reports: ReportServerState = ReportServerState()
    workers: dict[str, WorkerState] = {}
    gpus: list[str] | None = None
    definition: str | None = None

    def worker(self, key: str) -> WorkerState:
        """Return a worker by its name on this machine, with nothing known of it if it never ran."""
        return self.workers.setdefault(key, WorkerState())


def load_state(home: Path) -> ServicesState:
    """Read the state of a home; an unreadable file is as good as none, for the processes are found by their marks."""
    try:
        return ServicesState.model_validate_json((home / STATE_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return ServicesState()
    except OSError as exc:
        raise ServiceError(f"{home / STATE_FILE} cannot be read: {exc.strerror}") from exc


def save_state(home: Path, state: ServicesState) -> None:
    """Write the state of a home."""
    write_private(home / STATE_FILE, state.model_dump_json(indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    with replacing(path, mode=0o600) as partial:
        partial.write_text(text)


@contextmanager
def services_lock(home: Path, patience_s: float = 300.0) -> Iterator[None]:
    """Let one command at a time start or stop the services of a home."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / LOCK_FILE, timeout=patience_s):
            yield
    except Timeout as exc:
        raise ServiceError(f"another heo command has been busy with {home} for {patience_s:.0f} s") from exc
    except PermissionError as exc:
        raise ServiceError(f"{home} cannot be written to: set HEO_HOME to a folder of yours") from exc
