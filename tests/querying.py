"""SQL as a user asks it: a connection of its own, nothing of ours between."""

from __future__ import annotations

from typing import Any

import psycopg


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a statement; none of one that returns no rows."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []
