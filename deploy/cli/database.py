"""One unit of work on the database, for a command that shows or changes something."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def in_session[T](work: Callable[[Session], T]) -> T:
    """Run functions of `db` in a session of its own, which is committed at the end."""
    from db.engine import session_scope
    from flows.settings import load_settings

    with session_scope(load_settings().resolve_database_url()) as session:
        return work(session)
