"""`heo sql "select ..."`: a question to the database, answered as a table or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd

PANEL = "Data"


def register(app: typer.Typer) -> None:
    """Add this command to the `heo` command."""
    app.command(rich_help_panel=PANEL)(sql)


def sql(
    query: Annotated[str, typer.Argument(help="One query, or - to read it from standard input.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, a list of rows.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(help="Write a parquet file instead.", dir_okay=False, show_default=False)
    ] = None,
) -> None:
    """Ask the database in SQL; nothing can be changed. Views and examples: docs/sql.md."""
    from db.query import run_query
    from flows.settings import load_settings
    from heo_core.errors import InputError

    if as_csv + as_json + (parquet is not None) > 1:
        raise InputError("--csv, --json and --parquet exclude each other: give one of them")
    rows = run_query(load_settings().resolve_database_url(), sys.stdin.read() if query == "-" else query)
    if as_csv:
        rows.to_csv(sys.stdout, index=False)
    elif parquet is not None:
        _write_parquet(rows, parquet)
    else:
        from deploy.cli.tables import print_rows

        print_rows(rows.to_dict("records"), "no rows", as_json=as_json)


def _write_parquet(rows: pd.DataFrame, path: Path) -> None:
    from pyarrow import ArrowException

    from heo_core.errors import InputError
    from heo_core.whole_file import replacing

    try:
        with replacing(path) as partial:
            rows.to_parquet(partial, index=False)
    except (OSError, ArrowException) as exc:
        raise InputError(f"cannot write {path}: {exc}") from exc
    typer.echo(f"{len(rows)} rows in {path}", err=True)
