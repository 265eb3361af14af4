"""Curate: read a source of structures, keep the high-entropy oxides, split, store and describe them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import batched
from typing import Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import datasets, descriptors, labels
from db.engine import exclusive, session_scope
from db.structures import load_structures
from db.versions import label
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.progress import ProgressReporter
from flows.settings import Settings, load_settings
from flows.tries import AGAIN
from heo_core.curation import Progress, open_source
from heo_core.curation import curate as curate_source
from heo_core.curation.descriptors import describe
from heo_core.curation.embedding import embed_compositions, project
from heo_core.curation.export import export_structures
from heo_core.curation.sources import Source
from heo_core.curation.split import SPLITS
from heo_core.errors import InputError
from heo_core.params import CurationParams

_STRUCTURES_PER_COMMIT = 500


@task(name="scan the source and store the dataset", cache_policy=NO_CACHE, **AGAIN)
def store_dataset(params: CurationParams) -> int:
    """Return the id of the dataset that these parameters make of this source; a second time it is found, not made."""
    logger = get_run_logger()
    settings = load_settings()
    url = settings.resolve_database_url()
    with exclusive(url, f"dataset:{params.name}"):
        source = _open_source(params, settings)
        with session_scope(url) as session:
            found = datasets.find_dataset(session, params, source.revision)
            if found is not None:
                logger.info("reusing dataset %s: %d structures", label(found), found.n_kept)
                return found.id
        progress = ProgressReporter("curation-progress", f"rows of {source.uri} scanned", source.n_rows)
        # A run that is killed leaves its finished shards here, and the next one of this name goes on from them.
        folder = settings.work / "curation" / params.name
        curated = curate_source(
            source, params, lambda state: progress.update(state.n_scanned, _describe_progress(state)), folder
        )
        progress.finish(curated.n_scanned, f"{curated.n_kept} kept; now storing them")
        with session_scope(url) as session:
            dataset = datasets.add_dataset(session, params, curated)
            reference, dataset_id = label(dataset), dataset.id
            functionals = datasets.count_functionals(session, dataset_id)
        empty = [split for split in SPLITS if split not in curated.splits]
        if empty:
            logger.warning(
                "%d rows kept, none in the split %s: 'heo dataset show %s' says which rules left out the others",
                curated.n_kept,
                ", ".join(empty),
                reference,
            )
        if len(functionals) > 1:
            logger.warning(
                "the labels of %s are of several functionals (%s), whose energies share no scale: rules.functionals "
                "keeps those of one",
                reference,
                ", ".join(f"{row['functional']}: {row['n_structures']}" for row in functionals),
            )
        progress.finish(curated.n_scanned, f"{curated.n_kept} kept, stored as {reference}")
        shutil.rmtree(folder, ignore_errors=True)
        return dataset_id


def _open_source(params: CurationParams, settings: Settings) -> Source:
    """Open what is named; a label set through a file with its structures as they are now."""
    kind, colon, name = params.source.partition(":")
    if not colon or kind != "labels":
        return open_source(params)
    with session_scope(settings.resolve_database_url()) as session:
        labelled = [(structure, "labelled") for structure in labels.load_labelled(session, name)]
    path = settings.work / "labels" / f"{name}-for-{params.name}.extxyz"
    path.parent.mkdir(parents=True, exist_ok=True)
    export_structures(labelled, path, "extxyz")
    return replace(open_source(params.model_copy(update={"source": str(path)})), uri=params.source)


def _describe_progress(state: Progress) -> str:
    retries = f", {state.n_retries} reads begun again" if state.n_retries else ""
    return f"{state.n_kept} kept, {state.n_scanned - state.n_kept} rejected, {state.rows_per_s:,.0f} rows/s{retries}"


@task(name="describe the structures", cache_policy=NO_CACHE, **AGAIN)
def describe_structures(dataset_id: int) -> None:
    """Compute and store composition and symmetry of every structure that has none yet, some at a time."""
    url = load_settings().resolve_database_url()
    # One lock for all datasets: they share structures.
    with exclusive(url, "descriptors"):
        with session_scope(url) as session:
            missing = descriptors.list_undescribed(session, dataset_id)
            dataset = label(datasets.get_dataset_by_id(session, dataset_id))
        if not missing:
            return
        progress = ProgressReporter("descriptor-progress", f"{dataset}: structures described", len(missing))
        done = 0
        for chunk in batched(missing, _STRUCTURES_PER_COMMIT):
            with session_scope(url) as session:
                structures = load_structures(session, chunk)
            described = {i: describe(structures[i]) for i in chunk}
            with session_scope(url) as session:
                descriptors.add_descriptors(session, described)
            done += len(chunk)
            progress.update(done)


@task(name="draw the map", cache_policy=NO_CACHE, **AGAIN)
def draw_map(dataset_id: int, method: Literal["pca", "umap", "none"]) -> None:
    """Place every structure in a picture of the dataset's chemistry and store it, once for each method."""
    if method == "none":
        return
    logger = get_run_logger()
    url = load_settings().resolve_database_url()
    with exclusive(url, f"map:{dataset_id}"):
        with session_scope(url) as session:
            if descriptors.has_map(session, dataset_id, method):
                return
            fractions = descriptors.load_cation_fractions(session, dataset_id)
        try:
            embeddings = embed_compositions(list(fractions.values()))
            places = project(embeddings, method, seed=0)
        except InputError as exc:
            # A picture is not worth losing a dataset for.
            logger.warning("no map of the dataset: %s", exc)
            return
        with session_scope(url) as session:
            descriptors.add_map(session, dataset_id, method, fractions, embeddings, places)


@task(name="show the dataset", cache_policy=NO_CACHE, **AGAIN)
def show_dataset(dataset_id: int) -> None:
    """Put splits, leaks and rejections into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        summary = datasets.summarise(session, dataset_id)
    for name, description in (
        ("splits", "structures, formulas and chemical systems of each split"),
        ("leakage", "what two splits share"),
        ("rejections", "rows that each rule left out"),
    ):
        rows = [
            {key: ", ".join(value) if isinstance(value, list) else value for key, value in row.items()}
            for row in summary[name]
        ]
        show_table(
            [put_into_words(row) for row in rows],
            key=f"dataset-{name}",
            description=f"{summary['dataset']}: {description}",
        )


@flow(name="curate", flow_run_name="curate {params.name}", timeout_seconds=limit(days=2), description=__doc__)
def curate(params: CurationParams = CurationParams()) -> int:
    """Return the id of the curated dataset."""
    admit(params)
    dataset_id = store_dataset(params)
    describe_structures(dataset_id)
    draw_map(dataset_id, params.map)
    show_dataset(dataset_id)
    return dataset_id
