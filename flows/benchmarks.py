"""Tasks of an evaluation: define a benchmark, run a model on it structure by structure, compare two runs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from db import datasets, evaluations, labels, models
from db.engine import exclusive, session_scope
from db.reports.results import list_functionals
from db.schema import Benchmark
from db.versions import find_version, label, list_references
from flows.environments import hand_over
from flows.events import emit_benchmark_auto
from flows.progress import ProgressReporter
from flows.registry import load_model_file, register_model
from flows.runners import find_workers
from flows.settings import Settings, load_settings
from flows.shards import RELAXING, evaluate_cases, evaluate_shard, get_dtype
from flows.task_names import name_by_labels
from flows.tries import AGAIN
from heo_core.curation.labelled import read_labelled
from heo_core.errors import InputError, ModelError
from heo_core.evaluation import (
    energy_forces,
    equation_of_state,
    physics,
    rattle_relax,
    reference_errors,
    substitution_relax,
)
from heo_core.evaluation.metrics import compare_convergence, compute_convergence
from heo_core.evaluation.reference_sets import REFERENCE_SETS, load_reference_set
from heo_core.models import is_installed, load_model, resolve_device
from heo_core.models.potential import Potential
from heo_core.params import (
    AUTO_BENCHMARKS,
    BENCHMARK_KINDS,
    DFT_OFFEQ,
    NAME_PATTERN,
    BenchmarkParams,
    EnergyForcesParams,
    EquationOfStateParams,
    ForgettingHoldoutParams,
    OffEquilibriumErrorsParams,
    PhysicsParams,
    RattleRelaxParams,
    ScaleParams,
    StructureRelaxParams,
    SubstitutionRelaxParams,
    parse_benchmark,
)
from heo_core.records import BenchmarkCase, GroupMetric, Metric, Prediction, Relaxation, Structure

_Comparison = tuple[int, int, list[Metric], dict[str, str]]

# Seed of the bootstrap: the same rows give the same interval.
_BOOTSTRAP_SEED = 0


def needs_dataset(params: BenchmarkParams) -> bool:
    """Whether a benchmark is made of the dataset that is tested on; the others are the same for every model."""
    return isinstance(params, EnergyForcesParams | RattleRelaxParams)


@task(name="define benchmark", task_run_name="define {params.kind}", cache_policy=NO_CACHE, **AGAIN)
def define_benchmark(params: BenchmarkParams, dataset_id: int | None) -> int:
    """Return the id of the benchmark with these parameters and structures; it is made if it is not there."""
    benchmark = store_benchmark(params, dataset_id)
    if not benchmark.n_cases:
        get_run_logger().warning(
            "benchmark %s has no structure: none of the %s split qualifies",
            benchmark.name,
            getattr(params, "split", ""),
        )
    return benchmark.id


def store_auto_benchmarks() -> None:
    """Make the bundled benchmarks that run by themselves, where they are not there yet.

    Before a model that they are to run for: so its event finds them, all together.
    """
    for params in AUTO_BENCHMARKS:
        with suppress(InputError):  # a name that a user's own has: assessments say so, and no model is refused for it
            store_benchmark(params, None)


def store_benchmark(
    params: BenchmarkParams, dataset_id: int | None, *, name: str | None = None, structures: Sequence[Structure] = ()
) -> Benchmark:
    """Return the benchmark with these parameters and structures; it is made if it is not there.

    name: what its user calls it; else it is called after its kind and dataset. structures: from files, in place of a
    dataset. InputError where there is nothing to measure on, and where a user's own has a bundled one's name.
    """
    settings = load_settings()
    url = settings.resolve_database_url()
    reference_id = register_model(params.reference, settings) if isinstance(params, SubstitutionRelaxParams) else None
    label_set = params.label_set if isinstance(params, OffEquilibriumErrorsParams) else None
    bundled = params.reference_set if isinstance(params, OffEquilibriumErrorsParams) else None
    if isinstance(params, OffEquilibriumErrorsParams) and bundled is None and label_set is None:
        with session_scope(url) as session:
            dataset = datasets.get_dataset(session, str(params.dataset))
        # NAME means its newest version: what is stored says which that was.
        params, dataset_id = params.model_copy(update={"dataset": label(dataset)}), dataset.id
    if label_set is not None:
        cases, of_dataset = _load_labelled_cases(label_set, url), None
    elif structures:
        cases, of_dataset = _make_cases_of(params, structures), None
    else:
        cases, of_dataset = _make_cases(params, dataset_id, url)
    if name is not None and not cases:
        raise InputError(f"benchmark {name} would have no structure: none qualifies for {params.kind}")
    with session_scope(url) as session:
        is_bundled = name is None and of_dataset is None and label_set is None
        if name is None:
            name = bundled or (str(params.kind) if label_set is None else f"{params.kind}:labels:{label_set}")
            if of_dataset is not None:
                # A number on another split is another benchmark, never a newer version of this one.
                split = getattr(params, "split", "test")
                dataset = datasets.get_dataset_by_id(session, of_dataset)
                name = f"{params.kind}:{dataset.name}{'' if split == 'test' else f':{split}'}"
        before = find_version(session, Benchmark, name)
        if is_bundled and before is not None and before.params.get("dataset") != params.model_dump().get("dataset"):
            raise InputError(
                f"{label(before)} is a benchmark of your own; the bundled cells called {name} are no version of it and "
                f"cannot be stored here; allowed: {label(before)} and off-equilibrium"
            )
        benchmark = evaluations.add_benchmark(
            session,
            params,
            cases,
            name=name,
            dataset_id=of_dataset,
            reference_id=reference_id,
            is_of_files=bool(structures),
            auto=is_bundled and params in AUTO_BENCHMARKS,
        )
    if before is not None and benchmark.version > before.version and benchmark.auto:
        emit_benchmark_auto(benchmark.id, settings)
    return benchmark


def add_own_benchmark(
    name: str, params: BenchmarkParams, *, dataset: str | None = None, files: Sequence[Path] = ()
) -> str:
    """Store a benchmark of the user's own, on a dataset's split or on files; return its NAME@VERSION.

    The same name with the same content is found again. InputError for a name that is taken by a kind or a bundled
    set, for two places to take structures from, or none where the kind needs one.
    """
    bundled = sorted({*BENCHMARK_KINDS, *REFERENCE_SETS})
    if name in bundled or not re.fullmatch(NAME_PATTERN, name):
        raise InputError(
            f"a benchmark cannot be called {name!r}: allowed are letters, digits, '.', '_' and '-', and any name but "
            f"those of kinds and bundled sets: {', '.join(bundled)}"
        )
    can_have = isinstance(params, EnergyForcesParams | OffEquilibriumErrorsParams | RattleRelaxParams)
    if (dataset is not None) + bool(files) + (not can_have) != 1:
        allowed = "a dataset or files" if can_have else "neither dataset nor files"
        raise InputError(f"{params.kind} takes {allowed}; given: dataset {dataset}, {len(files)} files")
    read = [structure for file in files for structure in read_labelled(file)]
    structures = list({structure.content_hash: structure for structure in read}.values())
    dataset_id = None
    if dataset is not None:
        if isinstance(params, OffEquilibriumErrorsParams):
            params = params.model_copy(update={"dataset": dataset})
        if not isinstance(params, OffEquilibriumErrorsParams) or params.label_set is None:
            with session_scope(load_settings().resolve_database_url()) as session:
                dataset_id = datasets.get_dataset(session, dataset).id
    return label(store_benchmark(params, dataset_id, name=name, structures=structures))


@task(name="find stored benchmark", task_run_name="find {reference}", cache_policy=NO_CACHE, **AGAIN)
def find_benchmark(reference: str) -> int:
    """Return the id of the benchmark that NAME or NAME@VERSION means; the bundled one by DFT is made if need be.

    InputError, naming those there are, for any other that is not there.
    """
    if reference == DFT_OFFEQ.reference_set:
        return store_benchmark(DFT_OFFEQ, None).id
    with session_scope(load_settings().resolve_database_url()) as session:
        found = find_version(session, Benchmark, reference)
        if found is None:
            stored = ", ".join(list_references(session, Benchmark)) or "none yet"
            bundled = ", ".join([*BENCHMARK_KINDS, str(DFT_OFFEQ.reference_set)])
            raise InputError(f"there is no benchmark {reference!r}; allowed: {bundled}, or a stored one: {stored}")
        return found.id


def _make_cases(params: BenchmarkParams, dataset_id: int | None, url: str) -> tuple[list[BenchmarkCase], int | None]:
    """Cases of a benchmark, and the dataset that they come from; None where they come from nowhere else."""
    match params:
        case SubstitutionRelaxParams():
            return substitution_relax.make_cases(params), None
        case PhysicsParams():
            return physics.make_cases(params), None
        case ForgettingHoldoutParams():
            return load_reference_set("holdout"), None
        case EquationOfStateParams():
            return load_reference_set("equation-of-state"), None
        case OffEquilibriumErrorsParams(reference_set=str(reference_set)):
            return load_reference_set(reference_set), None
    if isinstance(params, StructureRelaxParams):
        raise InputError("relax takes structures of your own: 'heo relax'")
    if dataset_id is None:
        raise InputError(f"{params.kind} is measured on a dataset: name one")
    with session_scope(url) as session:
        structures = list(datasets.load_split(session, dataset_id, params.split).values())
    if isinstance(params, OffEquilibriumErrorsParams):
        _check_labels(params, structures)
    return _make_cases_of(params, structures), dataset_id


def _load_labelled_cases(label_set: str, url: str) -> list[BenchmarkCase]:
    with session_scope(url) as session:
        structures = labels.load_labelled(session, label_set)
    if not structures:
        raise InputError(f"label set {label_set!r} has no labelled structure yet; 'heo label show' says why")
    return [BenchmarkCase(start=structure, target=None, recipe={}) for structure in structures]


def _make_cases_of(params: BenchmarkParams, structures: Sequence[Structure]) -> list[BenchmarkCase]:
    if isinstance(params, RattleRelaxParams):
        return rattle_relax.make_cases(structures, params)
    return [BenchmarkCase(start=structure, target=None, recipe={}) for structure in structures]


def _check_labels(params: OffEquilibriumErrorsParams, structures: Sequence[Structure]) -> None:
    labelled = sum(structure.forces_ev_per_ang is not None for structure in structures)
    if labelled:
        return
    raise InputError(
        f"the split {params.split} of {params.dataset} cannot measure errors off equilibrium: none of its "
        f"{len(structures)} structures has forces; label them with a potential or DFT of your choice and curate the "
        "result as a dataset, or leave the dataset empty for the bundled cells"
    )


@task(
    name="evaluate model on benchmark",
    task_run_name=name_by_labels("evaluate {model_version_id} on {benchmark_id}"),
    cache_policy=NO_CACHE,
    **AGAIN,
)
def evaluate_model(model_version_id: int, benchmark_id: int, *, force: bool = False) -> int:
    """Return the id of the evaluation; a completed one is found again, a broken one goes on where it stopped.

    force: a completed one is run again, beside the old one, whose numbers stay until the new ones take their place.
    """
    settings = load_settings()
    url = settings.resolve_database_url()
    logger = get_run_logger()
    if (elsewhere := _evaluate_elsewhere(model_version_id, benchmark_id, url, force=force)) is not None:
        return elsewhere
    with exclusive(url, f"evaluation:{model_version_id}:{benchmark_id}"):
        with session_scope(url) as session:
            model = models.get_model(session, model_version_id)
            benchmark = evaluations.get_benchmark(session, benchmark_id)
            what = f"{label(model)} on {benchmark.name}@{benchmark.version}"
            found = evaluations.find_evaluation(session, model_version_id, benchmark_id)
            is_done = found is not None and found.state == "completed"
            if found is not None and is_done and not force:
                logger.info("reusing evaluation of %s", what)
                return found.id
            device = resolve_device(settings.device)
            evaluation = evaluations.start_evaluation(
                session,
                model_version_id,
                benchmark_id,
                flow_run_id=flow_run.get_id(),
                replaces_id=found.id if found is not None and is_done else None,
            )
        logger.info("evaluating %s (%d structures, on %s)", what, benchmark.n_cases, device)
        try:
            _run_benchmark(evaluation.id, model_version_id, benchmark, device, settings)
        except BaseException as exc:
            # Ctrl-C and a cancelled run included: an evaluation that ended says so.
            failure = f"{type(exc).__name__}: {exc}"
            with session_scope(url) as session:
                evaluations.fail_evaluation(session, evaluation.id, failure, started_at=evaluation.started_at)
            raise
        return evaluation.id


def _evaluate_elsewhere(model_version_id: int, benchmark_id: int, url: str, *, force: bool) -> int | None:
    """Return the evaluation of a model whose family only another environment has; None where this one has it."""
    with session_scope(url) as session:
        model = models.get_model(session, model_version_id)
        benchmark = evaluations.get_benchmark(session, benchmark_id)
        found = evaluations.find_evaluation(session, model_version_id, benchmark_id)
        reference = None if benchmark.reference_id is None else models.get_model(session, benchmark.reference_id)
    if is_installed(model.family):
        if reference is not None and not is_installed(reference.family):
            raise InputError(
                f"{label(benchmark)} compares under {label(reference)}, of the family {reference.family}, which no "
                f"environment has together with {model.family}; allowed: chgnet:0.3.0, or one of {model.family}"
            )
        return None
    if found is None or found.state != "completed" or force:
        workers = find_workers()
        scale = ScaleParams() if workers is None else workers.scale
        hand_over(model.family, label(model), [benchmark_id], force=force, scale=scale)
        with session_scope(url) as session:
            found = evaluations.find_evaluation(session, model_version_id, benchmark_id)
    if found is None:
        raise ModelError(f"{label(model)} was evaluated by a worker that has another database than this one")
    return found.id


def _run_benchmark(
    evaluation_id: int, model_version_id: int, benchmark: Benchmark, device: str, settings: Settings
) -> None:
    started = time.monotonic()
    url = settings.resolve_database_url()
    params = parse_benchmark(benchmark.params)
    dtype = get_dtype(params)
    potential = load_model(load_model_file(model_version_id, settings), device=device, dtype=dtype)
    cautions = [] if potential.dtype == dtype else [f"it computes in {potential.dtype}, not in {dtype} as was asked"]
    _evaluate_remaining(evaluation_id, benchmark, potential, settings)
    groups: list[GroupMetric] = []
    if isinstance(params, RELAXING):
        metrics = _summarise_relaxations(evaluation_id, benchmark, params, settings)
    else:
        metrics, groups = _summarise_predictions(evaluation_id, benchmark, params, potential, url)
        with session_scope(url) as session:
            functionals = list_functionals(session, [benchmark.id]).get(benchmark.id, [])
        own_labels = energy_forces.find_own_labels(functionals, potential.reference)
        mixed = energy_forces.find_mixed_functionals(functionals)
        cautions += filter(None, [energy_forces.find_offset(metrics), own_labels, mixed])
    comparisons = _compare_in_place_of_the_old(evaluation_id, url)
    with session_scope(url) as session:
        what = f"{label(models.get_model(session, model_version_id))} on {label(benchmark)}"
        evaluations.complete_evaluation(
            session,
            evaluation_id,
            metrics,
            time.monotonic() - started,
            group_metrics=groups,
            cautions=[f"{what}: {caution}" for caution in cautions],
            dtype=potential.dtype,
        )
        # In the same transaction: a kill leaves either the old comparisons or the new ones.
        for comparison in comparisons:
            evaluations.set_comparison(session, *comparison)
    for caution in cautions:
        get_run_logger().warning("%s: %s", what, caution)


def _evaluate_remaining(evaluation_id: int, benchmark: Benchmark, potential: Potential, settings: Settings) -> None:
    """Evaluate the structures that have no row yet: here, or in shards where the flow has workers."""
    url = settings.resolve_database_url()
    with session_scope(url) as session:
        remaining = evaluations.list_remaining(session, evaluation_id)
        done = benchmark.n_cases - len(remaining)
        model = models.get_model(session, evaluations.get_evaluation(session, evaluation_id).model_version_id)
    if not remaining:
        return
    what = f"{label(model)} on {label(benchmark)}: structures evaluated"
    progress = ProgressReporter("evaluation-progress", what, benchmark.n_cases)
    workers = find_workers()
    if workers is None:
        for n_done, note in evaluate_cases(evaluation_id, remaining, potential, settings):
            done += n_done
            progress.update(done, note)
        return
    shards = workers.split(remaining)
    for shard, _ in workers.run(evaluate_shard, [{"evaluation_id": evaluation_id, "indices": s} for s in shards]):
        done += len(shard["indices"])
        progress.update(done, f"in {len(shards)} shards")


def _summarise_predictions(
    evaluation_id: int, benchmark: Benchmark, params: BenchmarkParams, potential: Potential, url: str
) -> tuple[list[Metric], list[GroupMetric]]:
    with session_scope(url) as session:
        ids, cases = evaluations.load_cases(session, benchmark.id)
        stored = evaluations.load_predictions(session, evaluation_id)
    structures = {structure_id: case.start for structure_id, case in zip(ids, cases, strict=True)}
    ordered = [stored[i] for i in ids]
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    if isinstance(params, EquationOfStateParams):
        with session_scope(url) as session:
            evaluations.set_volume_curves(session, evaluation_id, equation_of_state.compute_rows(cases, ordered))
        return equation_of_state.compute_metrics(cases, ordered, rng), []
    if isinstance(params, PhysicsParams):
        checks = physics.compute_checks(cases, ordered) + physics.measure_drifts(potential, cases, params)
        with session_scope(url) as session:
            evaluations.add_device(session, evaluation_id, potential.device)  # of the drifts
            evaluations.set_physics_checks(session, evaluation_id, checks)
        return physics.compute_metrics(checks, rng), []
    labelled = list(structures.values())
    groups = energy_forces.compute_group_metrics(labelled, ordered)
    if isinstance(params, OffEquilibriumErrorsParams | ForgettingHoldoutParams):
        return reference_errors.compute_metrics(labelled, ordered, rng), groups
    with session_scope(url) as session:
        training = list(datasets.load_split(session, int(benchmark.dataset_id or 0), "train").values())
    return energy_forces.compute_metrics(labelled, ordered, training, rng), groups


def _summarise_relaxations(
    evaluation_id: int, benchmark: Benchmark, params: RELAXING, settings: Settings
) -> list[Metric]:
    with session_scope(settings.resolve_database_url()) as session:
        _, cases = evaluations.load_cases(session, benchmark.id)
        relaxations = _in_order(evaluations.load_relaxations(session, evaluation_id))
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    if isinstance(params, StructureRelaxParams):
        return compute_convergence(relaxations)
    if isinstance(params, RattleRelaxParams):
        rows = rattle_relax.compute_rows(cases, relaxations)
        _store_rows(evaluation_id, rows, settings)
        return rattle_relax.compute_metrics(cases, relaxations, rng, rows)
    reference = _predict_under_reference(benchmark, cases, relaxations, settings)
    _store_rows(evaluation_id, substitution_relax.compute_rows(cases, relaxations, reference), settings)
    return substitution_relax.compute_metrics(cases, relaxations, reference, rng)


def _predict_under_reference(
    benchmark: Benchmark, cases: Sequence[BenchmarkCase], relaxations: Sequence[Relaxation], settings: Settings
) -> list[Prediction]:
    """Energies of the final states under the benchmark's common reference model."""
    if benchmark.reference_id is None:
        return [Prediction(None, None, failure="the benchmark has no reference model")] * len(cases)
    reference = load_model(
        load_model_file(benchmark.reference_id, settings), device=resolve_device(settings.device), dtype="float32"
    )
    finals = [_get_final_structure(case, relaxation) for case, relaxation in zip(cases, relaxations, strict=True)]
    predictions = iter(reference.predict([final for final in finals if final is not None]))
    return [
        next(predictions) if final is not None else Prediction(None, None, failure="no final state") for final in finals
    ]


def _get_final_structure(case: BenchmarkCase, relaxation: Relaxation) -> Structure | None:
    if relaxation.lattice is None or relaxation.positions is None:
        return None
    return replace(case.start, lattice=relaxation.lattice, positions=relaxation.positions)


def _store_rows(evaluation_id: int, rows: Sequence[Mapping[str, float | bool | None]], settings: Settings) -> None:
    with session_scope(settings.resolve_database_url()) as session:
        evaluations.update_relaxations(session, evaluation_id, dict(enumerate(rows)))


@task(
    name="compare two evaluations",
    task_run_name=name_by_labels("compare {candidate_id} with {baseline_id}"),
    cache_policy=NO_CACHE,
    **AGAIN,
)
def compare_evaluations(baseline_id: int, candidate_id: int) -> None:
    """Store the paired differences of two evaluations of one benchmark, unless they are stored."""
    url = load_settings().resolve_database_url()
    with session_scope(url) as session:
        if evaluations.has_comparison(session, baseline_id, candidate_id):
            return
    comparison = _compare(baseline_id, candidate_id, url)
    with session_scope(url) as session:
        evaluations.set_comparison(session, *comparison)


def _compare_in_place_of_the_old(evaluation_id: int, url: str) -> list[_Comparison]:
    """Compare an evaluation with all that the one which it is to replace was compared with."""
    with session_scope(url) as session:
        replaced_id = evaluations.get_replaced(session, evaluation_id)
        pairs = [] if replaced_id is None else evaluations.list_compared(session, replaced_id)
    renewed = [tuple(evaluation_id if each == replaced_id else each for each in pair) for pair in pairs]
    return [_compare(baseline_id, candidate_id, url) for baseline_id, candidate_id in renewed]


def _compare(baseline_id: int, candidate_id: int, url: str) -> _Comparison:
    """Return both ids, the paired differences, and cautions by the name of the metric."""
    with session_scope(url) as session:
        benchmark = evaluations.get_benchmark_of_evaluation(session, candidate_id)
        scales = evaluations.describe_scales(session, baseline_id, candidate_id)
        judge = evaluations.describe_judge(session, baseline_id, candidate_id)
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    compare = _compare_relaxations if benchmark.kind.endswith("relax") else _compare_predictions
    differences = compare(benchmark, (baseline_id, candidate_id), rng, url)
    cautions = {} if scales is None else dict.fromkeys(energy_forces.RAW_ENERGY_METRICS, scales)
    cautions |= {} if judge is None else {substitution_relax.REFERENCE_ENERGY: judge}
    return baseline_id, candidate_id, differences, cautions


def _compare_predictions(
    benchmark: Benchmark, pair: tuple[int, int], rng: np.random.Generator, url: str
) -> list[Metric]:
    if benchmark.kind == "physics":
        with session_scope(url) as session:
            baseline, candidate = (evaluations.load_physics_checks(session, i) for i in pair)
        return physics.compare(baseline, candidate, rng)
    with session_scope(url) as session:
        ids, cases = evaluations.load_cases(session, benchmark.id)
        stored = [evaluations.load_predictions(session, evaluation_id) for evaluation_id in pair]
    before, after = ([predictions[i] for i in ids] for predictions in stored)
    if benchmark.kind == "equation-of-state":
        return equation_of_state.compare(cases, before, after, rng)
    compare = energy_forces.compare if benchmark.kind == "energy-forces" else reference_errors.compare
    return compare([case.start for case in cases], before, after, rng)


def _compare_relaxations(
    benchmark: Benchmark, pair: tuple[int, int], rng: np.random.Generator, url: str
) -> list[Metric]:
    with session_scope(url) as session:
        _, cases = evaluations.load_cases(session, benchmark.id)
        before, after = (_in_order(evaluations.load_relaxations(session, i)) for i in pair)
        energies = [_in_order(evaluations.load_reference_energies(session, i)) for i in pair]
    if benchmark.kind == "rattle-relax":
        return rattle_relax.compare(cases, before, after, rng)
    if benchmark.kind == "relax":
        return compare_convergence(before, after, [case.start.chemical_system for case in cases], rng)
    references = [
        [Prediction(energy, None, failure=None if energy is not None else "none") for energy in e] for e in energies
    ]
    return substitution_relax.compare(
        cases, before, after, rng, baseline_reference=references[0], candidate_reference=references[1]
    )


def _in_order[T](by_index: dict[int, T]) -> list[T]:
    return [by_index[index] for index in sorted(by_index)]
