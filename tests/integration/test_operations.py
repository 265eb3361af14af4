"""A whole database violates nothing, each kind of harm is found; what is old can go; a backup comes back whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db import datasets, evaluations, models
from db.check import check_files, check_rows
from db.engine import exclusive, get_engine, session_scope
from db.files import list_files
from db.retention import collect_leftovers
from db.schema import Base, Evaluation, ModelVersion, Report
from db.schema import Relaxation as RelaxationRow
from deploy.services.backup import back_up, restore
from flows.settings import Settings
from heo_core.artifacts import ArtifactStore, compute_sha256
from heo_core.assets import SAMPLE_DIR
from heo_core.curation import CuratedDataset, curate, open_source
from heo_core.errors import InputError, ModelError
from heo_core.params import CurationParams, EnergyForcesParams, RattleRelaxParams
from heo_core.records import BenchmarkCase, Metric, ModelFile, Prediction, Relaxation

PARAMS = CurationParams(name="sample", source=str(SAMPLE_DIR))
ERRORS = {"energy_error_ev_per_atom": None, "forces_rmse_ev_per_ang": 0.1, "forces_mae_ev_per_ang": None}


@pytest.fixture(scope="module")
def curated() -> CuratedDataset:
    return curate(open_source(PARAMS), PARAMS)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url, artifact_store=None, report_root=None)


@pytest.fixture
def session(settings: Settings, curated: CuratedDataset, tmp_path: Path) -> Iterator[Session]:
    """A dataset; a model; its evaluations on a benchmark that predicts and one that relaxes; a report."""
    database_url, artifacts = settings.resolve_database_url(), settings.artifacts
    for name in ("weights.model", "states.extxyz", "page.html"):
        (tmp_path / name).write_text(name)
    file = artifacts.put(tmp_path / "weights.model")
    trajectory = artifacts.put(tmp_path / "states.extxyz")
    settings.reports.mkdir(parents=True)
    page = (tmp_path / "page.html").rename(settings.reports / "page.html")
    with session_scope(database_url) as session:
        dataset = datasets.add_dataset(session, PARAMS, curated)
        structures = list(datasets.load_split(session, dataset.id, "test").values())[:2]
        model, _ = models.register_published_model(
            session, ModelFile("mace", "m", file.uri, file.sha256), name="m", size_bytes=7, energy_scale=None
        )
        for params in (EnergyForcesParams(), RattleRelaxParams()):
            cases = [BenchmarkCase(structure, None, {}) for structure in structures]
            benchmark = evaluations.add_benchmark(
                session, params, cases, name=params.kind, dataset_id=dataset.id, reference_id=None
            )
            ids, _ = evaluations.load_cases(session, benchmark.id)
            evaluation = evaluations.start_evaluation(session, model.id, benchmark.id, flow_run_id=None)
            if params.kind == "energy-forces":
                predictions = dict.fromkeys(ids, Prediction(None, None, failure="unknown element"))
                evaluations.add_predictions(session, evaluation.id, predictions, dict.fromkeys(ids, ERRORS))
            else:
                failed = Relaxation(False, "unknown element", 0, 0.0, *[None] * 7)
                evaluations.add_relaxations(
                    session, evaluation.id, dict.fromkeys(range(2), failed), {1: trajectory.uri}
                )
            evaluations.complete_evaluation(session, evaluation.id, [Metric("convergence_rate", 0.0, "", 2)], 1.0)
        session.add(
            Report(
                key="k",
                name="page",
                uri=page.as_uri(),
                sha256=compute_sha256(page),
                evaluation_ids=[evaluation.id],
                answer=[],
            )
        )
        session.commit()
        yield session
    get_engine(database_url).dispose()


def list_violated(session: Session) -> list[str]:
    return [check.name for check in check_rows(session) if check.n_violations]


def test_a_whole_database_violates_nothing(session: Session, settings: Settings) -> None:
    assert len(check_rows(session)) > 10
    assert list_violated(session) == []
    assert check_files(session, settings.artifacts).n_violations == 0


def test_each_harm_is_found_by_its_check(session: Session) -> None:
    harms = {
        "delete from benchmark_case where case_index = 1": [
            "benchmarks have the cases that they count",
            "completed evaluations have every prediction or relaxation",
            "predictions are of structures of their benchmark",
            "relaxations are of cases of their benchmark",
        ],
        "delete from dataset_member where structure_id in (select min(structure_id) from dataset_member)": [
            "structures belong to a dataset, a benchmark or labels",
            "datasets have the members that they count",
            "datasets have the elements that they count",
        ],
        "delete from dataset_element where element = 'O' and split = 'test'": [
            "datasets have the elements that they count"
        ],
        "delete from prediction where structure_id in (select min(structure_id) from prediction)": [
            "completed evaluations have every prediction or relaxation"
        ],
        "delete from relaxation where case_index = 1": [
            "completed evaluations have every prediction or relaxation",
            "relaxations are summed as they are",
        ],
        "delete from metric": ["completed evaluations have summary numbers"],
        "update evaluation set replaces_id = id where id in (select min(id) from evaluation)": [
            "completed evaluations have replaced what they were to replace"
        ],
        """
        insert into comparison (baseline_id, candidate_id, name, unit, n)
        select min(id), max(id), 'x', '', 1 from evaluation
        """: ["comparisons are of one benchmark"],
    }
    for harm, expected in harms.items():
        with session.begin_nested() as savepoint:
            session.execute(text(harm))
            assert list_violated(session) == expected, harm
            savepoint.rollback()


def test_what_is_running_is_worked_on_by_somebody(session: Session, database_url: str) -> None:
    evaluation = session.scalars(select(Evaluation).limit(1)).one()
    evaluation.state = "running"
    session.commit()
    assert list_violated(session) == ["something works on what is running"]
    with exclusive(database_url, f"evaluation:{evaluation.model_version_id}:{evaluation.benchmark_id}"):
        assert list_violated(session) == []


def test_a_file_that_changed_is_named_with_its_owner(session: Session, settings: Settings) -> None:
    Path(session.scalars(select(ModelVersion.artifact_uri)).one().removeprefix("file://")).write_bytes(b"other")
    found = check_files(session, settings.artifacts)
    assert found.n_violations == 1
    assert found.examples[0].startswith("model m@1: model file")


def test_what_is_old_and_what_no_row_names_can_go(session: Session, settings: Settings, tmp_path: Path) -> None:
    url, artifacts = settings.resolve_database_url(), settings.artifacts
    (tmp_path / "orphan.model").write_text("orphan")
    orphan = artifacts.put(tmp_path / "orphan.model").uri
    checkpoints = settings.work / "training" / "0123456789abcdef-none" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.pt").write_text("state")
    replaced, foreign = settings.reports / "page-0123456789ab.html", settings.reports / "year-20261126.html"
    for page in (replaced, foreign):
        page.write_text("of last year")
    half = settings.reports / ".partial-0123456789abcdef"
    half.write_text("<html>")
    for name in ("mine", "yours"):
        (settings.work / "labels" / name).mkdir(parents=True)
    trajectory, weights = (
        session.scalars(select(column).where(column.is_not(None))).one()
        for column in (RelaxationRow.trajectory_uri, ModelVersion.artifact_uri)
    )
    session.commit()

    def collect(days: int, *, remove: bool) -> dict[str, str]:
        before = datetime.now(UTC) + timedelta(days=days)
        return {
            found.uri: found.reason
            for found in collect_leftovers(url, artifacts, settings.work, settings.reports, before, remove=remove)
        }

    assert collect(-1, remove=True) == {}
    expected = {
        orphan: "no row names it",
        trajectory: "trajectory of an old evaluation",
        str(checkpoints.parent): "checkpoints of a training that is unknown here",
        str(settings.work / "labels" / "mine"): "logs of a label set",
        str(settings.work / "labels" / "yours"): "logs of a label set",
        str(replaced): "a newer page replaced it",
        str(half): "half a page",
    }
    assert collect(1, remove=False) == expected
    assert {file.uri for file in artifacts.list_files()} == {orphan, trajectory, weights}
    assert collect(1, remove=True) == expected
    assert {file.uri for file in artifacts.list_files()} == {weights}
    assert not checkpoints.parent.exists()
    assert foreign.is_file()
    assert collect(1, remove=True) == {}
    assert check_files(session, artifacts).n_violations == 0


def test_what_rows_name_stays_where_the_store_is_reached_by_another_path(
    session: Session, settings: Settings, tmp_path: Path
) -> None:
    session.commit()
    (tmp_path / "moved").symlink_to(Path(settings.artifacts.uri.removeprefix("file://")))
    moved = ArtifactStore((tmp_path / "moved").as_uri(), settings.artifacts.cache)
    assert moved.list_files()
    before = datetime.now(UTC) + timedelta(days=1)
    url = settings.resolve_database_url()
    assert collect_leftovers(url, moved, settings.work, settings.reports, before, remove=True) == []
    assert len(moved.list_files()) == 2


def test_a_backup_comes_back_whole_in_a_fresh_place(
    session: Session,
    settings: Settings,
    other_database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "backup"
    assert len(back_up(settings, folder, print)["files"]) == 3
    session.close()
    fresh = Settings(home=tmp_path / "new", database_url=other_database_url, artifact_store=None, report_root=None)
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("db.files.relocate_files", stop)
        with pytest.raises(KeyboardInterrupt):
            restore(fresh, folder, print)
    restore(fresh, folder, print)
    with session_scope(settings.resolve_database_url()) as old, session_scope(fresh.resolve_database_url()) as new:
        for table in Base.metadata.sorted_tables:
            columns = [column for column in table.columns if not column.name.endswith("uri")]
            rows = select(*columns).order_by(*table.primary_key)
            assert new.execute(rows).all() == old.execute(rows).all(), table.name
        assert list_violated(new) == []
        assert check_files(new, fresh.artifacts).n_violations == 0
        assert {file.uri.startswith(fresh.home.as_uri()) for file in list_files(new)} == {True}
        assert new.scalar(text("select has_table_privilege('heo_reader', 'leaderboard', 'select')"))
    with pytest.raises(InputError, match="this database holds results"):
        restore(fresh, folder, print)
    get_engine(other_database_url).dispose()


def test_what_a_backup_needs_is_removed_after_it(session: Session, settings: Settings, tmp_path: Path) -> None:
    session.commit()
    url, before = settings.resolve_database_url(), datetime.now(UTC) + timedelta(days=1)
    places = (url, settings.artifacts, settings.work, settings.reports, before)
    removing = threading.Thread(target=collect_leftovers, args=places, kwargs={"remove": True})

    def say(line: str) -> None:
        if line.startswith("copying"):
            removing.start()
            removing.join(0.5)

    assert len(back_up(settings, tmp_path / "backup", say)["files"]) == 3
    removing.join(10)
    assert len(settings.artifacts.list_files()) == 1


def test_a_backup_is_whole_or_not_there(session: Session, settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    Path(session.scalars(select(ModelVersion.artifact_uri)).one().removeprefix("file://")).write_bytes(b"other")
    session.commit()
    with pytest.raises(ModelError, match="has changed"):
        back_up(settings, folder, print)
    assert not list(tmp_path.glob("*backup*"))
    folder.mkdir()
    with pytest.raises(InputError, match="is there already"):
        back_up(settings, folder, print)
    with pytest.raises(InputError, match="is no backup"):
        restore(settings, folder, print)
