"""Laws of models that another environment computes, up to the worker of that environment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from db import evaluations, models
from db.engine import session_scope
from deploy.services.bootstrap import prepare_server
from deploy.services.prefect_api import PrefectApi
from flows.benchmarks import _evaluate_elsewhere
from flows.evaluate_here import evaluate_here
from flows.registry import register_foundation_model, register_model
from flows.runners import use_runner
from flows.settings import Settings
from heo_core.errors import EvaluationError, InputError, ModelError
from heo_core.params import EquationOfStateParams, PhysicsParams, ScaleParams, SubstitutionRelaxParams
from heo_core.records import ModelFile

REFERENCE = "sevennet:7net-0"
NO_WORKER = r"is of the family sevennet.*evaluate-here/evaluate-sevennet.*'make setup-sevennet', then 'heo up'"


@pytest.fixture
def settings(tmp_path, database_url, monkeypatch, prefect_api_url):
    monkeypatch.setenv("HEO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEO_DATABASE_URL", database_url)
    return Settings()


def add_model(settings, family, reference):
    file = ModelFile(family, reference, "nowhere", "7" * 64, ("Mg", "O"), "MIT")
    name = reference.replace(":", "-")
    with session_scope(settings.resolve_database_url()) as session:
        return models.register_published_model(session, file, name=name, size_bytes=1, energy_scale=None)[0].id


@pytest.fixture
def model_id(settings):
    """The model, as a worker of its environment would have registered it."""
    return add_model(settings, "sevennet", REFERENCE)


def add_benchmark(settings, params, reference_id=None):
    with session_scope(settings.resolve_database_url()) as session:
        return evaluations.add_benchmark(
            session, params, [], name=params.kind, dataset_id=None, reference_id=reference_id
        ).id


def test_without_a_worker_of_its_environment_a_model_is_an_error_that_says_how_to_get_one(settings):
    with pytest.raises(ModelError, match=f"{REFERENCE} {NO_WORKER}"):
        register_model(REFERENCE, settings)


def test_what_its_environment_has_stored_is_found_without_it(settings, model_id):
    url, benchmark_id = settings.resolve_database_url(), add_benchmark(settings, EquationOfStateParams())
    with pytest.raises(ModelError, match=f"sevennet-7net-0@1 {NO_WORKER}"):
        _evaluate_elsewhere(model_id, benchmark_id, url, force=False)
    with session_scope(url) as session:
        made = evaluations.start_evaluation(session, model_id, benchmark_id, flow_run_id=None).id
        evaluations.complete_evaluation(session, made, [], 1.0)
    assert register_model(REFERENCE, settings) == model_id
    assert _evaluate_elsewhere(model_id, benchmark_id, url, force=False) == made
    with pytest.raises(ModelError, match=NO_WORKER):
        _evaluate_elsewhere(model_id, benchmark_id, url, force=True)


@pytest.mark.parametrize("reference", [REFERENCE, "chgnet:0.3.0"])
def test_only_mace_is_finetuned_and_that_is_said_before_anything_is_done(settings, reference):
    with pytest.raises(ModelError, match=f"{reference} is of the family .*; only mace models can be finetuned"):
        register_foundation_model(reference, settings)
    with session_scope(settings.resolve_database_url()) as session:
        assert models.list_models(session) == []


def test_a_comparison_under_a_reference_that_no_environment_has_beside_the_model_is_refused(settings, model_id):
    url, benchmark_id = settings.resolve_database_url(), add_benchmark(settings, SubstitutionRelaxParams(), model_id)
    assert (
        _evaluate_elsewhere(
            add_model(settings, "mace", "heo-mini"), add_benchmark(settings, PhysicsParams()), url, force=False
        )
        is None
    )
    with pytest.raises(InputError, match=r"under sevennet-7net-0@1, of the family sevennet,.*allowed: chgnet:0.3.0"):
        _evaluate_elsewhere(add_model(settings, "mace", "heo-mini"), benchmark_id, url, force=False)


def test_a_worker_in_the_wrong_environment_does_not_hand_on_what_was_handed_to_it(settings, model_id):
    with pytest.raises(ModelError, match=r"was to compute sevennet-7net-0@1, but .* cannot compute the family"):
        evaluate_here("sevennet-7net-0", [add_benchmark(settings, EquationOfStateParams())])


def test_the_other_worker_is_told_where_to_compute_and_why_it_did_not_is_told_here(settings, model_id, prefect_api_url):
    url, benchmark_id = settings.resolve_database_url(), add_benchmark(settings, EquationOfStateParams())
    scale = ScaleParams(runner="dask", n_workers=2)
    with PrefectApi(prefect_api_url) as api, ThreadPoolExecutor(1) as pool:
        prepare_server(api)
        flow_id = api.request("POST", "/flows/", {"name": "evaluate-here"})["id"]
        body = {"name": "evaluate-sevennet", "flow_id": flow_id, "work_pool_name": "sevennet"}
        deployment_id = api.request("POST", "/deployments/", body)["id"]
        api.request("POST", "/work_pools/sevennet/workers/heartbeat", {"name": "as if"})
        try:
            with use_runner(scale, settings):
                job = pool.submit(copy_context().run, _evaluate_elsewhere, model_id, benchmark_id, url, force=False)
                while not job.done():
                    for run in api.runs_in_flight(deployment_id={"any_": [deployment_id]}):
                        api.set_state(run["id"], "FAILED", "no such GPU")
                    time.sleep(0.2)
                with pytest.raises(EvaluationError, match="for sevennet-7net-0@1 did not complete: no such GPU"):
                    job.result()
            sent = [run["parameters"] for run in api.flow_runs(deployment_id={"any_": [deployment_id]})]
        finally:
            api.request("DELETE", f"/deployments/{deployment_id}")
    assert sent
    assert all(one["scale"] == scale.model_dump() and one["benchmarks"] == [benchmark_id] for one in sent)
