"""The `heo` commands that make a report again, from the parameters that are stored with its parts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from heo_core.params import BENCHMARK_KINDS, CurationParams, EvaluationParams, FinetuneParams, Params
from heo_core.reporting.data import ReportData

type _Changes = dict[tuple[str, ...], Any]


def list_commands(data: ReportData) -> list[str]:
    """Return what to type, one step a line: curate, finetune each model, evaluate, report.

    Parameters that a later version of heo does not know any more are left out of the commands; the page has them all.
    """
    commands = []
    if data.dataset is not None and isinstance(data.dataset.get("params"), dict):
        commands.append(_make_command("curate", describe_changes(CurationParams, data.dataset["params"])))
    commands += [
        _make_command("finetune", describe_changes(FinetuneParams, params))
        for params in data.training_runs["params"]
        if isinstance(params, dict)
    ]
    models = [word for label in data.models["label"] for word in ("--model", str(label))]
    if len(data.benchmarks):
        commands.append(shlex.join(["heo", "evaluate", *models, *_list_benchmarks(data)]))
    shown = [word for label in data.benchmarks["benchmark"] for word in ("--benchmark", str(label))]
    return [*commands, shlex.join(["heo", "report", *models, *shown])] if models else commands


def describe_changes(kind: type[Params], stored: Mapping[str, Any]) -> list[str]:
    """Return FIELD=VALUE words that make these parameters of the defaults of their kind: no word that is not needed."""
    known = {name: value for name, value in stored.items() if name in kind.model_fields}
    changes: _Changes = {}
    # What one field decides of others, as a preset does, shows only when it is set: hence again.
    for _ in range(5):
        built = _build(kind, changes)
        found = dict(_compare(known, {} if built is None else built))
        if built is not None and not found:
            break
        changes |= found
    else:
        return _to_words(changes)
    for path in list(changes):
        fewer = {other: value for other, value in changes.items() if other != path}
        without = _build(kind, fewer)
        if without is not None and not dict(_compare(known, without)):
            changes = fewer
    return _to_words(changes)


def _make_command(step: str, words: list[str]) -> str:
    return shlex.join(["heo", step, *(part for word in words for part in ("--set", word))])


def _list_benchmarks(data: ReportData) -> Iterator[str]:
    """Benchmarks of the report; those on splits that were trained on are run by every finetuning."""
    for row in data.benchmarks.to_dict("records"):
        label, kind, params = str(row["benchmark"]), str(row["kind"]), row["params"]
        if kind not in BENCHMARK_KINDS or data.is_aside(label):
            continue
        if label.split("@", maxsplit=1)[0].split(":", maxsplit=1)[0] != kind:
            yield from ("--benchmark", label)
            continue
        yield from ("--benchmark", kind)
        group = kind.replace("-", "_")
        if isinstance(params, dict):
            default = EvaluationParams.model_fields[group].default
            for word in describe_changes(type(default), params):
                yield from ("--set", f"{group}.{word}")


def _to_words(changes: _Changes) -> list[str]:
    return [
        f"{'.'.join(path)}={value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}"
        for path, value in changes.items()
    ]


def _build(kind: type[Params], changes: _Changes) -> dict[str, Any] | None:
    """Parameters that these changes of the defaults make; None where they are not allowed."""
    values: dict[str, Any] = {}
    for (*parents, last), value in changes.items():
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    try:
        params = kind.model_validate(values)
    except ValidationError:
        return None
    # Stored are the parameters with all that a preset or strategy decides.
    resolved = params.resolve() if isinstance(params, CurationParams | FinetuneParams) else params
    return resolved.model_dump(mode="json")


def _compare(stored: Mapping[str, Any], built: Mapping[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Leaves in which the two differ, with their stored values."""
    for name, value in stored.items():
        other = built.get(name)
        if isinstance(value, dict) and isinstance(other, dict) and other:
            yield from _compare(value, other, *path, name)
        elif name not in built or value != other:
            yield (*path, name), value
