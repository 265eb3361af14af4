"""Energies and forces, structure by structure, and the equations of state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations, per_atom
from db.schema import BenchmarkCase, Evaluation, Prediction, Structure, VolumeCurve
from db.versions import label

# Force components shown a model: enough to see the cloud, few enough for the page.
_MAX_COMPONENTS = 4000


def load_predictions(
    session: Session, evaluations: Evaluations, labels: dict[int, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both frames: one a structure, and a seeded sample of force components."""
    predictions: list[dict[str, Any]] = []
    components: list[dict[str, Any]] = []
    for evaluation, benchmark in evaluations:
        query = (
            select(Prediction, Structure)
            .join(Structure, Structure.id == Prediction.structure_id)
            .where(Prediction.evaluation_id == evaluation.id)
            .order_by(Structure.content_hash)
        )
        found = [(prediction, structure) for prediction, structure in session.execute(query)]
        model = labels[evaluation.model_version_id]
        predictions += [
            _prediction_row(model, label(benchmark), prediction, structure) for prediction, structure in found
        ]
        components += _sample_components(model, label(benchmark), found)
    return predictions, components


def _prediction_row(model: str, benchmark: str, prediction: Prediction, structure: Structure) -> dict[str, Any]:
    return {
        "label": model,
        "benchmark": benchmark,
        "structure_id": structure.id,
        "immutable_id": structure.immutable_id,
        "formula_reduced": structure.formula_reduced,
        "n_atoms": structure.n_atoms,
        "energy_reference_ev_per_atom": per_atom(structure.energy_ev, structure.n_atoms),
        "energy_predicted_ev_per_atom": per_atom(prediction.energy_ev, structure.n_atoms),
        "forces_rmse_ev_per_ang": prediction.forces_rmse_ev_per_ang,
        "forces_mae_ev_per_ang": prediction.forces_mae_ev_per_ang,
        "failure": prediction.failure,
    }


def _sample_components(
    model: str, benchmark: str, found: Sequence[tuple[Prediction, Structure]]
) -> list[dict[str, Any]]:
    """At most _MAX_COMPONENTS force components, the same ones for every model that predicted the same structures."""
    both = [
        (prediction, structure)
        for prediction, structure in found
        if prediction.forces_ev_per_ang is not None and structure.forces_ev_per_ang is not None
    ]
    # Which ones is drawn before any row is made: there may be millions.
    starts = np.cumsum([0, *(3 * structure.n_atoms for _, structure in both)])
    chosen = np.arange(starts[-1])
    if len(chosen) > _MAX_COMPONENTS:
        chosen = np.sort(np.random.default_rng(0).choice(len(chosen), _MAX_COMPONENTS, replace=False))
    owners = np.searchsorted(starts, chosen, side="right") - 1
    rows: list[dict[str, Any]] = []
    for owner in np.unique(owners):
        prediction, structure = both[owner]
        places = chosen[owners == owner] - starts[owner]
        forces = (np.ravel(of.forces_ev_per_ang)[places] for of in (structure, prediction))
        rows += [
            {
                "label": model,
                "benchmark": benchmark,
                "structure_id": structure.id,
                "immutable_id": structure.immutable_id,
                "formula_reduced": structure.formula_reduced,
                "reference_ev_per_ang": reference,
                "predicted_ev_per_ang": predicted,
            }
            for reference, predicted in zip(*forces, strict=True)
        ]
    return rows


def load_volume_curves(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return the equations of state of these evaluations."""
    of = {e.id: (labels[e.model_version_id], label(benchmark)) for e, benchmark in evaluations}
    query = select(VolumeCurve.__table__).where(VolumeCurve.evaluation_id.in_(of))
    rows = session.execute(query.order_by(VolumeCurve.evaluation_id, VolumeCurve.material)).mappings()
    return [{**row, "label": of[row["evaluation_id"]][0], "benchmark": of[row["evaluation_id"]][1]} for row in rows]


def load_curve_points(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Energies of the equations of state, the reference's own beside each model's."""
    of = {e.id: (labels[e.model_version_id], label(b)) for e, b in evaluations if b.kind == "equation-of-state"}
    query = (
        select(Evaluation.id, BenchmarkCase.recipe, Structure, Prediction.energy_ev)
        .join(BenchmarkCase, BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .join(Prediction, (Prediction.evaluation_id == Evaluation.id) & (Prediction.structure_id == Structure.id))
        .where(Evaluation.id.in_(of))
        .order_by(Evaluation.id, BenchmarkCase.case_index)
    )
    return [
        {
            "label": of[evaluation_id][0],
            "benchmark": of[evaluation_id][1],
            "material": recipe["material"],
            "volume_factor": recipe["volume_factor"],
            "volume_ang3_per_atom": structure.volume_per_atom_ang3,
            "energy_reference_ev_per_atom": per_atom(structure.energy_ev, structure.n_atoms),
            "energy_predicted_ev_per_atom": per_atom(energy_ev, structure.n_atoms),
        }
        for evaluation_id, recipe, structure, energy_ev in session.execute(query)
    ]
