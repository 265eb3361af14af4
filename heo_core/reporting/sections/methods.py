"""Everything needed to make the numbers of the page again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from heo_core.reporting.blocks import Block, Facts, Missing, Section
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.quantities import QUANTITIES
from heo_core.reporting.sections.cells import NONE


def build_methods(data: ReportData) -> Section:
    """Return models, hashes, parameters, versions, licences and what the numbers mean."""
    lead = (
        "Everything needed to make these numbers again: models, hashes, parameters, versions, licences and citations."
    )
    blocks: list[Block] = [*_make_model_facts(data)]
    for run in data.training_runs.to_dict("records"):
        blocks.append(Facts(f"Training of {run['label']}: parameters", flatten(run["params"]), folded=True))
        blocks.append(Facts(f"Training of {run['label']}: versions", flatten(run["versions"]), folded=True))
        if isinstance(run["left_out"], dict) and run["left_out"]:
            blocks.append(Facts(f"Training of {run['label']}: rows left out", flatten(run["left_out"]), folded=True))
    if data.dataset is not None:
        blocks.append(
            Facts(
                f"Curation of {data.dataset.get('label')}: parameters", flatten(data.dataset.get("params")), folded=True
            )
        )
    for row in data.benchmarks.to_dict("records"):
        about = [("kind", str(row["kind"])), ("version", str(row["version"])), ("structures", str(row["n_cases"]))]
        about.append(("reference", as_text(row["reference"]) or "none"))
        blocks.append(Facts(f"Benchmark {row['benchmark']}", about + flatten(row["params"]), folded=True))
    blocks.append(_make_glossary(data))
    blocks.append(Facts("This page", [("made", f"{data.generated_at:%Y-%m-%d %H:%M} UTC"), ("heo", data.heo_version)]))
    return Section("methods", "Methods", lead, blocks)


def _make_model_facts(data: ReportData) -> Iterator[Block]:
    if data.models.empty:
        yield Missing("No model stands in this report.", "heo finetune")
    names = {
        "role": "Role",
        "family": "Family",
        "parent": "Parent",
        "dataset": "Trained on",
        "licence": "Licence",
        "n_elements": "Elements known",
        "created_at": "Made",
        "sha256": "SHA-256",
    }
    for model in data.models.to_dict("records"):
        yield Facts(f"Model {model['label']}", [(title, _fact(model[name])) for name, title in names.items()])


def _fact(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    number = as_number(value) if isinstance(value, float) else None
    return f"{number:g}" if number is not None else as_text(value) or NONE


def _make_glossary(data: ReportData) -> Facts:
    names = [name for name in QUANTITIES if name in set(data.metrics["name"])]
    rows = [(QUANTITIES[name].title, QUANTITIES[name].meaning) for name in names]
    paired = (
        "candidate minus baseline on the structures that both models answered; its 95 % interval comes from "
        "resampling whole groups of them (chemical systems, or cells). An interval that includes zero decides nothing."
    )
    return Facts("What the numbers mean", [*rows, ("Paired difference", paired)], folded=True)


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested dict as (dotted name, text) pairs in their order; none for anything but a dict."""
    if not isinstance(value, Mapping):
        return []
    pairs: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            pairs.extend(flatten(item, f"{prefix}{name}."))
        else:
            pairs.append(
                (
                    f"{prefix}{name}",
                    item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str),
                )
            )
    return pairs
