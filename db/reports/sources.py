"""Which evaluations a report draws on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema import Benchmark, Evaluation
from db.versions import label
from heo_core.errors import InputError

# Kinds of benchmark whose predictions are drawn one by one.
_DRAWN_KINDS = frozenset({"energy-forces", "off-equilibrium", "forgetting-holdout"})
_TRAINED_ON = frozenset({"train", "validation"})

type Evaluations = list[tuple[Evaluation, Benchmark]]


def load_evaluations(session: Session, model_ids: Sequence[int], names: Sequence[str] = ()) -> Evaluations:
    """Completed evaluations of these models; of each benchmark, the newest version that any of them ran.

    names: NAME or NAME@VERSION of the benchmarks that are wanted, all where there are none. InputError, naming those
    there are, for one that none of the models ran.
    """
    query = (
        select(Evaluation, Benchmark)
        .join(Benchmark, Benchmark.id == Evaluation.benchmark_id)
        .where(Evaluation.model_version_id.in_(model_ids), Evaluation.state == "completed")
        .where(Benchmark.kind != "relax")  # structures of somebody's own: results, no comparison
        .order_by(Benchmark.kind, Benchmark.name, Benchmark.version.desc(), Evaluation.id)
    )
    pairs = [(evaluation, benchmark) for evaluation, benchmark in session.execute(query)]
    if names:
        known = sorted({label(benchmark) for _, benchmark in pairs})
        for name in names:
            if not any(_is_called(benchmark, name) for _, benchmark in pairs):
                ran = ", ".join(known) or "none yet"
                raise InputError(f"benchmark {name!r} was run by none of these models; those they ran: {ran}")
        pairs = [pair for pair in pairs if any(_is_called(pair[1], name) for name in names)]
    # Whoever was evaluated first: figures and tables show the models in the order of the report.
    place = {model_id: i for i, model_id in enumerate(model_ids)}
    order = list(dict.fromkeys(benchmark.id for _, benchmark in pairs))
    pairs.sort(key=lambda pair: (order.index(pair[1].id), place[pair[0].model_version_id]))
    newest: dict[str, int] = {}
    for _, benchmark in pairs:
        newest.setdefault(benchmark.name, benchmark.id)
    return [(evaluation, benchmark) for evaluation, benchmark in pairs if newest[benchmark.name] == benchmark.id]


def _is_called(benchmark: Benchmark, name: str) -> bool:
    return name in (benchmark.name, label(benchmark))


def choose_drawn(evaluations: Evaluations) -> Evaluations:
    """Choose those whose predictions are drawn one by one: not on splits trained on, unless there is nothing else."""
    drawn = [(evaluation, benchmark) for evaluation, benchmark in evaluations if benchmark.kind in _DRAWN_KINDS]
    fair = [
        (evaluation, benchmark) for evaluation, benchmark in drawn if benchmark.params.get("split") not in _TRAINED_ON
    ]
    return fair if any(benchmark.kind == "energy-forces" for _, benchmark in fair) else drawn


def per_atom(energy_ev: float | None, n_atoms: int) -> float | None:
    """Return an energy of a cell per atom, eV; None where there is none."""
    return None if energy_ev is None else energy_ev / n_atoms
