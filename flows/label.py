"""Label: energies, forces and moments of structures by DFT or a potential, on one scale; a durable row a structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from db import labels, models
from db.engine import session_scope
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.progress import ProgressReporter
from flows.registry import load_model_file, register_model
from flows.settings import Settings, load_settings
from flows.shared_work import share_out
from flows.tries import AGAIN
from heo_core.errors import InputError
from heo_core.evaluation.relax_files import read_structures
from heo_core.labelling.engines import Engine, GpawEngine, PotentialEngine
from heo_core.labelling.gpaw_engine import make_settings
from heo_core.labelling.label import Wanted
from heo_core.models import load_model, resolve_device
from heo_core.params import LabelParams
from heo_core.structures.perturb import remove_labels


@task(name="label the structures", task_run_name="label for {params.name}", cache_policy=NO_CACHE, **AGAIN)
def label_remaining(params: LabelParams) -> int:
    """Return how many of the structures have labels now; those that were labelled before are found, not done again."""
    settings = load_settings()
    url = settings.resolve_database_url()
    logger = get_run_logger()
    found, failures = gather_structures(params, settings)
    for failure in failures:
        logger.warning("%s", failure)
    wanted = {one.structure.content_hash: one for one in found}
    engine = make_engine(params, settings)
    versions = engine.find_versions()
    with session_scope(url) as session:
        label_set = labels.open_label_set(
            session,
            params.name,
            engine=engine.name,
            functional=engine.functional,
            settings=engine.settings,
            versions=versions,
        )
        labels.set_origins(session, label_set.id, found)
        if params.retry_failed:
            labels.remove_failures(session, label_set.id, list(wanted))

    def find_done() -> set[tuple[str, str]]:
        with session_scope(url) as session:
            return {(params.name, done) for done in labels.list_done(session, label_set.id, with_failures=True)}

    def work(pieces: list[tuple[str, str]]) -> None:
        with session_scope(url) as session:
            labels.check_versions(session, label_set, versions)  # of runs that share the work from elsewhere
        mine = [wanted[content_hash] for _, content_hash in pieces]
        for one, result in zip(mine, engine.label([one.structure for one in mine]), strict=True):
            with session_scope(url) as session:
                labels.check_versions(session, label_set, versions)  # again: theirs may have been the first label
                labels.add_label(session, label_set, one.structure, result, flow_run_id=flow_run.get_id())
            if result.failure is not None:
                logger.warning("%s: %s", one.structure.immutable_id, result.failure)

    logger.info("%d structures are to be labelled by %s", len(wanted), engine.functional)
    progress = ProgressReporter("label-progress", f"{params.name}: structures labelled", len(wanted))
    share_out(
        url,
        "labels",
        [(params.name, content_hash) for content_hash in wanted],
        find_done,
        work,
        at_once=engine.at_once,
        on_progress=progress.update,
    )
    with session_scope(url) as session:
        return len(labels.list_done(session, label_set.id, with_failures=False) & wanted.keys())


@task(name="show the labels", cache_policy=NO_CACHE, **AGAIN)
def show_labels(name: str) -> None:
    """Put every structure of the set into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        rows = labels.summarise(session, name)["structures"]
    show_table([put_into_words(row) for row in rows], key="structure-labels", description=f"Labels of {name}", digits=6)


def gather_structures(params: LabelParams, settings: Settings) -> tuple[list[Wanted], list[str]]:
    """Collect the structures that are meant, without labels, and why others cannot be read; InputError if none is."""
    failures: list[str] = []
    if params.files:
        starts = read_structures([Path(file).expanduser() for file in params.files])
        failures = [start.failure for start in starts if start.failure is not None]
        found = [Wanted(remove_labels(start.structure)) for start in starts if start.structure is not None]
    else:
        with session_scope(settings.resolve_database_url()) as session:
            found = list(labels.iter_wanted(session, params))
    if not found:
        raise InputError("; ".join(["there is no structure to label", *failures]))
    return found, failures


def make_engine(params: LabelParams, settings: Settings) -> Engine:
    """Return what labels, ready to start."""
    if params.engine == "gpaw":
        return GpawEngine(
            make_settings(params.gpaw),
            python=settings.dft_interpreter,
            logs=settings.work / "labels" / params.name,
            limit_s=params.max_seconds,
        )
    model_version_id = register_model(params.engine, settings)
    file = load_model_file(model_version_id, settings)
    with session_scope(settings.resolve_database_url()) as session:
        versions = models.get_model(session, model_version_id).package_versions
    potential = load_model(file, device=resolve_device(settings.device), dtype="float64")
    return PotentialEngine(potential, sha256=file.sha256, package_versions=versions)


@flow(name="label", flow_run_name="label {params.name}", timeout_seconds=limit(days=28), description=__doc__)
def label_structures(params: LabelParams) -> dict[str, Any]:
    """Return the name of the set, and how many of the structures have labels now; several runs share the work."""
    admit(params)
    n_labelled = label_remaining(params)
    show_labels(params.name)
    return {"labels": params.name, "n_labelled": n_labelled}
