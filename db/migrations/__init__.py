"""Alembic migrations, run from Python so that no ini file has to be found."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

from db.engine import exclusive
from db.rights import grant_rights


def make_config(url: str) -> Config:
    """Alembic's configuration for one database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring the database to the newest schema, and let `heo_app` write there; several processes may ask at once."""
    with exclusive(url, "migrations"):
        command.upgrade(make_config(url), "head")
        grant_rights(url)


def take_down(url: str) -> None:
    """Remove all tables and views, with what is in them."""
    with exclusive(url, "migrations"):
        command.downgrade(make_config(url), "base")
