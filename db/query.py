"""Any question in SQL, answered without a chance to change anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import psycopg
from sqlalchemy import text

from db.engine import get_engine
from heo_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def run_query(url: str, statement: str) -> pd.DataFrame:
    """Return the rows of one statement, run in a transaction that is read only and rolled back.

    InputError, in Postgres's own words, for a statement that is wrong, that would write, that is more than one, that
    returns no rows, or two of whose columns have one name.
    """
    import pandas as pd

    with get_engine(url).connect() as connection:
        connection.execute(text("set transaction read only"))
        cursor = cast("psycopg.Connection", connection.connection.driver_connection).cursor()
        try:
            # Prepared, for then Postgres takes one statement only: a second could end this transaction.
            cursor.execute(statement, prepare=True)
        except psycopg.Error as exc:
            raise InputError(f"the query failed: {str(exc).strip()}") from exc
        if cursor.description is None:
            raise InputError("the statement returns no rows; allowed: a query, such as select * from leaderboard")
        columns = [column.name for column in cursor.description]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise InputError(f"two columns are named {twice[0]}: give one another name, such as {twice[0]} as other")
        # As objects: pandas' own types would make a null a NaN, and a whole number beside it a fraction.
        return pd.DataFrame(cursor.fetchall(), columns=columns, dtype=object)
