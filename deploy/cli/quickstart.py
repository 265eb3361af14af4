"""`heo quickstart`: services up, one run of the pipeline followed live, and where its results are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.output import make_console, progress
from heo_core.errors import HeoError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from deploy.quickstart import Choice, Event, StateChange
    from deploy.services import Services
    from deploy.services.prefect_api import Json, PrefectApi
    from flows.settings import Settings

ERROR_LINES = 5


def register(app: typer.Typer) -> None:
    """Add this command to the `heo` command."""
    app.command(rich_help_panel="Start here")(quickstart)


def quickstart(
    again: Annotated[bool, typer.Option("--again", help="Run the pipeline even if it is done already.")] = False,
) -> None:
    """Start everything, run the whole pipeline on bundled data, and show where the report is."""
    from deploy import services
    from deploy.quickstart import choose_run
    from deploy.services.prefect_api import PrefectApi
    from flows.settings import load_settings

    settings, console = load_settings(), make_console()
    with progress(console) as say:
        running = services.up(settings, say=say)
    with PrefectApi(running.api_url) as api:
        choice = choose_run(settings, api, again=again)
        console.print(_describe(choice))
        run = choice.run if choice.kind == "done" else _follow(console, settings, api, choice.run)
    _print_results(console, settings, running, run)


def _describe(choice: Choice) -> str:
    """Say which run this is about."""
    name = choice.run["name"]
    if choice.kind == "done":
        return f"[bold]already done[/] at {_clock(choice.run['end_time'], '%Y-%m-%d %H:%M')} by run {name}; reusing"
    if choice.kind == "followed":
        return f"run [bold]{name}[/] goes on already; following it"
    return f"run [bold]{name}[/] is started"


def _clock(timestamp: str, pattern: str = "%H:%M:%S") -> str:
    """Give a timestamp of the server as local time."""
    return datetime.fromisoformat(timestamp).astimezone().strftime(pattern)


def _follow(console: Console, settings: Settings, api: PrefectApi, run: Json) -> Json:
    """Show what a run says until it ends; HeoError with its last errors if it does not complete."""
    from deploy.quickstart import StateChange, follow

    errors: list[str] = []
    last: StateChange | None = None
    try:
        with console.status(f"{run['name']}: waiting for a worker") as spinner:
            for event in follow(settings, api, run["id"]):
                _print_line(console, _line(event))
                if isinstance(event, StateChange):
                    last = event
                    spinner.update(f"{run['name']}: {event.name.lower()}, Ctrl-C leaves it to the worker")
                elif event.is_error:
                    errors.append(event.message)
    except KeyboardInterrupt:
        console.print(
            f"\nthe run {run['name']} goes on in the worker: 'heo quickstart' follows it again, 'heo down' stops it"
        )
        raise
    if last is None or last.run["state_type"] != "COMPLETED":
        raise HeoError(_failure(run, last, errors, api.ui_url))
    return last.run


def _print_line(console: Console, line: Text) -> None:
    """Print one line: cut where a terminal ends, whole in a file."""
    if console.is_terminal:
        console.print(line, no_wrap=True, overflow="ellipsis", soft_wrap=False)
    else:
        console.print(line)


def _line(event: Event) -> Text:
    """Format an event as one line: time, step, words."""
    from rich.text import Text

    from deploy.quickstart import StateChange

    if isinstance(event, StateChange):
        timestamp = event.run["state"]["timestamp"]
        return Text.assemble((_clock(timestamp), "dim"), "  ", (f"run is {event.name.lower()}", "bold"))
    first = event.message.partition("\n")[0]
    style = "red" if event.is_error else ""
    return Text.assemble((_clock(event.timestamp), "dim"), "  ", (f"{event.step:<12} ", "cyan"), (first, style))


def _failure(run: Json, last: StateChange | None, errors: list[str], ui_url: str) -> str:
    """Say how a run ended that did not complete."""
    state = last.run["state"] if last is not None else run["state"]
    lines = [line for message in errors for line in message.splitlines() if line.strip()]
    return "\n".join(
        [
            f"the run {run['name']} is {state['name'].lower()}: {state['message'] or 'no reason was given'}",
            *(f"  {line}" for line in lines[-ERROR_LINES:]),
            f"  more: {_run_url(ui_url, run)}",
        ]
    )


def _run_url(ui_url: str, run: Json) -> str:
    """Return the address of a run in the Prefect UI."""
    return f"{ui_url}/runs/flow-run/{run['id']}"


def _print_results(console: Console, settings: Settings, running: Services, run: Json) -> None:
    """Print the answer and where everything is."""
    from rich import box
    from rich.panel import Panel
    from rich.text import Text

    from deploy.quickstart import latest_report

    report = latest_report(settings)
    lines = [*(report.summary if report else ()), ""]
    lines += [f"report      {report.path.as_uri()}" if report else "report      missing: heo run report"]
    lines += [f"Prefect UI  {_run_url(running.ui_url, run)}", f"psql URL    {running.psql_url}", ""]
    lines += ["heo down stops everything"]
    text = Text("\n".join(lines))
    if console.is_terminal:
        width = max(console.width, 40)
        console.print(Panel(text, title="heo quickstart", box=box.ROUNDED, width=width), soft_wrap=False)
    else:
        console.print(text)
