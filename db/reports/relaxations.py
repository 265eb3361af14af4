"""Relaxations, structure by structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.reports.sources import Evaluations, per_atom
from db.schema import Benchmark, BenchmarkCase, Evaluation, Relaxation, Structure
from db.versions import label

# A page is no archive: older jobs, and the rest of a large one, are for a query.
MAX_OWN = 300


def load_relaxations(
    session: Session, evaluations: Evaluations, labels: dict[int, str], most: int | None = None
) -> list[dict[str, Any]]:
    """Return the relaxations of these evaluations, in their order: every one, or the first so many."""
    rows: list[dict[str, Any]] = []
    for evaluation, benchmark in evaluations:
        query = _select(evaluation.id).limit(None if most is None else most - len(rows))
        model = labels[evaluation.model_version_id]
        rows += [_make_row(model, benchmark, *found) for found in session.execute(query)]
    return rows


def count_own(session: Session, model_ids: Sequence[int]) -> int:
    """Return how many relaxations of users' own structures with these models are stored."""
    query = (
        select(func.count())
        .select_from(Relaxation)
        .join(Evaluation, Evaluation.id == Relaxation.evaluation_id)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .where(Evaluation.model_version_id.in_(model_ids), Evaluation.state == "completed", Benchmark.kind == "relax")
    )
    return session.scalar(query) or 0


def find_own_jobs(session: Session, model_ids: Sequence[int]) -> Evaluations:
    """Return what users relaxed of their own with these models, the newest first, about MAX_OWN structures or one job.

    A job may hold any number of structures: how many of them are read is for `load_relaxations`.
    """
    query = (
        select(Evaluation, Benchmark)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .where(Evaluation.model_version_id.in_(model_ids), Evaluation.state == "completed", Benchmark.kind == "relax")
        .order_by(Evaluation.id.desc())
    )
    jobs: Evaluations = []
    n_structures = 0
    for evaluation, benchmark in session.execute(query):
        n_structures += benchmark.n_cases
        if jobs and n_structures > MAX_OWN:
            break
        jobs.append((evaluation, benchmark))
    return jobs


def load_relaxed_cells(
    session: Session, evaluations: Evaluations, labels: dict[int, str], cases: Mapping[str, Collection[int]]
) -> list[dict[str, Any]]:
    """Return the geometry of some cases (of each benchmark, case_index) before relaxing and after, under each model."""
    rows: list[dict[str, Any]] = []
    drawn: set[tuple[str, int]] = set()
    for evaluation, benchmark in evaluations:
        name, model = label(benchmark), labels[evaluation.model_version_id]
        query = _select(evaluation.id).where(Relaxation.case_index.in_(cases.get(name, ())))
        for relaxation, case, start in session.execute(query):
            about = {"benchmark": name, "case_index": case.case_index, "species": start.species}
            if (name, case.case_index) not in drawn:
                drawn.add((name, case.case_index))
                before = {"label": None, "lattice_ang": start.lattice_ang, "positions_ang": start.positions_ang}
                rows.append(about | before)
            if relaxation.positions_ang is not None and relaxation.lattice_ang is not None:
                after = {"lattice_ang": relaxation.lattice_ang, "positions_ang": relaxation.positions_ang}
                rows.append(about | {"label": model} | after)
    return rows


def _select(evaluation_id: int) -> Select[tuple[Relaxation, BenchmarkCase, Structure]]:
    return (
        select(Relaxation, BenchmarkCase, Structure)
        .join(Evaluation, Evaluation.id == Relaxation.evaluation_id)
        .join(
            BenchmarkCase,
            (BenchmarkCase.benchmark_id == Evaluation.benchmark_id)
            & (BenchmarkCase.case_index == Relaxation.case_index),
        )
        .join(Structure, Structure.id == BenchmarkCase.structure_id)
        .where(Relaxation.evaluation_id == evaluation_id)
        .order_by(Relaxation.case_index)
    )


def _make_row(
    model: str, benchmark: Benchmark, relaxation: Relaxation, case: BenchmarkCase, start: Structure
) -> dict[str, Any]:
    return {
        "label": model,
        "benchmark": label(benchmark),
        "kind": benchmark.kind,
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
        "rmsd_normalized": relaxation.rmsd_normalized,
        "volume_change_fraction": relaxation.volume_change_fraction,
        "energy_above_unrattled_ev_per_atom": relaxation.energy_above_unrattled_ev_per_atom,
        "energies_ev": relaxation.energies_ev,
        "fmaxes_ev_per_ang": relaxation.fmaxes_ev_per_ang,
    }
