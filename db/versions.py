"""NAME@VERSION: how datasets, models, benchmarks and sweeps are named, and how a new version gets its number."""

from __future__ import annotations

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.schema import Benchmark, Dataset, ModelVersion, Sweep
from heo_core.errors import InputError

type Versioned = Dataset | ModelVersion | Benchmark | Sweep

_NOUNS: dict[type[Versioned], str] = {
    Dataset: "dataset",
    ModelVersion: "model",
    Benchmark: "benchmark",
    Sweep: "sweep",
}
REGISTRY_PREFIX = "registry:"
PRODUCTION = "production"


def label(row: Versioned) -> str:
    """NAME@VERSION."""
    return f"{row.name}@{row.version}"


def find_version[T: (Dataset, ModelVersion, Benchmark, Sweep)](
    session: Session, table: type[T], reference: str
) -> T | None:
    """Return NAME@VERSION, or the newest version of NAME; None where there is none.

    A model is also found as NAME@production, the promoted version, and with `registry:` in front of any of the three.
    InputError when the version is no whole number.
    """
    is_model = table is ModelVersion
    name, separator, version = (reference.removeprefix(REGISTRY_PREFIX) if is_model else reference).rpartition("@")
    if not separator:
        return session.scalar(select(table).where(table.name == version).order_by(table.version.desc()).limit(1))
    if is_model and version == PRODUCTION:
        return session.scalar(select(table).where(table.name == name, ModelVersion.state == PRODUCTION))
    if not version.isdecimal():
        or_word = f", or '{PRODUCTION}'" if is_model else ""
        raise InputError(f"{reference!r}: after '@' stands a version number, for example {name or 'NAME'}@1{or_word}")
    return session.scalar(select(table).where(table.name == name, table.version == int(version)))


def get_version[T: (Dataset, ModelVersion, Benchmark, Sweep)](
    session: Session, table: type[T], reference: str, *, allowed: str | None = None
) -> T:
    """Like find_version, but InputError, naming what there is, when there is none.

    allowed: what else the caller takes, for the message.
    """
    row = find_version(session, table, reference)
    if row is None:
        if table is ModelVersion and reference.endswith(f"@{PRODUCTION}"):
            name = reference.removeprefix(REGISTRY_PREFIX).removesuffix(f"@{PRODUCTION}")
            if find_version(session, table, name) is not None:
                raise InputError(f"no version of {name} is in production: run 'heo models promote {name}@VERSION'")
        known = list_references(session, table)
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        there_is = "there is" if allowed is None else f"allowed: {allowed}; registered"
        raise InputError(f"there is no {_NOUNS[table]} {reference!r}; {there_is}: {shown or 'none yet'}")
    return row


def list_references[T: (Dataset, ModelVersion, Benchmark, Sweep)](session: Session, table: type[T]) -> list[str]:
    """All NAME@VERSION of a table, newest first."""
    newest = select(table).order_by(table.created_at.desc(), table.version.desc(), table.id.desc())
    return [label(row) for row in session.scalars(newest)]


def add_version[T: (Dataset, ModelVersion, Benchmark, Sweep)](session: Session, row: T) -> tuple[T, bool]:
    """Store a row as its name's next version, unless its (name, key) is there; return the row and whether it is new."""
    table = type(row)
    # Two processes that add the same name take turns until the end of the transaction.
    lock = {"lock": f"next version of {table.__tablename__} {row.name}"}
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:lock, 0))"), lock)
    found = session.scalar(select(table).where(table.name == row.name, table.key == row.key))
    if found is not None:
        return found, False
    newest = session.scalar(select(func.max(table.version)).where(table.name == row.name)) or 0
    row.version = newest + 1
    session.add(row)
    session.flush()
    return row, True
