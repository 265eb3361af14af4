"""What docs/sql.md promises: views that answer its questions, and a role that reads them and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

import db
from db.query import run_query
from heo_core.errors import InputError

ROOT = Path(db.__file__).parent.parent
PAGE = (ROOT / "docs" / "sql.md").read_text()
QUESTIONS, SEARCHES = (
    re.findall(r"```sql\n(.*?)```", part, flags=re.DOTALL)
    for part in PAGE.partition("## Ten questions")[2].split("## Find structures")
)
VIEWS = sorted(path.stem for path in (ROOT / "db" / "views").glob("*.sql"))


@pytest.fixture
def reader(database_url: str, superuser_url: str):
    """A connection that may do what heo_reader may."""
    database = database_url.rpartition("/")[2]
    with psycopg.connect(f"{superuser_url.rpartition('/')[0]}/{database}") as connection:
        connection.execute("set role heo_reader")
        yield connection


def test_the_page_has_ten_questions_and_names_every_view() -> None:
    assert len(QUESTIONS) == 10
    assert re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE) == sorted(VIEWS, key=PAGE.index)
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(VIEWS)


def test_the_reader_can_ask_every_question_of_the_page(reader: psycopg.Connection) -> None:
    assert SEARCHES
    for question in QUESTIONS + SEARCHES:
        assert reader.execute(question).description, question


@pytest.mark.parametrize("view", VIEWS)
def test_the_reader_reads_every_view_and_each_of_its_columns_is_explained(
    reader: psycopg.Connection, view: str
) -> None:
    columns = [column.name for column in reader.execute(f"select * from {view}").description]
    unexplained = reader.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 "
        "and col_description(attrelid, attnum) is null",
        (view,),
    ).fetchall()
    (comment,) = reader.execute("select obj_description(%s::regclass)", (view,)).fetchone()
    assert columns
    assert not unexplained
    assert comment


@pytest.mark.parametrize(
    "statement",
    [
        "select * from structure",
        "select * from model_version",
        "select * from alembic_version",
        "insert into report (name) values ('x')",
        "delete from leaderboard",
        "create table mine (x integer)",
    ],
)
def test_the_reader_can_do_nothing_else(reader: psycopg.Connection, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
        reader.execute(statement)


def test_a_query_returns_its_rows_and_cannot_write(database_url: str) -> None:
    rows = run_query(database_url, "select 1 as one, 'a:b %' as words union select 2, null order by one")
    assert rows.to_dict("records") == [{"one": 1, "words": "a:b %"}, {"one": 2, "words": None}]
    with pytest.raises(InputError, match="read-only transaction"):
        run_query(database_url, "create table mine (x integer)")
    with pytest.raises(InputError, match='relation "nothing" does not exist'):
        run_query(database_url, "select * from nothing")
    with pytest.raises(InputError, match="multiple commands"):
        run_query(database_url, "select 1; commit; create table mine (x integer)")
    with pytest.raises(InputError, match="two columns are named x"):
        run_query(database_url, "select 1 as x, 2 as x")
    with pytest.raises(InputError, match="returns no rows"):
        run_query(database_url, "set local work_mem = '64MB'")
