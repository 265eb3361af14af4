"""The migrations make exactly the schema that the code knows, and every table and column says what it is."""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import command

import db
from db.engine import get_engine
from db.migrations import make_config, upgrade
from db.schema import Base

VIEWS = Path(db.__file__).parent / "views"
QUANTITIES = ("energy_", "energies", "forces", "fmax", "lattice", "positions", "stress", "volume_per")
UNITS = ("_ev", "_ev_per_atom", "_ev_per_ang", "_ev_per_ang3", "_ang", "_ang3", "energy_scale")


def test_migrations_and_models_agree(database_url: str) -> None:
    command.check(make_config(database_url))
    get_engine(database_url).dispose()


def test_the_schema_can_be_taken_down_and_put_up_again(database_url: str) -> None:
    command.downgrade(make_config(database_url), "base")
    upgrade(database_url)
    upgrade(database_url)
    command.check(make_config(database_url))
    get_engine(database_url).dispose()


def test_tables_are_commented_and_columns_that_need_it_carry_a_unit(database_url: str) -> None:
    query = """
        select relname from pg_class
        where relkind = 'r' and relnamespace = 'public'::regnamespace and obj_description(oid) is null
    """
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        uncommented = {name for (name,) in connection.execute(query)} - {"alembic_version"}
    assert not uncommented
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if column.name.startswith(QUANTITIES):
                assert column.name.endswith(UNITS), f"{table.name}.{column.name} has no unit"


def test_views_are_what_their_files_say(database_url: str) -> None:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        for file in VIEWS.glob("*.sql"):
            (migrated,) = connection.execute("select pg_get_viewdef(%s::regclass)", (file.stem,)).fetchone()
            connection.execute(f"drop view {file.stem}")
            connection.execute(file.read_text())
            (written,) = connection.execute("select pg_get_viewdef(%s::regclass)", (file.stem,)).fetchone()
            assert migrated == written
