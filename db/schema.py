"""All tables. Names are singular; a unit stands in the column's name; the comments are what psql's describe shows.

dataset ─< dataset_member >─ structure           dataset ─< dataset_rejection | _leak | _map | _element
structure ─ descriptor
training_run ─< epoch_metric                     training_run ─ model_version (parent: model_version)
sweep ─< sweep_trial ─ training_run
benchmark ─< benchmark_case >─ structure
evaluation = model_version × benchmark ─< prediction | relaxation | volume_curve | physics_check | metric | group_metric
evaluation ─ relaxation_total                    comparison = evaluation × evaluation             report
label_set ─< structure_label ─ structure         relaxed_label = label_set × benchmark_case × model_version ─ structure
stability_study ─< stability_oxide | stability_cell | stability_composition
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SPLITS = ("train", "validation", "test", "off_equilibrium", "generated")
STATES = ("running", "completed", "failed")
MODEL_STATES = ("candidate", "production", "archived")


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012
        str: Text,
        int: BigInteger,
        float: Double,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
        list[float]: ARRAY(Double),
        list[list[float]]: ARRAY(Double, dimensions=2),
    }


def _one_of(column: str, values: tuple[str, ...], name: str) -> CheckConstraint:
    return CheckConstraint(f"{column} in ({', '.join(repr(value) for value in values)})", name=name)


def _created_at() -> Mapped[datetime]:
    return mapped_column(server_default=func.now(), comment="when the row was written")


class Structure(Base):
    """A periodic cell with its labels, as read from a source or generated for a benchmark."""

    __tablename__ = "structure"
    __table_args__ = (
        UniqueConstraint("content_hash"),
        Index(None, "elements", postgresql_using="gin"),
        Index(None, "chemical_system"),
        Index(None, "formula_reduced"),
        Index(None, "immutable_id"),
        Index("ix_structure_energy_ev_per_atom", text("(energy_ev / n_atoms)")),
        Index(None, "fmax_ev_per_ang"),
        Index(None, "volume_per_atom_ang3"),
        Index(None, "n_atoms"),
        {"comment": "periodic cells with their labels; the same content is stored once"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    content_hash: Mapped[str] = mapped_column(comment="sha256 of geometry, labels and origin")
    immutable_id: Mapped[str] = mapped_column(comment="id in the source, for example mp-19770")
    source: Mapped[str] = mapped_column(comment="mp, agm, oqmd, ...; generated for cells that were made here")
    functional: Mapped[str | None] = mapped_column(
        comment="how the labels were made, for example pbe, or a potential's name"
    )
    fingerprint: Mapped[str | None] = mapped_column(comment="the source's fingerprint of the material")
    formula_reduced: Mapped[str] = mapped_column(
        comment="smallest whole-number formula, elements in alphabetical order"
    )
    chemical_system: Mapped[str] = mapped_column(comment="elements joined by hyphens")
    elements: Mapped[list[str]] = mapped_column(comment="different elements, alphabetical; GIN index")
    n_elements: Mapped[int] = mapped_column(Integer, comment="number of different elements")
    n_atoms: Mapped[int] = mapped_column(Integer, comment="atoms in the cell")
    lattice_ang: Mapped[list[list[float]]] = mapped_column(comment="3 x 3, rows are the lattice vectors, Å")
    positions_ang: Mapped[list[list[float]]] = mapped_column(comment="n_atoms x 3, Cartesian, Å")
    species: Mapped[list[str]] = mapped_column(comment="one symbol an atom")
    energy_ev: Mapped[float | None] = mapped_column(comment="reference energy of the cell, eV, uncorrected")
    forces_ev_per_ang: Mapped[list[list[float]] | None] = mapped_column(comment="reference forces, n_atoms x 3, eV/Å")
    stress_ev_per_ang3: Mapped[list[list[float]] | None] = mapped_column(comment="reference stress, 3 x 3, eV/Å³")
    fmax_ev_per_ang: Mapped[float | None] = mapped_column(comment="length of the largest reference force, eV/Å")
    volume_per_atom_ang3: Mapped[float] = mapped_column(comment="volume of the cell per atom, Å³")


class Dataset(Base):
    """A set of structures, curated or generated."""

    __tablename__ = "dataset"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "key"),
        {"comment": "curated sets of structures; NAME@VERSION; a row exists only when the whole set is stored"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(comment="name given by the user")
    version: Mapped[int] = mapped_column(Integer, comment="1, 2, ... for one name")
    key: Mapped[str] = mapped_column(
        comment="sha256 of parameters and source content: curating the same again finds this row"
    )
    content_hash: Mapped[str] = mapped_column(comment="sha256 of members and splits, independent of row order")
    source_uri: Mapped[str] = mapped_column(comment="where the rows were read")
    source_revision: Mapped[str] = mapped_column(comment="commit of a Hub dataset, or sha256 of local files")
    licence: Mapped[str | None] = mapped_column(comment="licence of the source")
    citation: Mapped[str | None] = mapped_column(comment="how to cite the source")
    params: Mapped[dict[str, Any]] = mapped_column(
        comment="CurationParams, or GenerationParams where the structures were generated"
    )
    n_scanned: Mapped[int] = mapped_column(comment="rows read, or cells that were to be generated")
    n_kept: Mapped[int] = mapped_column(comment="rows kept, or cells that passed every check")
    created_at: Mapped[datetime] = _created_at()


class DatasetMember(Base):
    """One structure of a dataset, in one split."""

    __tablename__ = "dataset_member"
    __table_args__ = (
        _one_of("split", SPLITS, "split"),
        {"comment": "which structure is in which split of which dataset"},
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    structure_id: Mapped[int] = mapped_column(ForeignKey(Structure.id), primary_key=True, index=True)
    split: Mapped[str] = mapped_column(
        comment="train, validation, test; without labels: off_equilibrium (copies), generated"
    )
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey(Structure.id), comment="structure that an off-equilibrium copy was made from"
    )
    recipe: Mapped[dict[str, Any] | None] = mapped_column(
        comment="how a copy or generated cell was made, seed included"
    )


class DatasetElement(Base):
    """How often an element occurs in one split of a dataset."""

    __tablename__ = "dataset_element"
    __table_args__ = ({"comment": "elements of each split of a dataset, counted when its members are stored"},)

    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    split: Mapped[str] = mapped_column(primary_key=True, comment="dataset_member.split")
    element: Mapped[str] = mapped_column(primary_key=True, comment="symbol")
    n_structures: Mapped[int] = mapped_column(comment="structures of the split that hold it")
    n_elements_mean: Mapped[float] = mapped_column(comment="mean number of elements of these structures")


class DatasetLeak(Base):
    """What two splits of a dataset share."""

    __tablename__ = "dataset_leak"
    __table_args__ = (
        {"comment": "what two splits of a dataset share, measured for every pair; 0 where it is nothing"},
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True, comment="formula, chemical_system or fingerprint")
    split: Mapped[str] = mapped_column(primary_key=True, comment="train or validation")
    other_split: Mapped[str] = mapped_column(primary_key=True, comment="validation or test")
    n_shared: Mapped[int] = mapped_column(comment="formulas, systems or fingerprints that stand in both")
    n_structures: Mapped[int] = mapped_column(comment="structures of other_split that have one of them")
    examples: Mapped[list[str]] = mapped_column(comment="a few of those shared")


class Descriptor(Base):
    """What can be computed of a structure without its labels."""

    __tablename__ = "descriptor"
    __table_args__ = (
        Index(None, "entropy_pooled_r"),
        Index(None, "entropy_sublattice_r"),
        Index(None, "radius_mismatch_percent"),
        {"comment": "composition and symmetry of a structure; how each is defined: docs/curation.md"},
    )

    structure_id: Mapped[int] = mapped_column(ForeignKey(Structure.id, ondelete="CASCADE"), primary_key=True)
    cation_fractions: Mapped[dict[str, Any]] = mapped_column(comment="share of each cation, all sites pooled")
    n_cations: Mapped[int] = mapped_column(Integer, comment="different cations")
    entropy_pooled_r: Mapped[float] = mapped_column(comment="configurational entropy per cation, all pooled, in R")
    entropy_sublattice_r: Mapped[float] = mapped_column(
        comment="the same per site of the most disordered cation sublattice, in R"
    )
    entropy_per_formula_r: Mapped[float | None] = mapped_column(
        comment="sum over cation sublattices, per formula unit of the parent crystal, in R"
    )
    equimolarity_deviation: Mapped[float] = mapped_column(comment="largest departure of a cation's share from 1/n")
    radius_mismatch_percent: Mapped[float | None] = mapped_column(comment="spread of Shannon's radii, delta, %")
    electronegativity_spread: Mapped[float | None] = mapped_column(comment="standard deviation, Pauling's scale")
    space_group_number: Mapped[int | None] = mapped_column(Integer, comment="of the cell as it is, symprec 0.01 Å")
    space_group_symbol: Mapped[str | None] = mapped_column(comment="Hermann-Mauguin symbol")
    prototype: Mapped[str | None] = mapped_column(comment="parent crystal, where it is a known one")
    parent_space_group_number: Mapped[int | None] = mapped_column(
        Integer, comment="of the cell with all cations made alike"
    )


class DatasetMap(Base):
    """Where a structure stands in the picture of a dataset's chemistry."""

    __tablename__ = "dataset_map"
    __table_args__ = (
        {"comment": "each structure's mean element embedding, and its place in a picture in two dimensions"},
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    structure_id: Mapped[int] = mapped_column(ForeignKey(Structure.id), primary_key=True, index=True)
    method: Mapped[str] = mapped_column(primary_key=True, comment="umap or pca")
    x: Mapped[float] = mapped_column(comment="no unit")
    y: Mapped[float] = mapped_column(comment="no unit")
    embedding: Mapped[list[float]] = mapped_column(
        comment="mean magpie vector of the cations, standardised over the dataset"
    )


class DatasetRejection(Base):
    """How many rows one rule left out."""

    __tablename__ = "dataset_rejection"
    __table_args__ = (
        {"comment": "rows that each curation rule left out; a row counts for the first rule that it breaks"},
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id, ondelete="CASCADE"), primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True, comment="name of the rule")
    n_rejected: Mapped[int] = mapped_column(comment="rows left out")
    example_ids: Mapped[list[str]] = mapped_column(comment="a few of their ids")


class ModelVersion(Base):
    """A model that can be evaluated."""

    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "key"),
        _one_of("state", MODEL_STATES, "state"),
        Index("uq_model_version_production", "name", unique=True, postgresql_where=text("state = 'production'")),
        {"comment": "registered models; NAME@VERSION; files are loaded only when their sha256 fits"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(comment="name given by the user, or the reference of a published model")
    version: Mapped[int] = mapped_column(Integer, comment="1, 2, ... for one name")
    key: Mapped[str] = mapped_column(comment="what makes it this version: the training run's key, or the file's sha256")
    family: Mapped[str] = mapped_column(comment="mace, chgnet, ...")
    reference: Mapped[str] = mapped_column(comment="how it was asked for, for example heo-mini or mace-mp:medium")
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_version.id"), comment="model that it was finetuned from"
    )
    dataset_id: Mapped[int | None] = mapped_column(ForeignKey(Dataset.id), comment="dataset that it was finetuned on")
    training_run_id: Mapped[int | None] = mapped_column(
        ForeignKey("training_run.id", use_alter=True), unique=True, comment="training run that made it"
    )
    sha256: Mapped[str | None] = mapped_column(comment="of the file; null where the weights are part of a package")
    size_bytes: Mapped[int | None] = mapped_column(comment="of the file, bytes")
    artifact_uri: Mapped[str | None] = mapped_column(comment="where the file is")
    elements: Mapped[list[str]] = mapped_column(comment="elements that it knows; empty: all that its package knows")
    energy_scale: Mapped[str | None] = mapped_column(comment="what its energies are relative to")
    licence: Mapped[str | None] = mapped_column(comment="licence of the weights")
    params: Mapped[dict[str, Any]] = mapped_column(
        comment="FinetuneParams, or empty for a model that was not made here"
    )
    params_hash: Mapped[str | None] = mapped_column(comment="sha256 of params; null for a model that was not made here")
    dataset_hash: Mapped[str | None] = mapped_column(
        comment="dataset.content_hash when it was trained: members and splits"
    )
    foundation_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_version.id"), comment="root of its lineage, a model that was not made here"
    )
    code_version: Mapped[str | None] = mapped_column(comment="version of heo that made or registered it")
    package_versions: Mapped[dict[str, Any] | None] = mapped_column(comment="versions of the packages that made it")
    device: Mapped[str | None] = mapped_column(comment="that it was trained on: cpu or cuda, and its name")
    wall_s: Mapped[float | None] = mapped_column(comment="seconds from the start of its training to its registration")
    train_s: Mapped[float | None] = mapped_column(comment="seconds of training, all tries together")
    e0s: Mapped[dict[str, Any] | None] = mapped_column(comment="energy of each element's free atom in it, eV")
    dtype: Mapped[str | None] = mapped_column(comment="of the weights in the file: float32 or float64")
    n_parameters: Mapped[int | None] = mapped_column(comment="numbers that training can change")
    r_max_ang: Mapped[float | None] = mapped_column(comment="cutoff radius, Å")
    state: Mapped[str] = mapped_column(
        server_default="candidate", comment="candidate, production (one a name at most) or archived"
    )
    note: Mapped[str | None] = mapped_column(comment="free text of the user's")
    warnings: Mapped[list[str]] = mapped_column(
        server_default=text("'{}'"), comment="sentences of the assessment: softer than its parent, forgets"
    )
    created_at: Mapped[datetime] = _created_at()


class TrainingRun(Base):
    """One finetuning, also when it failed."""

    __tablename__ = "training_run"
    __table_args__ = (
        UniqueConstraint("key"),
        _one_of("state", STATES, "state"),
        {"comment": "finetunings; the same parameters on the same data and foundation are one row"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(comment="sha256 of name, MACE's arguments, dataset content and foundation file")
    name: Mapped[str] = mapped_column(comment="name of the model that it makes")
    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id), index=True)
    foundation_id: Mapped[int] = mapped_column(ForeignKey(ModelVersion.id), comment="model that it starts from")
    params: Mapped[dict[str, Any]] = mapped_column(comment="FinetuneParams")
    params_hash: Mapped[str | None] = mapped_column(comment="sha256 of params")
    strategy: Mapped[str] = mapped_column(
        server_default="naive", comment="naive, replay, freeze, lora or scratch: docs/finetuning.md"
    )
    e0s: Mapped[dict[str, Any] | None] = mapped_column(
        comment="energy of each element's free atom that training started from, eV"
    )
    e0_outliers: Mapped[dict[str, Any] | None] = mapped_column(
        comment="structures trained on that the E0s were not fitted to, perhaps labelled by another calculation: "
        "energy predicted with the fitted E0s less reference, eV/atom by immutable_id; null where E0s were not "
        "estimated"
    )
    replay: Mapped[dict[str, Any] | None] = mapped_column(
        comment="what was replayed: structures, labels, n_cells, row_copies and more; null where nothing was"
    )
    mace_arguments: Mapped[list[str]] = mapped_column(comment="what mace_run_train was told, without paths and device")
    state: Mapped[str] = mapped_column(comment="running, completed or failed")
    failure: Mapped[str | None] = mapped_column(comment="why there is no model, with the last lines of the log")
    n_train: Mapped[int] = mapped_column(comment="structures trained on")
    n_validation: Mapped[int] = mapped_column(comment="structures that pick the best epoch")
    left_out: Mapped[dict[str, Any]] = mapped_column(comment="structures of the dataset not used, by reason")
    best_epoch: Mapped[int | None] = mapped_column(Integer, comment="epoch (1, 2, ...) whose weights became the model")
    best_score: Mapped[float | None] = mapped_column(comment="epoch_metric.score of that epoch, lower is better")
    stop_reason: Mapped[str | None] = mapped_column(comment="why it ended: max_num_epochs or patience")
    n_resumes: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="tries that went on from a checkpoint of an earlier one"
    )
    device: Mapped[str | None] = mapped_column(comment="cpu or cuda, and its name")
    versions: Mapped[dict[str, Any]] = mapped_column(comment="versions of heo, mace-torch, torch")
    flow_run_id: Mapped[str | None] = mapped_column(comment="Prefect flow run that did it last")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="start of the last try")
    finished_at: Mapped[datetime | None] = mapped_column(comment="end of the last try")
    wall_s: Mapped[float | None] = mapped_column(comment="seconds of the last try")
    train_s: Mapped[float | None] = mapped_column(comment="seconds of training, all tries together")
    log_tail: Mapped[str | None] = mapped_column(comment="last lines of the trainer's log")


class EpochMetric(Base):
    """Errors on the validation split after one epoch."""

    __tablename__ = "epoch_metric"
    __table_args__ = (
        {"comment": "a training run's errors on its validation split, as MACE logs them; epoch 0 is before training"},
    )

    training_run_id: Mapped[int] = mapped_column(ForeignKey(TrainingRun.id, ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, comment="0 before training, then 1, 2, ...")
    train_loss: Mapped[float | None] = mapped_column(comment="mean loss over the epoch's batches")
    validation_loss: Mapped[float] = mapped_column(comment="loss on the validation split")
    energy_rmse_ev_per_atom: Mapped[float]
    energy_mae_ev_per_atom: Mapped[float | None]
    forces_rmse_ev_per_ang: Mapped[float] = mapped_column(comment="per component")
    forces_mae_ev_per_ang: Mapped[float | None] = mapped_column(comment="per component")
    forces_q95_ev_per_ang: Mapped[float | None] = mapped_column(
        comment="95th percentile of the absolute component errors"
    )
    stress_rmse_ev_per_ang3: Mapped[float | None] = mapped_column(
        comment="per component; null where the split has no stress"
    )
    stress_mae_ev_per_ang3: Mapped[float | None] = mapped_column(
        comment="per component; null where the split has no stress"
    )
    replay_energy_rmse_ev_per_atom: Mapped[float | None] = mapped_column(
        comment="on the replayed cells that were held out; multihead replay only"
    )
    replay_forces_rmse_ev_per_ang: Mapped[float | None] = mapped_column(
        comment="per component, on the replayed cells that were held out; multihead replay only"
    )
    score: Mapped[float | None] = mapped_column(comment="robust validation score, no unit, lower is better")
    lr: Mapped[float | None] = mapped_column(comment="learning rate of the epoch")
    seconds: Mapped[float | None] = mapped_column(comment="wall time of the epoch")


class Sweep(Base):
    """A search over parameters of a finetuning."""

    __tablename__ = "sweep"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "key"),
        _one_of("state", STATES, "state"),
        {"comment": "searches over parameters of a finetuning; NAME@VERSION; ranked in the view sweep_ranking"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(comment="name given by the user; its models are NAME-t00, NAME-t01, ...")
    version: Mapped[int] = mapped_column(Integer, comment="1, 2, ... for one name")
    key: Mapped[str] = mapped_column(comment="sha256 of base, space, sampler, seed, dataset content and foundation")
    params: Mapped[dict[str, Any]] = mapped_column(comment="SweepParams, with the dataset as NAME@VERSION")
    dataset_id: Mapped[int] = mapped_column(ForeignKey(Dataset.id), index=True, comment="dataset of all trials")
    n_trials: Mapped[int] = mapped_column(Integer, comment="trainings that were asked for")
    state: Mapped[str] = mapped_column(comment="running; completed: every trial has ended; failed: it broke off")
    failure: Mapped[str | None] = mapped_column(comment="why it broke off; run again, it goes on")
    flow_run_id: Mapped[str | None] = mapped_column(comment="Prefect flow run that did it last")
    created_at: Mapped[datetime] = _created_at()
    finished_at: Mapped[datetime | None] = mapped_column(comment="end of the last try")


class SweepTrial(Base):
    """One training of a sweep."""

    __tablename__ = "sweep_trial"
    __table_args__ = (
        UniqueConstraint("sweep_id", "optuna_number"),
        _one_of("state", ("waiting", *STATES), "state"),
        {"comment": "trainings of a sweep, failed ones too; what drew their parameters stands in the schema optuna"},
    )

    sweep_id: Mapped[int] = mapped_column(ForeignKey(Sweep.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, comment="0, 1, ...")
    optuna_number: Mapped[int] = mapped_column(Integer, comment="number of the trial in Optuna's study")
    params: Mapped[dict[str, Any]] = mapped_column(comment="values of the fields that are searched")
    state: Mapped[str] = mapped_column(comment="waiting, running, completed or failed")
    failure: Mapped[str | None] = mapped_column(comment="why there is no score")
    score: Mapped[float | None] = mapped_column(comment="best validation score, as training_run.best_score has it")
    training_run_id: Mapped[int | None] = mapped_column(ForeignKey(TrainingRun.id), index=True)
    model_version_id: Mapped[int | None] = mapped_column(ForeignKey(ModelVersion.id), comment="model that it made")
    flow_run_id: Mapped[str | None] = mapped_column(comment="Prefect flow run that trains it, or did it last")
    n_tries: Mapped[int] = mapped_column(
        Integer, server_default=text("0"), comment="flow runs that were made for it; more than 1: some were killed"
    )
    started_at: Mapped[datetime | None] = mapped_column(comment="when its first flow run was made")
    finished_at: Mapped[datetime | None] = mapped_column(comment="when its end was noticed")


class Benchmark(Base):
    """A versioned definition of what is measured."""

    __tablename__ = "benchmark"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "key"),
        {"comment": "versioned definitions: a number always says what it measured"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(
        comment="KIND, KIND:DATASET for one on a dataset's split, or the name that its user gave it"
    )
    version: Mapped[int] = mapped_column(Integer, comment="1, 2, ... for one name")
    key: Mapped[str] = mapped_column(comment="sha256 of parameters, structures and reference model")
    kind: Mapped[str] = mapped_column(
        comment="energy-forces, off-equilibrium, rattle-relax, substitution-relax, relax, physics, forgetting-holdout, "
        "equation-of-state"
    )
    params: Mapped[dict[str, Any]] = mapped_column(comment="EnergyForcesParams or what else the kind takes")
    dataset_id: Mapped[int | None] = mapped_column(
        ForeignKey(Dataset.id), comment="dataset that the structures come from"
    )
    reference_id: Mapped[int | None] = mapped_column(
        ForeignKey(ModelVersion.id), comment="model that gives the common reference energy"
    )
    n_cases: Mapped[int] = mapped_column(comment="structures in it")
    auto: Mapped[bool] = mapped_column(
        server_default="false", comment="whether it runs by itself for new models; one mark for all versions of a name"
    )
    created_at: Mapped[datetime] = _created_at()


class BenchmarkCase(Base):
    """One structure of a benchmark."""

    __tablename__ = "benchmark_case"
    __table_args__ = ({"comment": "the structures of a benchmark: what every model starts from"},)

    benchmark_id: Mapped[int] = mapped_column(ForeignKey(Benchmark.id, ondelete="CASCADE"), primary_key=True)
    case_index: Mapped[int] = mapped_column(Integer, primary_key=True, comment="0, 1, ...")
    structure_id: Mapped[int] = mapped_column(ForeignKey(Structure.id), index=True, comment="start structure")
    target_id: Mapped[int | None] = mapped_column(ForeignKey(Structure.id), comment="structure that it should relax to")
    recipe: Mapped[dict[str, Any]] = mapped_column(comment="how the start structure was made, seed included")


class Evaluation(Base):
    """One model on one benchmark."""

    __tablename__ = "evaluation"
    __table_args__ = (
        Index(
            "uq_evaluation_model_version_id_benchmark_id",
            "model_version_id",
            "benchmark_id",
            unique=True,
            postgresql_where=text("replaces_id is null"),
        ),
        UniqueConstraint("replaces_id"),
        _one_of("state", STATES, "state"),
        {"comment": "one model version on one benchmark version; done once, found again"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey(ModelVersion.id))
    benchmark_id: Mapped[int] = mapped_column(ForeignKey(Benchmark.id), index=True)
    state: Mapped[str] = mapped_column(comment="running, completed or failed")
    failure: Mapped[str | None] = mapped_column(comment="why it is not complete")
    replaces_id: Mapped[int | None] = mapped_column(
        ForeignKey("evaluation.id", ondelete="SET NULL"),
        comment="completed evaluation that is being run again; this one takes its place when it is complete",
    )
    device: Mapped[str | None] = mapped_column(comment="cpu or cuda")
    dtype: Mapped[str | None] = mapped_column(comment="precision that the model computed in: float32 or float64")
    cautions: Mapped[list[str]] = mapped_column(
        server_default="{}", comment="what must be known before its numbers are read, in sentences"
    )
    flow_run_id: Mapped[str | None] = mapped_column(comment="Prefect flow run that did it last")
    started_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="start of the last try")
    finished_at: Mapped[datetime | None] = mapped_column(comment="end of the last try")
    wall_s: Mapped[float | None] = mapped_column(comment="seconds of the try that completed it")


class Prediction(Base):
    """What a model says of one structure."""

    __tablename__ = "prediction"
    __table_args__ = (
        # In the order of the view worst_structures.
        Index(
            "ix_prediction_worst",
            "evaluation_id",
            text("(failure is null)"),
            text("forces_rmse_ev_per_ang desc nulls last"),
        ),
        {"comment": "energies and forces of a model on the structures of a benchmark that relaxes none"},
    )

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    structure_id: Mapped[int] = mapped_column(ForeignKey(Structure.id), primary_key=True, index=True)
    energy_ev: Mapped[float | None] = mapped_column(comment="predicted energy of the cell, eV")
    forces_ev_per_ang: Mapped[list[list[float]] | None] = mapped_column(comment="predicted forces, n_atoms x 3, eV/Å")
    energy_error_ev_per_atom: Mapped[float | None] = mapped_column(comment="predicted minus reference")
    forces_rmse_ev_per_ang: Mapped[float | None] = mapped_column(comment="over this structure's components")
    forces_mae_ev_per_ang: Mapped[float | None] = mapped_column(comment="over this structure's components")
    stress_ev_per_ang3: Mapped[list[list[float]] | None] = mapped_column(
        comment="predicted stress, 3 x 3, eV/Å³, ASE's sign"
    )
    stress_rmse_ev_per_ang3: Mapped[float | None] = mapped_column(
        comment="over the six components; null where the stress of the labels is not trusted"
    )
    failure: Mapped[str | None] = mapped_column(comment="why there is no number")


class VolumeCurve(Base):
    """Energy against volume of one material under one model."""

    __tablename__ = "volume_curve"
    __table_args__ = (
        {"comment": "equations of state of an equation-of-state benchmark, the model's beside the reference's"},
    )

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    material: Mapped[str] = mapped_column(primary_key=True, comment="formula and prototype")
    n_volumes: Mapped[int] = mapped_column(Integer, comment="volumes that the curve is known at")
    reference_volume_ang3_per_atom: Mapped[float | None] = mapped_column(comment="equilibrium volume of the reference")
    reference_bulk_modulus_gpa: Mapped[float | None] = mapped_column(comment="bulk modulus of the reference, GPa")
    equilibrium_volume_ang3_per_atom: Mapped[float | None] = mapped_column(
        comment="minimum of the fitted Birch-Murnaghan equation of state"
    )
    bulk_modulus_gpa: Mapped[float | None] = mapped_column(comment="at that minimum, GPa")
    equilibrium_volume_error_fraction: Mapped[float | None] = mapped_column(comment="predicted over reference minus 1")
    bulk_modulus_error_fraction: Mapped[float | None] = mapped_column(comment="predicted over reference minus 1")
    energy_volume_rmse_ev_per_atom: Mapped[float | None] = mapped_column(
        comment="between the two curves, each from its value at the reference's relaxed volume"
    )
    failure: Mapped[str | None] = mapped_column(comment="why there is no minimum or no energy")


class Relaxation(Base):
    """How one structure relaxed under one model."""

    __tablename__ = "relaxation"
    __table_args__ = ({"comment": "relaxations of a benchmark's start structures, judged on the final state"},)

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    case_index: Mapped[int] = mapped_column(Integer, primary_key=True, comment="benchmark_case.case_index")
    converged: Mapped[bool] = mapped_column(comment="forces and stress of the final state are below fmax")
    failure: Mapped[str | None] = mapped_column(comment="why it did not converge")
    force_calls: Mapped[int] = mapped_column(Integer, comment="evaluations of the model")
    wall_s: Mapped[float] = mapped_column(comment="seconds; a batch's time is shared out over its structures")
    energy_initial_ev: Mapped[float | None] = mapped_column(comment="of the start structure, this model's own scale")
    energy_final_ev: Mapped[float | None] = mapped_column(comment="of the final state, this model's own scale")
    reference_energy_ev: Mapped[float | None] = mapped_column(comment="of the final state under benchmark.reference_id")
    fmax_ev_per_ang: Mapped[float | None] = mapped_column(comment="length of the largest force of the final state")
    cell_fmax_ev_per_ang: Mapped[float | None] = mapped_column(
        comment="largest row of V·stress/n_atoms of the final state"
    )
    lattice_ang: Mapped[list[list[float]] | None] = mapped_column(comment="final cell, 3 x 3, Å")
    positions_ang: Mapped[list[list[float]] | None] = mapped_column(
        comment="final positions, n_atoms x 3, not wrapped, Å"
    )
    forces_ev_per_ang: Mapped[list[list[float]] | None] = mapped_column(comment="final forces, n_atoms x 3, eV/Å")
    stress_ev_per_ang3: Mapped[list[list[float]] | None] = mapped_column(comment="final stress, 3 x 3, eV/Å³")
    trajectory_uri: Mapped[str | None] = mapped_column(
        comment="extxyz with every state, named after its sha256, where it was asked for"
    )
    displacement_rmsd_ang: Mapped[float | None] = mapped_column(
        comment="from the target (or start): minimum image, drift removed, Å"
    )
    volume_change_fraction: Mapped[float | None] = mapped_column(
        comment="final over target (or start) volume, minus one"
    )
    rmsd_normalized: Mapped[float | None] = mapped_column(
        comment="of pymatgen's StructureMatcher against the target, over (V/n_atoms)^(1/3); 1 where it finds no match"
    )
    symmetry_kept_1e2: Mapped[bool | None] = mapped_column(
        comment="space group of the target at symprec 1e-2 Å; null where the target has no symmetry"
    )
    symmetry_kept_1e5: Mapped[bool | None] = mapped_column(
        comment="space group of the target at symprec 1e-5 Å; null where the target has no symmetry"
    )
    energy_above_unrattled_ev_per_atom: Mapped[float | None] = mapped_column(
        comment="above the same model's relaxed unrattled cell"
    )
    energies_ev: Mapped[list[float]] = mapped_column(comment="one value a force call")
    fmaxes_ev_per_ang: Mapped[list[float]] = mapped_column(comment="one value a force call")


class RelaxationTotal(Base):
    """All relaxations of one evaluation together."""

    __tablename__ = "relaxation_total"
    __table_args__ = ({"comment": "relaxations of an evaluation, counted and summed when it is completed"},)

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    n_structures: Mapped[int] = mapped_column(comment="structures relaxed")
    n_converged: Mapped[int] = mapped_column(comment="whose final state is below fmax")
    n_failed: Mapped[int] = mapped_column(comment="without a final state")
    force_calls_median: Mapped[float | None] = mapped_column(comment="over the converged; null where none did")
    force_calls: Mapped[int] = mapped_column(comment="all together")
    wall_s: Mapped[float] = mapped_column(comment="seconds, all together")
    displacement_rmsd_mean_ang: Mapped[float | None] = mapped_column(
        comment="from the target (or start), Å, over those that have a final state"
    )
    volume_change_mean_fraction: Mapped[float | None] = mapped_column(
        comment="final over target or start volume, minus one"
    )


class Metric(Base):
    """One summary number of an evaluation."""

    __tablename__ = "metric"
    __table_args__ = ({"comment": "summary numbers of an evaluation; how each is computed stands in docs/metrics.md"},)

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, comment="<quantity>_<statistic>_<unit>")
    value: Mapped[float | None] = mapped_column(comment="null where there is nothing to average")
    unit: Mapped[str]
    n: Mapped[int] = mapped_column(comment="structures behind the number")
    ci_low: Mapped[float | None] = mapped_column(comment="lower end of the 95 % interval")
    ci_high: Mapped[float | None] = mapped_column(comment="upper end of the 95 % interval")


class GroupMetric(Base):
    """One number of an evaluation over one element, source or number of elements."""

    __tablename__ = "group_metric"
    __table_args__ = (
        _one_of("grouping", ("element", "source", "n_elements"), "grouping"),
        {"comment": "errors of an evaluation by element, source and number of elements"},
    )

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    grouping: Mapped[str] = mapped_column(
        primary_key=True, comment="element: energies of structures with it, forces on its atoms; source; n_elements"
    )
    group_name: Mapped[str] = mapped_column(primary_key=True, comment="for example Co, mp or 5")
    name: Mapped[str] = mapped_column(primary_key=True, comment="metric.name")
    value: Mapped[float | None] = mapped_column(comment="null where there is nothing to average")
    unit: Mapped[str]
    n: Mapped[int] = mapped_column(comment="structures behind the number")


class PhysicsCheck(Base):
    """One number of one check of a physics benchmark on one subject."""

    __tablename__ = "physics_check"
    __table_args__ = ({"comment": "what a physics benchmark found, one row a number; what failed says why"},)

    evaluation_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(
        primary_key=True, comment="forces, stress, energy-drift, volume-curve or repulsion"
    )
    subject: Mapped[str] = mapped_column(primary_key=True, comment="cell, oxide or pair")
    name: Mapped[str] = mapped_column(primary_key=True, comment="what was measured, defined in docs/metrics.md")
    value: Mapped[float | None] = mapped_column(comment="null where failure says why")
    unit: Mapped[str]
    failure: Mapped[str | None] = mapped_column(comment="why there is no number")


class Comparison(Base):
    """A paired difference of two models on one benchmark."""

    __tablename__ = "comparison"
    __table_args__ = ({"comment": "candidate minus baseline, over the structures that both have a number for"},)

    baseline_id: Mapped[int] = mapped_column(ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True)
    candidate_id: Mapped[int] = mapped_column(
        ForeignKey(Evaluation.id, ondelete="CASCADE"), primary_key=True, index=True
    )
    name: Mapped[str] = mapped_column(primary_key=True, comment="metric.name")
    value: Mapped[float | None] = mapped_column(comment="candidate minus baseline")
    unit: Mapped[str]
    n: Mapped[int] = mapped_column(comment="structures behind the number")
    ci_low: Mapped[float | None] = mapped_column(comment="lower end of the 95 % interval")
    ci_high: Mapped[float | None] = mapped_column(comment="upper end of the 95 % interval")
    caution: Mapped[str | None] = mapped_column(
        comment="why the difference says nothing: energies on two scales, or one of the two is the common reference "
        "that judges both"
    )


class StabilityStudy(Base):
    """How cells of mixtures are made and relaxed: what their energies have in common."""

    __tablename__ = "stability_study"
    __table_args__ = (
        UniqueConstraint("key"),
        {"comment": "cells of mixtures that are made and relaxed alike, by one model: their energies can be compared"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(comment="sha256 of params and model")
    model_version_id: Mapped[int] = mapped_column(ForeignKey(ModelVersion.id), comment="model that relaxes them")
    params: Mapped[dict[str, Any]] = mapped_column(comment="StabilityParams, but for which mixtures and how many cells")
    created_at: Mapped[datetime] = _created_at()


class StabilityOxide(Base):
    """The oxide of one cation in one crystal."""

    __tablename__ = "stability_oxide"
    __table_args__ = ({"comment": "oxides of single cations, relaxed like the mixtures that they compete with"},)

    study_id: Mapped[int] = mapped_column(ForeignKey(StabilityStudy.id, ondelete="CASCADE"), primary_key=True)
    cation: Mapped[str] = mapped_column(primary_key=True, comment="symbol")
    polymorph: Mapped[str] = mapped_column(primary_key=True, comment="crystal that it was relaxed from")
    energy_ev_per_atom: Mapped[float | None] = mapped_column(comment="relaxed; null where failure says why")
    failure: Mapped[str | None] = mapped_column(comment="why there is no energy")


class StabilityCell(Base):
    """One cell of a mixture, relaxed."""

    __tablename__ = "stability_cell"
    __table_args__ = ({"comment": "cells of mixtures, each in another order of the cations, relaxed"},)

    study_id: Mapped[int] = mapped_column(ForeignKey(StabilityStudy.id, ondelete="CASCADE"), primary_key=True)
    composition: Mapped[str] = mapped_column(primary_key=True, comment="stability_composition.composition")
    number: Mapped[int] = mapped_column(Integer, primary_key=True, comment="1, 2, ...")
    converged: Mapped[bool] = mapped_column(comment="forces and stress of the final state are below fmax")
    failure: Mapped[str | None] = mapped_column(comment="why it did not converge, or was not made")
    energy_ev_per_atom: Mapped[float | None] = mapped_column(comment="of the final state, the model's own scale")
    bond_spread_ang: Mapped[float | None] = mapped_column(
        comment="standard deviation of the lengths of all nearest cation-oxygen bonds of the mixed sublattice"
    )
    volume_per_atom_ang3: Mapped[float | None] = mapped_column(comment="of the final state")
    force_calls: Mapped[int] = mapped_column(Integer, comment="evaluations of the model")
    wall_s: Mapped[float] = mapped_column(comment="seconds")
    species: Mapped[list[str]] = mapped_column(comment="one symbol an atom")
    lattice_ang: Mapped[list[list[float]] | None] = mapped_column(comment="final cell, 3 x 3, Å")
    positions_ang: Mapped[list[list[float]] | None] = mapped_column(comment="final positions, n_atoms x 3, Å")
    created_at: Mapped[datetime] = _created_at()


class StabilityComposition(Base):
    """One mixture against one set of oxides."""

    __tablename__ = "stability_composition"
    __table_args__ = ({"comment": "mixtures against a named set of oxides; means over converged cells"},)

    study_id: Mapped[int] = mapped_column(ForeignKey(StabilityStudy.id, ondelete="CASCADE"), primary_key=True)
    reference_set: Mapped[str] = mapped_column(
        primary_key=True, comment="oxides that the enthalpy counts from: ground-states, end-members or almishal-2025"
    )
    composition: Mapped[str] = mapped_column(
        primary_key=True, comment="cations in equal shares, by atomic number: MgCoNiCuZn"
    )
    cations: Mapped[list[str]] = mapped_column(comment="symbols")
    references: Mapped[dict[str, Any]] = mapped_column(comment="crystal, or published set, of the oxide of each cation")
    n_cells: Mapped[int] = mapped_column(Integer, comment="cells relaxed, failed ones included")
    n_converged: Mapped[int] = mapped_column(Integer, comment="cells that the means are over")
    mixing_enthalpy_ev_per_atom: Mapped[float | None] = mapped_column(comment="above the oxides of reference_set")
    mixing_enthalpy_sem_ev_per_atom: Mapped[float | None] = mapped_column(
        comment="standard error over cells; null for fewer than two"
    )
    mixing_enthalpy_ev_per_cation: Mapped[float | None] = mapped_column(comment="the same per mixed site")
    bond_spread_ang: Mapped[float | None] = mapped_column(comment="mean of stability_cell.bond_spread_ang")
    bond_spread_sem_ang: Mapped[float | None] = mapped_column(comment="standard error over cells")
    radius_mismatch_percent: Mapped[float | None] = mapped_column(comment="spread of Shannon's radii, delta, %")
    entropy_r: Mapped[float] = mapped_column(comment="configurational entropy per mixed site, in R")
    mixing_temperature_k: Mapped[float | None] = mapped_column(
        comment="enthalpy over entropy, K: against these oxides alone, other solid solutions are not counted"
    )
    decomposition_energy_ev_per_atom: Mapped[float | None] = mapped_column(
        comment="above the lowest oxides of single cations that the model itself relaxed"
    )
    decomposition: Mapped[str | None] = mapped_column(comment="these oxides")
    failure: Mapped[str | None] = mapped_column(comment="why a number is missing, or cells are")


class LabelSet(Base):
    """Reference labels on one scale."""

    __tablename__ = "label_set"
    __table_args__ = (
        UniqueConstraint("name"),
        {"comment": "named sets of reference labels: one engine, one set of settings, one scale of energies"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(comment="name given by the user")
    engine: Mapped[str] = mapped_column(comment="gpaw, vasp, or potential")
    functional: Mapped[str] = mapped_column(comment="what structure.functional of its labels says")
    settings: Mapped[dict[str, Any]] = mapped_column(comment="all that energies depend on but the structure")
    settings_hash: Mapped[str] = mapped_column(comment="sha256 of settings: labels with another are refused")
    created_at: Mapped[datetime] = _created_at()


class StructureLabel(Base):
    """One structure of a label set: its labels, or why it has none."""

    __tablename__ = "structure_label"
    __table_args__ = ({"comment": "structures that were labelled, failed ones too, each written when it was done"},)

    label_set_id: Mapped[int] = mapped_column(ForeignKey(LabelSet.id, ondelete="CASCADE"), primary_key=True)
    structure_id: Mapped[int] = mapped_column(
        ForeignKey(Structure.id), primary_key=True, index=True, comment="the geometry, without labels"
    )
    labelled_id: Mapped[int | None] = mapped_column(
        ForeignKey(Structure.id),
        index=True,
        comment="the same with energy, forces and stress; null where failure says why",
    )
    failure: Mapped[str | None] = mapped_column(comment="why there are no labels")
    moments_mub: Mapped[list[float] | None] = mapped_column(comment="magnetic moment near each atom, μB")
    total_moment_mub: Mapped[float | None] = mapped_column(
        comment="magnetic moment of the whole cell, μB; null where nobody said, and for labels of before it was kept"
    )
    magnetic_start: Mapped[str | None] = mapped_column(comment="order of the moments that led to the lowest energy")
    starts: Mapped[dict[str, Any]] = mapped_column(comment="energy (eV) or failure of each magnetic start")
    versions: Mapped[dict[str, Any]] = mapped_column(comment="of the programs that computed it")
    wall_s: Mapped[float | None] = mapped_column(comment="seconds; null for a run that was imported")
    flow_run_id: Mapped[str | None] = mapped_column(comment="Prefect flow run that did it")
    created_at: Mapped[datetime] = _created_at()


class RelaxedLabel(Base):
    """Which model relaxed which start to which structure of a label set; evaluations come and go, this stays."""

    __tablename__ = "relaxed_label"
    __table_args__ = (
        ForeignKeyConstraint(
            ["benchmark_id", "case_index"], [BenchmarkCase.benchmark_id, BenchmarkCase.case_index], ondelete="CASCADE"
        ),
        {"comment": "structures that models relaxed to and that were given to a label set: the newest of each case"},
    )

    label_set_id: Mapped[int] = mapped_column(ForeignKey(LabelSet.id, ondelete="CASCADE"), primary_key=True)
    benchmark_id: Mapped[int] = mapped_column(primary_key=True)
    case_index: Mapped[int] = mapped_column(Integer, primary_key=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey(ModelVersion.id, ondelete="CASCADE"), primary_key=True)
    structure_id: Mapped[int] = mapped_column(
        ForeignKey(Structure.id), index=True, comment="the geometry that it relaxed to, without labels"
    )
    converged: Mapped[bool] = mapped_column(comment="relaxation.converged")


class Report(Base):
    """A page that was written."""

    __tablename__ = "report"
    __table_args__ = (
        UniqueConstraint("key"),
        {"comment": "report pages; the same content of the database gives the same row"},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(comment="sha256 of name, models and evaluations")
    name: Mapped[str] = mapped_column(comment="file name without its ending")
    uri: Mapped[str] = mapped_column(comment="where the page is")
    sha256: Mapped[str] = mapped_column(comment="of the page")
    evaluation_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), comment="evaluations that it shows")
    answer: Mapped[list[str]] = mapped_column(comment="its opening sentences")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when the page was last written")
