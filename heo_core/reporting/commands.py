"""The `heo` commands that make a report again, from the parameters that are stored with its parts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from heo_core.params import BENCHMARK_KINDS, CurationParams, EvaluationParams, FinetuneParams, Params
from heo_core.reporting.data import ReportData

_ON_DATASETS = frozenset({"energy-forces", "rattle-relax"})  # of `heo evaluate --dataset`; others say on what they are

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
    commands += [shlex.join(["heo", "evaluate", *models, *words]) for words in _list_evaluations(data)]
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


@dataclass
class _Evaluation:
    """One `heo evaluate`: words by kind of benchmark, or by the name of a stored one; all on one dataset."""

    words: dict[str, list[str]] = field(default_factory=dict)
    dataset: str | None = None

    def takes(self, key: str, dataset: str | None) -> bool:
        return key not in self.words and (dataset is None or self.dataset in {None, dataset})


def _list_evaluations(data: ReportData) -> Iterator[list[str]]:
    """Yield the words after the models of as many evaluations as run the benchmarks of the report.

    Those on splits that were trained on are run by every finetuning.
    """
    runs: list[_Evaluation] = []
    for row in data.benchmarks.to_dict("records"):
        label, kind = str(row["benchmark"]), str(row["kind"])
        if kind not in BENCHMARK_KINDS or data.is_aside(label):
            continue
        name = label.partition("@")[0].split(":")
        is_stored = name[0] != kind
        key = label if is_stored else kind
        dataset = name[1] if kind in _ON_DATASETS and len(name) > 1 and not is_stored else None
        run = next((run for run in runs if run.takes(key, dataset)), None)
        if run is None:
            runs.append(run := _Evaluation())
        run.dataset = dataset or run.dataset
        run.words[key] = [] if is_stored else _describe_benchmark(kind, row["params"])
    trained_on = str((data.dataset or {}).get("label")).partition("@")[0]
    for run in runs:
        named = [] if run.dataset in {None, trained_on} else ["--dataset", str(run.dataset)]
        yield [*named, *(word for key, words in run.words.items() for word in ("--benchmark", key, *words))]


def _describe_benchmark(kind: str, params: object) -> list[str]:
    if not isinstance(params, dict):
        return []
    group = kind.replace("-", "_")
    default = EvaluationParams.model_fields[group].default
    return [part for word in describe_changes(type(default), params) for part in ("--set", f"{group}.{word}")]


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
