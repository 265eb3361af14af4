"""Evaluate here: one model, in the environment of the worker that runs this. Other flows start it and wait for it."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.admission import admit, limit
from flows.benchmarks import evaluate_model
from flows.environments import FLOW
from flows.registry import register_model
from flows.runners import use_runner
from flows.settings import load_settings
from flows.tries import AGAIN
from heo_core.params import ScaleParams


@task(name="register the model", cache_policy=NO_CACHE, **AGAIN)
def find_model(reference: str) -> int:
    """Return the id of the model version."""
    return register_model(reference, load_settings())


@flow(name=FLOW, flow_run_name="evaluate {model}", timeout_seconds=limit(days=7), description=__doc__)
def evaluate_here(
    model: str,
    benchmarks: list[int] = [],  # noqa: B006  # Prefect's form
    force: bool = False,
    scale: ScaleParams = ScaleParams(),
) -> list[int]:
    """Return the ids of the model's evaluations.

    Args:
        model: a published model such as sevennet:7net-0, or NAME@VERSION of a registered one
        benchmarks: ids of benchmarks; none: the model is only registered
        force: run again what is done
        scale: where the structures are computed

    """
    admit(scale, model=model)
    model_id = find_model(model)
    with use_runner(scale, load_settings()):
        return [evaluate_model(model_id, benchmark_id, force=force) for benchmark_id in benchmarks]
