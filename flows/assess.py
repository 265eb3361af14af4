"""Assess: what a finetuned model has gained and lost against its parent, measured by us after every training.

On its dataset's train, validation and test split; on cells off equilibrium (softening), labelled by a potential and
by DFT; on simple oxides and the equations of state of binary ones (forgetting). Each number is an evaluation like any
other: `heo evaluate` finds it, and a second assessment computes nothing again. What is beyond a limit of
`heo_core.evaluation.assessment` becomes a sentence in the model's warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import evaluations, models
from db.engine import session_scope
from db.versions import label
from flows.artifact_tables import show_table
from flows.benchmarks import compare_evaluations, define_benchmark, evaluate_model, needs_dataset
from flows.settings import load_settings
from flows.task_names import name_by_labels
from flows.tries import AGAIN
from heo_core.evaluation.assessment import CHECKS, Outcome, describe, judge
from heo_core.params import AUTO_BENCHMARKS, DFT_OFFEQ, BenchmarkParams, EnergyForcesParams
from heo_core.records import Metric
from heo_core.reporting.quantities import get_quantity

type _Pair = tuple[int | None, int]
"""Evaluations of parent, where there is one, and child on one benchmark."""

# Cheapest verdicts first, so that a kill in the middle costs the least.
ASSESSMENT: tuple[BenchmarkParams, ...] = (
    *AUTO_BENCHMARKS,
    EnergyForcesParams(split="test"),
    EnergyForcesParams(split="validation"),
    EnergyForcesParams(split="train"),
)

HEADLINES: dict[str, tuple[str, ...]] = {
    "energy-forces": ("forces_rmse_ev_per_ang", "forces_mae_ev_per_ang", "energy_rmse_ev_per_atom"),
    **{check.kind: tuple(each.metric for each in CHECKS if each.kind == check.kind) for check in CHECKS},
}
"""Metrics that are shown of each kind of benchmark: the errors on the splits, and those that have a limit."""


@task(name="assess the model", task_run_name=name_by_labels("assess {model_version_id}"), cache_policy=NO_CACHE)
def assess_model(model_version_id: int) -> None:
    """Evaluate a model and its parent, compare them, and store what is beyond a limit as the model's warnings.

    Without a parent there is nothing to compare and no warning; without a dataset its splits are left out. A benchmark
    that fails is a failed evaluation and a line in the log, never an error: the training has succeeded.
    """
    url = load_settings().resolve_database_url()
    with session_scope(url) as session:
        model = models.get_model(session, model_version_id)
    measured: list[_Pair] = []
    compared: dict[str, tuple[int, int]] = {}
    for params in ASSESSMENT:
        if needs_dataset(params) and model.dataset_id is None:
            continue
        pair = _evaluate(params, model.dataset_id, model.parent_id, model_version_id)
        if pair is None:
            continue
        measured.append(pair)
        parent, child = pair
        if parent is not None and params != DFT_OFFEQ:  # the limits are for the bundled cells of many prototypes
            compared.setdefault(params.kind, (parent, child))
    show_assessment(measured, model_version_id)
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
) -> _Pair | None:
    """Return the evaluations of parent and child, both done and compared; None where one failed."""
    try:
        benchmark_id = define_benchmark(params, dataset_id)
        child = evaluate_model(model_version_id, benchmark_id)
        if parent_id is None:
            return None, child
        parent = evaluate_model(parent_id, benchmark_id)
        compare_evaluations(parent, child)
    except Exception as exc:  # noqa: BLE001  # whatever an evaluation stumbles over, the model is trained and stays
        get_run_logger().warning("%s was not assessed: %s: %s", params.kind, type(exc).__name__, exc)
        return None
    return parent, child


@task(name="show the assessment", cache_policy=NO_CACHE, **AGAIN)
def show_assessment(measured: Sequence[_Pair], model_version_id: int) -> None:
    """Put what was measured into Prefect's UI, parent and child side by side."""
    rows: list[dict[str, Any]] = []
    with session_scope(load_settings().resolve_database_url()) as session:
        model = models.get_model(session, model_version_id)
        of_parent = None if model.parent_id is None else label(models.get_model(session, model.parent_id))
        for parent, child in measured:
            benchmark = evaluations.get_benchmark_of_evaluation(session, child)
            before = {} if parent is None else evaluations.load_metrics(session, parent)
            after = evaluations.load_metrics(session, child)
            differences = {} if parent is None else evaluations.load_comparison(session, parent, child)
            rows += [
                make_row(label(benchmark), name, before.get(name), after[name], differences.get(name))
                for name in HEADLINES[benchmark.kind]
                if name in after
            ]
    against = "" if of_parent is None else f" against its parent {of_parent}"
    show_table(rows, key="assessment", description=f"{label(model)}{against}: what was measured after the training")


def make_row(
    benchmark: str, name: str, parent: Metric | None, child: Metric, difference: Metric | None
) -> dict[str, Any]:
    """Return a line of the table, in the units of the report; None where there is no number, or no interval."""
    quantity = get_quantity(name, child.unit)

    def scale(value: float | None) -> float | None:
        return None if value is None else value * quantity.factor

    low, high = (None, None) if difference is None else (scale(difference.ci_low), scale(difference.ci_high))
    return {
        "benchmark": benchmark,
        "metric": f"{quantity.title} ({quantity.unit})" if quantity.unit else quantity.title,
        "parent": scale(parent.value) if parent else None,
        "child": scale(child.value),
        "paired difference": scale(difference.value) if difference else None,
        "95 % interval": None if low is None or high is None else f"{low:.3g} to {high:.3g}",
    }


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
