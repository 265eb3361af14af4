"""Structures: generate cells of a composition on a parent crystal, check, store and show them."""

from __future__ import annotations

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import datasets, generated
from db.engine import exclusive, session_scope
from db.versions import label
from flows.admission import admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.progress import ProgressReporter
from flows.settings import load_settings
from flows.tries import AGAIN
from heo_core.params import GenerationParams
from heo_core.structures.generation import compute_parent_sha256, generate


@task(name="generate and store the cells", cache_policy=NO_CACHE, **AGAIN)
def store_cells(params: GenerationParams) -> int:
    """Return the id of the set that these parameters make; a second time it is found, not made."""
    logger = get_run_logger()
    url = load_settings().resolve_database_url()
    with exclusive(url, f"dataset:{params.name}"):
        parent_sha256 = compute_parent_sha256(params)
        with session_scope(url) as session:
            found = generated.find_generated(session, params, parent_sha256)
            if found is not None:
                logger.info("reusing %s: %d cells", label(found), found.n_kept)
                return found.id
        progress = ProgressReporter("generation-progress", "cells generated", params.n)
        cells = generate(params, progress.update)
        with session_scope(url) as session:
            dataset = generated.add_generated(session, params, parent_sha256, cells)
            reference, dataset_id = label(dataset), dataset.id
        failures = [f"cell {cell.number}: {cell.failure}" for cell in cells if cell.failure is not None]
        if failures:
            logger.warning("%d of %d cells failed a check, first %s", len(failures), len(cells), failures[0])
        logger.info("stored %s: %d cells", reference, len(cells) - len(failures))
        return dataset_id


@task(name="show the cells", cache_policy=NO_CACHE, **AGAIN)
def show_cells(dataset_id: int) -> None:
    """Put composition, charge and shortest distance of every cell into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        dataset = label(datasets.get_dataset_by_id(session, dataset_id))
        rows = generated.list_cells(session, dataset_id)
    show_table([put_into_words(row) for row in rows], key="generated-cells", description=f"Cells of {dataset}")


@flow(name="structures", flow_run_name="structures {params.name}", timeout_seconds=limit(days=1), description=__doc__)
def generate_structures(params: GenerationParams = GenerationParams()) -> int:
    """Return the id of the dataset that holds the cells."""
    admit(params)
    dataset_id = store_cells(params)
    show_cells(dataset_id)
    return dataset_id
