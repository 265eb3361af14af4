"""Write many rows at once by COPY, numpy arrays straight from memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import pack
from typing import Any

import numpy as np
from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.sql import SQL, Identifier
from sqlalchemy import Table
from sqlalchemy.orm import Session

_FLOAT8_OID = 701
_FLOAT8_ARRAY_OID = 1022
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])


class FloatArrayDumper(Dumper):
    """A numpy array as float8[], in Postgres' binary form: dimensions, then every number with its length before it."""

    oid = _FLOAT8_ARRAY_OID
    format = Format.BINARY

    def dump(self, obj: Any) -> bytes:
        """Turn an array of any shape into bytes."""
        array = np.asarray(obj, dtype=float)
        if not array.size:
            return pack("!iii", 0, 0, _FLOAT8_OID)
        elements = np.empty(array.size, dtype=_ELEMENT)
        elements["length"] = 8
        elements["value"] = array.ravel()
        dimensions = b"".join(pack("!ii", size, 1) for size in array.shape)
        return pack("!iii", array.ndim, 0, _FLOAT8_OID) + dimensions + elements.tobytes()


def copy_rows(
    session: Session, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]], into: str | None = None
) -> None:
    """Copy rows into a table, in the session's transaction, or `into` another one with the same columns.

    A float8[] column takes a numpy array, a jsonb column psycopg's Jsonb.
    """
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, Connection)  # noqa: S101
    dialect = session.connection().dialect
    types = [table.columns[column].type.compile(dialect=dialect) for column in columns]
    statement = SQL("copy {} ({}) from stdin (format binary)").format(
        Identifier(into or table.name), SQL(", ").join(Identifier(column) for column in columns)
    )
    with connection.cursor() as cursor:
        cursor.adapters.register_dumper(np.ndarray, FloatArrayDumper)
        with cursor.copy(statement) as copy:
            copy.set_types([_POSTGRES_NAMES[kind] for kind in types])
            for row in rows:
                copy.write_row(row)


# What psycopg calls the types that SQLAlchemy names.
_POSTGRES_NAMES = {
    "TEXT": "text",
    "BIGINT": "int8",
    "INTEGER": "int4",
    "DOUBLE PRECISION": "float8",
    "BOOLEAN": "bool",
    "JSONB": "jsonb",
    "TEXT[]": "text[]",
    "DOUBLE PRECISION[]": "float8[]",
    "DOUBLE PRECISION[][]": "float8[]",
}
