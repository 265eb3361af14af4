"""The model registry: lineage, states, comparison, events and `heo models`, on a real Postgres and Prefect server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import psycopg
import pytest
from alembic import command
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

import heo_core
from db import evaluations, models
from db.engine import get_engine, session_scope
from db.migrations import make_config, upgrade
from db.schema import Benchmark, Dataset, EpochMetric, Evaluation, ModelVersion, TrainingRun
from deploy.cli.main import app
from heo_core.errors import InputError
from heo_core.params import AUTO_BENCHMARKS
from heo_core.records import Metric, ModelFile

ASSETS = Path(heo_core.__file__).parent / "assets"

pytestmark = pytest.mark.timeout(300)

PROMOTE_OFTEN = """
import sys
from db import models
from db.engine import session_scope
url, reference = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    with session_scope(url) as session:
        models.promote(session, reference)
"""


@pytest.fixture(autouse=True)
def _dispose(database_url: str) -> Iterator[None]:
    yield
    get_engine(database_url).dispose()


@pytest.fixture
def family(database_url: str) -> str:
    """Fill the database with heo-mini@1 <- child@1, child@2; child@2 <- grandchild@1; and an unrelated model."""
    with session_scope(database_url) as session:
        dataset = Dataset(
            name="sample",
            version=1,
            key="k",
            content_hash="c" * 64,
            source_uri="sample",
            source_revision="r",
            params={},
            n_scanned=2,
            n_kept=2,
        )
        session.add(dataset)
        root = add_root(session, "heo-mini")
        add_root(session, "other")
        add_child(session, dataset, root, "child", 1)
        second = add_child(session, dataset, root, "child", 2, warnings=["softer than its parent"])
        add_child(session, dataset, second, "grandchild", 1)
    return database_url


def add_root(session: Session, name: str) -> ModelVersion:
    model = ModelFile("mace", name, f"{name}.model", name.ljust(64, "0"), ("Mg", "O"), "MIT")
    row, is_new = models.register_published_model(
        session, model, name=name, size_bytes=1, energy_scale=None, facts={"dtype": "float32", "r_max_ang": 4.5}
    )
    assert is_new
    return row


def add_child(
    session: Session, dataset: Dataset, parent: ModelVersion, name: str, version: int, *, warnings: Sequence[str] = ()
) -> ModelVersion:
    key = f"{name}-{version}"
    run = TrainingRun(
        key=key,
        name=name,
        dataset_id=dataset.id,
        foundation_id=parent.id,
        params={"lr": 1e-3},
        strategy="replay",
        mace_arguments=[],
        state="completed",
        n_train=10,
        n_validation=2,
        left_out={},
        best_epoch=1,
        versions={},
    )
    session.add(run)
    session.flush()
    for epoch in range(2):
        session.add(
            EpochMetric(
                training_run_id=run.id,
                epoch=epoch,
                validation_loss=1.0 - epoch / 2,
                energy_rmse_ev_per_atom=0.1,
                forces_rmse_ev_per_ang=0.2,
                score=0.3 - epoch / 10,
                lr=1e-3,
            )
        )
    row = ModelVersion(
        name=name,
        version=version,
        key=key,
        family="mace",
        reference=f"{parent.name}@{parent.version}",
        parent_id=parent.id,
        foundation_id=parent.foundation_id or parent.id,
        dataset_id=dataset.id,
        dataset_hash=dataset.content_hash,
        training_run_id=run.id,
        sha256=key.ljust(64, "0"),
        artifact_uri=f"{key}.model",
        elements=["Mg", "O"],
        params={"lr": 1e-3},
        warnings=list(warnings),
    )
    session.add(row)
    session.flush()
    return row


def states(url: str) -> dict[str, str]:
    with session_scope(url) as session:
        return {f"{row.name}@{row.version}": row.state for row in session.scalars(select(ModelVersion))}


def test_labels_by_a_child_name_the_child_and_not_what_it_was_made_of(family: str) -> None:
    with session_scope(family) as session:
        add_root(session, "file:/somewhere/mine.model")
        references = ("heo-mini", "child@1", "child@2", "file:/somewhere/mine.model@1")
        files = [models.to_model_file(models.get_registered_model(session, reference)) for reference in references]
    assert [file.reference for file in files] == list(references)


# States


def test_promoting_a_version_archives_the_one_that_was_in_production(family: str) -> None:
    with session_scope(family) as session:
        row, former = models.promote(session, "child@1")
        assert (row.version, former) == (1, None)
    with session_scope(family) as session:
        row, former = models.promote(session, "child")
        assert former is not None
        assert (row.version, former.version) == (2, 1)
    with session_scope(family) as session:
        row, former = models.promote(session, "child@production")
        assert former is row
    assert states(family) == {
        "heo-mini@1": "candidate",
        "other@1": "candidate",
        "child@1": "archived",
        "child@2": "production",
        "grandchild@1": "candidate",
    }


def test_an_older_version_can_be_promoted_again(family: str) -> None:
    for reference in ("child@1", "child@2", "child@1"):
        with session_scope(family) as session:
            models.promote(session, reference)
    assert (states(family)["child@1"], states(family)["child@2"]) == ("production", "archived")


@contextmanager
def promoting(url: str, reference: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that promotes a version over and over as soon as it is told to."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROMOTE_OFTEN, url, reference], text=True, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def tell(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def test_two_processes_that_promote_at_once_take_turns(family: str) -> None:
    with session_scope(family) as session:
        models.promote(session, "child@1")
    with promoting(family, "child@1") as first, promoting(family, "child@2") as second:
        tell(first)
        tell(second)
        assert [process.communicate()[1] for process in (first, second)] == ["", ""]
    assert sorted(states(family)[f"child@{version}"] for version in (1, 2)) == ["archived", "production"]


def test_a_promotion_waits_for_the_one_that_is_not_committed_yet(family: str) -> None:
    with promoting(family, "child@2") as other:
        with session_scope(family) as session:
            models.promote(session, "child@1")
            tell(other)
            wait_until(lambda: is_somebody_waiting(family))
            assert states(family)["child@2"] == "candidate"
        assert other.communicate()[1] == ""
    assert (states(family)["child@1"], states(family)["child@2"]) == ("archived", "production")


def is_somebody_waiting(url: str) -> bool:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        (n,) = connection.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        ).fetchone()
    return n > 0


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_the_database_itself_refuses_two_versions_in_production_and_an_unknown_state(family: str) -> None:
    with pytest.raises(IntegrityError, match="uq_model_version_production"), session_scope(family) as session:
        session.execute(text("update model_version set state = 'production' where name = 'child'"))
    with pytest.raises(IntegrityError, match="ck_model_version_state"), session_scope(family) as session:
        session.execute(text("update model_version set state = 'retired' where name = 'child'"))


def test_the_version_in_production_is_archived_only_by_force(family: str) -> None:
    with session_scope(family) as session:
        models.promote(session, "child@1")
        with pytest.raises(InputError, match="child@1 is in production: promote another version of child first"):
            models.archive(session, "child@1")
        assert models.archive(session, "child@1", force=True).state == "archived"
        with pytest.raises(InputError, match="no version of child is in production: run 'heo models promote child@V"):
            models.get_registered_model(session, "child@production")


def test_an_archived_version_is_hidden_but_found_by_name_and_can_come_back(family: str) -> None:
    with session_scope(family) as session:
        models.archive(session, "grandchild")
        assert models.archive(session, "grandchild").state == "archived"
        shown = [row["model"] for row in models.list_models(session)]
        assert shown == ["child@2", "child@1", "other@1", "heo-mini@1"]
        assert [row["model"] for row in models.list_models(session, "archived")] == ["grandchild@1"]
        assert len(models.list_models(session, "all")) == 5
        assert models.get_registered_model(session, "grandchild").version == 1
        assert models.find_newest_finetuned(session).name == "child"
        assert models.restore(session, "grandchild").state == "candidate"
        with pytest.raises(InputError, match="grandchild@1 is not archived: its state is candidate"):
            models.restore(session, "grandchild")


def test_a_model_from_scratch_has_no_parent_and_is_not_the_newest_finetuned(family: str) -> None:
    with session_scope(family) as session:
        assert models.find_newest_finetuned(session).name == "grandchild"
        models.get_registered_model(session, "grandchild").parent_id = None
        session.flush()
        newest = models.find_newest_finetuned(session)
        assert (newest.name, newest.version) == ("child", 2)


# References, facts, summaries


@pytest.mark.parametrize("prefix", ["", "registry:"])
def test_a_reference_is_a_name_with_or_without_a_version(family: str, prefix: str) -> None:
    with session_scope(family) as session:
        models.promote(session, "child@1")
        found = {
            reference: models.get_registered_model(session, prefix + reference).version
            for reference in ("child", "child@1", "child@2", "child@production")
        }
        assert found == {"child": 2, "child@1": 1, "child@2": 2, "child@production": 1}
        with pytest.raises(InputError, match="version number, for example child@1, or 'production'"):
            models.get_registered_model(session, f"{prefix}child@best")
        with pytest.raises(InputError, match="there is no model 'nobody@production'; there is: child@2,"):
            models.get_registered_model(session, "nobody@production")


def test_the_newest_version_is_the_one_of_the_highest_number(family: str) -> None:
    with session_scope(family) as session:  # a transaction that began later may have been the first to take a number
        session.execute(text("update model_version set created_at = now() + interval '1 s' where version = 1"))
        assert models.get_registered_model(session, "child").version == 2


def test_facts_of_a_file_are_filled_in_when_they_become_known_and_are_not_forgotten(family: str) -> None:
    model = ModelFile("mace", "heo-mini", "heo-mini.model", "heo-mini".ljust(64, "0"), ("Mg", "O"), "MIT")
    with session_scope(family) as session:
        for facts in ({"e0s": {"O": -2.0}, "dtype": "float64"}, None):
            row, is_new = models.register_published_model(
                session, model, name="heo-mini", size_bytes=1, energy_scale=None, facts=facts
            )
            assert not is_new
            assert (row.e0s, row.dtype, row.r_max_ang) == ({"O": -2.0}, "float32", 4.5)
        with pytest.raises(ValueError, match="no facts of a model: colour"):
            models.register_published_model(
                session, model, name="heo-mini", size_bytes=1, energy_scale=None, facts={"colour": "red"}
            )


def test_a_summary_says_where_a_model_comes_from_and_how_it_was_made(family: str) -> None:
    with session_scope(family) as session:
        models.set_note(session, "grandchild", " for the paper ")
        card = models.summarise(session, models.get_registered_model(session, "grandchild").id)
        parent = models.summarise(session, models.get_registered_model(session, "child@2").id)
    assert card["lineage"] == ["heo-mini@1", "child@2", "grandchild@1"]
    assert (card["parent"], card["foundation"], card["note"]) == ("child@2", "heo-mini@1", "for the paper")
    assert (card["dataset"], card["dataset_hash"], card["strategy"]) == ("sample@1", "c" * 64, "replay")
    assert (card["training"]["best_epoch"], card["training"]["n_resumes"]) == (1, 0)
    assert [row["score"] for row in card["epochs"]] == pytest.approx([0.3, 0.2])
    assert (parent["children"], parent["warnings"]) == (["grandchild@1"], ["softer than its parent"])
    json.dumps(card, default=str)


# Comparison


@pytest.fixture
def evaluated(family: str) -> str:
    """Give heo-mini@1 and child@1 numbers on one benchmark, and child@1 alone on another."""
    with session_scope(family) as session:
        ids = {}
        for name, reference in (("both", "heo-mini"), ("both", "child@1"), ("alone", "child@1")):
            benchmark = session.scalar(select(Benchmark).where(Benchmark.name == name))
            if benchmark is None:
                benchmark = Benchmark(name=name, version=1, key=name, kind="energy-forces", params={}, n_cases=2)
                session.add(benchmark)
                session.flush()
            model_id = models.get_registered_model(session, reference).id
            evaluation = evaluations.start_evaluation(session, model_id, benchmark.id, flow_run_id=None)
            value = 0.3 if reference == "heo-mini" else 0.1
            metrics = [Metric("forces_mae_ev_per_ang", value, "eV/Å", 2, value - 0.01, value + 0.01)]
            if reference == "heo-mini":
                metrics.append(Metric("forces_skill", None, "", 0, None, None))
            evaluations.complete_evaluation(session, evaluation.id, metrics, 1.0)
            ids[name, reference] = evaluation.id
        difference = Metric("forces_mae_ev_per_ang", -0.2, "eV/Å", 2, -0.25, -0.1)
        evaluations.set_comparison(session, ids["both", "heo-mini"], ids["both", "child@1"], [difference])
    return family


def test_models_are_compared_on_what_all_of_them_completed_with_the_stored_difference(evaluated: str) -> None:
    with session_scope(evaluated) as session:
        result = models.compare(session, ["heo-mini", "child@1"])
        turned = models.compare(session, ["child@1", "heo-mini"])
    assert result["models"] == ["heo-mini@1", "child@1"]
    forces, skill = result["rows"]
    assert (forces["benchmark"], forces["metric"]) == ("both@1", "forces_mae_ev_per_ang")
    assert forces["values"] == {"heo-mini@1": 0.3, "child@1": 0.1}
    assert forces["differences"] == {"child@1": {"value": -0.2, "ci_low": -0.25, "ci_high": -0.1, "n": 2}}
    assert (skill["values"], skill["differences"]) == ({"heo-mini@1": None, "child@1": None}, {})
    assert turned["rows"][0]["differences"] == {"heo-mini@1": {"value": 0.2, "ci_low": 0.1, "ci_high": 0.25, "n": 2}}


def test_an_evaluation_that_failed_is_in_no_comparison_and_says_so_in_the_summary(evaluated: str) -> None:
    with session_scope(evaluated) as session:
        model_id = models.get_registered_model(session, "child@1").id
        for evaluation in session.scalars(select(Evaluation).where(Evaluation.model_version_id == model_id)).all():
            again = evaluations.start_evaluation(session, model_id, evaluation.benchmark_id, flow_run_id=None)
            evaluations.fail_evaluation(session, again.id, "out of memory", started_at=again.started_at)
        session.expire_all()
        assert models.compare(session, ["heo-mini", "child@1"])["rows"] == []
        rows = models.summarise(session, model_id)["evaluations"]
    assert {(row["state"], row["metric"], row["failure"]) for row in rows} == {("failed", None, "out of memory")}


def test_one_model_is_not_compared_with_itself(evaluated: str) -> None:
    with session_scope(evaluated) as session, pytest.raises(InputError, match=r"two or more .*; given: child@2"):
        models.compare(session, ["child", "child@2"])


# Lineage and views


def flatten(trees: list[dict], depth: int = 0) -> list[tuple[int, str]]:
    return [line for node in trees for line in ((depth, node["model"]), *flatten(node["children"], depth + 1))]


def test_a_tree_shows_what_a_model_descends_from_and_what_descends_from_it(family: str) -> None:
    with session_scope(family) as session:
        assert flatten(models.list_tree(session, "heo-mini")) == [
            (0, "heo-mini@1"),
            (1, "child@1"),
            (1, "child@2"),
            (2, "grandchild@1"),
        ]
        # A sister is neither.
        line = [(0, "heo-mini@1"), (1, "child@2"), (2, "grandchild@1")]
        assert flatten(models.list_tree(session, "child@2")) == line
        assert flatten(models.list_tree(session, "grandchild")) == line
        assert flatten(models.list_tree(session, "other")) == [(0, "other@1")]


def test_lineage_and_curves_can_be_read_in_sql(family: str) -> None:
    with session_scope(family) as session:
        line = session.execute(text("select * from model_lineage where model = 'grandchild@1'")).mappings().one()
        curve = session.execute(text("select * from training_curve where model = 'child@2' order by epoch")).mappings()
        best = [row["is_best"] for row in curve]
        roots = session.scalars(text("select foundation from model_lineage where depth = 0 order by model")).all()
    assert (line["foundation"], line["parent"], line["depth"]) == ("heo-mini@1", "child@2", 2)
    assert line["path"] == ["heo-mini@1", "child@2", "grandchild@1"]
    assert (line["dataset"], line["strategy"], line["state"]) == ("sample@1", "replay", "candidate")
    assert best == [False, True]
    assert roots == ["heo-mini@1", "other@1"]


def test_every_column_of_the_registry_says_what_it_is(database_url: str) -> None:
    query = """
        select attrelid::regclass::text || '.' || attname from pg_attribute
        where attrelid in ('model_lineage'::regclass, 'training_curve'::regclass) and attnum > 0
            and col_description(attrelid, attnum) is null
    """
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        assert connection.execute(query).fetchall() == []


def test_models_of_before_the_registry_get_their_lineage_and_data(family: str) -> None:
    with session_scope(family) as session:
        session.execute(text("update training_run set versions = '{\"heo\": \"0.1\"}', device = 'cpu', wall_s = 5"))
    command.downgrade(make_config(family), "0002")
    upgrade(family)
    with session_scope(family) as session:
        rows = {row.name: row for row in session.scalars(select(ModelVersion).where(ModelVersion.version == 1))}
        root = rows["heo-mini"]
        assert (rows["grandchild"].foundation_id, root.foundation_id) == (root.id, None)
        child = rows["child"]
        assert (child.dataset_hash, child.code_version, child.device, child.wall_s) == ("c" * 64, "0.1", "cpu", 5)
        assert (child.state, child.warnings, root.dataset_hash) == ("candidate", [], None)


# Events


def heo(url: str, home: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose environment says nothing of Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEO_", "PREFECT_"))}
    kept |= {"HEO_HOME": str(home), "HEO_DATABASE_URL": url.replace("+psycopg", ""), **variables}
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", *words], env=kept, capture_output=True, text=True, check=False
    )


def find_events(api_url: str, model_version_id: int) -> list[dict]:
    resource = {"id": [f"heo.model-version.{model_version_id}"]}
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"{api_url}/events/filter", json={"filter": {"resource": resource}})
    return answer.raise_for_status().json()["events"]


def test_a_promotion_reaches_the_server_once(family: str, services_home: Path, prefect_api_url: str) -> None:
    with session_scope(family) as session:
        # An id that no other test on this server has.
        row = models.get_registered_model(session, "other")
        session.execute(text("update model_version set id = 700001 where id = :id"), {"id": row.id})
    for _ in range(2):
        result = heo(family, services_home, "models", "promote", "other", "--json")
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout)["state"] == "production"
    wait_until(lambda: bool(find_events(prefect_api_url, 700001)))
    time.sleep(1)
    (event,) = find_events(prefect_api_url, 700001)
    assert event["event"] == "heo.model-version.promoted"
    assert event["payload"] == {
        "model_version_id": 700001,
        "name": "other",
        "version": 1,
        "sha256": "other".ljust(64, "0"),
    }


def test_a_registration_is_sent_from_where_prefect_is_in_use(
    family: str, prefect_api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.events import emit_model_registered

    monkeypatch.setenv("HEO_DATABASE_URL", family.replace("+psycopg", ""))
    with session_scope(family) as session:
        row = models.get_registered_model(session, "other")
        session.execute(text("update model_version set id = 700002 where id = :id"), {"id": row.id})
    emit_model_registered(700002)
    wait_until(lambda: bool(find_events(prefect_api_url, 700002)))
    (event,) = find_events(prefect_api_url, 700002)
    assert (event["event"], event["payload"]["model_version_id"]) == ("heo.model-version.registered", 700002)


@pytest.mark.slow
def test_a_file_that_is_added_is_announced_once(family: str, services_home: Path, prefect_api_url: str) -> None:
    with session_scope(family) as session:
        session.execute(text("select setval('model_version_id_seq', 700100)"))
    file = str(ASSETS / "heo-mini" / "heo-mini.model")
    for _ in range(2):
        result = heo(family, services_home, "models", "add", file, "--name", "mine", "--json")
        assert (result.returncode, "was not sent" in result.stderr) == (0, False)
        card = json.loads(result.stdout)
        assert (card["model"], card["id"], card["state"]) == ("mine@1", 700101, "candidate")
        assert card["n_parameters"] > 0
        assert card["code_version"] == version("heo")
        assert set(card["e0s"]) == set(card["elements"])
    wait_until(lambda: bool(find_events(prefect_api_url, 700101)))
    time.sleep(1)
    (event,) = find_events(prefect_api_url, 700101)
    assert (event["event"], event["payload"]["sha256"]) == ("heo.model-version.registered", card["sha256"])
    # The bundled benchmarks that run by themselves were made before it.
    assert int(event["resource"]["heo.due"]) == len(AUTO_BENCHMARKS)


def test_a_server_that_is_not_there_is_one_line_and_no_error(family: str, tmp_path: Path) -> None:
    unknown = heo(family, tmp_path, "models", "promote", "child@1")
    assert unknown.returncode == 0
    (line,) = unknown.stderr.splitlines()
    assert line == (
        "event heo.model-version.promoted of child@1 was not sent: no Prefect server is known: "
        "run 'heo up', or set PREFECT_API_URL"
    )
    down = heo(family, tmp_path, "models", "promote", "child@2", PREFECT_API_URL="http://127.0.0.1:1/api")
    assert down.returncode == 0
    (line,) = down.stderr.splitlines()
    assert "child@2 was not sent: the Prefect server at http://127.0.0.1:1/api does not answer" in line
    assert states(family)["child@2"] == "production"
    assert not list(tmp_path.iterdir())


def test_without_a_server_prefect_is_not_even_imported(family: str, tmp_path: Path) -> None:
    script = (
        "import sys; from deploy.cli.main import app; app(['models', 'promote', 'other'], standalone_mode=False); "
        "print('prefect' in sys.modules)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    kept |= {"HEO_HOME": str(tmp_path), "HEO_DATABASE_URL": family.replace("+psycopg", "")}
    result = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


# The command line


@pytest.fixture
def run(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEO_DATABASE_URL", family.replace("+psycopg", ""))
    return lambda *words: CliRunner().invoke(app, ["models", *words])


def test_list_hides_the_archived_and_counts_warnings(run: Callable[..., Result]) -> None:
    assert run("archive", "child@1").exit_code == 0
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["model", "state", "strategy", "parent", "dataset", "created", "warnings"]
    assert [line.split()[0] for line in lines[1:]] == ["grandchild@1", "child@2", "other@1", "heo-mini@1"]
    assert lines[2].split()[1:5] == ["candidate", "replay", "heo-mini@1", "sample@1"]
    assert lines[2].split()[-1] == "1"
    assert max(len(line.rstrip()) for line in lines) <= 100
    assert [row["model"] for row in json.loads(run("list", "--state", "archived", "--json").stdout)] == ["child@1"]
    assert run("list", "--state", "production").stdout == "no model is in the state production\n"


def test_show_is_for_people_and_json_for_programs(run: Callable[..., Result]) -> None:
    assert run("note", "child@2", "mind the stiffness").exit_code == 0
    shown = run("show", "child").stdout
    for words in ("heo-mini@1 → child@2", "mind the stiffness", "softer than its parent", "sample@1", "Mg, O", "best"):
        assert words in shown
    assert "None" not in shown
    card = json.loads(run("show", "child", "--json").stdout)
    assert (card["model"], card["note"], card["params"]) == ("child@2", "mind the stiffness", {"lr": 1e-3})


def test_lineage_is_a_tree(run: Callable[..., Result]) -> None:
    assert run("lineage", "child@2").stdout.splitlines() == [
        "heo-mini@1",
        "└── child@2, replay on sample@1, 1 warning",
        "    └── grandchild@1, replay on sample@1",
    ]
    assert flatten(json.loads(run("lineage", "child@2", "--json").stdout))[-1] == (2, "grandchild@1")


def test_compare_prints_the_difference_with_its_interval(run: Callable[..., Result], evaluated: str) -> None:
    lines = run("compare", "heo-mini", "child@1").stdout.splitlines()
    assert "child@1 - heo-mini@1" in lines[0]
    assert lines[1].rstrip().split(maxsplit=4) == [
        "both@1",
        "forces_mae_ev_per_ang",
        "0.3",
        "0.1",
        "-0.2 [-0.25, -0.1]",
    ]
    assert "run 'heo evaluate --model heo-mini@1 --model other@1'" in run("compare", "heo-mini", "other").stdout


def test_export_writes_the_file_with_its_card_and_refuses_a_changed_one(
    run: Callable[..., Result], family: str, tmp_path: Path
) -> None:
    stored = tmp_path / "stored.model"
    stored.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    with session_scope(family) as session:
        row = models.get_registered_model(session, "child@2")
        row.artifact_uri, row.sha256 = stored.as_uri(), sha256
    out = tmp_path / "out"
    out.mkdir()
    result = json.loads(run("export", "child", "--out", str(out), "--json").stdout)
    assert (result["path"], result["card"]) == (str(out / "child-2.model"), str(out / "child-2.json"))
    assert (out / "child-2.model").read_bytes() == b"weights"
    card = json.loads((out / "child-2.json").read_text())
    assert card == json.loads(run("show", "child", "--json").stdout)
    (out / "child-2.model").write_bytes(b"mine")
    refused = run("export", "child", "--out", str(out))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert "--force" in refused.stderr
    stored.write_bytes(b"changed")
    refused = run("export", "child", "--out", str(out), "--force")
    assert refused.exit_code == 2
    assert hashlib.sha256(b"changed").hexdigest() in refused.stderr
    assert sha256 in refused.stderr
    assert (out / "child-2.model").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "nobody"), "there is no model 'nobody'; there is: child@2,"),
        (("show", "child@x"), "'child@x': after '@' stands a version number"),
        (("promote", "child@9"), "there is no model 'child@9'"),
        (("archive", "child", "--undo"), "child@2 is not archived: its state is candidate"),
        (("compare", "child"), "two or more different models can be compared; given: child@2"),
        (("lineage", "nobody"), "there is no model 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_names_the_value(
    run: Callable[..., Result], words: tuple[str, ...], message: str
) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_an_unknown_state_is_refused_with_those_there_are(run: Callable[..., Result]) -> None:
    result = run("list", "--state", "retired")
    assert result.exit_code == 2
    for words in ("retired", "candidate", "production", "archived", "all"):
        assert words in result.stderr
