"""Names of task runs, for Prefect's UI: tasks are given ids, people know models and benchmarks by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from db import evaluations, models
from db.engine import session_scope
from db.versions import label
from flows.settings import load_settings


def _name_model(session: Any, model_version_id: int) -> str:
    return label(models.get_model(session, model_version_id))


def _name_benchmark(session: Any, benchmark_id: int) -> str:
    return label(evaluations.get_benchmark(session, benchmark_id))


def _name_evaluation(session: Any, evaluation_id: int) -> str:
    evaluation = evaluations.get_evaluation(session, evaluation_id)
    return f"{_name_model(session, evaluation.model_version_id)} on {_name_benchmark(session, evaluation.benchmark_id)}"


def _name_evaluated_model(session: Any, evaluation_id: int) -> str:
    return _name_model(session, evaluations.get_evaluation(session, evaluation_id).model_version_id)


_NAMES: dict[str, tuple[str, Callable[[Any, int], str]]] = {
    "model_version_id": ("model", _name_model),
    "benchmark_id": ("benchmark", _name_benchmark),
    "evaluation_id": ("evaluation", _name_evaluation),
    "candidate_id": ("evaluation", _name_evaluation),
    "baseline_id": ("evaluation", _name_evaluated_model),  # its benchmark is the candidate's
}
"""What each parameter is the id of."""


def name_by_labels(template: str) -> Any:  # Prefect's type of it is no function's
    """Return a task's `task_run_name`: the template with NAME@VERSION in the place of each parameter that is an id.

    Where the database does not say it, the id stands there with its noun: a name must not cost the work.
    """

    def name(parameters: dict[str, Any]) -> str:
        ids = {field: value for field, value in parameters.items() if field in _NAMES}
        try:
            with session_scope(load_settings().resolve_database_url()) as session:
                words = {field: _NAMES[field][1](session, value) for field, value in ids.items()}
        except Exception:  # noqa: BLE001  # whatever the database stumbles over, the task itself tells
            words = {field: f"{_NAMES[field][0]} {value}" for field, value in ids.items()}
        return template.format(**parameters | words)

    return name
