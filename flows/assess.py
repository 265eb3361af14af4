"""Assess: what a finetuned model has gained and lost against its parent, measured by us after every training.

On its dataset's train, validation and test split; on cells off equilibrium (softening), labelled by a potential and
by DFT; on simple oxides and the equations of state of binary ones (forgetting). Each number is an evaluation like any
other: `heo evaluate` finds it, and a second assessment computes nothing again. What is beyond a limit of
`heo_core.evaluation.assessment` becomes a sentence in the model's warnings.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import evaluations, models
from db.engine import session_scope
from db.versions import label
from flows.benchmarks import compare_evaluations, define_benchmark, evaluate_model, needs_dataset
from flows.settings import load_settings
from heo_core.evaluation.assessment import CHECKS, Outcome, describe, judge
from heo_core.params import AUTO_BENCHMARKS, DFT_OFFEQ, BenchmarkParams, EnergyForcesParams

# Cheapest verdicts first, so that a kill in the middle costs the least.
ASSESSMENT: tuple[BenchmarkParams, ...] = (
    *AUTO_BENCHMARKS,
    EnergyForcesParams(split="test"),
    EnergyForcesParams(split="validation"),
    EnergyForcesParams(split="train"),
)


@task(name="assess the model", task_run_name="assess model {model_version_id}", cache_policy=NO_CACHE)
def assess_model(model_version_id: int) -> None:
    """Evaluate a model and its parent, compare them, and store what is beyond a limit as the model's warnings.

    Without a parent there is nothing to compare and no warning; without a dataset its splits are left out. A benchmark
    that fails is a failed evaluation and a line in the log, never an error: the training has succeeded.
    """
    url = load_settings().resolve_database_url()
    with session_scope(url) as session:
        model = models.get_model(session, model_version_id)
    compared: dict[str, tuple[int, int]] = {}
    for params in ASSESSMENT:
        if needs_dataset(params) and model.dataset_id is None:
            continue
        pair = _evaluate(params, model.dataset_id, model.parent_id, model_version_id)
        if pair is not None and params != DFT_OFFEQ:  # the limits are for the bundled cells of many prototypes
            compared.setdefault(params.kind, pair)
    if model.parent_id is None:
        return
    outcomes = _judge(compared)
    warnings = [describe(outcome) for outcome in outcomes if outcome.is_beyond]
    failed = [kind for kind in dict.fromkeys(check.kind for check in CHECKS) if kind not in compared]
    unknown = [*failed, *(outcome.check.subject for outcome in outcomes if not outcome.is_known)]
    if unknown:
        # Silence would read as a clean bill.
        warnings.append(f"Not measured: there is no number of {', '.join(unknown)}, so its limit was not checked.")
    if unsure := [outcome.check.subject for outcome in outcomes if outcome.is_known and not outcome.is_judged]:
        warnings.append(f"Not measured: too few systems for an interval of {', '.join(unsure)}: no limit was checked.")
    with session_scope(url) as session:
        models.set_warnings(session, model_version_id, warnings)
    logger = get_run_logger()
    for warning in warnings:
        logger.warning("%s: %s", label(model), warning)
    if not warnings:
        logger.info("%s is neither softer nor has it forgotten, by the limits in docs/metrics.md", label(model))


def _evaluate(
    params: BenchmarkParams, dataset_id: int | None, parent_id: int | None, model_version_id: int
) -> tuple[int, int] | None:
    """Return the evaluations of parent and child, both done and compared; None where there is no such pair."""
    try:
        benchmark_id = define_benchmark(params, dataset_id)
        child = evaluate_model(model_version_id, benchmark_id)
        if parent_id is None:
            return None
        parent = evaluate_model(parent_id, benchmark_id)
        compare_evaluations(parent, child)
    except Exception as exc:  # noqa: BLE001  # whatever an evaluation stumbles over, the model is trained and stays
        get_run_logger().warning("%s was not assessed: %s: %s", params.kind, type(exc).__name__, exc)
        return None
    return parent, child


def _judge(compared: dict[str, tuple[int, int]]) -> Sequence[Outcome]:
    outcomes = []
    with session_scope(load_settings().resolve_database_url()) as session:
        for check in CHECKS:
            if check.kind not in compared:
                continue
            parent, child = compared[check.kind]
            before, after = (evaluations.load_metrics(session, i).get(check.metric) for i in (parent, child))
            difference = evaluations.load_comparison(session, parent, child).get(check.metric)
            outcomes.append(judge(check, before, after, difference))
    return outcomes
