"""All services of a home together: start them in order, stop them in order, say how they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.services import bootstrap, flow_runs, postgres, prefect_server, report_server, workers
from deploy.services.environment import log_file, prefect_environment, resolved_home
from deploy.services.gpus import AUTO, choose_gpus, list_gpus
from deploy.services.ports import asked_port
from deploy.services.prefect_api import PrefectApi
from deploy.services.process import Say, end, end_marked, end_strays
from deploy.services.state import ServicesState, WorkerState, load_state, save_state, services_lock
from flows.settings import Settings, as_psycopg_url
from heo_core.errors import ServiceError

PREFECT_DATABASE_VARIABLE = "HEO_PREFECT_DATABASE_URL"


@dataclass(frozen=True)
class Services:
    """Where the running services of a home are."""

    home: Path
    api_url: str
    database_url: str
    reports_url: str | None

    @property
    def ui_url(self) -> str:
        """Address of the Prefect UI."""
        return self.api_url.removesuffix("/api")

    @property
    def psql_url(self) -> str:
        """URL of the `heo` database for psql and other tools."""
        return _plain_url(self.database_url)


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `heo status`."""

    name: str
    state: str  # up, down, or silent: the process is there and does not answer
    pid: int | None
    address: str | None
    log: Path | None


def _ignore(_: str) -> None:
    """Say nothing."""


def up(
    settings: Settings,
    *,
    with_workers: bool = True,
    with_deployments: bool = True,
    gpus: str | None = None,
    say: Say = _ignore,
) -> Services:
    """Start what does not run: Postgres, the Prefect server, workers; then tables, pools and deployments.

    gpus: `auto` for a worker on each GPU of the machine, or how many; None for those of the last time, at first `auto`.
    """
    home = resolved_home(settings)
    with services_lock(home):
        state = load_state(home)
        if with_workers and (gpus is not None or state.gpus is None):
            state.gpus = choose_gpus(gpus or AUTO, list_gpus())
        _check_before_start(settings, state)
        prefect_database = _start_databases(settings, state, say)
        state.server = prefect_server.launch(settings, state.server, prefect_database, say)
        save_state(home, state)
        bootstrap.migrate(settings.database_url or str(state.postgres.url), say)  # while the server starts
        _wait_for_server(settings, state, prefect_database, say)
        with PrefectApi(str(state.server.api_url)) as api:
            orphans = _start_work(settings, state, api, with_workers=with_workers, say=say)
            if with_deployments:
                state.definition = bootstrap.deploy_flows(settings, api, state.definition, say)
                save_state(home, state)
            if with_workers:
                for worker in workers.list_workers(state.gpus):
                    _wait_for_worker(settings, worker, state.worker(worker.key), api, say)
            flow_runs.restart_crashed(api, say, orphans)
    return locate(settings)


def _wait_for_worker(settings: Settings, worker: workers.Worker, known: WorkerState, api: PrefectApi, say: Say) -> None:
    """Wait until a worker is ready; one of an environment of its own that does not start leaves the others running."""
    try:
        workers.wait_until_ready(settings, worker, known, api, say)
    except ServiceError as exc:
        if worker.pool.venv is None and worker.pool.needs is None:
            raise
        say(f"{exc}; everything else is up")


def _check_before_start(settings: Settings, state: ServicesState) -> None:
    """Raise before anything is started if a port that is asked for, or the user's own database, cannot be had."""
    import psycopg

    if settings.database_url:
        psycopg.connect(_plain_url(as_psycopg_url(settings.database_url)), connect_timeout=10).close()
    if postgres.find(settings, state.postgres) is None:
        asked_port(postgres.PORT_VARIABLE)
    if prefect_server.find(state.server) is None:
        asked_port(prefect_server.PORT_VARIABLE)


def ensure_services(settings: Settings, *, workers: bool = False, say: Say = _ignore) -> Services:
    """Start what a flow in this process needs, and point Prefect in this process, not imported yet, at it."""
    services = up(settings, with_workers=workers, with_deployments=workers, say=say)
    os.environ.update(prefect_environment(settings, services.api_url))
    return services


def point_prefect(settings: Settings) -> None:
    """Point Prefect in this process, not imported yet, at the server of this home if one is written down."""
    api_url = load_state(resolved_home(settings)).server.api_url
    if api_url is not None:
        os.environ.update(prefect_environment(settings, api_url))


def locate(settings: Settings) -> Services:
    """Return where the services of a home are, as written down; ServiceError if they were never started."""
    home = resolved_home(settings)
    state = load_state(home)
    if state.server.api_url is None:
        raise ServiceError(f"no services are known in {home}: run 'heo up'")
    return Services(
        home=home,
        api_url=state.server.api_url,
        database_url=settings.resolve_database_url(),
        reports_url=state.reports.url,
    )


def _start_databases(settings: Settings, state: ServicesState, say: Say) -> str:
    """Start the embedded Postgres where it is needed; return the URL of the Prefect server's database."""
    own = os.environ.get(PREFECT_DATABASE_VARIABLE)
    if own and not own.startswith("postgresql+asyncpg://"):
        raise ServiceError(f"{PREFECT_DATABASE_VARIABLE} must be postgresql+asyncpg://user:password@host:port/name")
    if own and settings.database_url:
        return own
    if own is None and postgres.find(settings, state.postgres) is None and prefect_server.stop(state.server):
        # Once such a server answered, but its schedules and automations stood still, until it was started again.
        say("Prefect server: its database was away, so it is started again")
    state.postgres = postgres.start(settings, state.postgres, say)
    save_state(resolved_home(settings), state)
    return own or str(state.postgres.prefect_url)


def _wait_for_server(settings: Settings, state: ServicesState, database_url: str, say: Say) -> None:
    """Wait until the Prefect server answers, on another port if somebody else was quicker."""
    while not prefect_server.wait_until_ready(settings, state.server, say):
        state.server = prefect_server.launch(settings, state.server, database_url, say)
        save_state(resolved_home(settings), state)


def _start_work(
    settings: Settings, state: ServicesState, api: PrefectApi, *, with_workers: bool, say: Say
) -> list[str]:
    """Make the pools, end the runs of workers that are gone, and start workers; return those runs."""
    state.reports = report_server.start(settings, state.reports, say)
    save_state(resolved_home(settings), state)
    bootstrap.prepare_server(api)
    alive = workers.living(state)
    orphans = flow_runs.crash_orphans(api, resolved_home(settings), alive, say)
    if with_workers:
        _end_unwanted_workers(resolved_home(settings), state, say)
        for worker in workers.list_workers(state.gpus):
            state.workers[worker.key] = workers.start(settings, worker, state.worker(worker.key), api.api_url, say)
            save_state(resolved_home(settings), state)
    return orphans


def _end_unwanted_workers(home: Path, state: ServicesState, say: Say) -> None:
    """Stop workers of GPUs that have none any more."""
    wanted = {worker.key for worker in workers.list_workers(state.gpus)}
    for key in state.workers.keys() - wanted:
        say(f"worker {key}: stopping, it is not wanted any more")
        end_strays(home, f"worker-{key}")
        del state.workers[key]


def down(settings: Settings, say: Say = _ignore) -> int:
    """Stop everything of a home, whatever is left of it; return how many services and other processes were ended."""
    home = resolved_home(settings)
    if not home.exists():
        return 0
    with services_lock(home):
        state = load_state(home)
        count = _stop_work(home, state, say)
        _mark_interrupted(home, state, say)
        say("stopping the Prefect server")
        count += prefect_server.stop(state.server)
        count += end_marked(home, lambda marked: marked.service != postgres.SERVICE)
        say("stopping Postgres")
        count += postgres.stop(settings, state.postgres)
        count += end_marked(home, lambda _: True)
        for process in (state.postgres, state.server, state.reports, *state.workers.values()):
            process.forget_process()
        save_state(home, state)
    return count


def _stop_work(home: Path, state: ServicesState, say: Say) -> int:
    """Stop workers first, so that no new run starts, then every run and trainer that is left."""
    found = [workers.find(worker, state.worker(worker.key)) for worker in workers.list_workers(state.gpus)]
    running = [process for process in found if process is not None]
    if running:
        say("stopping the workers and what they run")
    end(running, workers.STOP_PATIENCE_S)
    services = {prefect_server.SERVICE, postgres.SERVICE}
    return len(running) + end_marked(home, lambda marked: marked.service not in services)


def _mark_interrupted(home: Path, state: ServicesState, say: Say) -> None:
    """Mark the runs that were just stopped as crashed, if the server still answers."""
    if prefect_server.find(state.server) is None:
        return
    try:
        with PrefectApi(str(state.server.api_url), timeout_s=5.0) as api:
            flow_runs.crash_orphans(api, home, workers.living(state), say)
    except ServiceError as exc:
        say(f"runs could not be marked as crashed: {exc}")


def status(settings: Settings) -> list[ServiceStatus]:
    """Return how each service of a home is."""
    return list(_statuses(settings, load_state(resolved_home(settings))))


def _statuses(settings: Settings, state: ServicesState) -> Iterator[ServiceStatus]:
    """Yield one line for each service."""
    if settings.database_url:
        yield _own_database(settings.database_url)
    if not (settings.database_url and os.environ.get(PREFECT_DATABASE_VARIABLE)):
        process = postgres.find(settings, state.postgres)
        address = f"127.0.0.1:{state.postgres.port}" if state.postgres.port else None
        log = log_file(settings, postgres.SERVICE)
        answers = process is not None and _accepts(str(state.postgres.prefect_url))
        yield _status("postgres", process, answers=answers, address=address, log=log)
    server = prefect_server.find(state.server)
    answers = server is not None and _is_healthy(str(state.server.api_url))
    log = log_file(settings, prefect_server.SERVICE)
    yield _status("server", server, answers=answers, address=state.server.url, log=log)
    reports = report_server.find(state.reports)
    log = log_file(settings, report_server.SERVICE)
    yield _status(report_server.SERVICE, reports, answers=reports is not None, address=state.reports.url, log=log)
    for worker in workers.list_workers(state.gpus):
        process = workers.find(worker, state.worker(worker.key))
        log = log_file(settings, worker.service)
        yield _status(worker.service, process, answers=process is not None, address=f"pool {worker.pool.name}", log=log)


def _status(
    name: str, process: psutil.Process | None, *, answers: bool, address: str | None, log: Path | None
) -> ServiceStatus:
    """Judge one service by its process and by whether it answers."""
    state = "down" if process is None else "up" if answers else "silent"
    return ServiceStatus(name, state, process.pid if process else None, address, log)


def _own_database(url: str) -> ServiceStatus:
    """Judge the user's own database."""
    return ServiceStatus("database", "up" if _accepts(url) else "down", None, url.rpartition("@")[2], None)


def _accepts(url: str) -> bool:
    """Tell whether a Postgres lets us in."""
    import psycopg

    try:
        psycopg.connect(_plain_url(url), connect_timeout=3).close()
    except psycopg.Error:
        return False
    return True


def _plain_url(url: str) -> str:
    """Give a database URL the scheme that psycopg and psql know."""
    return f"postgresql://{url.partition('://')[2]}"


def _is_healthy(api_url: str) -> bool:
    """Tell whether a Prefect server answers."""
    with PrefectApi(api_url, timeout_s=3.0) as api:
        return api.is_healthy()
