"""Relaxations, structure by structure."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations, per_atom
from db.schema import BenchmarkCase, Evaluation, Relaxation, Structure
from db.versions import label


def load_relaxations(session: Session, evaluations: Evaluations, labels: dict[int, str]) -> list[dict[str, Any]]:
    """Return every relaxation of these evaluations."""
    of = {evaluation.id: (labels[evaluation.model_version_id], benchmark) for evaluation, benchmark in evaluations}
    query = (
        select(Relaxation, BenchmarkCase, Structure)
        .join(Evaluation, Evaluation.id == Relaxation.evaluation_id)
        .join(
            BenchmarkCase,
            (BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
            & (BenchmarkCase.case_index == Relaxation.case_index),
        )
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .where(Relaxation.evaluation_id.in_(of))
        .order_by(Relaxation.evaluation_id, Relaxation.case_index)
    )
    return [
        {
            "label": of[relaxation.evaluation_id][0],
            "benchmark": label(of[relaxation.evaluation_id][1]),
            "kind": of[relaxation.evaluation_id][1].kind,
            "case_index": relaxation.case_index,
            "case_id": start.immutable_id,
            "formula_reduced": start.formula_reduced,
            "n_atoms": start.n_atoms,
            "rattle_ang": case.recipe.get("rattle_ang"),
            "converged": relaxation.converged,
            "failure": relaxation.failure,
            "force_calls": relaxation.force_calls,
            "fmax_ev_per_ang": relaxation.fmax_ev_per_ang,
            "cell_fmax_ev_per_ang": relaxation.cell_fmax_ev_per_ang,
            "energy_final_ev_per_atom": per_atom(relaxation.energy_final_ev, start.n_atoms),
            "reference_energy_ev_per_atom": per_atom(relaxation.reference_energy_ev, start.n_atoms),
            "displacement_rmsd_ang": relaxation.displacement_rmsd_ang,
            "volume_change_fraction": relaxation.volume_change_fraction,
            "energy_above_unrattled_ev_per_atom": relaxation.energy_above_unrattled_ev_per_atom,
            "energies_ev": relaxation.energies_ev,
            "fmaxes_ev_per_ang": relaxation.fmaxes_ev_per_ang,
        }
        for relaxation, case, start in session.execute(query)
    ]
