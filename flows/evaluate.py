"""Evaluate: run models on benchmarks, one durable row a structure, and compare each with the first."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from db import datasets, evaluations, models
from db.engine import session_scope
from flows.admission import admit, limit
from flows.artifact_tables import show_table
from flows.benchmarks import compare_evaluations, define_benchmark, evaluate_model, find_benchmark, needs_dataset
from flows.registry import register_model
from flows.runners import use_runner
from flows.settings import load_settings
from flows.tries import AGAIN
from heo_core.errors import InputError
from heo_core.params import EvaluationParams


@task(name="find the models", cache_policy=NO_CACHE, **AGAIN)
def find_models(references: tuple[str, ...]) -> list[int]:
    """Return model version ids, the one to compare with first; without references, the newest child and its parent."""
    settings = load_settings()
    if references:
        return list(dict.fromkeys(register_model(reference, settings) for reference in references))
    with session_scope(settings.resolve_database_url()) as session:
        newest = models.find_newest_finetuned(session)
        if newest is None or newest.parent_id is None:
            raise InputError("no finetuned model is registered yet: name the models, or run 'heo finetune' first")
        return [newest.parent_id, newest.id]


@task(name="find the dataset", cache_policy=NO_CACHE, **AGAIN)
def find_dataset(reference: str | None, model_ids: list[int]) -> int:
    """Return the dataset to test on: the one named, or the one that the last finetuned of the models was trained on."""
    with session_scope(load_settings().resolve_database_url()) as session:
        if reference is not None:
            return datasets.get_dataset(session, reference).id
        trained_on = [models.get_model(session, i).dataset_id for i in model_ids]
        found = next((dataset_id for dataset_id in reversed(trained_on) if dataset_id is not None), None)
        if found is None:
            raise InputError("none of these models was finetuned here, so there is no dataset to test on: name one")
        return found


@task(name="show the metrics", cache_policy=NO_CACHE, **AGAIN)
def show_metrics(evaluation_ids: list[int]) -> None:
    """Put the summary numbers into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        rows = evaluations.list_metrics(session, evaluation_ids)
    compared = ", ".join(dict.fromkeys(row["model"] for row in rows))
    show_table(
        rows,
        key="evaluation-metrics",
        description=f"{compared}: summary numbers; n is the number of structures behind each",
    )


@flow(
    name="evaluate",
    flow_run_name="evaluate {params.subject}",
    timeout_seconds=limit(days=7),
    description=__doc__,
)
def evaluate(params: EvaluationParams = EvaluationParams()) -> list[int]:
    """Return the evaluation ids, benchmark by benchmark, the model to compare with first."""
    admit(params)
    model_ids = find_models(params.models)
    benchmarks = [params.get_benchmark(kind) for kind in params.benchmarks]
    stored = [find_benchmark(reference) for reference in params.stored_benchmarks]
    dataset_id = find_dataset(params.dataset, model_ids) if any(map(needs_dataset, benchmarks)) else None
    evaluation_ids: list[int] = []
    with use_runner(params.scale, load_settings()):
        for benchmark_id in [*(define_benchmark(benchmark, dataset_id) for benchmark in benchmarks), *stored]:
            baseline_id, *candidate_ids = [
                evaluate_model(model_id, benchmark_id, force=params.force) for model_id in model_ids
            ]
            for candidate_id in candidate_ids:
                compare_evaluations(baseline_id, candidate_id)
            evaluation_ids += [baseline_id, *candidate_ids]
    show_metrics(evaluation_ids)
    return evaluation_ids
