"""One query on the database, for a command that shows something."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def read[T](query: Callable[[Session], T]) -> T:
    """Run a query of `db` in a session of its own."""
    from db.engine import session_scope
    from flows.settings import load_settings

    with session_scope(load_settings().resolve_database_url()) as session:
        return query(session)
