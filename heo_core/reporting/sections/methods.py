"""Everything needed to make the numbers of the page again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from heo_core.reporting.blocks import Block, Cell, Code, Column, Facts, Missing, Row, Section, Table
from heo_core.reporting.citations import list_sources
from heo_core.reporting.commands import list_commands
from heo_core.reporting.data import ReportData, as_number, as_text
from heo_core.reporting.quantities import QUANTITIES
from heo_core.reporting.sections.cells import NONE


def build_methods(data: ReportData) -> Section:
    """Return commands, models, hashes, parameters, versions, licences, citations and what the numbers mean."""
    lead = "Everything needed to make these numbers again, and to cite what they build on."
    blocks: list[Block] = [*_make_commands(data), *_make_model_facts(data)]
    for run in data.training_runs.to_dict("records"):
        blocks.append(Facts(f"Training of {run['label']}: parameters", flatten(run["params"]), folded=True))
        blocks.append(Facts(f"Training of {run['label']}: versions", flatten(run["versions"]), folded=True))
        for name, title in (
            ("e0s", "energies of free atoms, eV"),
            ("e0_outliers", "outliers of these energies, predicted less reference, eV/atom"),
            ("replay", "what was replayed"),
            ("left_out", "rows left out"),
        ):
            if isinstance(run[name], dict) and run[name]:
                blocks.append(Facts(f"Training of {run['label']}: {title}", flatten(run[name]), folded=True))
    if data.dataset is not None:
        about = [("content, SHA-256", as_text(data.dataset.get("content_hash")) or NONE)]
        about += [("source", as_text(data.dataset.get("source_uri")) or NONE)]
        about += [("source's revision", as_text(data.dataset.get("source_revision")) or NONE)]
        title = f"Curation of {data.dataset.get('label')}: parameters"
        blocks.append(Facts(title, about + flatten(data.dataset.get("params")), folded=True))
    for row in data.benchmarks.to_dict("records"):
        about = [("kind", str(row["kind"])), ("version", str(row["version"])), ("cases", str(row["n_cases"]))]
        n_structures = data.count_structures(str(row["benchmark"]))
        is_of_oxides = row["kind"] == "equation-of-state"
        origin = "oxides that they are cells of" if is_of_oxides else "structures that they start from"
        about += [] if n_structures is None else [(origin, str(n_structures))]
        about.append(("reference", as_text(row["reference"]) or "none"))
        about.append(("labels", ", ".join(data.list_functionals(str(row["benchmark"]))) or "none"))
        about.append(("definition, SHA-256", as_text(row["key"]) or NONE))
        about += _list_evaluations(data, str(row["benchmark"]))
        blocks.append(Facts(f"Benchmark {row['benchmark']}", about + flatten(row["params"]), folded=True))
    blocks.append(_make_glossary(data))
    blocks.extend(_make_citations(data))
    blocks.append(Facts("This page", [("made", f"{data.generated_at:%Y-%m-%d %H:%M} UTC"), ("heo", data.heo_version)]))
    return Section("methods", "Methods", lead, blocks)


def _make_commands(data: ReportData) -> Iterator[Block]:
    commands = list_commands(data)
    if commands:
        caption = (
            "With heo installed; parameters that are not named here have the defaults of this version. In another "
            "database the numbers after @ may differ."
        )
        yield Code("The commands that make it again", "\n".join(commands), caption)


def _make_model_facts(data: ReportData) -> Iterator[Block]:
    if data.models.empty:
        yield Missing("No model stands in this report.", "heo finetune")
    names = {
        "role": "Role",
        "family": "Family",
        "reference": "Asked for as",
        "parent": "Parent",
        "foundation": "Foundation",
        "dataset": "Trained on",
        "licence": "Licence",
        "energy_scale": "Energy scale",
        "n_elements": "Elements known",
        "n_parameters": "Parameters",
        "r_max_ang": "Cutoff, Å",
        "dtype": "Precision of the weights",
        "created_at": "Made",
        "device": "Made on",
        "code_version": "Made by heo",
        "sha256": "File, SHA-256",
        "params_hash": "Parameters, SHA-256",
        "dataset_hash": "Dataset, SHA-256",
    }
    for model in data.models.to_dict("records"):
        rows = [(title, _fact(model[name])) for name, title in names.items()]
        shown = [(title, value) for title, value in rows if value != NONE or title in {"Licence", "File, SHA-256"}]
        yield Facts(f"Model {model['label']}", shown + flatten(model["package_versions"]))


def _list_evaluations(data: ReportData, benchmark: str) -> list[tuple[str, str]]:
    """Where each model was evaluated on a benchmark, and in which precision."""
    rows = data.evaluations[data.evaluations["benchmark"] == benchmark]
    return [
        (f"run with {row['label']}", f"{as_text(row['device']) or NONE}, {as_text(row['dtype']) or NONE}")
        for row in rows.to_dict("records")
    ]


def _make_citations(data: ReportData) -> Iterator[Block]:
    sources = list_sources(data)
    columns = [Column(title, numeric=False) for title in ("Builds on", "Licence", "BibTeX")]
    rows = [Row([Cell(s.what), Cell(s.licence or NONE), Cell(s.key, code=True)]) for s in sources]
    if data.dataset is not None:
        own = as_text(data.dataset.get("citation")) or NONE
        cells = [Cell(f"Dataset {data.dataset.get('label')}", own), Cell(as_text(data.dataset.get("licence")) or NONE)]
        rows.append(Row([*cells, Cell(NONE)]))
    yield Table("sources-used", "Licences and citations", columns, rows)
    yield Code("BibTeX of all of them", "\n\n".join(source.bibtex for source in sources), folded=True)


def _fact(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    number = as_number(value) if isinstance(value, float) else None
    return f"{number:.12g}" if number is not None else as_text(value) or NONE


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
