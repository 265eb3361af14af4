"""A real Postgres and a real Prefect server for the whole test session, and a fresh database for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from db import migrations
from db.engine import get_engine
from deploy.services import Services, down, postgres, up
from deploy.services.environment import resolved_home
from deploy.services.state import load_state, save_state, services_lock
from flows.settings import Settings, as_psycopg_url

TEMPLATE = "migrated"


@pytest.fixture(scope="session")
def services_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home that only this session uses; everything in it is stopped in the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HEO_DATABASE_URL", "HEO_PREFECT_DATABASE_URL", "HEO_POSTGRES_PORT", "HEO_PREFECT_PORT"):
            patch.delenv(name, raising=False)
        settings = Settings(
            home=tmp_path_factory.mktemp("home"), database_url=None, artifact_store=None, report_root=None
        )
        yield settings
        down(settings)


@pytest.fixture(scope="session")
def postgres_url(services_settings: Settings) -> str:
    """URL of the `heo` database of a running Postgres; it has no tables."""
    home = resolved_home(services_settings)
    with services_lock(home):
        state = load_state(home)
        state.postgres = postgres.start(services_settings, state.postgres, print)
        save_state(home, state)
    return str(state.postgres.url)


@pytest.fixture(scope="session")
def services(services_settings: Settings, postgres_url: str) -> Services:
    """A Postgres with all tables and a Prefect server, without workers and deployments."""
    return up(services_settings, with_workers=False, with_deployments=False)


@pytest.fixture(scope="session")
def services_home(services: Services) -> Path:
    """The home of these services."""
    return services.home


@pytest.fixture(scope="session")
def prefect_api_url(services: Services) -> Iterator[str]:
    """The Prefect server, made the one that flows in this process report to."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: services.api_url}):
        yield services.api_url


@pytest.fixture(scope="session")
def superuser_url(services_settings: Settings, postgres_url: str) -> str:
    """URL with which databases are made and removed."""
    cluster = postgres.Cluster(services_settings)
    port = load_state(resolved_home(services_settings)).postgres.port
    return f"postgresql://postgres:{cluster.passwords()['postgres']}@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="session")
def template_database(postgres_url: str, superuser_url: str) -> str:
    """Name of a database with all tables and no rows, to be copied."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER heo").format(sql.Identifier(TEMPLATE)))
    url = as_psycopg_url(f"{postgres_url.rpartition('/')[0]}/{TEMPLATE}")
    migrations.upgrade(url)
    get_engine(url).dispose()  # a database that is being copied must have no connection
    return TEMPLATE


@pytest.fixture
def database_url(postgres_url: str, superuser_url: str, template_database: str) -> Iterator[str]:
    """SQLAlchemy URL of a freshly migrated database, which is removed after the test."""
    with _database(postgres_url, superuser_url, template_database) as url:
        yield url


@pytest.fixture
def other_database_url(postgres_url: str, superuser_url: str, template_database: str) -> Iterator[str]:
    """SQLAlchemy URL of another one."""
    with _database(postgres_url, superuser_url, template_database) as url:
        yield url


@pytest.fixture
def home(tmp_path: Path, database_url: str, prefect_api_url: str) -> Iterator[Path]:
    """A fresh home on a fresh database."""
    with _home(tmp_path / "home", database_url) as path:
        yield path


@pytest.fixture(scope="module")
def shared_database_url(postgres_url: str, superuser_url: str, template_database: str) -> Iterator[str]:
    """SQLAlchemy URL of a database that the tests of a module share."""
    with _database(postgres_url, superuser_url, template_database) as url:
        yield url


@pytest.fixture(scope="module")
def shared_home(
    tmp_path_factory: pytest.TempPathFactory, shared_database_url: str, prefect_api_url: str
) -> Iterator[Path]:
    """A home that the tests of a module share, for what is worth computing once."""
    with _home(tmp_path_factory.mktemp("shared"), shared_database_url) as path:
        yield path


@pytest.fixture
def fewer_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the first cells of each reference set, nine of them an oxide: enough for intervals, and quick."""
    import flows.benchmarks
    from heo_core.evaluation.reference_sets import load_reference_set

    n = {"off-equilibrium": 40, "dft-offeq": 10, "holdout": 40, "equation-of-state": 9 * 8}
    monkeypatch.setattr(flows.benchmarks, "load_reference_set", lambda name: load_reference_set(name)[: n[name]])


@contextmanager
def _home(path: Path, database_url: str) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEO_HOME", str(path))
        patch.setenv("HEO_DATABASE_URL", database_url.replace("+psycopg", ""))
        yield path
    get_engine(database_url).dispose()


@contextmanager
def _database(postgres_url: str, superuser_url: str, template_database: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    database, template = sql.Identifier(name), sql.Identifier(template_database)
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER heo").format(database, template))
        yield as_psycopg_url(f"{postgres_url.rpartition('/')[0]}/{name}")
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
