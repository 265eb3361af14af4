"""Re-evaluate: what waits to be evaluated by itself, and then the report and whoever wants to know.

Two flows. `reevaluate` is started by events and by the clock. It looks into the database, at the view
`pending_evaluation`, and starts a run of `reevaluate-model` for each model that waits and has none under way: the same
key gives the same run, however often it is asked for. What a run does is done once, too: an evaluation has a lock and a
unique row. Before, it starts crashed runs again of which no automation heard.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.logging import get_run_logger

from db import evaluations, models, pending, reports
from db.engine import session_scope
from db.versions import label
from flows.admission import admit, limit
from flows.benchmarks import compare_evaluations, evaluate_model
from flows.crashed_runs import restart_unheard
from flows.report import show_report, write_report
from flows.settings import RESTART_PATIENCE, load_settings
from flows.tries import AGAIN
from heo_core.errors import EvaluationError, HeoError, InputError
from heo_core.params import hash_json
from heo_core.reporting.answer import compute_statements

MODEL_DEPLOYMENT = "reevaluate-model/reevaluate-model"
MAX_RUNS = 3
"""Runs for the same evaluations of a model, before somebody has to look why they do not complete."""


@task(name="start what waits", cache_policy=NO_CACHE, **AGAIN)
def start_waiting() -> list[str]:
    """Return the models for which a run is there, started now or before."""
    with session_scope(load_settings().resolve_database_url()) as session:
        due = pending.list_due_models(session)
    return [model for model, benchmark_ids in due.items() if is_under_way(model) or _start(model, benchmark_ids)]


def is_under_way(model: str) -> bool:
    """Whether a run for the model waits, works, or has just died and is about to be started again."""
    name = FlowRunFilterName(any_=[_name_run(model)])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=name))
    states = [run.state for run in runs if run.state is not None]
    soon = datetime.now(UTC) - RESTART_PATIENCE
    return any(not state.is_final() or (state.is_crashed() and state.timestamp > soon) for state in states)


def _name_run(model: str) -> str:
    return f"reevaluate {model}"


def _start(model: str, benchmark_ids: list[int]) -> bool:
    for number in range(1, MAX_RUNS + 1):
        run: Any = run_deployment(
            MODEL_DEPLOYMENT,
            parameters={"model": model, "benchmarks": benchmark_ids},
            flow_run_name=_name_run(model),
            idempotency_key=f"reevaluate-{hash_json([model, benchmark_ids])[:32]}-{number}",
            timeout=0,
            as_subflow=False,
        )
        if not run.state.is_final():
            get_run_logger().info("%s waits for %d benchmarks: run %s", model, len(benchmark_ids), run.id)
            return True
        if run.state.type == StateType.CANCELLED:
            break
    get_run_logger().warning(
        "%s waits for %d benchmarks, but its last run ended as %s: look there, then 'heo evaluate --model %s'",
        model,
        len(benchmark_ids),
        run.state.name,
        model,
    )
    return False


@flow(name="reevaluate", flow_run_name="look for what waits", timeout_seconds=limit(hours=1), description=__doc__)
def reevaluate() -> list[str]:
    """Return the models for which a run is there."""
    admit()
    restart_unheard()
    return start_waiting()


@task(name="find what waits", cache_policy=NO_CACHE, **AGAIN)
def find_due(model: str) -> tuple[str, list[int], list[int]]:
    """Return NAME-VERSION, the ids of parent, if there is one, and model, and of the benchmarks that it waits for."""
    with session_scope(load_settings().resolve_database_url()) as session:
        row = models.get_registered_model(session, model)
        model_ids = [row.id] if row.parent_id is None else [row.parent_id, row.id]
        return label(row).replace("@", "-"), model_ids, pending.list_due_benchmarks(session, row.id)


@task(name="notify", cache_policy=NO_CACHE)
def notify(report_id: int, model_ids: list[int], benchmark_ids: list[int]) -> None:
    """Tell the block of HEO_NOTIFY where the model beats or falls behind its parent, if anything is decided."""
    settings = load_settings()
    if settings.notify is None:
        return
    with session_scope(settings.resolve_database_url()) as session:
        data = reports.load_report_data(session, model_ids)
        benchmarks = {label(evaluations.get_benchmark(session, i)) for i in benchmark_ids}
        page = reports.get_report(session, report_id).uri
    verdicts = {"better": "beats", "caution": "beats, with a caveat,", "worse": "falls behind"}
    decided = [
        s for s in compute_statements(data) if s.is_counted and s.verdict in verdicts and s.benchmark in benchmarks
    ]
    if not decided:
        return
    ways = " and ".join(dict.fromkeys(verdicts[s.verdict] for s in decided))
    link = settings.resolve_report_link(page.rpartition("/")[2])
    body = "\n".join([*(f"- {s.benchmark}: {s.text}" for s in decided), link])
    try:
        block: Any = Block.load(settings.notify)
        if not issubclass(type(block), NotificationBlock):
            raise InputError(f"it is a {block.get_block_type_slug()}, which cannot notify")  # noqa: TRY301
        block.notify(body, subject=f"{decided[0].candidate} {ways} its parent")
    except Exception as exc:  # noqa: BLE001  # any package's; a message that is not heard must not fail the evaluation
        # Never what the error says: the address of a webhook is its password.
        reason = str(exc) if isinstance(exc, HeoError) else type(exc).__name__
        get_run_logger().warning("the block %s of HEO_NOTIFY was not told: %s", settings.notify, reason)


@flow(name="reevaluate-model", flow_run_name="reevaluate {model}", timeout_seconds=limit(days=2), description=__doc__)
def reevaluate_model(model: str, benchmarks: list[int] = []) -> list[int]:  # noqa: B006  # Prefect's form shows it
    """Return the ids of the model's new evaluations; EvaluationError, after all of them, if one failed.

    Args:
        model: NAME@VERSION of a registered model; NAME means its newest version
        benchmarks: ids of benchmarks, of which finished ones are found; none means those that the model waits for

    """
    admit()
    name, model_ids, due = find_due(model)
    # A run that died after the last number still owes the comparison, the report and the message.
    benchmark_ids = benchmarks or due
    if not benchmark_ids:
        get_run_logger().info("%s waits for nothing", model)
        return []
    evaluation_ids = [evaluate_against_parent(model_ids, benchmark_id) for benchmark_id in benchmark_ids]
    report_id = write_report(name, model_ids)
    show_report(report_id)
    notify(report_id, model_ids, benchmark_ids)
    if None in evaluation_ids:
        raise EvaluationError(f"{evaluation_ids.count(None)} of {len(evaluation_ids)} benchmarks failed: see the log")
    return [evaluation_id for evaluation_id in evaluation_ids if evaluation_id is not None]


def evaluate_against_parent(model_ids: list[int], benchmark_id: int) -> int | None:
    """Return the model's evaluation, compared with its parent's; None, with the reason in the log, where one failed."""
    try:
        # The model first: a parent that fails must not cost its number.
        evaluation_id, *of_parent = [evaluate_model(model_id, benchmark_id) for model_id in reversed(model_ids)]
        for baseline_id in of_parent:
            compare_evaluations(baseline_id, evaluation_id)
    except Exception as exc:  # noqa: BLE001  # whatever it stumbles over, the other benchmarks are still to be run
        get_run_logger().error("benchmark %d: %s: %s", benchmark_id, type(exc).__name__, exc)
        return None
    return evaluation_id
