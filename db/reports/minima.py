"""What labels say of the structures that models relaxed to: whose minimum is lower by DFT."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from db.reports.results import find_origin
from db.reports.sources import Evaluations
from db.schema import BenchmarkCase, LabelSet, ModelVersion, RelaxedLabel, Structure, StructureLabel
from db.versions import label


def load_labelled_minima(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return the labelled energy of each case that a model relaxed to rest, by label set."""
    names = {benchmark.id: label(benchmark) for _, benchmark in evaluations}
    origin = func.coalesce(find_origin(), cast(BenchmarkCase.case_index, Text)).label("origin")
    query = (
        select(RelaxedLabel, LabelSet, ModelVersion, StructureLabel.total_moment_mub, origin, Structure)
        .join(LabelSet, LabelSet.id == RelaxedLabel.label_set_id)
        .join(ModelVersion, ModelVersion.id == RelaxedLabel.model_version_id)
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
            "label": labels[model.id],
            "benchmark": names[relaxed.benchmark_id],
            "label_set": label_set.name,
            "engine": label_set.engine,
            "functional": label_set.functional,
            "case_index": relaxed.case_index,
            "origin": start,
            "energy_ev_per_atom": labelled.energy_ev / labelled.n_atoms,
            "total_moment_mub": total_moment_mub,
            "judged_by_itself": _is_judge(label_set, model),
        }
        for relaxed, label_set, model, total_moment_mub, start, labelled in session.execute(query)
        if labelled.energy_ev is not None
    ]


def _is_judge(label_set: LabelSet, model: ModelVersion) -> bool:
    """Whether labels are by this model: by the same file, or the same weights of a package."""
    if label_set.engine != "potential":
        return False
    sha256, reference = (label_set.settings.get(key) for key in ("sha256", "model"))
    return bool(sha256 == model.sha256 if sha256 else reference == model.reference)
