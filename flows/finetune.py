"""Finetune: train a foundation model on a dataset with MACE's own trainer and register the result."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from db import datasets, models, training
from db.engine import exclusive, session_scope
from db.schema import Dataset, ModelVersion
from db.versions import label
from flows.progress import ProgressReporter
from flows.registry import load_model_file, register_model
from flows.settings import Settings, load_settings
from heo_core.artifacts import check_sha256, store_artifact
from heo_core.errors import ModelError
from heo_core.finetuning.run import TrainingResult, run_training
from heo_core.finetuning.strategy import make_recipe
from heo_core.finetuning.training_set import TrainingSet, make_training_set
from heo_core.models import resolve_device
from heo_core.params import FinetuneParams, hash_json
from heo_core.records import EpochMetrics


@task(name="register the foundation model", cache_policy=NO_CACHE)
def register_foundation(reference: str) -> int:
    """Return the id of the model version to start from."""
    return register_model(reference, load_settings())


@task(name="train", cache_policy=NO_CACHE)
def train(params: FinetuneParams, foundation_id: int) -> int:
    """Return the id of the model version that this training makes; a second time it is found, not made."""
    settings = load_settings()
    url = settings.resolve_database_url()
    with session_scope(url) as session:
        dataset = datasets.get_dataset(session, params.dataset)
        foundation = models.get_model(session, foundation_id)
        name = params.name or f"{foundation.name}-{dataset.name}"
    if foundation.family != "mace":
        raise ModelError(f"{params.foundation} is of the family {foundation.family}; only mace models can be finetuned")
    if not foundation.artifact_uri:
        raise ModelError(f"{params.foundation} has no file that could be finetuned")
    key = hash_json(
        {
            "recipe": make_recipe(params, Path(foundation.artifact_uri)),
            "name": name,
            "dataset": dataset.content_hash,
            "foundation": foundation.sha256,
        }
    )
    with exclusive(url, f"training:{key}") as waited:
        if waited:
            get_run_logger().info("waited for another run of the same training")
        with session_scope(url) as session:
            found = training.find_model_of_key(session, key)
            if found is not None:
                get_run_logger().info("reusing model %s", label(found))
                return found.id
        return _train_and_register(params, dataset, foundation, key, name, settings)


def _train_and_register(
    params: FinetuneParams, dataset: Dataset, foundation: ModelVersion, key: str, name: str, settings: Settings
) -> int:
    url = settings.resolve_database_url()
    device = resolve_device(settings.device)
    with session_scope(url) as session:
        train_split, validation_split = (
            list(datasets.load_split(session, dataset.id, split).values()) for split in ("train", "validation")
        )
    training_set = make_training_set(train_split, validation_split, models.to_model_file(foundation), params)
    with session_scope(url) as session:
        run_id = training.start_training_run(
            session,
            key,
            name=name,
            dataset_id=dataset.id,
            foundation_id=foundation.id,
            params=params.model_dump(mode="json"),
            mace_arguments=make_recipe(params, Path(str(foundation.artifact_uri))),
            n_train=len(training_set.train),
            n_validation=len(training_set.validation),
            left_out=training_set.left_out,
            device=device,
            versions={package: version(package) for package in ("heo", "mace-torch", "torch")},
            flow_run_id=flow_run.get_id(),
        )
    _say_what_is_trained(name, training_set, device)
    folder = settings.work / "training" / key[:16]
    try:
        result = _run(params, foundation.id, training_set, folder, device, run_id, settings)
        artifact = store_artifact(result.model_path, settings.artifacts)
        shutil.rmtree(folder)
    except BaseException as exc:
        # Ctrl-C and a cancelled run included: a run that ended says so.
        with session_scope(url) as session:
            training.fail_training_run(session, run_id, str(exc) or "interrupted")
        raise
    with session_scope(url) as session:
        model = training.complete_training_run(
            session,
            run_id,
            result.best_epoch,
            ModelVersion(
                name=name,
                key=key,
                family="mace",
                reference=f"{foundation.name}@{foundation.version}",
                parent_id=foundation.id,
                dataset_id=dataset.id,
                sha256=artifact.sha256,
                size_bytes=artifact.size_bytes,
                artifact_uri=str(artifact.path),
                elements=foundation.elements,
                energy_scale=foundation.energy_scale,
                licence=foundation.licence,
                params=params.model_dump(mode="json"),
            ),
        )
        get_run_logger().info(
            "registered model %s: epoch %d of %d", label(model), result.best_epoch, params.max_num_epochs
        )
        return model.id


def _run(
    params: FinetuneParams,
    foundation_id: int,
    training_set: TrainingSet,
    folder: Path,
    device: str,
    run_id: int,
    settings: Settings,
) -> TrainingResult:
    """Train, with every epoch in Postgres and in Prefect's UI as soon as it is done."""
    url = settings.resolve_database_url()
    foundation = load_model_file(foundation_id, settings)
    check_sha256(Path(str(foundation.path)), str(foundation.sha256))
    progress = ProgressReporter("training-progress", "epochs trained", params.max_num_epochs)

    def store_epoch(epoch: EpochMetrics) -> None:
        with session_scope(url) as session:
            training.add_epochs(session, run_id, [epoch])
        errors = f"{1000 * epoch.forces_rmse_ev_per_ang:.1f} meV/Å, {1000 * epoch.energy_rmse_ev_per_atom:.1f} meV/atom"
        progress.update(epoch.epoch, f"validation RMSE {errors}")

    return run_training(
        training_set, params, foundation=Path(str(foundation.path)), folder=folder, device=device, on_epoch=store_epoch
    )


def _say_what_is_trained(name: str, training_set: TrainingSet, device: str) -> None:
    logger = get_run_logger()
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in training_set.left_out.items())
    logger.info(
        "training %s on %d structures, validated on %d%s",
        name,
        len(training_set.train),
        len(training_set.validation),
        left_out,
    )
    if device == "cpu":
        logger.info("no CUDA device is used: training on the CPU")


@task(name="show the training", cache_policy=NO_CACHE)
def show_training(model_version_id: int) -> None:
    """Put the epochs into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        epochs = training.list_epochs_of_model(session, model_version_id)
    create_table_artifact(
        epochs,
        key="training-epochs",
        description="Errors on the validation split after each epoch; 0 is before training",
    )


@flow(name="finetune", flow_run_name="finetune {params.foundation} on {params.dataset}", description=__doc__)
def finetune(params: FinetuneParams = FinetuneParams()) -> int:
    """Return the id of the finetuned model version."""
    foundation_id = register_foundation(params.foundation)
    model_version_id = train(params, foundation_id)
    show_training(model_version_id)
    return model_version_id
