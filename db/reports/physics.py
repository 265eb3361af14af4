"""What physics benchmarks found, and the curves behind it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations
from db.schema import BenchmarkCase, Evaluation, PhysicsCheck, Prediction, Structure
from db.versions import label


def load_physics_checks(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return every number of the checks, and why others are missing."""
    of = {e.id: (labels[e.model_version_id], label(benchmark)) for e, benchmark in evaluations}
    key = (PhysicsCheck.evaluation_id, PhysicsCheck.kind, PhysicsCheck.subject, PhysicsCheck.name)
    query = select(PhysicsCheck.__table__).where(PhysicsCheck.evaluation_id.in_(of)).order_by(*key)
    rows = session.execute(query).mappings()
    return [{**row, "label": of[row["evaluation_id"]][0], "benchmark": of[row["evaluation_id"]][1]} for row in rows]


def load_physics_curves(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return energies over the volume of an oxide and over the distance of a pair, one row a point and model."""
    of = {e.id: (labels[e.model_version_id], label(b)) for e, b in evaluations if b.kind == "physics"}
    query = (
        select(Evaluation.id, BenchmarkCase.recipe, Structure.n_atoms, Structure.volume_per_atom_ang3, Prediction)
        .join(BenchmarkCase, BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .join(Prediction, (Prediction.evaluation_id == Evaluation.id) & (Prediction.structure_id == Structure.id))
        .where(Evaluation.id.in_(of), BenchmarkCase.recipe["check"].astext.in_(("volume-curve", "repulsion")))
        .order_by(Evaluation.id, BenchmarkCase.case_index)
    )
    return [
        {
            "label": of[evaluation_id][0],
            "benchmark": of[evaluation_id][1],
            "kind": recipe["check"],
            "subject": recipe["subject"],
            "n_atoms": n_atoms,
            "x": volume if recipe["check"] == "volume-curve" else recipe["distance_ang"],
            "energy_ev": prediction.energy_ev,
        }
        for evaluation_id, recipe, n_atoms, volume, prediction in session.execute(query)
    ]
