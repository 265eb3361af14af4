"""What labels say of the structures that models relaxed to: whose minimum is lower by DFT."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from db.reports.results import find_origin
from db.reports.sources import Evaluations
from db.schema import BenchmarkCase, LabelSet, RelaxedLabel, Structure, StructureLabel
from db.versions import label


def load_labelled_minima(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return the labelled energy of each case that a model relaxed to rest, by label set."""
    names = {benchmark.id: label(benchmark) for _, benchmark in evaluations}
    origin = func.coalesce(find_origin(), cast(BenchmarkCase.case_index, Text)).label("origin")
    query = (
        select(RelaxedLabel, LabelSet, origin, Structure.energy_ev, Structure.n_atoms)
        .join(LabelSet, LabelSet.id == RelaxedLabel.label_set_id)
        .join(
            StructureLabel,
            (StructureLabel.label_set_id == RelaxedLabel.label_set_id)
            & (StructureLabel.structure_id == RelaxedLabel.structure_id),
        )
        .join(Structure, Structure.id == StructureLabel.labelled_id)
        .join(
            BenchmarkCase,
            (BenchmarkCase.benchmark_id == RelaxedLabel.benchmark_id)
            & (BenchmarkCase.case_index == RelaxedLabel.case_index),
        )
        .where(RelaxedLabel.benchmark_id.in_(names), RelaxedLabel.model_version_id.in_(labels), RelaxedLabel.converged)
        .order_by(LabelSet.name, RelaxedLabel.benchmark_id, RelaxedLabel.case_index)
    )
    return [
        {
            "label": labels[relaxed.model_version_id],
            "benchmark": names[relaxed.benchmark_id],
            "label_set": label_set.name,
            "engine": label_set.engine,
            "functional": label_set.functional,
            "case_index": relaxed.case_index,
            "origin": start,
            "energy_ev_per_atom": energy_ev / n_atoms,
        }
        for relaxed, label_set, start, energy_ev, n_atoms in session.execute(query)
        if energy_ev is not None
    ]
