"""`heo db check|backup|restore` and `heo gc`: what keeps a service whole over the years."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.database import in_session
from deploy.cli.output import make_console, progress
from deploy.cli.run import Json
from deploy.cli.services import PANEL, db_app


def register(app: typer.Typer) -> None:
    """Add these commands to the `heo` command."""
    for command in (check, backup, restore):
        db_app.command()(command)
    app.command(rich_help_panel=PANEL)(gc)


def check(as_json: Json = False) -> None:
    """Look for duplicates, orphans, false counts and changed files. The exit code is 1 if there is any."""
    from db.check import check_files, check_rows
    from deploy.cli.tables import print_rows
    from flows.settings import load_settings

    artifacts = load_settings().artifacts
    checks = in_session(lambda session: [*check_rows(session), check_files(session, artifacts)])
    print_rows([asdict(found) | {"examples": list(found.examples)} for found in checks], "", as_json=as_json)
    if any(found.n_violations for found in checks):
        raise typer.Exit(1)


def backup(folder: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)]) -> None:
    """Write the database, models, trajectories and reports into a new folder; work may go on meanwhile."""
    from deploy.services.backup import back_up
    from flows.settings import load_settings

    console = make_console()
    with progress(console) as say:
        manifest = back_up(load_settings(), folder.expanduser().resolve(), say)
    console.print(f"[bold green]backed up[/] the database and {len(manifest['files'])} files: {folder}")


def restore(folder: Annotated[Path, typer.Argument(help="Folder of a backup.", show_default=False)]) -> None:
    """Restore a backup into a database that nobody has used yet: HEO_HOME=NEW heo up --no-workers, then this."""
    from deploy.services.backup import restore as restore_backup
    from flows.settings import load_settings

    console = make_console()
    with progress(console) as say:
        manifest = restore_backup(load_settings(), folder.expanduser().resolve(), say)
    console.print(f"[bold green]restored[/] what was backed up at {manifest['made_at']}; now: heo db check")


def gc(
    keep_days: Annotated[int, typer.Option(min=1, help="What was written later stays.")] = 30,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; without this it is only listed.")] = False,
    as_json: Json = False,
) -> None:
    """List, and with --remove free, what is not needed: old trajectories and checkpoints, files that no row names."""
    from datetime import UTC, datetime, timedelta

    from db.retention import collect_leftovers
    from deploy.cli.tables import print_rows
    from flows.settings import load_settings

    settings = load_settings()
    found = collect_leftovers(
        settings.resolve_database_url(),
        settings.artifacts,
        settings.work,
        settings.reports,
        datetime.now(UTC) - timedelta(days=keep_days),
        remove=remove,
    )
    print_rows([asdict(leftover) for leftover in found], "nothing to remove", as_json=as_json)
    if found and not as_json:
        size_mb = sum(leftover.size_bytes for leftover in found) / 1e6
        typer.echo(f"{'removed' if remove else 'can go with --remove'}: {len(found)}, {size_mb:.1f} MB", err=True)
