"""`heo_app` does all that a worker does, and nothing that only the owner of the tables may."""

from __future__ import annotations

import psycopg
import pytest
from optuna.study import StudyDirection
from sqlalchemy import text
from sqlalchemy.engine import make_url

from db import datasets
from db.engine import get_engine, session_scope
from db.migrations import upgrade
from db.schema import Base
from db.sweeps import open_search_storage
from heo_core.assets import SAMPLE_DIR
from heo_core.curation import curate, open_source
from heo_core.params import CurationParams


@pytest.fixture
def app_url(database_url: str):
    """SQLAlchemy URL whose sessions may do what heo_app may."""
    url = make_url(database_url).update_query_dict({"options": "-crole=heo_app"})
    yield url.render_as_string(hide_password=False)
    for each in (database_url, url.render_as_string(hide_password=False)):
        get_engine(each).dispose()


def test_it_reads_and_writes_rows_of_every_table(app_url: str) -> None:
    with session_scope(app_url) as session:
        assert session.scalar(text("select current_user")) == "heo_app"
        for table in Base.metadata.sorted_tables:
            for right in ("select", "insert", "update", "delete"):
                asked = {"table": table.name, "right": right}
                assert session.scalar(text("select has_table_privilege(:table, :right)"), asked), asked
        sequence = "format('%I.%I', schemaname, sequencename)"
        lacking = text(f"select {sequence} from pg_sequences where not has_sequence_privilege({sequence}, 'usage')")
        assert list(session.scalars(lacking)) == []


def test_it_stores_a_dataset(app_url: str) -> None:
    params = CurationParams(name="sample", source=str(SAMPLE_DIR))
    with session_scope(app_url) as session:
        dataset_id = datasets.add_dataset(session, params, curate(open_source(params), params)).id
    with session_scope(app_url) as session:
        assert datasets.load_split(session, dataset_id, "test")


def test_the_owner_reads_what_a_sweep_has_drawn_in_it(app_url: str, database_url: str) -> None:
    with open_search_storage(app_url) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE], "one")
    with session_scope(database_url) as session:
        assert session.scalar(text("select study_name from optuna.studies")) == "one"
        owner = "select relowner::regrole::text from pg_class where oid = 'optuna.studies'::regclass"
        assert session.scalar(text(owner)) == "heo_app"


@pytest.mark.parametrize(
    "statement",
    [
        "create table mine (x integer)",
        "create schema mine",
        "drop table report",
        "alter table report add column x integer",
        "truncate report",
        "update alembic_version set version_num = '0001'",
        "create role another",
    ],
)
def test_it_makes_and_changes_no_table_and_no_role(app_url: str, statement: str) -> None:
    with get_engine(app_url).connect() as connection:
        cursor = connection.connection.cursor()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            cursor.execute(statement)


def test_an_upgrade_gives_it_the_tables_that_a_migration_has_added(app_url: str, database_url: str) -> None:
    with session_scope(database_url) as session:
        session.execute(text("create table added (id bigint generated always as identity, x integer)"))
    upgrade(database_url)
    with session_scope(app_url) as session:
        session.execute(text("insert into added (x) values (1)"))
        session.execute(text("delete from added where x = 1"))
