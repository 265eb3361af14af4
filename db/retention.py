"""What is no longer needed: files that no row names, old trajectories, checkpoints, report pages that were replaced."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.engine import exclusive, session_scope
from db.files import list_files
from db.schema import Evaluation, Relaxation, TrainingRun
from heo_core.artifacts import ArtifactStore, StoredFile, compute_sha256, find_facts
from heo_core.whole_file import PARTIAL

REMOVAL = "removal of leftovers"
"""Lock that whoever removes files holds, and whoever needs all that rows name to stay."""

# Folders of Settings.work with a folder for each piece of work.
_SHELVES = ("training", "curation", "labels")

# Pages that are named by their content.
_PAGE = re.compile(r"-[0-9a-f]{12}\.html$")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go: why, where, its size, and when it was last written."""

    reason: str
    uri: str
    size_bytes: int
    written_at: datetime


def list_leftovers(
    session: Session, artifacts: ArtifactStore, work: Path, pages: Path, before: datetime
) -> list[Leftover]:
    """Return what was last written before a time and is not needed, the largest first.

    Trajectories of evaluations that were completed before it; files of the store that no row names; folders of
    unfinished work: a training or curation that broke off could not go on without its own; logs of label sets; report
    pages that newer ones of the same evaluations replaced, and what a kill left of one.
    """
    stored = {file.uri: file for file in artifacts.list_files()}
    old = _find_old_trajectories(session, before)
    # By content, which is a name in the store: one that moved, or is reached by another path, is still named.
    named = {file.sha256 for file in list_files(session)}
    found = [_describe(stored[uri], "trajectory of an old evaluation") for uri in sorted(old & set(stored))]
    found += [
        _describe(file, "no row names it")
        for uri, file in stored.items()
        if uri.rpartition("/")[2].partition(".")[0] not in named and file.written_at < before
    ]
    others = [*_list_work(session, work), *_list_pages(named, pages)]
    found += [leftover for leftover in others if leftover.written_at < before]
    return sorted(found, key=lambda leftover: -leftover.size_bytes)


def collect_leftovers(
    url: str, artifacts: ArtifactStore, work: Path, pages: Path, before: datetime, *, remove: bool
) -> list[Leftover]:
    """Return what list_leftovers finds; with `remove` it is gone then, after a backup that is being made.

    First no row names a trajectory any more, then the file goes: a kill between the two leaves it for the next time.
    """
    with exclusive(url, REMOVAL) if remove else nullcontext():
        with session_scope(url) as session:
            found = list_leftovers(session, artifacts, work, pages, before)
            if remove:
                uris = [leftover.uri for leftover in found]
                named = Relaxation.trajectory_uri.in_(uris)
                session.execute(update(Relaxation).where(named).values(trajectory_uri=None))
        for leftover in found if remove else ():
            _remove(artifacts, leftover.uri)
    return found


def _remove(artifacts: ArtifactStore, uri: str) -> None:
    path = Path(uri)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.is_absolute():
        path.unlink(missing_ok=True)
    else:
        artifacts.remove(uri)


def _describe(file: StoredFile, reason: str) -> Leftover:
    return Leftover(reason, file.uri, file.size_bytes, file.written_at)


def _find_old_trajectories(session: Session, before: datetime) -> set[str]:
    """URIs of which every evaluation was completed before a time."""
    query = (
        select(Relaxation.trajectory_uri)
        .join(Evaluation, Evaluation.id == Relaxation.evaluation_id)
        .where(Relaxation.trajectory_uri.is_not(None))
        .group_by(Relaxation.trajectory_uri)
        .having(func.bool_and((Evaluation.state == "completed") & (Evaluation.finished_at < before)))
    )
    return {str(uri) for uri in session.scalars(query)}


def _list_work(session: Session, work: Path) -> Iterator[Leftover]:
    states = {key[:16]: state for key, state in session.execute(select(TrainingRun.key, TrainingRun.state))}
    shelves = [work / name for name in _SHELVES]
    for path in [*_list_folder(work), *(path for shelf in shelves for path in _list_folder(shelf))]:
        if path in shelves:
            continue
        facts = [found for file in [path, *path.rglob("*")] if (found := find_facts(file)) is not None]
        if not facts:
            continue
        reason = "unfinished work"
        if path.parent == work / "training":
            reason = f"checkpoints of a training that is {states.get(path.name.partition('-')[0], 'unknown here')}"
        elif path.parent == work / "labels" and path.is_dir():
            reason = "logs of a label set"
        yield Leftover(
            reason,
            str(path),
            sum(fact.st_size for fact in facts),
            datetime.fromtimestamp(max(fact.st_mtime for fact in facts), UTC),
        )


def _list_pages(named: set[str], folder: Path) -> Iterator[Leftover]:
    for path in _list_folder(folder):
        facts = find_facts(path)
        if facts is None:
            continue
        newest = path.with_name(_PAGE.sub(".html", path.name))
        if path.name.startswith(PARTIAL):
            reason = "half a page"
        elif newest != path and newest.exists() and compute_sha256(path) not in named:
            reason = "a newer page replaced it"
        else:
            continue
        yield Leftover(reason, str(path), facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


def _list_folder(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
