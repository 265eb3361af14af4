"""What docs/sql.md promises: views that answer its questions, and a role that reads them and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest
from sqlalchemy.orm import Session

import db
from db import datasets, evaluations, models
from db.engine import get_engine, session_scope
from db.query import run_query
from db.schema import Dataset, DatasetRejection, Descriptor, Report, Sweep, TrainingRun
from heo_core.curation.dataset import Member
from heo_core.errors import InputError
from heo_core.params import EnergyForcesParams, RattleRelaxParams
from heo_core.records import BenchmarkCase, GroupMetric, Metric, ModelFile, Prediction, Relaxation, Structure

ROOT = Path(db.__file__).parent.parent
PAGE = (ROOT / "docs" / "sql.md").read_text()
QUESTIONS, SEARCHES = (
    re.findall(r"```sql\n(.*?)```", part, flags=re.DOTALL)
    for part in PAGE.partition("## Ten questions")[2].split("## Find structures")
)
VIEWS = sorted(path.stem for path in (ROOT / "db" / "views").glob("*.sql"))


CELLS = {
    "CoMgNiO3": (("Co", "Mg", "Ni", "O", "O", "O"), "train"),
    "MgNiO2": (("Mg", "Ni", "O", "O"), "train"),
    "CoLaO3": (("Co", "La", "O", "O", "O"), "test"),
}
COMPLETED = "evaluation where state = 'completed'"
COUNTS = {
    "any_structure": "structure",
    "dataset_structure": "dataset_member",
    "dataset_composition": "dataset_element",
    "curation_summary": "(select dataset_id from dataset_rejection union all select id from dataset) as outcome",
    "leaderboard": COMPLETED,
    "evaluation_metric": "metric",
    "paired_difference": "comparison",
    "element_error": "group_metric where grouping = 'element'",
    "prediction_error": f"prediction where evaluation_id in (select id from {COMPLETED})",
    "worst_structures": f"prediction where evaluation_id in (select id from {COMPLETED})",
    "relaxation_summary": "relaxation_total",
    "relaxation_pair": "relaxation",  # of two models: each row has one partner
    "run_history": "(select started_at from training_run union all select started_at from evaluation union all "
    "select created_at from sweep union all select created_at from dataset union all select created_at from report) "
    "as run",
}
"""Rows of the tables that each view has a row for."""


@pytest.fixture(scope="module")
def filled_url(shared_database_url: str) -> Iterator[str]:
    """A database with two rows or more of all that the views join: two datasets of the same structures, two models."""
    with session_scope(shared_database_url) as session:
        _fill(session)
    yield shared_database_url
    get_engine(shared_database_url).dispose()


def _fill(session: Session) -> None:
    cells = {
        name: Structure(
            lattice=np.eye(3) * 4,
            positions=np.arange(3.0 * len(species)).reshape(-1, 3),
            species=species,
            immutable_id=name,
            source="own",
            energy_ev=-7.0 * len(species),
            forces_ev_per_ang=np.full((len(species), 3), 1.0),
        )
        for name, (species, _) in CELLS.items()
    }
    for version in (1, 2):
        dataset = Dataset(
            name="few", version=version, key=f"k{version}", content_hash=f"h{version}", source_uri="u",
            source_revision="r", params={}, n_scanned=5, n_kept=3,
        )  # fmt: skip
        session.add(dataset)
        session.flush()
        datasets.add_members(session, dataset.id, [Member(cells[name], split) for name, (_, split) in CELLS.items()])
        rejected = [DatasetRejection(dataset_id=dataset.id, rule=r, n_rejected=1, example_ids=["x"]) for r in "ab"]
        session.add_all([*rejected, Sweep(
            name="s", version=version, key=f"s{version}", params={}, dataset_id=dataset.id, n_trials=1, state="running",
        )])  # fmt: skip
    ids = {
        s.immutable_id: i
        for split in ("train", "test")
        for i, s in datasets.load_split(session, dataset.id, split).items()
    }
    session.add_all(
        Descriptor(
            structure_id=i, cation_fractions={}, n_cations=2, entropy_pooled_r=1.6, entropy_sublattice_r=1.6,
            equimolarity_deviation=0.0, radius_mismatch_percent=5.0,
        )
        for i in ids.values()
    )  # fmt: skip
    cases = [BenchmarkCase(cell, None, {}) for cell in cells.values()]
    benchmarks = [
        evaluations.add_benchmark(session, params, cases, name=name, dataset_id=dataset.id, reference_id=None).id
        for name, params in (
            ("energy-forces:few", EnergyForcesParams()),
            ("rattle-relax:few", RattleRelaxParams()),
            ("energy-forces:few:train", EnergyForcesParams(split="train")),
        )
    ]
    published = [
        models.register_published_model(
            session, ModelFile("mace", name, f"file:///{name}", name), name=name, size_bytes=7, energy_scale=None
        )[0].id
        for name in "ab"
    ]
    predicted, relaxed = ([_evaluate(session, model, benchmark) for model in published] for benchmark in benchmarks[:2])
    _evaluate(session, published[0], benchmarks[2], complete=False)
    for pair in (predicted, relaxed):
        evaluations.set_comparison(session, *pair, [Metric(name, 0.1, "", 3, 0.05, 0.15) for name in ("x", "y")])
    session.add(
        TrainingRun(
            key="t", name="t", dataset_id=dataset.id, foundation_id=published[0], params={}, mace_arguments=[],
            state="failed", failure="it broke", n_train=2, n_validation=0, left_out={}, versions={},
        )
    )  # fmt: skip
    session.add(Report(key="p", name="p", uri="u", sha256="s", evaluation_ids=predicted, answer=[]))


def _evaluate(session: Session, model_id: int, benchmark_id: int, *, complete: bool = True) -> int:
    ids, cases = evaluations.load_cases(session, benchmark_id)
    number = evaluations.start_evaluation(session, model_id, benchmark_id, flow_run_id=None).id
    if evaluations.get_benchmark(session, benchmark_id).kind == "rattle-relax":
        rows = {
            i: Relaxation(True, None, 9, 1.0, -1.0, -2.0, 0.01, 0.0, case.start.lattice, case.start.positions, None)
            for i, case in enumerate(cases)
        }
        evaluations.add_relaxations(session, number, rows)
        evaluations.update_relaxations(session, number, {i: {"reference_energy_ev": -model_id} for i in rows})
    else:
        errors = {"energy_error_ev_per_atom": 0.1, "forces_rmse_ev_per_ang": 0.1, "forces_mae_ev_per_ang": 0.1}
        predictions = {i: Prediction(-1.0, case.start.positions) for i, case in zip(ids, cases, strict=True)}
        evaluations.add_predictions(session, number, predictions, dict.fromkeys(ids, errors))
    if complete:
        metrics = [Metric(name, 0.1, "eV/Å", 3) for name in ("forces_mae_ev_per_ang", "forces_rmse_ev_per_ang")]
        groups = [
            GroupMetric(grouping, group, "forces_mae_ev_per_ang", 0.1, "eV/Å", 3)
            for grouping, group in (("element", "Co"), ("element", "O"), ("source", "own"))
        ]
        evaluations.complete_evaluation(session, number, metrics, 1.0, group_metrics=groups)
    return number


@pytest.fixture
def reader(filled_url: str, superuser_url: str) -> Iterator[psycopg.Connection]:
    """A connection that may do what heo_reader may."""
    database = filled_url.rpartition("/")[2]
    with psycopg.connect(f"{superuser_url.rpartition('/')[0]}/{database}") as connection:
        connection.execute("set role heo_reader")
        yield connection


def test_the_page_has_ten_questions_and_names_every_view() -> None:
    assert len(QUESTIONS) == 10
    assert re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE) == sorted(VIEWS, key=PAGE.index)
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == set(VIEWS)


def test_the_reader_can_ask_every_question_of_the_page_and_gets_rows(reader: psycopg.Connection) -> None:
    assert SEARCHES
    for question in QUESTIONS + SEARCHES:
        assert reader.execute(question).fetchall(), question


@pytest.mark.parametrize("view", COUNTS)
def test_a_view_has_one_row_for_each_of_its_tables(reader: psycopg.Connection, view: str) -> None:
    n_rows = reader.execute(f"select count(*) from {view}").fetchone()
    reader.execute("reset role")
    assert n_rows == reader.execute(f"select count(*) from {COUNTS[view]}").fetchone()
    assert n_rows > (1,)


@pytest.mark.parametrize("view", VIEWS)
def test_the_reader_reads_every_view_and_each_of_its_columns_is_explained(
    reader: psycopg.Connection, view: str
) -> None:
    columns = [column.name for column in reader.execute(f"select * from {view}").description]
    unexplained = reader.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 "
        "and col_description(attrelid, attnum) is null",
        (view,),
    ).fetchall()
    (comment,) = reader.execute("select obj_description(%s::regclass)", (view,)).fetchone()
    assert columns
    assert not unexplained
    assert comment


@pytest.mark.parametrize(
    "statement",
    [
        "select * from structure",
        "select * from model_version",
        "select * from alembic_version",
        "insert into report (name) values ('x')",
        "delete from leaderboard",
        "create table mine (x integer)",
    ],
)
def test_the_reader_can_do_nothing_else(reader: psycopg.Connection, statement: str) -> None:
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)):
        reader.execute(statement)


def test_a_query_returns_its_rows_and_cannot_write(filled_url: str) -> None:
    rows = run_query(filled_url, "select 1 as one, 'a:b %' as words union select 2, null order by one")
    assert rows.to_dict("records") == [{"one": 1, "words": "a:b %"}, {"one": 2, "words": None}]
    with pytest.raises(InputError, match="read-only transaction"):
        run_query(filled_url, "create table mine (x integer)")
    with pytest.raises(InputError, match='relation "nothing" does not exist'):
        run_query(filled_url, "select * from nothing")
    with pytest.raises(InputError, match="multiple commands"):
        run_query(filled_url, "select 1; commit; create table mine (x integer)")
    with pytest.raises(InputError, match="two columns are named x"):
        run_query(filled_url, "select 1 as x, 2 as x")
    with pytest.raises(InputError, match="returns no rows"):
        run_query(filled_url, "set local work_mem = '64MB'")
