"""Relax: structures of files, or cells made for it, with one model; one durable row a structure, files beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import evaluations, generated, models
from db.engine import session_scope
from db.versions import label
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.benchmarks import evaluate_model
from flows.registry import register_model
from flows.runners import use_runner
from flows.settings import Settings, load_settings
from flows.structures import store_cells
from flows.tries import AGAIN
from heo_core.errors import InputError
from heo_core.evaluation.relax_files import name_files, read_structures, write_relaxed, write_summary
from heo_core.params import RelaxJobParams, StructureRelaxParams
from heo_core.records import BenchmarkCase, Relaxation, Structure
from heo_core.whole_file import replacing

# Of a table in Prefect's UI; all are in the database, and in summary.csv.
_ROWS_SHOWN = 300


class RelaxResult(TypedDict):
    """What was relaxed: one row a structure, those that could not be read among them, and where the files are."""

    evaluation_id: int
    rows: list[dict[str, Any]]
    out: str | None


@task(name="register the model", cache_policy=NO_CACHE, **AGAIN)
def find_model(reference: str) -> int:
    """Return the id of the model version."""
    return register_model(reference, load_settings())


@task(name="read the structures", cache_policy=NO_CACHE, **AGAIN)
def define_relaxation(params: RelaxJobParams) -> tuple[int, dict[str, str]]:
    """Return the id of the benchmark of these structures, and why others could not be taken, by name.

    InputError if there is none to relax.
    """
    url = load_settings().resolve_database_url()
    failures: dict[str, str] = {}
    dataset_id = None
    if params.files:
        starts = read_structures([Path(file).expanduser() for file in params.files])
        failures = {start.name: start.failure for start in starts if start.failure is not None}
        cases = [
            BenchmarkCase(start.structure, None, {"file": start.file, "frame": start.frame})
            for start in starts
            if start.structure is not None
        ]
        for failure in failures.values():
            get_run_logger().warning("%s", failure)
        if not cases:
            raise InputError("nothing to relax: " + "; ".join(failures.values()))
    else:
        dataset_id = store_cells(params.generation)
        with session_scope(url) as session:
            cases = [BenchmarkCase(cell, None, recipe) for cell, recipe in generated.load_cells(session, dataset_id)]
        if not cases:
            raise InputError("nothing to relax: every generated cell failed a check")
    with session_scope(url) as session:
        benchmark = evaluations.add_benchmark(
            session,
            StructureRelaxParams(relax=params.relax),
            cases,
            name="relax",
            dataset_id=dataset_id,
            reference_id=None,
        )
        return benchmark.id, failures


@task(name="write the relaxed structures", cache_policy=NO_CACHE, **AGAIN)
def write_results(evaluation_id: int, failures: dict[str, str], params: RelaxJobParams) -> list[dict[str, Any]]:
    """Return a row a structure; write relaxed structures, trajectories and summary.csv if a folder is asked for."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        benchmark = evaluations.get_benchmark_of_evaluation(session, evaluation_id)
        _, cases = evaluations.load_cases(session, benchmark.id)
        by_index = evaluations.load_relaxations(session, evaluation_id)
        uris = evaluations.load_trajectory_uris(session, evaluation_id)
        evaluation = evaluations.get_evaluation(session, evaluation_id)
        model = label(models.get_model(session, evaluation.model_version_id))
    starts, relaxations = [case.start for case in cases], [by_index[i] for i in range(len(cases))]
    rows = [_make_row(start, relaxation) for start, relaxation in zip(starts, relaxations, strict=True)]
    empty = dict.fromkeys(rows[0])
    rows += [empty | {"structure": name, "converged": False, "failure": why} for name, why in failures.items()]
    if params.out is not None:
        folder = Path(params.out).expanduser()
        write_relaxed(folder, starts, relaxations, params.file_format)
        names = name_files(starts)
        for index, uri in uris.items():
            _copy_trajectory(uri, folder / f"{names[index]}-trajectory.extxyz", settings)
        write_summary(folder / "summary.csv", rows)
    shown = rows[:_ROWS_SHOWN]
    show_table(
        [put_into_words(row) for row in shown],
        key="relaxed-structures",
        description=f"Relaxed with {model}: {len(shown)} of {len(rows)} structures",
        digits=6,  # energies of cells of one composition may differ by less than a meV/atom
    )
    return rows


def _make_row(start: Structure, relaxation: Relaxation) -> dict[str, Any]:
    energy = relaxation.energy_final_ev
    return {
        "structure": start.immutable_id,
        "formula": start.formula_reduced,
        "n_atoms": start.n_atoms,
        "converged": relaxation.converged,
        "force_calls": relaxation.force_calls,
        "energy_ev_per_atom": None if energy is None else energy / start.n_atoms,
        "fmax_ev_per_ang": relaxation.fmax_ev_per_ang,
        "cell_fmax_ev_per_ang": relaxation.cell_fmax_ev_per_ang,
        "volume_change_fraction": relaxation.volume_change_fraction,
        "displacement_rmsd_ang": relaxation.displacement_rmsd_ang,
        "failure": relaxation.failure,
    }


def _copy_trajectory(uri: str, path: Path, settings: Settings) -> None:
    stored = settings.artifacts.fetch(uri, Path(uri).stem)
    try:
        with replacing(path) as partial:
            partial.write_bytes(stored.read_bytes())
    except OSError as exc:
        raise InputError(f"cannot write {path}: {exc.strerror or exc}") from exc


@flow(name="relax", flow_run_name="relax with {params.model}", timeout_seconds=limit(days=7), description=__doc__)
def relax(params: RelaxJobParams = RelaxJobParams()) -> RelaxResult:
    """Return a row a structure; what was relaxed before with the same parameters and model is found, not done again."""
    admit(params)
    model_id = find_model(params.model)
    benchmark_id, failures = define_relaxation(params)
    with use_runner(params.scale, load_settings()):
        evaluation_id = evaluate_model(model_id, benchmark_id, force=params.force)
    rows = write_results(evaluation_id, failures, params)
    return {"evaluation_id": evaluation_id, "rows": rows, "out": params.out}
