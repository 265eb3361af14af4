"""Curate: read a source of structures, keep the high-entropy oxides, split them, store them as a dataset."""

from __future__ import annotations

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from db import datasets
from db.engine import exclusive, session_scope
from flows.progress import ProgressReporter
from flows.settings import load_settings
from heo_core.curation import curate as curate_source
from heo_core.curation import open_source
from heo_core.params import CurationParams


@task(name="scan the source and store the dataset", cache_policy=NO_CACHE)
def store_dataset(params: CurationParams) -> int:
    """Return the id of the dataset that these parameters make of this source; a second time it is found, not made."""
    logger = get_run_logger()
    url = load_settings().resolve_database_url()
    with exclusive(url, f"dataset:{params.name}"):
        source = open_source(params)
        with session_scope(url) as session:
            found = datasets.find_dataset(session, params, source.revision)
            if found is not None:
                logger.info("reusing dataset %s@%d: %d structures", found.name, found.version, found.n_kept)
                return found.id
        progress = ProgressReporter("curation-progress", f"rows of {source.uri} scanned", source.n_rows)
        curated = curate_source(source, params, lambda p: progress.update(p.n_scanned, f"{p.n_kept} kept"))
        with session_scope(url) as session:
            dataset = datasets.add_dataset(session, params, curated)
            logger.info(
                "stored dataset %s@%d: kept %d of %d rows",
                dataset.name,
                dataset.version,
                dataset.n_kept,
                dataset.n_scanned,
            )
            return dataset.id


@task(name="show the dataset", cache_policy=NO_CACHE)
def show_dataset(dataset_id: int) -> None:
    """Put splits and rejections into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        splits = datasets.count_splits(session, dataset_id)
        rejections = datasets.list_rejections(session, dataset_id)
    create_table_artifact(
        splits, key="dataset-splits", description="Structures, formulas and chemical systems of each split"
    )
    create_table_artifact(
        [{**row, "example_ids": ", ".join(row["example_ids"])} for row in rejections],
        key="dataset-rejections",
        description="Rows that each rule left out",
    )


@flow(name="curate", flow_run_name="curate {params.name}", description=__doc__, log_prints=False)
def curate(params: CurationParams = CurationParams()) -> int:
    """Return the id of the curated dataset."""
    dataset_id = store_dataset(params)
    show_dataset(dataset_id)
    return dataset_id
