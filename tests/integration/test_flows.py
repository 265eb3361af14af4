"""Flows in this process, on a real server and database: what is done is found again, what broke off goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from querying import query
from sqlalchemy import select
from typer.testing import CliRunner

from db import datasets, evaluations
from db.engine import session_scope
from db.schema import Dataset
from deploy.services.prefect_api import PrefectApi
from flows.settings import load_settings
from heo_core.assets import SAMPLE_DIR
from heo_core.errors import InputError
from heo_core.evaluation.energy_forces import compute_metrics
from heo_core.params import (
    CurationParams,
    EnergyForcesParams,
    EvaluationParams,
    FinetuneParams,
    RelaxParams,
    ReplayParams,
    ReportParams,
    RuleParams,
    SplitParams,
    SubstitutionRelaxParams,
)

SUBSTITUTION = SubstitutionRelaxParams(
    composition="Mg0.5Ni0.5O",
    supercell=(1, 1, 1),
    n_cells=4,
    reference="heo-mini",
    relax=RelaxParams(max_force_calls=30),
)


@pytest.fixture
def small(tmp_path: Path) -> CurationParams:
    """A source of the sample's smallest cells."""
    table = pq.read_table(SAMPLE_DIR / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(0, 120), tmp_path / "small.parquet")
    rules = RuleParams(max_n_atoms=16)
    return CurationParams(name="small", source=str(tmp_path / "small.parquet"), rules=rules, map="pca")


def test_curating_twice_finds_the_same_dataset(
    home: Path, small: CurationParams, database_url: str, prefect_api_url: str
) -> None:
    from flows.curate import curate

    assert curate(small) == curate(small)
    assert query(database_url, "select count(*) from dataset") == [(1,)]
    ((kept, rejected, scanned),) = query(
        database_url,
        "select n_kept, (select sum(n_rejected) from dataset_rejection), n_scanned from dataset",
    )
    assert kept + rejected == scanned == 120
    with PrefectApi(prefect_api_url) as api:
        keys = {"artifacts": {"key": {"any_": ["curation-progress", "dataset-splits"]}}}
        shown = {artifact["description"] for artifact in api.request("POST", "/artifacts/filter", keys)}
    read = f"rows of file://{small.source} scanned: 120 of 120, {kept} kept, stored as small@1"
    assert {read, "small@1: structures, formulas and chemical systems of each split"} <= shown


def test_a_curation_that_was_killed_goes_on_from_the_files_it_had_read(
    home: Path, tmp_path: Path, database_url: str, prefect_api_url: str
) -> None:
    from flows.curate import curate

    source = tmp_path / "shards"
    source.mkdir()
    table = pq.read_table(SAMPLE_DIR / "train-00000-of-00001.parquet")
    for i in range(60):
        pq.write_table(table.slice(i * 9, 9), source / f"train-{i:02}.parquet")
    params = CurationParams(name="killed", source=str(source), map="none")
    code = (
        "from flows.curate import curate; from heo_core.params import CurationParams;"
        f"curate(CurationParams.model_validate_json({params.model_dump_json()!r}))"
    )
    environment = {**os.environ, "PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(home / "prefect")}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)
    folder = home / "work" / "curation" / "killed"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= len(list(folder.glob("*.json"))) < 60
    assert query(database_url, "select count(*) from dataset") == [(0,)]
    curate(params)
    assert not folder.exists()
    undisturbed = params.model_copy(update={"name": "undisturbed"})
    curate(undisturbed)
    killed, other = query(database_url, "select content_hash, n_scanned, n_kept from dataset order by name")
    assert killed == other
    assert query(database_url, "select count(*) from structure") == [(killed[2],)]
    assert query(database_url, "select count(*) from descriptor") == [(killed[2],)]


def test_a_dataset_is_exported_and_curated_back_as_it_was(home: Path, small: CurationParams, tmp_path: Path) -> None:
    from deploy.cli.main import app
    from flows.curate import curate

    curate(small)
    out = tmp_path / "out"
    out.mkdir()
    for file_format in ("extxyz", "parquet", "ase-db"):
        options = ["dataset", "export", "small", "--format", file_format, "--out", str(out)]
        result = CliRunner().invoke(app, options)
        assert result.exit_code == 0, result.output
    for file in out.iterdir():
        again = CurationParams(name=f"again-{file.suffix[1:]}", source=str(file), rules=small.rules, map="none")
        curate(again)
    result = CliRunner().invoke(app, ["dataset", "list", "--json"])
    assert len({row["kept"] for row in json.loads(result.output)}) == 1
    with session_scope(load_settings().resolve_database_url()) as session:
        hashes = {row.content_hash for row in session.scalars(select(Dataset))}
    assert len(hashes) == 1

    refused = CliRunner().invoke(app, ["dataset", "export", "small", "--split", "off_equilibrium", "--out", str(out)])
    assert refused.exit_code == 2
    assert "small has no structures in off_equilibrium; allowed: all, train, " in refused.output


def test_an_evaluation_that_was_killed_goes_on_where_it_stopped(
    home: Path, small: CurationParams, database_url: str
) -> None:
    from flows.curate import curate
    from flows.evaluate import evaluate

    curate(small)
    params = EvaluationParams(
        models=("heo-mini",),
        dataset="small",
        benchmarks=("energy-forces", "substitution-relax"),
        energy_forces=EnergyForcesParams(split="train"),
        substitution_relax=SUBSTITUTION,
    )
    evaluate(params)
    metrics = "select evaluation_id, name, value, ci_low, ci_high, n from metric order by 1, 2"
    rows = "select evaluation_id, structure_id, energy_ev, forces_ev_per_ang from prediction order by 1, 2"
    relaxed = "select evaluation_id, case_index, converged, force_calls, energy_final_ev from relaxation order by 1, 2"
    before = [query(database_url, sql) for sql in (metrics, rows, relaxed)]

    # What a kill in the middle leaves: some rows, no summary, a state that says running.
    query(database_url, "delete from prediction where structure_id % 2 = 0")
    query(database_url, "delete from relaxation where case_index >= 2")
    query(database_url, "delete from metric")
    query(database_url, "update evaluation set state = 'running', finished_at = null, device = 'cuda'")
    kept = "select ctid, xmin from prediction order by structure_id"
    untouched = query(database_url, kept)
    evaluate(params)

    after = [query(database_url, sql) for sql in (metrics, rows, relaxed)]
    for earlier, later in zip(before, after, strict=True):
        assert len(earlier) == len(later) > 0
        for old, new in zip(earlier, later, strict=True):
            for a, b in zip(old, new, strict=True):
                assert a == b or np.allclose(a, b, atol=1e-8)
    assert set(untouched) <= set(query(database_url, kept))
    assert query(database_url, "select distinct state, device from evaluation") == [("completed", "cpu and cuda")]


def test_stored_metrics_are_those_of_the_stored_rows(home: Path, small: CurationParams, database_url: str) -> None:
    from flows.curate import curate
    from flows.evaluate import evaluate

    dataset_id = curate(small)
    (evaluation_id,) = evaluate(EvaluationParams(models=("heo-mini",), dataset="small", benchmarks=("energy-forces",)))
    with session_scope(database_url) as session:
        structures = datasets.load_split(session, dataset_id, "test")
        predictions = evaluations.load_predictions(session, evaluation_id)
        training = list(datasets.load_split(session, dataset_id, "train").values())
        stored = {row["metric"]: row["value"] for row in evaluations.list_metrics(session, [evaluation_id])}
    errors = np.concatenate(
        [np.ravel(predictions[i].forces_ev_per_ang - s.forces_ev_per_ang) for i, s in structures.items()]
    )
    reference = np.concatenate([np.ravel(s.forces_ev_per_ang) for s in structures.values()])
    energies = np.array([(predictions[i].energy_ev - s.energy_ev) / s.n_atoms for i, s in structures.items()])
    assert stored["forces_rmse_ev_per_ang"] == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    assert stored["forces_mae_ev_per_ang"] == pytest.approx(np.mean(np.abs(errors)), rel=1e-12)
    assert stored["zero_force_rmse_ev_per_ang"] == pytest.approx(np.sqrt(np.mean(reference**2)), rel=1e-12)
    assert stored["energy_rmse_ev_per_atom"] == pytest.approx(np.sqrt(np.mean(energies**2)), rel=1e-12)
    slope = np.sum((reference + errors) * reference) / np.sum(reference**2)
    assert stored["forces_softening_slope"] == pytest.approx(slope, rel=1e-12)
    ordered = [predictions[i] for i in structures]
    again = compute_metrics(list(structures.values()), ordered, training, np.random.default_rng(0))
    assert {metric.name: metric.value for metric in again} == pytest.approx(stored)


def test_elements_that_the_foundation_does_not_know_are_left_out_and_counted(
    home: Path, small: CurationParams, database_url: str
) -> None:
    from flows.curate import curate
    from flows.finetune import finetune

    curate(small)
    query(database_url, "update structure set species = array_replace(species, 'O', 'Po') where id % 5 = 0")
    ((expected,),) = query(
        database_url,
        """
        select count(*) from dataset_member join structure on structure.id = structure_id
        where 'Po' = any(species) and split <> 'test'
        """,
    )
    finetune(FinetuneParams(dataset="small", strategy="naive", max_num_epochs=1, dtype="float32"), assess=False)
    assert expected > 0
    assert query(database_url, "select left_out, state from training_run where e0_outliers is null") == [
        ({"unknown_element": expected}, "completed")
    ]


def start_finetuning(params: FinetuneParams, home: Path, prefect_api_url: str) -> subprocess.Popen[bytes]:
    """Start a finetuning in a process of its own, as a worker does."""
    code = (
        "from flows.finetune import finetune; from heo_core.params import FinetuneParams;"
        f"finetune(FinetuneParams.model_validate_json({params.model_dump_json()!r}), assess=False)"
    )
    environment = {**os.environ, "PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(home / "prefect")}
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment)


def wait_for_epoch(url: str, epoch: int) -> None:
    deadline = time.monotonic() + 240
    while not query(url, f"select 1 from epoch_metric where epoch >= {epoch}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert query(url, f"select 1 from epoch_metric where epoch >= {epoch}")


@pytest.mark.usefixtures("fewer_cells")
def test_a_finetuning_makes_one_model_that_is_assessed(
    home: Path, small: CurationParams, database_url: str, prefect_api_url: str
) -> None:
    from flows.curate import curate
    from flows.finetune import finetune

    curate(small.model_copy(update={"split": SplitParams(seed=1)}))
    # As if by another calculation.
    ((odd,),) = query(
        database_url,
        """
        update structure set energy_ev = energy_ev + 2 * n_atoms
        where id = (select min(structure_id) from dataset_member where split = 'train') returning immutable_id
        """,
    )
    params = FinetuneParams(dataset="small", max_num_epochs=2, replay=ReplayParams(n_cells=10))
    model_version_id = finetune(params, assess=False)
    assert finetune(params) == model_version_id
    assert query(database_url, "select state, n_resumes, count(*) over () from training_run") == [("completed", 0, 1)]
    ((outliers,),) = query(database_url, "select e0_outliers from training_run")
    assert {name: round(error) for name, error in outliers.items()} == {odd: -2}
    assert query(database_url, "select epoch from epoch_metric order by 1") == [(n,) for n in range(3)]
    assert query(database_url, "select count(*) from model_version where training_run_id is not null") == [(1,)]
    ((uri, sha256, parent, e0s, seconds),) = query(
        database_url,
        f"select artifact_uri, sha256, parent_id, e0s, train_s from model_version where id = {model_version_id}",
    )
    assert Path(uri).name == f"{sha256}.model"
    assert parent is not None
    assert set(e0s) >= {"Mg", "O"}
    assert seconds > 0
    # Assessed by us: parent and child on every split, off equilibrium, and for what may be forgotten.
    kinds = query(
        database_url, "select kind, count(*) from evaluation join benchmark b on b.id = benchmark_id group by 1"
    )
    assert dict(kinds) == {"energy-forces": 6, "off-equilibrium": 4, "forgetting-holdout": 2, "equation-of-state": 2}
    assert query(database_url, "select distinct state from evaluation") == [("completed",)]


def test_what_is_wrong_with_a_split_is_stored_with_the_run(
    home: Path, small: CurationParams, database_url: str
) -> None:
    from flows.curate import curate
    from flows.finetune import finetune

    curate(small)
    with pytest.raises(InputError, match="batch_size is 500, but only"):
        finetune(FinetuneParams(dataset="small", batch_size=500))
    query(database_url, "update structure set energy_ev = null")
    with pytest.raises(InputError, match=r"none of the .* structures of the train split can be used"):
        finetune(FinetuneParams(dataset="small"))
    failures = query(database_url, "select state, failure from training_run order by id")
    assert [state for state, _ in failures] == ["failed", "failed"]
    assert "batch_size is 500" in failures[0][1]
    assert "without energy or forces" in failures[1][1]
    assert query(database_url, "select count(*) from model_version where training_run_id is not null") == [(0,)]


def test_the_same_training_started_twice_is_done_once(
    home: Path, small: CurationParams, database_url: str, prefect_api_url: str
) -> None:
    from flows.curate import curate
    from flows.finetune import finetune

    curate(small)
    params = FinetuneParams(dataset="small", strategy="naive", max_num_epochs=1, dtype="float32")
    process = start_finetuning(params, home, prefect_api_url)
    wait_for_epoch(database_url, 0)
    model_version_id = finetune(params, assess=False)
    assert process.wait() == 0
    assert query(database_url, "select id from model_version where training_run_id is not null") == [
        (model_version_id,)
    ]
    assert query(database_url, "select n_resumes from training_run") == [(0,)]


def test_what_cannot_be_done_is_said_before_any_work(home: Path, database_url: str) -> None:
    from flows.evaluate import evaluate
    from flows.finetune import finetune
    from flows.report import report

    with pytest.raises(InputError, match="no dataset 'nowhere'; there is: none yet"):
        finetune(FinetuneParams(dataset="nowhere", foundation="file:/no/such.model"))
    with pytest.raises(InputError, match="no finetuned model is registered yet"):
        evaluate(EvaluationParams())
    with pytest.raises(InputError, match=r"no model 'nobody@3'; allowed: heo-mini, .*file:PATH.*registered: none yet"):
        report(ReportParams(models=("nobody@3",)))
    assert query(database_url, "select count(*) from training_run") == [(0,)]
    assert query(database_url, "select count(*) from evaluation") == [(0,)]
