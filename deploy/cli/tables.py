"""Results as people read them, or as JSON."""

from __future__ import annotations

import csv
import json
import sys
from typing import Any

import typer


def print_rows(rows: list[dict[str, Any]], nothing: str, *, as_json: bool) -> None:
    """Print rows of equal keys as a table; `nothing` where there are none."""
    if as_json:
        typer.echo(json.dumps(rows, default=str, ensure_ascii=False))
    elif rows:
        _print_table(rows)
    else:
        typer.echo(nothing)


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Print rows of equal keys as CSV; a list as one field, a comma between its items."""
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _join(value) for name, value in row.items()} for row in rows)


def _join(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print a result: plain values as lines, lists of rows as tables."""
    if as_json:
        typer.echo(json.dumps(result, default=str, ensure_ascii=False))
        return
    plain = {name: value for name, value in result.items() if not _is_table(value)}
    width = max((len(name) for name in plain), default=0)
    for name, value in plain.items():
        for text in value if isinstance(value, list) else [value]:
            typer.echo(f"{name:<{width}}  {_format(text)}")
    for name, rows in result.items():
        if _is_table(rows):
            typer.echo(f"\n{name}")
            _print_table(rows)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from deploy.cli.output import make_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        is_number = any(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_format(value)) for value in row.values()))
    console = make_console()
    if not console.is_terminal:
        console.width = 400  # a pipe has no width to cut columns for
    console.print(table)


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value)
