"""The files that rows name: models, trajectories, reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.schema import ModelVersion, Relaxation, Report

_COLUMNS = (("model_version", "artifact_uri"), ("report", "uri"), ("relaxation", "trajectory_uri"))


@dataclass(frozen=True, order=True)
class NamedFile:
    """A file that a row names: whose it is, where it is, and the sha256 that it must have."""

    owner: str
    uri: str
    sha256: str


def list_files(session: Session) -> Iterator[NamedFile]:
    """Yield every file that a row names; a model of a package has none."""
    for model in session.scalars(select(ModelVersion).order_by(ModelVersion.id)):
        if model.artifact_uri is not None and model.sha256 is not None:
            yield NamedFile(f"model {model.name}@{model.version}", model.artifact_uri, model.sha256)
    for report in session.scalars(select(Report).order_by(Report.id)):
        yield NamedFile(f"report {report.name}", report.uri, report.sha256)
    query = select(Relaxation.evaluation_id, Relaxation.trajectory_uri).where(Relaxation.trajectory_uri.is_not(None))
    for evaluation_id, uri in session.execute(query.order_by(Relaxation.evaluation_id, Relaxation.case_index)):
        # An artifact's name is its sha256.
        yield NamedFile(f"trajectory of evaluation {evaluation_id}", uri, uri.rpartition("/")[2].partition(".")[0])


def relocate_files(session: Session, moved: Mapping[str, str]) -> None:
    """Let rows name files where they are now: new URIs by old ones."""
    uris = {"old": list(moved), "new": list(moved.values())}
    for table, column in _COLUMNS:
        session.execute(
            text(
                f"update {table} set {column} = moved.new "  # noqa: S608
                "from unnest(cast(:old as text[]), cast(:new as text[])) as moved (old, new) "
                f"where {column} = moved.old"
            ),
            uris,
        )
