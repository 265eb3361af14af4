"""Alembic's entry: runs the migrations on the database that `db.migrations` names."""

from __future__ import annotations

from alembic import context

from db.engine import get_engine
from db.schema import Base

with get_engine(context.config.attributes["url"]).connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
