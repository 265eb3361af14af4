"""Tables in Prefect's UI, for people: what the database holds in full, with few digits and without empty columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_table_artifact

from heo_core.params import make_title
from heo_core.reporting.quantities import QUANTITIES

Rows = list[dict[str, Any]]


def show_table(rows: Sequence[Mapping[str, Any]], *, key: str, description: str, digits: int = 4) -> None:
    """Make the table artifact `key` (lower-case letters, digits, hyphens) of rows, which have the same columns."""
    create_table_artifact(tidy(rows, digits), key=key, description=description)


def tidy(rows: Sequence[Mapping[str, Any]], digits: int = 4) -> Rows:
    """Return the rows without columns in which nothing stands, and with so many significant digits in fractions."""
    filled = [column for column in (rows[0] if rows else ()) if any(row[column] is not None for row in rows)]
    return [{column: _round(row[column], digits) for column in filled} for row in rows]


def _round(value: Any, digits: int) -> Any:
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def put_into_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose metrics are headed and scaled as in the report, `Force RMSE (meV/Å)`, the rest as in forms."""
    return dict(_put_into_words(column, value) for column, value in row.items())


def _put_into_words(column: str, value: Any) -> tuple[str, Any]:
    replayed, name = column.startswith("replay_"), column.removeprefix("replay_")
    heading, factor = make_title(name), 1.0
    if (quantity := QUANTITIES.get(name)) is not None:
        title, factor = quantity.title[:1].upper() + quantity.title[1:], quantity.factor
        heading = f"{title} ({quantity.unit})" if quantity.unit else title
    is_scaled = value is not None and factor != 1
    return f"{heading}, replayed cells" if replayed else heading, value * factor if is_scaled else value
