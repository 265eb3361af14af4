"""Rows are written once, found again, and read back as they were."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from db import datasets, descriptors, evaluations, models, training
from db.engine import exclusive, get_engine, session_scope
from db.schema import Dataset, DatasetMap, DatasetMember, Descriptor, EpochMetric, ModelVersion, Structure, TrainingRun
from db.structures import load_structures
from flows import finetune
from flows.settings import Settings
from heo_core.assets import SAMPLE_DIR
from heo_core.curation import CuratedDataset, curate, open_source
from heo_core.curation.descriptors import describe
from heo_core.errors import InputError, ServiceError
from heo_core.finetuning.run import TrainingResult
from heo_core.params import CurationParams, EnergyForcesParams, RuleParams, SubstitutionRelaxParams
from heo_core.records import BenchmarkCase, EpochMetrics, Metric, ModelFile, Prediction

PARAMS = CurationParams(name="sample", source=str(SAMPLE_DIR))


@pytest.fixture(scope="module")
def curated() -> CuratedDataset:
    return curate(open_source(PARAMS), PARAMS)


@pytest.fixture(autouse=True)
def _dispose(database_url: str):
    yield
    get_engine(database_url).dispose()


def test_a_dataset_reads_back_as_it_was_stored(database_url: str, curated: CuratedDataset) -> None:
    with session_scope(database_url) as session:
        dataset_id = datasets.add_dataset(session, PARAMS, curated).id
    with session_scope(database_url) as session:
        test_split = datasets.load_split(session, dataset_id, "test")
        rejections = datasets.list_rejections(session, dataset_id)
    expected = {m.structure.content_hash: m.structure for m in curated.iter_members() if m.split == "test"}
    assert {structure.content_hash for structure in test_split.values()} == set(expected)
    for structure in test_split.values():
        original = expected[structure.content_hash]
        np.testing.assert_array_equal(structure.positions, original.positions)
        np.testing.assert_array_equal(structure.forces_ev_per_ang, original.forces_ev_per_ang)
        assert structure.energy_ev == original.energy_ev
        assert structure.species == original.species
    assert {r["rule"]: r["n_rejected"] for r in rejections} == {r.rule: r.n_rejected for r in curated.rejections}


def test_leaks_copies_and_every_structure_come_back(database_url: str) -> None:
    params = CurationParams.model_validate(
        {
            "name": "leaky",
            "source": str(SAMPLE_DIR),
            "split": {"group_by": "none"},
            "off_equilibrium": {"n_copies": 2, "max_structures": 3},
        }
    )
    curated = curate(open_source(params), params)
    members = list(curated.iter_members())
    with session_scope(database_url) as session:
        dataset_id = datasets.add_dataset(session, params, curated).id
        leaks = datasets.list_leaks(session, dataset_id)
        rows = session.execute(
            select(DatasetMember.structure_id, DatasetMember.parent_id, DatasetMember.recipe).where(
                DatasetMember.split == "off_equilibrium"
            )
        ).all()
        stored = {structure.content_hash: split for structure, split in datasets.iter_split(session, dataset_id, None)}
        copies = datasets.load_split(session, dataset_id, "off_equilibrium")
        parents = load_structures(session, [row.parent_id for row in rows])
    assert stored == {member.structure.content_hash: member.split for member in members}
    assert sum(row["n_shared"] for row in leaks if row["shared"] == "formula") > 0
    assert len(leaks) == 9
    parent_of = {m.structure.content_hash: (m.parent_hash, m.recipe) for m in members if m.parent_hash}
    assert len(rows) == len(parent_of) == 6
    for row in rows:
        assert copies[row.structure_id].energy_ev is None
        parent_hash, recipe = parent_of[copies[row.structure_id].content_hash]
        assert (parents[row.parent_id].content_hash, row.recipe) == (parent_hash, recipe)


def test_descriptors_and_the_map_read_back_and_are_stored_once(database_url: str, curated: CuratedDataset) -> None:
    with session_scope(database_url) as session:
        dataset_id = datasets.add_dataset(session, PARAMS, curated).id
        missing = descriptors.list_undescribed(session, dataset_id)
        assert len(missing) == curated.n_kept
        chosen = load_structures(session, missing[:5])
        for _ in range(2):
            descriptors.add_descriptors(session, {i: describe(structure) for i, structure in chosen.items()})
        assert descriptors.list_undescribed(session, dataset_id) == missing[5:]
        rows = session.scalars(select(Descriptor)).all()
        assert {row.structure_id for row in rows} == set(chosen)
        for row in rows:
            expected = asdict(describe(chosen[row.structure_id]))
            assert {name: getattr(row, name) for name in expected} == expected
        assert set(descriptors.load_cation_fractions(session, dataset_id)) == set(chosen)
        embeddings, places = np.arange(15.0).reshape(5, 3), np.arange(10.0).reshape(5, 2)
        assert not descriptors.has_map(session, dataset_id, "pca")
        for _ in range(2):
            descriptors.add_map(session, dataset_id, "pca", chosen, embeddings, places)
        assert descriptors.has_map(session, dataset_id, "pca")
        found = session.scalars(select(DatasetMap).order_by(DatasetMap.structure_id)).all()
        assert [(row.x, row.y) for row in found] == [tuple(place) for place in places]
        np.testing.assert_array_equal([row.embedding for row in found], embeddings)
        flat = session.execute(text("select * from dataset_structure where n_cations is not null")).mappings().all()
        assert {row["structure_id"] for row in flat} == set(chosen)
        assert {row["dataset"] for row in flat} == {"sample@1"}


def test_the_same_dataset_twice_is_one_and_other_parameters_make_version_two(
    database_url: str, curated: CuratedDataset
) -> None:
    other = PARAMS.model_copy(update={"rules": RuleParams(min_elements=6)})
    smaller = curate(open_source(other), other)
    with session_scope(database_url) as session:
        first, again = (datasets.add_dataset(session, PARAMS, curated) for _ in range(2))
        second = datasets.add_dataset(session, other, smaller)
        assert first.id == again.id
        assert (first.version, second.version) == (1, 2)
        assert datasets.get_dataset(session, "sample").id == second.id
        assert datasets.get_dataset(session, "sample@1").id == first.id
        # The structures of the second are among those of the first: none is stored twice.
        assert session.scalar(select(func.count()).select_from(Structure)) == curated.n_kept


def test_an_unknown_dataset_is_refused_with_what_there_is(database_url: str, curated: CuratedDataset) -> None:
    with session_scope(database_url) as session:
        datasets.add_dataset(session, PARAMS, curated)
        with pytest.raises(InputError, match=r"no dataset 'samle'; there is: sample@1"):
            datasets.get_dataset(session, "samle")
        with pytest.raises(InputError, match="after '@' stands a version number"):
            datasets.get_dataset(session, "sample@new")


def test_a_transaction_that_breaks_leaves_nothing(database_url: str, curated: CuratedDataset) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        _add_and_break(database_url, curated)
    with session_scope(database_url) as session:
        assert session.scalar(select(func.count()).select_from(Dataset)) == 0
        assert session.scalar(select(func.count()).select_from(Structure)) == 0


def _add_and_break(database_url: str, curated: CuratedDataset) -> None:
    with session_scope(database_url) as session:
        datasets.add_dataset(session, PARAMS, curated)
        raise RuntimeError("killed")


def test_two_writers_of_one_dataset_end_with_one(database_url: str, curated: CuratedDataset) -> None:
    found: list[int] = []

    def write() -> None:
        with session_scope(database_url) as session:
            found.append(datasets.add_dataset(session, PARAMS, curated).id)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1


def test_a_lock_is_held_by_one_at_a_time_and_freed_with_its_connection(database_url: str) -> None:
    order: list[str] = []

    def second() -> None:
        with exclusive(database_url, "work") as waited:
            order.append(f"second, waited {waited}")

    with exclusive(database_url, "work") as waited:
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append(f"first, waited {waited}")
    thread.join()
    assert order == ["first, waited False", "second, waited True"]


def register(session, name: str = "heo-mini") -> ModelVersion:
    model = ModelFile("mace", name, "weights.model", "ab" * 32, ("Mg", "O"), "MIT")
    row, _ = models.register_published_model(session, model, name=name, size_bytes=1, energy_scale="pbe-uncorrected")
    return row


def test_the_same_model_file_is_one_version_and_follows_its_file(database_url: str) -> None:
    with session_scope(database_url) as session:
        first = register(session)
        moved = ModelFile("mace", "heo-mini", "elsewhere.model", "ab" * 32, ("Mg", "O"), "MIT")
        again, is_new = models.register_published_model(
            session, moved, name="heo-mini", size_bytes=1, energy_scale=None
        )
        assert (first.id, is_new) == (again.id, False)
        assert models.load_model_file(session, first.id).path == "elsewhere.model"


def test_a_run_forgets_its_epochs_where_it_starts_anew_and_keeps_them_where_it_goes_on(
    database_url: str, curated: CuratedDataset
) -> None:
    epoch = EpochMetrics(0, None, 1.0, 0.1, 0.1, 0.2, 0.1, 0.4, 1.0)
    with session_scope(database_url) as session:
        columns = {
            "name": "child",
            "dataset_id": datasets.add_dataset(session, PARAMS, curated).id,
            "foundation_id": register(session).id,
            "params": {},
            "mace_arguments": [],
            "versions": {},
        }
        run_id = training.start_training_run(session, "key", continues=False, **columns)
        training.add_epochs(session, run_id, [epoch, replace(epoch, epoch=1)])
        training.add_epochs(session, run_id, [replace(epoch, epoch=1, validation_loss=0.5)])
        losses = select(EpochMetric.validation_loss).order_by(EpochMetric.epoch)
        assert list(session.scalars(losses)) == [1.0, 0.5]
        training.fail_training_run(session, run_id, "out of memory")
        assert training.start_training_run(session, "key", continues=True, **columns) == run_id
        assert list(session.scalars(losses)) == [1.0, 0.5]
        assert session.get_one(TrainingRun, run_id).n_resumes == 1
        assert training.start_training_run(session, "key", continues=False, **columns) == run_id
        assert list(session.scalars(losses)) == []
        assert session.get_one(TrainingRun, run_id).failure is None


def test_predictions_and_metrics_read_back_as_they_were(database_url: str, curated: CuratedDataset) -> None:
    structures = [member.structure for member in islice(curated.iter_members(), 2)]
    with session_scope(database_url) as session:
        cases = [BenchmarkCase(structure, None, {}) for structure in structures]
        dataset_id = datasets.add_dataset(session, PARAMS, curated).id
        benchmark, again = (
            evaluations.add_benchmark(
                session,
                EnergyForcesParams(),
                cases,
                name="energy-forces:sample",
                dataset_id=dataset_id,
                reference_id=None,
            )
            for _ in range(2)
        )
        assert benchmark.id == again.id
        ids, loaded = evaluations.load_cases(session, benchmark.id)
        assert [case.start.content_hash for case in loaded] == [structure.content_hash for structure in structures]
        evaluation = evaluations.start_evaluation(session, register(session).id, benchmark.id, flow_run_id=None)
        good = Prediction(-1.5, np.full((structures[0].n_atoms, 3), 0.25))
        bad = Prediction(None, None, failure="unknown element: Pu")
        errors = {"energy_error_ev_per_atom": None, "forces_rmse_ev_per_ang": None, "forces_mae_ev_per_ang": None}
        for _ in range(2):
            evaluations.add_predictions(session, evaluation.id, {ids[0]: good, ids[1]: bad}, dict.fromkeys(ids, errors))
        found = evaluations.load_predictions(session, evaluation.id)
        assert found[ids[0]].energy_ev == -1.5
        np.testing.assert_array_equal(found[ids[0]].forces_ev_per_ang, good.forces_ev_per_ang)
        assert found[ids[1]].failure == "unknown element: Pu"
        evaluations.complete_evaluation(
            session, evaluation.id, [Metric("forces_rmse_ev_per_ang", 0.1, "eV/Å", 2, 0.05, 0.2)], 1.0
        )
        (row,) = evaluations.list_metrics(session, [evaluation.id])
        assert (row["value"], row["ci_low"], row["ci_high"], row["n"]) == (0.1, 0.05, 0.2, 2)


def test_an_evaluation_names_what_its_rows_were_computed_on_two_shards_at_once_included(database_url: str) -> None:
    def get_device() -> str | None:
        with session_scope(database_url) as session:
            return evaluations.get_evaluation(session, evaluation_id).device

    def add_device(device: str) -> None:
        with session_scope(database_url) as session:
            evaluations.add_device(session, evaluation_id, device)

    with session_scope(database_url) as session:
        benchmark = evaluations.add_benchmark(
            session, EnergyForcesParams(), [], name="empty", dataset_id=None, reference_id=None
        )
        model_id = register(session).id
        evaluation_id = evaluations.start_evaluation(session, model_id, benchmark.id, flow_run_id=None).id
    assert get_device() is None
    other = threading.Thread(target=add_device, args=["cpu"])
    with session_scope(database_url) as session:
        evaluations.add_device(session, evaluation_id, "cuda")
        other.start()
        other.join(0.2)
        assert other.is_alive()  # it waits: the rows of the first are not stored yet
    other.join(10)
    assert get_device() == "cpu and cuda"
    with session_scope(database_url) as session:
        evaluations.start_evaluation(session, model_id, benchmark.id, flow_run_id=None)
    add_device("cuda")
    assert get_device() == "cpu and cuda"


def test_an_evaluation_is_neither_completed_again_nor_failed_by_a_run_that_lost_its_lock(
    database_url: str,
) -> None:
    with session_scope(database_url) as session:
        benchmark = evaluations.add_benchmark(
            session, EnergyForcesParams(), [], name="empty", dataset_id=None, reference_id=None
        )
        model_id = register(session).id
        tries = []
        for run in ("a", "b"):
            evaluation = evaluations.start_evaluation(session, model_id, benchmark.id, flow_run_id=run)
            tries.append((evaluation.id, evaluation.started_at))
        (first, _), (second, _) = tries
        assert first == second
        evaluations.fail_evaluation(session, first, "the database went away", started_at=tries[0][1])
        session.refresh(evaluation)
        assert (evaluation.state, evaluation.failure, evaluation.flow_run_id) == ("running", None, "b")
        for value, wall_s in ((0.1, 2.0), (0.3, 5.0)):
            evaluations.complete_evaluation(session, first, [Metric("forces_skill", value, "", 1)], wall_s)
        evaluations.fail_evaluation(session, first, "the database went away", started_at=tries[1][1])
    with session_scope(database_url) as session:
        stored = evaluations.get_evaluation(session, first)
        assert (stored.state, stored.failure, stored.wall_s) == ("completed", None, 2.0)
        (row,) = evaluations.list_metrics(session, [first])
        assert row["value"] == 0.1


def test_a_number_of_fewer_structures_has_no_rank(database_url: str) -> None:
    with session_scope(database_url) as session:
        benchmark = evaluations.add_benchmark(
            session, EnergyForcesParams(), [], name="all", dataset_id=None, reference_id=None
        )
        for name, value, n in (("a", 0.3, 9), ("b", 0.2, 9), ("c", 0.1, 5)):
            model = ModelFile("mace", name, name, name, ("Mg",), "MIT")
            model_id = models.register_published_model(session, model, name=name, size_bytes=1, energy_scale=None)[0].id
            made = evaluations.start_evaluation(session, model_id, benchmark.id, flow_run_id=None)
            found = [Metric("forces_mae_ev_per_ang", value, "eV/Å", n)]
            evaluations.complete_evaluation(session, made.id, found, 1.0)
        session.flush()
        rows = session.execute(text("select model, rank from leaderboard order by model")).all()
    assert [tuple(row) for row in rows] == [("a@1", 2), ("b@1", 1), ("c@1", None)]


def test_a_common_reference_that_is_compared_itself_is_said_to_judge_itself(database_url: str) -> None:
    with session_scope(database_url) as session:
        judge, other, third = (
            models.register_published_model(
                session, ModelFile("mace", name, name, name), name=name, size_bytes=1, energy_scale=None
            )[0].id
            for name in ("judge", "other", "third")
        )
        benchmark = evaluations.add_benchmark(
            session, SubstitutionRelaxParams(), [], name="cells", dataset_id=None, reference_id=judge
        )
        ids = [
            evaluations.start_evaluation(session, i, benchmark.id, flow_run_id=None).id for i in (judge, other, third)
        ]
        assert "judge@1 is the common reference itself" in str(evaluations.describe_judge(session, ids[1], ids[0]))
        assert evaluations.describe_judge(session, ids[0], ids[1]) == evaluations.describe_judge(
            session, ids[1], ids[0]
        )
        assert evaluations.describe_judge(session, ids[1], ids[2]) is None


def test_a_training_that_is_stopped_after_its_last_epoch_says_so(
    database_url: str, curated: CuratedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_scope(database_url) as session:
        dataset_id, foundation_id = datasets.add_dataset(session, PARAMS, curated).id, register(session).id

    class Trained(finetune._Run):
        """A run whose trainer has done its work."""

        def __init__(self) -> None:
            self.settings = Settings(home=tmp_path, database_url=database_url, artifact_store=None)
            self.url, self.name = database_url, "child"

        def _start(self) -> int:
            columns = {"dataset_id": dataset_id, "foundation_id": foundation_id, "params": {}, "mace_arguments": []}
            with session_scope(self.url) as session:
                return training.start_training_run(
                    session, "key", continues=False, name=self.name, versions={}, **columns
                )

        def _prepare(self, run_id: int) -> None: ...

        def _train(self, run_id: int) -> TrainingResult:
            (tmp_path / "child.model").write_text("weights")
            return TrainingResult(tmp_path / "child.model", 1, 0.1, "max_num_epochs", (), "")

    def stop(_: ModelFile) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "describe", stop)
    with pytest.raises(KeyboardInterrupt):
        Trained().train_and_register()
    with session_scope(database_url) as session:
        run = session.scalars(select(TrainingRun)).one()
        assert (run.state, run.failure) == ("failed", "interrupted")


def test_a_database_that_is_down_is_named_without_its_password() -> None:
    url = "postgresql+psycopg://heo:hidden@127.0.0.1:1/heo"
    with (
        pytest.raises(ServiceError, match=r"heo at 127\.0\.0\.1:1 cannot be used") as caught,
        session_scope(url) as session,
    ):
        session.execute(select(1))
    assert "hidden" not in str(caught.value)
    with pytest.raises(ServiceError, match=r"heo at 127\.0\.0\.1:1 cannot be used"), exclusive(url, "a lock"):
        pass


def test_an_error_that_is_not_of_the_connection_stays_as_it_is_and_is_not_its_own_cause(database_url: str) -> None:
    class DiskFullError(Exception):
        sqlstate = "53100"

    error = OperationalError("insert", {}, DiskFullError("no space left"))
    with pytest.raises(OperationalError) as caught, session_scope(database_url):
        raise error
    assert caught.value is error
    assert error.__cause__ is None
