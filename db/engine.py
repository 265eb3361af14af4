"""The one place that connects and commits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from heo_core.errors import ServiceError


@cache
def get_engine(url: str) -> Engine:
    """Return the process's engine for a Postgres URL (`postgresql+psycopg://...`)."""
    return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10, "application_name": "heo"})


@contextmanager
def session_scope(url: str) -> Iterator[Session]:
    """One unit of work: committed at the end, rolled back when anything is raised.

    ServiceError, with host and port, when the database cannot be reached.
    """
    with _explained(url), Session(get_engine(url), expire_on_commit=False) as session:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise


@contextmanager
def snapshot_scope(url: str) -> Iterator[Session]:
    """One unit of reading: as session_scope, but all queries see the database as it is at the first of them."""
    with session_scope(url) as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn an error into a ServiceError if the connection is what failed; any other stays as it is."""
    try:
        yield
    except OperationalError as exc:
        if not _is_unreachable(exc):
            raise
        place = make_url(url)
        reason = str(exc.orig).strip().splitlines()[0] if exc.orig else "no reason given"
        raise ServiceError(
            f"database {place.database} at {place.host}:{place.port or 5432} cannot be used: {reason}"
        ) from exc


def _is_unreachable(exc: OperationalError) -> bool:
    """Whether the connection is what failed (no SQLSTATE, or the classes 08 and 57P), and not, say, a full disk."""
    state = getattr(exc.orig, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


@contextmanager
def exclusive(url: str, key: str, on_wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the database-wide lock named key; if another process holds it, call on_wait and wait for it.

    Yields whether it had to wait. Postgres frees the lock when the holder's connection ends: a killed process blocks
    nobody. ServiceError if the database cannot be reached.
    """
    name = {"key": key}
    with ExitStack() as stack:
        with _explained(url):
            connection = stack.enter_context(get_engine(url).connect())
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            free = connection.scalar(text("select pg_try_advisory_lock(hashtextextended(:key, 0))"), name)
            if not free:
                if on_wait is not None:
                    on_wait()
                connection.execute(text("select pg_advisory_lock(hashtextextended(:key, 0))"), name)
        try:
            yield not free
        finally:
            # Closing the connection would only give it back to the pool, with the lock.
            _unlock(connection, [key])


@contextmanager
def claim(url: str, keys: Sequence[str], most: int) -> Iterator[list[str]]:
    """Hold the locks of at most so many of these keys that nobody holds; yields those, and waits for none.

    As with `exclusive`, a killed process holds nothing. ServiceError if the database cannot be reached.
    """
    held: list[str] = []
    with ExitStack() as stack:
        with _explained(url):
            connection = stack.enter_context(get_engine(url).connect())
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            stack.callback(_unlock, connection, held)  # whatever happens: in the pool it would keep what it holds
            lock = text("select pg_try_advisory_lock(hashtextextended(:key, 0))")
            for key in keys:
                if len(held) < most and connection.scalar(lock, {"key": key}):
                    held.append(key)
        yield held


def _unlock(connection: Connection, keys: Sequence[str]) -> None:
    """Give locks back; a connection that is gone holds none."""
    unlock = text("select pg_advisory_unlock(hashtextextended(:key, 0))")
    with suppress(OperationalError):
        for key in keys:
            connection.execute(unlock, {"key": key})
