"""What one process does of an evaluation: some of its structures, one durable row each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import batched
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory

from prefect import task
from prefect.cache_policies import NO_CACHE

from db import evaluations
from db.engine import session_scope
from flows.registry import load_model_file
from flows.settings import Settings, load_settings
from flows.task_names import name_by_labels
from flows.tries import AGAIN
from heo_core.evaluation import energy_forces, reference_errors
from heo_core.evaluation.relax import relax_structures
from heo_core.evaluation.relax_files import write_trajectory
from heo_core.models import load_model, resolve_device
from heo_core.models.potential import Potential
from heo_core.params import (
    BenchmarkParams,
    ForgettingHoldoutParams,
    OffEquilibriumErrorsParams,
    RattleRelaxParams,
    RelaxParams,
    StructureRelaxParams,
    SubstitutionRelaxParams,
    parse_benchmark,
)
from heo_core.records import BenchmarkCase, Prediction, Relaxation, Structure

RELAXING = RattleRelaxParams | SubstitutionRelaxParams | StructureRelaxParams

Cases = Mapping[int, tuple[int, BenchmarkCase]]
"""Id of the start structure, and the case, by case index."""

# Rows are stored in pieces of this many structures at most: what a kill can cost.
_STRUCTURES_PER_WRITE = 32


def get_dtype(params: BenchmarkParams) -> str:
    """Precision in which a benchmark asks for its numbers."""
    return params.relax.final_dtype if isinstance(params, RELAXING) else params.dtype


def load_potential(model_version_id: int, dtype: str, settings: Settings) -> Potential:
    """Return a registered model, loaded."""
    device = resolve_device(settings.device)
    return load_model(load_model_file(model_version_id, settings), device=device, dtype=dtype)


@lru_cache(maxsize=1)
def _load_for_shards(model_version_id: int, dtype: str) -> Potential:
    """Return a registered model, which is kept for the next shard."""
    return load_potential(model_version_id, dtype, load_settings())


@task(
    name="evaluate a shard",
    task_run_name=name_by_labels("evaluate {evaluation_id}, structure {indices[0]} and others"),
    cache_policy=NO_CACHE,
    **AGAIN,
)
def evaluate_shard(evaluation_id: int, indices: Sequence[int]) -> None:
    """Evaluate those of these cases that have no row yet: a process that died may have done some."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        evaluation = evaluations.get_evaluation(session, evaluation_id)
        params = parse_benchmark(evaluations.get_benchmark(session, evaluation.benchmark_id).params)
        remaining = evaluations.list_remaining(session, evaluation_id, among=indices)
    potential = _load_for_shards(evaluation.model_version_id, get_dtype(params))
    for _ in evaluate_cases(evaluation_id, remaining, potential, settings):
        pass


def evaluate_cases(
    evaluation_id: int, indices: Sequence[int], potential: Potential, settings: Settings
) -> Iterator[tuple[int, str]]:
    """Evaluate cases and store each as soon as it is done; yield how many are done, and what there is to say."""
    with session_scope(settings.resolve_database_url()) as session:
        benchmark = evaluations.get_benchmark_of_evaluation(session, evaluation_id)
        cases = evaluations.load_cases_by_index(session, benchmark.id, indices)
    params = parse_benchmark(benchmark.params)
    if isinstance(params, RELAXING):
        yield from _relax(evaluation_id, cases, params.relax, potential, settings)
    else:
        yield from _predict(evaluation_id, cases, params, potential, settings)


def _predict(
    evaluation_id: int, cases: Cases, params: BenchmarkParams, potential: Potential, settings: Settings
) -> Iterator[tuple[int, str]]:
    has_stress = isinstance(params, OffEquilibriumErrorsParams | ForgettingHoldoutParams)
    structures = {structure_id: case.start for structure_id, case in cases.values()}
    for piece in batched(structures, _STRUCTURES_PER_WRITE):
        predictions = dict(zip(piece, potential.predict([structures[i] for i in piece]), strict=True))
        errors = {i: _compute_errors(structures[i], p, has_stress=has_stress) for i, p in predictions.items()}
        with session_scope(settings.resolve_database_url()) as session:
            evaluations.add_device(session, evaluation_id, potential.device)
            evaluations.add_predictions(session, evaluation_id, predictions, errors)
        yield len(piece), ""


def _compute_errors(structure: Structure, prediction: Prediction, *, has_stress: bool) -> dict[str, float | None]:
    stress = reference_errors.compute_stress_error(structure, prediction) if has_stress else None
    return {**energy_forces.compute_errors(structure, prediction), "stress_rmse_ev_per_ang3": stress}


def _relax(
    evaluation_id: int, cases: Cases, params: RelaxParams, potential: Potential, settings: Settings
) -> Iterator[tuple[int, str]]:
    indices, starts = list(cases), [case.start for _, case in cases.values()]

    def store(results: list[tuple[int, Relaxation]]) -> None:
        relaxations = {indices[position]: relaxation for position, relaxation in results}
        uris = {
            indices[position]: _keep_trajectory(starts[position], relaxation, settings)
            for position, relaxation in results
            if relaxation.trajectory
        }
        with session_scope(settings.resolve_database_url()) as session:
            evaluations.add_device(session, evaluation_id, potential.device)
            evaluations.add_relaxations(session, evaluation_id, relaxations, uris)

    with storing_beside(store) as put:
        for position, relaxation in relax_structures(potential, starts, params):
            put((position, relaxation))
            yield 1, f"the last in {relaxation.force_calls} force calls"


@contextmanager
def storing_beside[T](store: Callable[[list[T]], None]) -> Iterator[Callable[[T], None]]:
    """Store in a thread, while the block computes, what it puts: at once, and together what has come in meanwhile.

    All is stored when the block ends, however it ends. An error of `store` is raised at the next put, or at the end.
    """
    results: SimpleQueue[T | None] = SimpleQueue()

    def work() -> None:
        last: T | None
        while True:
            batch = [last := results.get()]
            while len(batch) < _STRUCTURES_PER_WRITE and not results.empty():
                batch.append(last := results.get())
            if done := [result for result in batch if result is not None]:
                store(done)
            if last is None:
                return

    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(work)

        def put(result: T) -> None:
            if job.done():
                job.result()
            results.put(result)

        try:
            yield put
        finally:
            results.put(None)
    job.result()


def _keep_trajectory(start: Structure, relaxation: Relaxation, settings: Settings) -> str:
    """Put every state of a relaxation into the artifact store; return where it is."""
    settings.work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=settings.work) as folder:
        path = Path(folder) / "trajectory.extxyz"
        write_trajectory(path, start.species, relaxation.trajectory)
        return settings.artifacts.put(path).uri
