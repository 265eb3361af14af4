"""Finetune: train a foundation model on a dataset with MACE's own trainer, register the result and assess it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from db import datasets, models, training
from db.engine import exclusive, session_scope
from db.schema import Dataset, ModelVersion
from db.versions import label
from flows.admission import MAX_STARTS, admit, limit
from flows.artifact_tables import put_into_words, show_table
from flows.assess import assess_model
from flows.events import emit_model_registered
from flows.progress import ProgressReporter
from flows.provenance import describe_code, describe_device, list_package_versions
from flows.registry import load_model_file, register_foundation_model
from flows.settings import Settings, load_settings
from flows.tries import AGAIN
from heo_core.errors import DivergedError, TrainerKilledError, first_line
from heo_core.finetuning.preparation import prepare_training
from heo_core.finetuning.run import TrainingResult, clear_training, is_begun, run_training
from heo_core.finetuning.strategy import Acceleration, choose_acceleration, make_recipe
from heo_core.finetuning.training_set import make_training_set
from heo_core.models import describe, resolve_device
from heo_core.params import FinetuneParams, hash_json
from heo_core.records import EpochMetrics, ModelFile, Structure

_OUTLIERS_NAMED = 20


@task(name="register the foundation model", cache_policy=NO_CACHE, **AGAIN)
def register_foundation(params: FinetuneParams) -> int:
    """Return the id of the model version to start from."""
    settings = load_settings()
    with session_scope(settings.resolve_database_url()) as session:
        # A foundation may be a long download: a wrong name of a dataset is refused before it.
        datasets.get_dataset(session, params.dataset)
        _find_replayed(params, lambda name: datasets.get_dataset(session, name))
    return register_foundation_model(params.foundation, settings)


@task(name="train", cache_policy=NO_CACHE, **AGAIN)
def train(params: FinetuneParams, foundation_id: int) -> int:
    """Return the id of the model version that this training makes; a second time it is found, not made."""
    settings = load_settings()
    url = settings.resolve_database_url()
    logger = get_run_logger()
    params = params.resolve()
    with session_scope(url) as session:
        dataset = datasets.get_dataset(session, params.dataset)
        replayed = _find_replayed(params, lambda name: datasets.get_dataset(session, name))
        foundation = models.get_model(session, foundation_id)
        name = params.name or f"{foundation.name}-{dataset.name}"
    run = _Run(params, dataset, replayed, foundation, name, settings)
    with exclusive(
        url,
        f"training:{run.key}",
        on_wait=lambda: logger.info("another run of the same training is on: waiting for it"),
    ):
        if (made := run.find_made()) is not None:
            return made
        with run.alone():
            return run.find_made() or run.train_and_register()


def _find_replayed(params: FinetuneParams, get: Any) -> Dataset | None:
    """Return the dataset whose structures are replayed; None where it is another source, or nothing is replayed."""
    uses_dataset = params.strategy == "replay" and params.replay.structures not in {"train", "foundation"}
    return get(params.replay.structures) if uses_dataset else None


class _Run:
    """One training, from the rows of its splits to the row of its model."""

    def __init__(
        self,
        params: FinetuneParams,
        dataset: Dataset,
        replayed: Dataset | None,
        foundation: ModelVersion,
        name: str,
        settings: Settings,
    ) -> None:
        self.params, self.dataset, self.replayed = params, dataset, replayed
        self.foundation, self.name, self.settings = foundation, name, settings
        self.url = settings.resolve_database_url()
        self.foundation_file = load_model_file(foundation.id, settings)
        self.recipe = make_recipe(params, Path(str(self.foundation_file.path)))
        self.device = resolve_device(settings.device)
        self.acceleration: Acceleration = choose_acceleration(settings.acceleration, params, self.device)
        self.key = hash_json(
            {
                "recipe": self.recipe,
                "E0s": params.E0s,
                "stress_weight": params.stress_weight,
                "patience": params.patience,
                "replay": params.replay.model_dump(mode="json") if params.strategy == "replay" else None,
                "replayed": replayed.content_hash if replayed else None,
                "name": name,
                "dataset": dataset.content_hash,
                "foundation": foundation.sha256,
            }
        )
        # The state of one kind of kernels is nothing to go on from for another.
        self.folder = settings.work / "training" / f"{self.key[:16]}-{self.acceleration}"
        self.code_version = describe_code()

    def find_made(self) -> int | None:
        """Return the id of the model that this training has made; None where it has not."""
        with session_scope(self.url) as session:
            found = training.find_model_of_key(session, self.key)
        if found is None:
            return None
        get_run_logger().info("reusing model %s", label(found))
        return found.id

    def alone(self) -> FileLock:
        """Keep others out of the folder: the database's lock goes with Postgres, and a run given up may still live."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "lock")

    def train_and_register(self) -> int:
        """Train, and store the model; what goes wrong on the way is stored with the run."""
        run_id = self._start()
        try:
            self._prepare(run_id)
            result = self._train(run_id)
            artifact = self.settings.artifacts.put(result.model_path)
            facts = describe(ModelFile("mace", self.name, str(result.model_path), artifact.sha256))
            with session_scope(self.url) as session:
                model = training.complete_training_run(
                    session,
                    run_id,
                    self._describe_model(result, facts)
                    | {"sha256": artifact.sha256, "size_bytes": artifact.size_bytes, "artifact_uri": artifact.uri},
                    best_epoch=result.best_epoch,
                    best_score=result.best_score,
                    stop_reason=result.stop_reason,
                    train_s=sum(epoch.seconds or 0.0 for epoch in result.epochs),
                    log_tail=result.log_tail,
                )
        except BaseException as exc:
            # Ctrl-C and a cancelled run included: a run that ended says so.
            if isinstance(exc, DivergedError):
                # From where it is it would fail again: the next try starts anew.
                self._forget()
            with session_scope(self.url) as session:
                training.fail_training_run(session, run_id, str(exc) or "interrupted")
            raise
        clear_training(self.folder, result.best_epoch)
        emit_model_registered(model.id)
        get_run_logger().info(
            "registered model %s: epoch %d of %d", label(model), result.best_epoch, result.epochs[-1].epoch
        )
        return model.id

    def _start(self) -> int:
        with session_scope(self.url) as session:
            return training.start_training_run(
                session,
                self.key,
                continues=is_begun(self.folder),
                name=self.name,
                strategy=self.params.strategy,
                dataset_id=self.dataset.id,
                foundation_id=self.foundation.id,
                params=self.params.model_dump(mode="json"),
                params_hash=self.params.compute_hash(),
                mace_arguments=self.recipe,
                device=describe_device(self.device, self.acceleration),
                versions=list_package_versions(),
                flow_run_id=flow_run.get_id(),
            )

    def _prepare(self, run_id: int) -> None:
        """Write what the trainer reads, and store what it is."""
        logger = get_run_logger()
        training_set = make_training_set(
            self._load("train"), self._load("validation"), self.foundation_file, self.params
        )
        preparation = prepare_training(
            training_set,
            self._load_replayable(),
            self.params,
            foundation=self.foundation_file,
            folder=self.folder,
            device=self.device,
        )
        replay = preparation.replay
        with session_scope(self.url) as session:
            training.describe_training_run(
                session,
                run_id,
                n_train=len(training_set.train),
                n_validation=len(training_set.validation),
                left_out=training_set.left_out,
                e0s=preparation.e0s or None,
                e0_outliers=preparation.outliers,
                replay=replay,
            )
        logger.info(
            "training %s (%s) on %d structures%s, validated on %d%s%s",
            self.name,
            self.params.strategy,
            len(training_set.train),
            f", each {replay['row_copies']} times a pass, and {replay['n_cells']} replayed cells" if replay else "",
            len(training_set.validation),
            "".join(f"; {count} left out: {reason}" for reason, count in training_set.left_out.items()),
            "; going on from the last finished epoch" if is_begun(self.folder) else "",
        )
        if preparation.outliers:
            worst = sorted(preparation.outliers.items(), key=lambda row: -abs(row[1]))[:_OUTLIERS_NAMED]
            logger.warning(
                "%d structures have energies that no shift of the E0s explains: the E0s were fitted without them. "
                "Labels of another calculation look like this (another U, pseudopotential or magnetic order). Largest "
                "errors, predicted less reference: %s",
                len(preparation.outliers),
                ", ".join(f"{name} {1000 * error:+.0f} meV/atom" for name, error in worst),
            )
        if self.device == "cpu":
            logger.info("no CUDA device is used: training on the CPU")

    def _load(self, split: str, dataset: Dataset | None = None) -> list[Structure]:
        with session_scope(self.url) as session:
            return list(datasets.load_split(session, (dataset or self.dataset).id, split).values())

    def _load_replayable(self) -> list[Structure]:
        """Structures of the replayed dataset, without the formulas that this one validates and tests with."""
        if self.replayed is None:
            return []
        held_out = {s.formula_reduced for split in ("validation", "test") for s in self._load(split)}
        return [s for s in self._load("train", self.replayed) if s.formula_reduced not in held_out]

    def _train(self, run_id: int) -> TrainingResult:
        """Train, with every epoch in Postgres and in Prefect's UI as soon as it is done."""
        progress = ProgressReporter("training-progress", f"{self.name}: epochs trained", self.params.max_num_epochs)
        scores: dict[int, float] = {}

        def store_epoch(epoch: EpochMetrics) -> None:
            with session_scope(self.url) as session:
                training.add_epochs(session, run_id, [epoch])
            if epoch.epoch > 0 and epoch.score is not None:
                scores[epoch.epoch] = epoch.score
            best = f"; best so far: epoch {min(scores, key=lambda e: scores[e])}" if scores else ""
            forces, energy = 1000 * epoch.forces_rmse_ev_per_ang, 1000 * epoch.energy_rmse_ev_per_atom
            progress.update(epoch.epoch, f"validation RMSE {forces:.1f} meV/Å, {energy:.1f} meV/atom{best}")

        result = self._run_trainer(store_epoch)
        progress.finish(result.epochs[-1].epoch, f"stopped by {result.stop_reason}; epoch {result.best_epoch} is kept")
        return result

    def _run_trainer(self, on_epoch: Callable[[EpochMetrics], None]) -> TrainingResult:
        """Run the trainer; one that was killed goes on from its last finished epoch, as a killed run does."""
        for start in range(1, MAX_STARTS + 1):
            try:
                return run_training(
                    self.params,
                    foundation=self.folder / "foundation.model",
                    folder=self.folder,
                    device=self.device,
                    on_epoch=on_epoch,
                    acceleration=self.acceleration,
                )
            except TrainerKilledError as exc:
                if start == MAX_STARTS:
                    raise
                get_run_logger().warning("%s; it is started again", first_line(exc).partition("; the end of")[0])
        raise AssertionError  # the loop returns or raises

    def _forget(self) -> None:
        """Remove the checkpoints of a training that diverged."""
        for path in (self.folder / "checkpoints").glob("*"):
            path.unlink()

    def _describe_model(self, result: TrainingResult, facts: dict[str, Any]) -> dict[str, Any]:
        is_scratch = self.params.strategy == "scratch"
        return {
            "name": self.name,
            "key": self.key,
            "family": "mace",
            "reference": label(self.foundation),
            # A model from scratch descends from none.
            "parent_id": None if is_scratch else self.foundation.id,
            "foundation_id": None if is_scratch else self.foundation.foundation_id or self.foundation.id,
            "dataset_id": self.dataset.id,
            "dataset_hash": self.dataset.content_hash,
            "elements": facts["elements"],
            "energy_scale": None if is_scratch else self.foundation.energy_scale,
            "licence": self.dataset.licence if is_scratch else self.foundation.licence,
            "params": self.params.model_dump(mode="json"),
            "params_hash": self.params.compute_hash(),
            "code_version": self.code_version,
            "package_versions": list_package_versions(),
            "device": describe_device(self.device, self.acceleration),
            "train_s": sum(epoch.seconds or 0.0 for epoch in result.epochs),
            "e0s": facts["e0s"],
            "dtype": facts["dtype"],
            "n_parameters": facts["n_parameters"],
            "r_max_ang": facts["r_max_ang"],
        }


@task(name="show the training", cache_policy=NO_CACHE, **AGAIN)
def show_training(model_version_id: int) -> None:
    """Put the epochs into Prefect's UI."""
    with session_scope(load_settings().resolve_database_url()) as session:
        model = label(models.get_model(session, model_version_id))
        epochs = training.list_epochs_of_model(session, model_version_id)
    show_table(
        [put_into_words(epoch) for epoch in epochs],
        key="training-epochs",
        description=f"{model}: errors on the validation split after each epoch; 0 is before training, with its E0s",
    )


@flow(
    name="finetune",
    flow_run_name="finetune {params.foundation} on {params.dataset}",
    timeout_seconds=limit(days=14),
    description=__doc__,
)
def finetune(params: FinetuneParams = FinetuneParams(), assess: bool = True) -> int:
    """Return the id of the finetuned model version.

    Args:
        assess: measure the model against its parent afterwards: softening and forgetting

    """
    admit(params)
    foundation_id = register_foundation(params)
    model_version_id = train(params, foundation_id)
    show_training(model_version_id)
    if assess:
        assess_model(model_version_id)
    return model_version_id
