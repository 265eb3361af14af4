"""The machine: where things are kept and which device computes, read from `HEO_*` environment variables."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from heo_core.artifacts import ArtifactStore, normalize_store_uri
from heo_core.errors import ServiceError

CHECKOUT = Path(__file__).resolve().parent.parent
TAG = "heo"  # of our flow runs, on a Prefect server that others may use too
RESTART_TAG = "auto-restart"  # of those that go on where they stopped when they are started again
RESTART_LOOK_BACK = timedelta(days=1)  # what crashed before is left to people: they know, or it matters no more
RESTART_PATIENCE = timedelta(seconds=60)  # in which an automation starts a crashed run again
FLOW_RUN_MARK = "PREFECT__FLOW_RUN_ID"  # set by a Prefect worker for the process of a flow run


class Settings(BaseSettings):
    """One machine's settings; every field is the environment variable `HEO_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="HEO_", frozen=True)

    home: Path = Field(CHECKOUT / ".heo", description="state of the local services, logs, artifacts, reports")
    database_url: str | None = Field(None, description="Postgres of your own, instead of the embedded one")
    artifact_store: str | None = Field(
        None, description="model files: a folder, file:// or s3://BUCKET/PREFIX; default HOME/artifacts"
    )
    report_root: Path | None = Field(None, description="report pages; default HOME/reports")
    report_url: str | None = Field(
        None, description="where browsers find the report pages; default the report server of `heo up`"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes CUDA where there is one")

    acceleration: Literal["auto", "none", "cueq", "oeq"] = Field(
        "auto", description="equivariant kernels of a training on CUDA: cuEquivariance or OpenEquivariance"
    )

    allowed_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="folders, with colons between them, that runs which the server starts may read from and write to; "
        "default HOME, the working directory and the checkout",
    )
    notify: str | None = Field(
        None,
        description="Prefect block, for example slack-webhook/NAME, that is told when a model beats or falls behind "
        "its parent",
    )

    dask_scheduler: str | None = Field(
        None, description="address of a running Dask scheduler, tcp://HOST:8786, for evaluations with the runner dask"
    )

    dft_python: Path | None = Field(
        None, description="interpreter of an environment with GPAW; default .venv-dft/bin/python of the checkout"
    )

    reevaluation_cron: str = Field(
        "*/10 * * * *", description="when to look for evaluations that wait although no event said so, UTC"
    )

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split_roots(cls, roots: object) -> object:
        return [Path(root) for root in roots.split(os.pathsep) if root] if isinstance(roots, str) else roots

    @field_validator("allowed_roots")
    @classmethod
    def _resolve_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(root.expanduser().resolve() for root in roots)

    @field_validator("dft_python")
    @classmethod
    def _keep_link(cls, path: Path | None) -> Path | None:
        """Make it absolute, but follow no link: that of an environment leads to the interpreter outside it."""
        return None if path is None else path.expanduser().absolute()

    @field_validator("home", "report_root")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().resolve()

    @field_validator("artifact_store")
    @classmethod
    def _make_uri(cls, store: str | None) -> str | None:
        return normalize_store_uri(store) if store else None

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """Where the content-addressed model files are kept, with a cache of those that are kept elsewhere."""
        uri = self.artifact_store or normalize_store_uri(self.home / "artifacts")
        return ArtifactStore(uri, cache=self.home / "cache" / "artifacts")

    @cached_property
    def reports(self) -> Path:
        """Folder of the report pages."""
        return self.report_root or self.home / "reports"

    @cached_property
    def work(self) -> Path:
        """Folder of unfinished work: training folders, partial downloads."""
        return self.home / "work"

    @property
    def dft_interpreter(self) -> Path:
        """Python of the environment that `make setup-dft` makes, or yours."""
        return self.dft_python or CHECKOUT / ".venv-dft" / "bin" / "python"

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that runs which the server starts may touch, links followed."""
        return self.allowed_roots or tuple(dict.fromkeys((self.home, Path.cwd(), CHECKOUT)))

    def resolve_database_url(self) -> str:
        """SQLAlchemy URL of the `heo` database: yours if set, else the embedded one's.

        Raises ServiceError when neither is there.
        """
        if self.database_url:
            return as_psycopg_url(self.database_url)
        state = self.home / "services.json"
        try:
            return as_psycopg_url(json.loads(state.read_text())["postgres"]["url"])
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ServiceError(f"no database is known in {self.home}: run 'heo up', or set HEO_DATABASE_URL") from exc

    def resolve_report_link(self, file_name: str) -> str:
        """Link to a page in the report folder: by HEO_REPORT_URL, else `heo up`'s report server, else a file URI."""
        if self.report_url:
            return f"{self.report_url.rstrip('/')}/{file_name}"
        try:
            served_at = json.loads((self.home / "services.json").read_text())["reports"]["url"]
        except (OSError, ValueError, KeyError, TypeError):
            return (self.reports / file_name).as_uri()
        return f"{served_at}/{file_name}"


def as_psycopg_url(url: str) -> str:
    """Give a Postgres URL psycopg 3's scheme; ServiceError for any other kind of database."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise ServiceError(
            f"HEO_DATABASE_URL has the scheme {scheme!r}; allowed: postgresql://user:password@host:port/name"
        )
    return f"postgresql+psycopg://{rest}"


def load_settings() -> Settings:
    """Read the settings afresh from the environment."""
    return Settings()
