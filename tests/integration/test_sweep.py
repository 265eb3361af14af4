"""Sweeps on a real database and, below, a real Prefect server with a real worker: killed, joined, ranked."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pyarrow.parquet as pq
import pytest
from querying import query
from typer.testing import CliRunner

from db import reports, sweeps, training
from db.engine import get_engine, session_scope
from db.schema import Dataset, EpochMetric, ModelVersion, TrainingRun
from db.versions import add_version
from deploy.services import flow_runs
from deploy.services.prefect_api import PrefectApi
from flows.deployment_runs import Sight
from flows.settings import CHECKOUT, Settings
from heo_core import search
from heo_core.assets import SAMPLE_DIR
from heo_core.errors import InputError, ServiceError, TrainingError
from heo_core.params import CurationParams, FinetuneParams, RuleParams, SweepParams


@pytest.fixture(autouse=True)
def _dispose(database_url: str):
    yield
    get_engine(database_url).dispose()


# The database, without training


@pytest.fixture
def dataset_id(database_url: str) -> int:
    """A dataset without structures."""
    with session_scope(database_url) as session:
        counts = dict.fromkeys(("n_scanned", "n_kept"), 0)
        columns = {c.name for c in Dataset.__table__.columns}
        needed = {
            c.name: {} if "JSON" in str(c.type) else "x"
            for c in Dataset.__table__.columns
            if not c.nullable and c.server_default is None and c.name not in {"id", "version", *counts}
        }
        row = Dataset(**needed, **{name: value for name, value in counts.items() if name in columns})
        return add_version(session, row)[0].id


def add_sweep(url: str, dataset_id: int, **fields: object) -> int:
    params = SweepParams.model_validate({"space": {"lr": [1e-3, 2e-3], "replay.weight": [0.5, 1.0]}} | fields)
    with session_scope(url) as session:
        return sweeps.add_sweep(
            session,
            name=params.name,
            key=params.model_copy(update={"n_trials": None}).compute_hash(),
            params=params.model_dump(mode="json"),
            dataset_id=dataset_id,
            n_trials=params.count_trials(),
        )


def add_training(url: str, dataset_id: int, name: str, params: FinetuneParams, **columns: object) -> int:
    """A training run as it stands when it is completed, with its model; return the run's id."""
    with session_scope(url) as session:
        foundation, _ = add_version(
            session, ModelVersion(name="base", key="base", family="mace", reference="base", elements=[], params={})
        )
        run = TrainingRun(
            key=f"key of {name}",
            name=name,
            dataset_id=dataset_id,
            foundation_id=foundation.id,
            params=params.model_dump(mode="json"),
            mace_arguments=[],
            n_train=1,
            n_validation=1,
            left_out={},
            versions={},
            **({"state": "completed", "best_epoch": 1, "wall_s": 3.0} | columns),
        )
        session.add(run)
        session.flush()
        model = ModelVersion(
            name=name, key=run.key, family="mace", reference="base@1", elements=[], params={}, training_run_id=run.id
        )
        add_version(session, model)
        return run.id


def test_two_starters_make_optunas_tables_once_and_apart_from_ours(database_url: str) -> None:
    problems: list[BaseException] = []

    def start() -> None:
        try:
            with sweeps.open_search_storage(database_url):
                pass
        except BaseException as exc:  # noqa: BLE001
            problems.append(exc)

    before = query(database_url, "select version_num from public.alembic_version")
    starters = [threading.Thread(target=start) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert problems == []
    assert query(database_url, "select version_num from public.alembic_version") == before
    assert len(query(database_url, "select version_num from optuna.alembic_version")) == 1
    strays = (
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relname in ('studies', 'trials')"
    )
    assert query(database_url, strays) == []


def test_the_search_url_keeps_what_the_url_had() -> None:
    url = sweeps.make_search_url("postgresql+psycopg://u:p%7Bx@h:1/d?options=-cwork_mem%3D8MB&sslmode=require")
    from sqlalchemy.engine import make_url

    place = make_url(url.format(SCHEMA_VERSION=0))
    assert place.query == {"options": "-cwork_mem=8MB -csearch_path=optuna", "sslmode": "require"}
    assert (place.username, place.password, place.host, place.port, place.database) == ("u", "p{x", "h", 1, "d")


def test_a_search_in_postgres_goes_on_after_a_kill_between_any_two_writes(database_url: str) -> None:
    params = SweepParams.model_validate({"space": {"lr": [1e-3, 2e-3, 3e-3], "ema": [True]}, "sampler": "grid"})
    newest = "(select max(param_id) from optuna.trial_params)"
    tried: dict[int, dict] = {}
    for step in range(params.count_trials()):
        with sweeps.open_search_storage(database_url) as storage:
            first = search.draw(storage, "s", params, tried)
        if step % 2:  # killed after the draw, or in the middle of it
            query(database_url, f"delete from optuna.trial_params where param_id = {newest}")
        with sweeps.open_search_storage(database_url) as storage:
            assert search.draw(storage, "s", params, tried) == first
            tried[first[0]] = first[1]
            if step != 0:  # killed between our row and Optuna's: told when the sweep goes on
                search.tell(storage, "s", first[0], 1.0)
    with sweeps.open_search_storage(database_url) as storage:
        search.tell(storage, "s", 0, 1.0)
    assert len({json.dumps(values) for values in tried.values()}) == params.count_trials() == 3
    assert query(database_url, "select state::text, count(*) from optuna.trials group by 1") == [("COMPLETE", 3)]


def test_the_same_sweep_is_found_a_longer_one_goes_on_and_another_is_a_new_version(
    database_url: str, dataset_id: int
) -> None:
    first = add_sweep(database_url, dataset_id, n_trials=2)
    assert add_sweep(database_url, dataset_id, n_trials=2) == first
    assert add_sweep(database_url, dataset_id, n_trials=4) == first
    assert add_sweep(database_url, dataset_id, n_trials=3) == first
    other = add_sweep(database_url, dataset_id, seed=1)
    assert query(database_url, "select id, version, n_trials from sweep order by 2") == [(first, 1, 4), (other, 2, 4)]
    with session_scope(database_url) as session, pytest.raises(InputError, match="no sweep 'x'; there is: sweep@"):
        sweeps.get_sweep(session, "x")


def test_a_trials_result_is_that_of_its_own_training(database_url: str, dataset_id: int) -> None:
    values = {"lr": 1e-3, "replay.weight": 0.5, "max_num_epochs": None}
    params = SweepParams.model_validate({"space": {"lr": [1e-3]}}).make_trial(
        {"lr": 1e-3, "replay.weight": 0.5}, "s-t00"
    )

    def find(**other: object) -> sweeps.TrialResult | None:
        with session_scope(database_url) as session:
            return sweeps.find_result(
                session, **({"name": "s-t00", "dataset_id": dataset_id, "values": values} | other)
            )

    assert find() is None
    run_id = add_training(database_url, dataset_id, "s-t00", params)
    assert find(name="s-t01") is None
    assert find(dataset_id=dataset_id + 1) is None
    assert find(values=values | {"lr": 2e-3}) is None
    found = find()
    assert (found.training_run_id, found.score) == (run_id, None)
    with session_scope(database_url) as session:
        session.add_all(
            EpochMetric(
                training_run_id=run_id,
                epoch=epoch,
                validation_loss=0.1,
                energy_rmse_ev_per_atom=0.1,
                forces_rmse_ev_per_ang=0.1,
                score=score,
            )
            for epoch, score in enumerate((0.1, 0.4, 0.3, None))
        )
    assert find().score == 0.3  # what stood before training does not count
    query(database_url, "update training_run set best_score = 0.25")
    assert find().score == 0.25


def test_the_ranking_is_by_score_ties_share_a_place_and_failures_come_last(database_url: str, dataset_id: int) -> None:
    sweep_id = add_sweep(database_url, dataset_id, name="ranked")
    add_sweep(database_url, dataset_id, name="another")
    params = FinetuneParams()
    with session_scope(database_url) as session:
        for number in range(4):
            sweeps.add_trial(session, sweep_id, number, {"lr": 0.1 * (number + 1)})
    for number, score in ((0, 0.3), (1, 0.2), (2, 0.2)):
        run_id = add_training(database_url, dataset_id, f"ranked-t{number:02}", params)
        with session_scope(database_url) as session:
            model = training.find_model_of_key(session, f"key of ranked-t{number:02}")
            result = sweeps.TrialResult(run_id, model.id, score, None, None)
            sweeps.complete_trial(session, sweep_id, number, result, None)
    with session_scope(database_url) as session:
        sweeps.fail_trial(session, sweep_id, 3, "out of memory\nlog", None)
        sweeps.end_sweep(session, sweep_id)
        ranking = sweeps.list_ranking(session, sweep_id)
        summary = sweeps.summarise(session, sweep_id)
        overview = {row["sweep"]: row for row in sweeps.list_sweeps(session)}
    assert [(line["rank"], line["trial"], line["lr"], line["model"]) for line in ranking] == [
        (1, 1, pytest.approx(0.2), "ranked-t01@1"),
        (1, 2, pytest.approx(0.3), "ranked-t02@1"),
        (3, 0, pytest.approx(0.1), "ranked-t00@1"),
        (None, 3, pytest.approx(0.4), None),
    ]
    assert ranking[-1]["failure"] == "out of memory"
    assert summary["best"] == "ranked-t01@1"
    assert overview["ranked@1"]["best score"] == 0.2
    assert (overview["ranked@1"]["ended"], overview["ranked@1"]["failed"]) == ("4 of 4", 1)
    assert overview["another@1"]["ended"] == "0 of 4"


def test_a_report_of_one_model_has_every_trial_of_its_sweep(database_url: str, dataset_id: int) -> None:
    sweep_id = add_sweep(database_url, dataset_id, name="seen")
    run_id = add_training(database_url, dataset_id, "seen-t00", FinetuneParams())
    with session_scope(database_url) as session:
        model = training.find_model_of_key(session, "key of seen-t00")
        for number in range(2):
            sweeps.add_trial(session, sweep_id, number, {"lr": 0.1 * (number + 1)})
        sweeps.complete_trial(session, sweep_id, 0, sweeps.TrialResult(run_id, model.id, 0.3, None, None), None)
        sweeps.fail_trial(session, sweep_id, 1, "out of memory", None)
        session.add_all(
            EpochMetric(
                training_run_id=run_id,
                epoch=epoch,
                validation_loss=1.0,
                energy_rmse_ev_per_atom=0.02,
                forces_rmse_ev_per_ang=0.2 - 0.1 * epoch,
                lr=0.1,
            )
            for epoch in (0, 1)
        )
        model_id = model.id
    with session_scope(database_url) as session:
        data = reports.load_report_data(session, [model_id])
        with pytest.raises(InputError, match="benchmark 'other' was run by none of these models; those they ran: none"):
            reports.load_report_data(session, [model_id], ["other"])
    assert list(data.trials["label"]) == ["seen-t00@1", "seen@1 trial 1"]
    assert data.trials["forces_rmse_ev_per_ang"].iloc[0] == pytest.approx(0.1)  # of the best epoch
    assert data.trials["failure"].iloc[1] == "out of memory"
    assert list(data.trial_epochs["label"]) == ["seen-t00@1"] * 2
    assert list(data.epochs["lr"]) == [0.1, 0.1]


def test_a_trial_that_died_too_often_has_all_its_tries_again_when_it_is_trained_again(
    database_url: str, dataset_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import sweep as flow

    class Dying:
        """A pool whose workers lose every process."""

        max_tries, poll_s = 3, 0.0

        def check(self) -> None: ...

        def start(self, params: FinetuneParams, *, key: str, **_: object) -> str:
            return key

        def look(self, flow_run_id: str, params: FinetuneParams) -> Sight:
            return Sight("died", "killed")

    monkeypatch.setattr(flow, "get_run_logger", lambda: logging.getLogger("test"))
    settings = Settings(home=tmp_path, database_url=database_url)
    sweep_id = add_sweep(database_url, dataset_id, n_trials=1, retry_failed=True)
    seen = []
    for _ in range(2):
        flow._Work(sweep_id, Dying(), 1, settings).run()
        seen += query(database_url, "select state, n_tries, failure from sweep_trial")
    assert seen == [("failed", n_tries, "its process died 3 times: killed") for n_tries in (3, 6)]


# Real trainings


@pytest.fixture
def home(tmp_path: Path, database_url: str, prefect_api_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home on a fresh database, with a dataset of small cells called small."""
    from flows.curate import curate

    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEO_DATABASE_URL", database_url.replace("+psycopg", ""))
    table = pq.read_table(SAMPLE_DIR / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 120), tmp_path / "small.parquet")
    curate(
        CurationParams(
            name="small", source=str(tmp_path / "small.parquet"), rules=RuleParams(max_n_atoms=16), map="none"
        )
    )
    return tmp_path / "home"


def make_params(**fields: object) -> SweepParams:
    base = {"dataset": "small", "strategy": "naive", "max_num_epochs": 1, "dtype": "float32"}
    return SweepParams.model_validate({"base": base, "assess": False} | fields)


def test_a_grid_trained_here_is_exhausted_ranked_and_found_again_and_a_failed_trial_is_a_row(
    home: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.cli.main import app
    from flows.sweep import sweep

    assessed: list[int] = []  # an assessment takes longer than all else here, and has tests of its own
    monkeypatch.setattr("flows.finetune.assess_model", assessed.append)
    space = {"batch_size": [4, 100_000], "seed": [0]}
    params = make_params(name="grid", space=space, sampler="grid", runner="here", assess=True)
    sweep_id = sweep(params)
    assert assessed == [
        model_id for (model_id,) in query(database_url, "select model_version_id from sweep_ranking where rank = 1")
    ]
    rows = """
        select (params ->> 'batch_size')::int, state, failure, score is null, model_version_id is null from sweep_trial
    """
    ((_, *good), (_, *bad)) = sorted(query(database_url, rows))
    assert good == ["completed", None, False, False]
    assert bad[0] == "failed"
    assert bad[1].startswith("batch_size is 100000, but only ")
    assert bad[2:] == [True, True]
    scores = """
        select sweep_trial.score = training_run.best_score
        from sweep_trial join training_run on training_run.id = training_run_id where sweep_trial.state = 'completed'
    """
    assert query(database_url, scores) == [(True,)]

    untouched = query(database_url, "select ctid, xmin from sweep_trial order by number")
    assert sweep(params) == sweep_id
    assert query(database_url, "select ctid, xmin from sweep_trial order by number") == untouched
    shown = json.loads(CliRunner().invoke(app, ["sweep", "show", "grid", "--json"]).output)
    assert shown["trials"] == "2 of 2 ended"
    assert [line["rank"] for line in shown["ranking"]] == [1, None]
    assert shown["best"] == shown["ranking"][0]["model"]


def test_a_sweep_of_failures_says_so_and_ends(home: Path, database_url: str) -> None:
    from flows.sweep import sweep

    params = make_params(name="bad", space={"batch_size": [100_000]}, runner="here")
    with pytest.raises(TrainingError, match="none of 1 trials has a score; the first: batch_size is 100000"):
        sweep(params)
    assert query(database_url, "select state from sweep") == [("completed",)]


def test_what_cannot_be_searched_is_said_before_anything_starts(home: Path, database_url: str) -> None:
    from flows.sweep import sweep

    with pytest.raises(InputError, match="no dataset 'nowhere'"):
        sweep(make_params(space={"lr": [1e-3]}, base={"dataset": "nowhere"}))
    with pytest.raises(InputError, match="no model 'nobody'; allowed: heo-mini"):
        sweep(make_params(space={"foundation": ["heo-mini", "nobody"]}))
    assert query(database_url, "select count(*) from sweep") == [(0,)]


def test_without_a_worker_a_sweep_says_what_to_do(home: Path, database_url: str) -> None:
    from flows.sweep import sweep

    with pytest.raises(ServiceError, match=r"trials cannot run on the work pool .*; run 'heo up', or set"):
        sweep(make_params(space={"lr": [1e-3]}))
    assert query(database_url, "select count(*) from sweep_trial") == [(0,)]


@pytest.fixture
def finetune_deployment(home: Path, prefect_api_url: str) -> Iterator[PrefectApi]:
    """The deployment finetune, as deploy/prefect.yaml has it."""
    with PrefectApi(prefect_api_url) as api:
        flow_id = api.request("POST", "/flows/", {"name": "finetune"})["id"]
        deployment = {
            "name": "finetune",
            "flow_id": flow_id,
            "entrypoint": "flows/finetune.py:finetune",
            "work_pool_name": "gpu",
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(CHECKOUT)}}],
        }
        deployment_id = api.request("POST", "/deployments/", deployment)["id"]
        yield api
        api.request("DELETE", f"/deployments/{deployment_id}")


@pytest.fixture
def worker(finetune_deployment: PrefectApi, home: Path, prefect_api_url: str) -> Iterator[psutil.Process]:
    """A worker of that pool."""
    environment = {**os.environ, "PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(home / "prefect")}
    environment |= {"PREFECT_WORKER_QUERY_SECONDS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--type", "process", "--limit", "2"]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "worker.log").open("w") as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield process
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=20)


def wait_for[T](look: Callable[[], T], patience_s: float = 600.0) -> T:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.2)
    raise AssertionError(f"not seen in {patience_s} s")


def find_process(worker: psutil.Process, flow_run_id: str) -> psutil.Process | None:
    for child in worker.children(recursive=True):
        with suppress(psutil.Error):
            if child.environ().get("PREFECT__FLOW_RUN_ID") == flow_run_id and "prefect" in " ".join(child.cmdline()):
                return child
    return None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_that_was_killed_joins_its_trials_and_starts_a_killed_one_again(
    home: Path, worker: psutil.Process, finetune_deployment: PrefectApi, database_url: str, prefect_api_url: str
) -> None:
    from flows.sweep import sweep

    api = finetune_deployment
    params = make_params(name="killed", space={"seed": [0, 1, 2]}, sampler="grid")
    wait_for(lambda: any(w["status"] == "ONLINE" for w in api.request("POST", "/work_pools/gpu/workers/filter", {})))
    code = (
        "from flows.sweep import sweep; from heo_core.params import SweepParams;"
        f"sweep(SweepParams.model_validate_json({params.model_dump_json()!r}))"
    )
    environment = {**os.environ, "PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(home / "prefect")}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)

    def list_runs(*states: str) -> list[dict]:
        runs = api.flow_runs(tags={"all_": ["sweep:killed@1"]})
        return [run for run in runs if not states or run["state_type"] in states]

    try:
        wait_for(lambda: len(list_runs("RUNNING")) == 2)  # at once: the worker has two places
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    ((victim,),) = query(database_url, "select flow_run_id from sweep_trial where number = 0")
    wait_for(lambda: find_process(worker, victim)).kill()
    assert query(database_url, "select number, state, n_tries from sweep_trial order by 1") == [
        (0, "running", 1),
        (1, "running", 1),
    ]

    sweep_id = sweep(params)
    trials = query(database_url, "select number, state, failure from sweep_trial order by 1")
    assert trials == [(number, "completed", None) for number in range(3)]
    tries = [n for (n,) in query(database_url, "select n_tries from sweep_trial order by number")]
    # On a machine too busy for heartbeats, Prefect gives up runs that go on: they are found, and nothing is doubled.
    assert tries[0] >= 2
    assert min(tries) == 1
    assert len(list_runs()) == sum(tries)
    assert query(database_url, "select count(*), count(distinct name) from training_run") == [(3, 3)]
    models = "select name, version from model_version where training_run_id is not null order by 1"
    assert query(database_url, models) == [(f"killed-t{number:02}", 1) for number in range(3)]
    ranks = query(database_url, f"select rank, score from sweep_ranking where sweep_id = {sweep_id} order by 1")
    assert [score for _, score in ranks] == sorted(score for _, score in ranks)
    parents = {run["parent_task_run_id"] for run in list_runs()}
    assert len(parents) == sum(tries)
    assert None not in parents


def test_a_crashed_sweep_takes_its_own_steps_along_and_not_its_trials(
    finetune_deployment: PrefectApi, database_url: str
) -> None:
    api = finetune_deployment
    flow_id = api.request("POST", "/flows/", {"name": "sweep"})["id"]
    running = {"type": "RUNNING"}
    parent = api.request("POST", "/flow_runs/", {"flow_id": flow_id, "state": running})

    def make_step() -> str:
        step = {"flow_run_id": parent["id"], "task_key": "step", "dynamic_key": str(uuid4()), "state": running}
        return str(api.request("POST", "/task_runs/", step)["id"])

    own = api.request("POST", "/flow_runs/", {"flow_id": flow_id, "state": running, "parent_task_run_id": make_step()})
    deployment = api.deployment("finetune")
    body = {"state": {"type": "SCHEDULED"}, "parent_task_run_id": make_step()}
    trial = api.request("POST", f"/deployments/{deployment['id']}/create_flow_run", body)
    flow_runs.crash(api, api.flow_run(parent["id"]), "its process is gone")
    states = [api.flow_run(run["id"])["state_type"] for run in (parent, own, trial)]
    assert states == ["CRASHED", "CRASHED", "SCHEDULED"]
    api.request("DELETE", f"/flow_runs/{trial['id']}")
