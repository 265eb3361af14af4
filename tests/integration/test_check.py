"""What `heo db check` looks for: nothing in a database that is whole, and each kind of harm by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db import datasets, evaluations, models
from db.check import check_files, check_rows
from db.engine import exclusive, get_engine, session_scope
from db.schema import Evaluation, ModelVersion
from heo_core.artifacts import ArtifactStore, normalize_store_uri
from heo_core.assets import SAMPLE_DIR
from heo_core.curation import curate, open_source
from heo_core.params import CurationParams, EnergyForcesParams, RattleRelaxParams
from heo_core.records import BenchmarkCase, Metric, ModelFile, Prediction, Relaxation

PARAMS = CurationParams(name="sample", source=str(SAMPLE_DIR))
ERRORS = {"energy_error_ev_per_atom": None, "forces_rmse_ev_per_ang": 0.1, "forces_mae_ev_per_ang": None}


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(normalize_store_uri(tmp_path / "store"), tmp_path / "cache")


@pytest.fixture
def session(database_url: str, artifacts: ArtifactStore, tmp_path: Path) -> Iterator[Session]:
    """A dataset, a model with a file, and its evaluations on a benchmark that predicts and one that relaxes."""
    (tmp_path / "weights.model").write_bytes(b"weights")
    file = artifacts.put(tmp_path / "weights.model")
    with session_scope(database_url) as session:
        dataset = datasets.add_dataset(session, PARAMS, curate(open_source(PARAMS), PARAMS))
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
            evaluation = evaluations.start_evaluation(session, model.id, benchmark.id, device="cpu", flow_run_id=None)
            if params.kind == "energy-forces":
                predictions = dict.fromkeys(ids, Prediction(None, None, failure="unknown element"))
                evaluations.add_predictions(session, evaluation.id, predictions, dict.fromkeys(ids, ERRORS))
            else:
                failed = Relaxation(False, "unknown element", 0, 0.0, *[None] * 7)
                for index in range(2):
                    evaluations.add_relaxation(session, evaluation.id, index, failed)
            evaluations.complete_evaluation(session, evaluation.id, [Metric("convergence_rate", 0.0, "", 2)], 1.0)
        session.commit()
        yield session
    get_engine(database_url).dispose()


def list_violated(session: Session) -> list[str]:
    return [check.name for check in check_rows(session) if check.n_violations]


def test_a_whole_database_violates_nothing(session: Session, artifacts: ArtifactStore) -> None:
    assert len(check_rows(session)) > 10
    assert list_violated(session) == []
    assert check_files(session, artifacts).n_violations == 0


def test_each_harm_is_found_by_its_check(session: Session) -> None:
    harms = {
        "delete from benchmark_case where case_index = 1": [
            "benchmarks have the cases that they count",
            "completed evaluations have every prediction or relaxation",
            "predictions are of structures of their benchmark",
            "relaxations are of cases of their benchmark",
        ],
        "delete from dataset_member where structure_id in (select min(structure_id) from dataset_member)": [
            "structures belong to a dataset or benchmark",
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
        "insert into comparison (baseline_id, candidate_id, name, unit, n) select min(id), max(id), 'x', '', 1 from evaluation": [
            "comparisons are of one benchmark"
        ],
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


def test_a_file_that_changed_is_named_with_its_owner(session: Session, artifacts: ArtifactStore) -> None:
    Path(session.scalars(select(ModelVersion.artifact_uri)).one().removeprefix("file://")).write_bytes(b"other")
    found = check_files(session, artifacts)
    assert found.n_violations == 1
    assert found.examples[0].startswith("model m@1: model file")
