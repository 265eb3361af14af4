"""Every knob of an experiment: frozen pydantic models, which the command line fills and Prefect's UI shows as forms.

Units stand in the descriptions; the defaults are those of the quickstart unless a docstring says otherwise. This
module imports no scientific package, so that a form or a `--help` costs nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from heo_core import search_space
from heo_core.elements import SYMBOLS

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name people type: letters, digits, dot, underscore, hyphen; it starts with a letter or digit."""

BenchmarkKind = Literal[
    "energy-forces",
    "off-equilibrium",
    "rattle-relax",
    "substitution-relax",
    "physics",
    "forgetting-holdout",
    "equation-of-state",
]
BENCHMARK_KINDS: tuple[BenchmarkKind, ...] = get_args(BenchmarkKind)
DEFAULT_BENCHMARKS: tuple[BenchmarkKind, ...] = (
    "energy-forces",
    "off-equilibrium",
    "rattle-relax",
    "substitution-relax",
)
HUB_DATASET = "LeMaterial/LeMat-Bulk"
SOURCES = ("sample", "hub")
"""What a source of structures can be beside a path."""

MAX_GRID = 10_000
"""Largest number of points of a sweep's grid."""


_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")


def _shape_form(schema: dict[str, Any]) -> None:
    """Make each field fit for Prefect's form.

    It gets its position: Postgres' JSONB forgets the order in which the form should show them. The bounds of a number
    that may be left empty stand beside its kinds, not within one, so that a refusal names the bound: "-3 is less than
    the minimum", not "-3 is not valid under any of the given schemas".
    """
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position
        for kind in field.get("anyOf", ()):
            if kind.get("type") in {"integer", "number"}:
                field |= {bound: kind.pop(bound) for bound in _BOUNDS if bound in kind}


_UNITS = {
    "ev_per_ang": "eV/Å",
    "ev_per_atom": "eV/atom",
    "ev": "eV",
    "mub": "μB",
    "ang3": "Å³",
    "ang": "Å",
    "fs": "fs",
    "bytes": "bytes",
    "k": "K",
    "r": "R",
}


def make_title(name: str, _: object = None) -> str:
    """Return the label of a field in Prefect's form: its name, with the unit at its end in brackets."""
    for suffix, unit in _UNITS.items():
        if name.endswith(f"_{suffix}"):
            return f"{make_title(name.removesuffix(f'_{suffix}'))} ({unit})"
    return name[:1].upper() + name[1:].replace("_", " ")


class Params(BaseModel):
    """Base of all parameters: frozen, and an unknown field is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra=_shape_form,
        field_title_generator=make_title,
    )

    PATHS: ClassVar[tuple[str, ...]] = ()
    """Fields that hold paths of the machine where the work is done."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_no_text(cls, values: Any) -> Any:
        """Neither JSON nor Postgres keeps bytes that are no UTF-8, as file names may have them, or a NUL."""
        for text in _iter_texts(values):
            if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"{text!r} is no text: it holds a NUL or bytes that are no UTF-8")
        return values

    def list_paths(self) -> Iterator[tuple[str, str]]:
        """Yield every path that is named here or in a group within, with the name of its field; `file:` models too."""
        for name, value in self:
            yield from _list_paths(name, value, is_path=name in self.PATHS)

    def compute_hash(self) -> str:
        """Sha256 of the canonical JSON: equal parameters have equal hashes on every machine."""
        return hash_json(self.model_dump(mode="json"))


def _iter_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str | PurePath):
        yield str(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _iter_texts(key)
            yield from _iter_texts(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _iter_texts(part)


def _list_paths(field: str, value: Any, *, is_path: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if value.startswith("file:"):
            yield field, value.removeprefix("file:")
        elif is_path and value not in SOURCES and not value.startswith("labels:"):
            yield field, value
    elif isinstance(value, Params):
        for inner, path in value.list_paths():
            yield f"{field}.{inner}", path
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _list_paths(f"{field}.{key}", part, is_path=is_path)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _list_paths(field, part, is_path=is_path)


def hash_json(value: Any) -> str:
    """Sha256 (64 hex digits) of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


ElementGroup = Literal["noble_metals", "actinides", "radioactive", "toxic"]
ELEMENT_GROUP_NAMES: tuple[ElementGroup, ...] = ("noble_metals", "actinides", "radioactive", "toxic")

Split = Literal["train", "validation", "test"]

_QUALITY: dict[str, Any] = {
    "require_bulk": True,
    "require_energy": True,
    "require_forces": True,
    "max_force_ev_per_ang": 10.0,
    "max_energy_ev_per_atom": 100.0,
    "min_distance_ang": 0.7,
    "min_volume_per_atom_ang3": 1.0,
    "max_volume_per_atom_ang3": 500.0,
    "max_n_atoms": 0,
    "include_sources": (),
    "exclude_sources": (),
    "functionals": (),
    "exclude_elements": (),
    "drop_duplicate_ids": True,
    "drop_duplicate_fingerprints": True,
}
_ORIGIN: dict[str, Any] = _QUALITY | {
    "min_elements": 5,
    "require_oxygen": True,
    "only_metals": True,
    "allow_metalloids": False,
    "min_cations": 0,
    "max_equimolarity_deviation": 0.0,
    "min_entropy_r": 0.0,
    "entropy_of": "either",
}
RULE_PRESETS: dict[str, dict[str, Any]] = {
    "origin": _ORIGIN,
    "heo": _ORIGIN | {"min_elements": 6, "min_cations": 5, "min_entropy_r": 1.5},
    "quickstart": _ORIGIN | {"max_n_atoms": 64},
}
"""origin: what the origin project called an HEO (oxygen, at least five elements, all others metals, forces present).
heo: at least five cations and 1.5 R of configurational entropy, on one sublattice or all pooled. quickstart: origin's,
in cells of at most 64 atoms. All three share the rules on the quality of a row."""


class RuleParams(Params):
    """Which rows are kept: a preset, changed field by field. In any field 0, false or an empty list switches it off."""

    preset: Literal["origin", "heo", "quickstart"] = Field(
        "origin", description="fills every field below that is left empty"
    )
    min_elements: NonNegativeInt | None = Field(
        None, description="smallest number of different elements, oxygen included"
    )
    require_oxygen: bool | None = Field(None, description="leave out rows without oxygen")
    only_metals: bool | None = Field(None, description="leave out rows with a non-metal beside oxygen")
    allow_metalloids: bool | None = Field(None, description="count B, Si, Ge, As, Sb and Te as metals")
    min_cations: NonNegativeInt | None = Field(None, description="smallest number of different cations")
    max_equimolarity_deviation: NonNegativeFloat | None = Field(
        None, le=1, description="largest departure of any cation's fraction from 1/n; 0: no limit"
    )
    min_entropy_r: NonNegativeFloat | None = Field(
        None, description="smallest configurational entropy per cation, in units of R; the usual rule is 1.5"
    )
    entropy_of: Literal["pooled", "sublattice", "either"] | None = Field(
        None,
        description="entropy of all cations pooled, of the most disordered cation sublattice (strict: small ordered "
        "cells hardly ever pass), or whichever is larger",
    )
    exclude_elements: tuple[str, ...] | None = Field(
        None, description="elements to leave out: symbols, or noble_metals, actinides, radioactive, toxic"
    )
    require_bulk: bool | None = Field(None, description="leave out rows not periodic in three dimensions")
    max_n_atoms: NonNegativeInt | None = Field(None, description="largest number of atoms in a cell; 0: no limit")
    include_sources: tuple[str, ...] | None = Field(
        None, description="the only sources to keep, for example mp (the prefix of immutable_id); empty: all"
    )
    exclude_sources: tuple[str, ...] | None = Field(None, description="sources to leave out, for example oqmd")
    functionals: tuple[str, ...] | None = Field(
        None, description="the only functionals to keep, for example pbe, in any case of letters; empty: all"
    )
    require_energy: bool | None = Field(None, description="leave out rows without an energy")
    require_forces: bool | None = Field(None, description="leave out rows without forces")
    max_energy_ev_per_atom: NonNegativeFloat | None = Field(
        None, description="largest energy per atom, either way, eV; 0: no limit, for energies of all electrons"
    )
    max_force_ev_per_ang: NonNegativeFloat | None = Field(
        None, description="largest force on any atom, eV/Å; 0: no limit"
    )
    min_distance_ang: NonNegativeFloat | None = Field(None, description="smallest distance between two atoms, Å")
    min_volume_per_atom_ang3: NonNegativeFloat | None = Field(None, description="smallest cell volume per atom, Å³")
    max_volume_per_atom_ang3: NonNegativeFloat | None = Field(
        None, description="largest cell volume per atom, Å³; 0: no limit"
    )
    drop_duplicate_ids: bool | None = Field(None, description="keep one row of each immutable_id")
    drop_duplicate_fingerprints: bool | None = Field(None, description="keep one row of each fingerprint")

    def resolve(self) -> Self:
        """Return the same rules with every empty field filled from the preset."""
        given = {name: value for name, value in self if value is not None}
        return self.model_copy(update=RULE_PRESETS[self.preset] | given)

    @field_validator("exclude_elements", "include_sources", "exclude_sources", "functionals", mode="before")
    @classmethod
    def _split_words(cls, given: Any) -> Any:
        """Take words with commas between them for a list, as people type them."""
        return [word.strip() for word in given.split(",") if word.strip()] if isinstance(given, str) else given

    @field_validator("exclude_elements")
    @classmethod
    def _check_elements(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in names or () if name not in ELEMENT_GROUP_NAMES and name not in SYMBOLS]
        if unknown:
            msg = f"{', '.join(unknown)} is neither an element nor one of {', '.join(ELEMENT_GROUP_NAMES)}"
            raise ValueError(msg)
        return names


class SplitParams(Params):
    """How kept structures are shared out: seeded, stratified, and no group ever in two splits."""

    train: PositiveFloat = Field(0.7, description="fraction of the structures to train on", lt=1)
    validation: PositiveFloat = Field(0.2, description="fraction that picks the best epoch", lt=1)
    test: PositiveFloat = Field(0.1, description="fraction that is only ever used to evaluate", lt=1)
    group_by: Literal["chemical_system", "formula", "fingerprint", "none"] = Field(
        "chemical_system",
        description="what must not stand in two splits; none is the origin's random split, which leaks",
    )
    stratify: bool = Field(
        default=True, description="share out each source and number of elements alike, as far as the groups allow"
    )
    seed: NonNegativeInt = Field(0, description="seed of the random order")

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            msg = f"train + validation + test is {total:g}; it must be 1"
            raise ValueError(msg)
        return self


class OffEquilibriumParams(Params):
    """Rattled and strained copies of curated structures, in a split of their own; they wait for labels."""

    n_copies: NonNegativeInt = Field(0, description="copies of each structure; 0: no such split")
    of_split: Literal["validation", "test"] = Field("test", description="split whose structures are copied")
    max_structures: PositiveInt = Field(200, description="how many structures to copy, in a seeded order")
    rattle_ang: NonNegativeFloat = Field(
        0.05, description="standard deviation of each atom's displacement per direction, Å"
    )
    strain: NonNegativeFloat = Field(
        0.02,
        lt=0.3,
        description="largest component of the random strain tensor; each is drawn evenly",
    )
    seed: NonNegativeInt = Field(0, description="seed of the displacements")


class CurationParams(Params):
    """Where the structures come from and which are kept."""

    PATHS = ("source",)

    name: Name = Field(
        "sample", description="name of the dataset; the same name with other parameters makes a new version"
    )
    source: str = Field(
        "sample",
        min_length=1,
        description="sample (bundled), hub (LeMat-Bulk on Hugging Face), labels:NAME (a set of 'heo label') or a path: "
        "parquet in its schema, or structures of your own (extxyz, ASE database, vasprun.xml, OUTCAR), a file or a "
        "folder",
    )
    hub_config: Literal["compatible_pbe", "compatible_pbesol", "compatible_scan", "non_compatible"] = Field(
        "compatible_pbe", description="part of LeMat-Bulk, when the source is hub or a copy of its repository"
    )
    hub_revision: str = Field(
        "main", description="commit of the Hub dataset; it is resolved and stored, so that a dataset says what it read"
    )
    licence: str | None = Field(None, description="licence of a source of your own, for example CC-BY-4.0")
    citation: str | None = Field(None, description="how to cite a source of your own")
    rules: RuleParams = RuleParams()
    split: SplitParams = SplitParams()
    off_equilibrium: OffEquilibriumParams = OffEquilibriumParams()
    map: Literal["umap", "pca", "none"] = Field(
        "umap",
        description="picture of the dataset's chemistry in two dimensions, drawn from magpie element embeddings; umap "
        "takes half a minute, and both need the extra heo[map]",
    )

    def resolve(self) -> Self:
        """Return the same parameters with every empty field of the rules filled from their preset."""
        return self.model_copy(update={"rules": self.rules.resolve()})


Strategy = Literal["replay", "naive", "freeze", "lora", "scratch"]

_FINETUNING: dict[str, Any] = {
    "E0s": "estimated",
    "lr": None,
    "lr_final_fraction": 0.03,
    "max_num_epochs": 10,
    "batch_size": 4,
    "loss": "universal",
    "energy_weight": 15.0,
    "forces_weight": 10.0,
    "ema": True,
    "ema_decay": 0.995,
    "dtype": "float32",
    "patience": 0,
}
STRATEGIES: dict[Strategy, dict[str, Any]] = {
    "replay": _FINETUNING,
    "naive": _FINETUNING
    | {
        "E0s": "foundation",
        "lr": 1e-4,
        "lr_final_fraction": 1.0,
        "max_num_epochs": 10,
        "batch_size": 5,
        "energy_weight": 1.0,
        "ema_decay": 0.99,
        "dtype": "float64",
    },
    "freeze": _FINETUNING | {"max_num_epochs": 30},
    "lora": _FINETUNING | {"max_num_epochs": 30},
    "scratch": _FINETUNING
    | {
        "E0s": "average",
        "lr": 1e-2,
        "max_num_epochs": 40,
        "energy_weight": 2.0,
    },
}
"""What each strategy puts into the fields that are left empty. replay, the recommended one, trains on off-equilibrium
cells beside the dataset; naive is the origin's recipe; freeze holds the first blocks of the model still; lora trains
low-rank additions to its weights; scratch trains a new model, for example on the labels of a better potential."""


def _describe_empty(field: str) -> str:
    """Say what an empty field is with each strategy: "empty: 4; naive 5"."""
    usual = _show(_FINETUNING[field])
    others = {strategy: _show(fields[field]) for strategy, fields in STRATEGIES.items()}
    unusual = ", ".join(f"{strategy} {value}" for strategy, value in others.items() if value != usual)
    return f"empty: {usual}" + (f"; {unusual}" if unusual else "")


def _show(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


class ReplayParams(Params):
    """Strategy replay: cells away from equilibrium, trained on beside the dataset, that keep a model from softening."""

    structures: str = Field(
        "foundation",
        min_length=1,
        description="what to replay: foundation (cells that the foundation model was trained on, where it comes with "
        "some, as heo-mini does; else as train), train (rattled and strained copies of the training split), or NAME or "
        "NAME@VERSION of a dataset, whose training split is taken as it is",
    )
    labels: Literal["anchored", "foundation", "own"] = Field(
        "anchored",
        description="of copies, anchored: the foundation model's own, corrected by its error at the row that a copy "
        "was made from; foundation: its own as they are (also where a dataset is replayed); own: the labels of that "
        "dataset. Cells that a foundation was trained on keep the labels that it was taught",
    )
    n_cells: PositiveInt | None = Field(
        None,
        description="how many cells to replay, at most; empty: of copies as many as there are structures to train on, "
        "of the foundation's own cells up to nine times as many, of a dataset all",
    )
    row_copies: PositiveInt | None = Field(
        None,
        description="how many times a pass goes over each structure to train on, beside once over each replayed cell; "
        "empty: once for every two replayed cells a structure, 1 to 3",
    )
    shuffled_fraction: NonNegativeFloat = Field(
        0.6,
        le=1,
        description="share of the copies whose cations also change places at random: far from any row, they carry the "
        "foundation's labels as they are",
    )
    rattle_ang: NonNegativeFloat = Field(
        0.12,
        description="largest standard deviation of the atoms' displacements per direction in the copies, Å; each copy "
        "draws its own between a quarter of this and this",
    )
    strain: NonNegativeFloat = Field(
        0.05, lt=0.3, description="largest component of the random strain tensor of the copies; each is drawn evenly"
    )
    max_force_ev_per_ang: PositiveFloat = Field(20.0, description="cells with a larger force are not replayed, eV/Å")
    weight: PositiveFloat = Field(
        1.0,
        description="weight of a replayed cell in the loss; one of the dataset has 1. The universal loss multiplies "
        "errors with it, so that it counts squared where they are below 0.01 (eV/atom, eV/Å, eV/Å³)",
    )
    stress_weight: NonNegativeFloat = Field(
        10.0, description="weight of the stress of replayed cells in the loss, whatever that of the dataset's stress is"
    )
    multiheads_finetuning: bool = Field(
        default=False,
        description="give the replayed cells an output head of their own (MACE's multihead finetuning), which is taken "
        "off the finished model; false: one head learns both",
    )


class ArchitectureParams(Params):
    """Strategy scratch: size and shape of the new model, in the words of MACE's own options."""

    hidden_irreps: str = Field(
        "64x0e", pattern=r"^\d+x\d[eo]( *\+ *\d+x\d[eo])*$", description="messages between atoms"
    )
    r_max: PositiveFloat = Field(4.5, le=10, description="cutoff, Å")
    num_interactions: PositiveInt = Field(2, le=4, description="message-passing layers")
    max_ell: NonNegativeInt = Field(2, le=4, description="largest order of the spherical harmonics")
    correlation: PositiveInt = Field(3, le=4, description="body order of a layer, minus one")
    num_radial_basis: PositiveInt = Field(8, description="radial functions")
    radial_mlp: tuple[PositiveInt, ...] = Field((32, 32), min_length=1, description="widths of the radial network")


class FinetuneParams(Params):
    """How a foundation model is finetuned, in the words of MACE's own options. An empty field means the strategy's."""

    dataset: str = Field("sample", description="NAME (its newest version) or NAME@VERSION of a curated dataset")
    foundation: str = Field(
        "heo-mini",
        description="heo-mini (bundled), mace-mp:small|medium|large, another published model, file:PATH, or "
        "NAME@VERSION of a registered model; strategy scratch takes nothing from it",
    )
    name: Name | None = Field(None, description="name of the new model; empty: FOUNDATION-DATASET")
    strategy: Strategy = Field(
        "replay",
        description="replay (recommended: keeps the stiffness), naive (the origin's), freeze, lora, or scratch (a new "
        "small model)",
    )
    E0s: Literal["foundation", "estimated", "average"] | None = Field(
        None,
        description="energies of the single atoms to start from: the foundation's; estimated, shifted so that the "
        "foundation's energies fit the training split; average, fitted to the training split alone; "
        + _describe_empty("E0s"),
    )
    foundation_model_elements: bool = Field(
        default=True,
        description="keep all elements that the foundation knows; false drops those that are not in the training data, "
        "and the model can then not run on them",
    )
    lr: PositiveFloat | None = Field(
        None,
        description="learning rate; empty: 1e-4; with replay, freeze and lora from a model file below 4 MB, such as "
        "heo-mini, 1e-3 times max_num_epochs and 1e-2 at most; scratch 1e-2",
    )
    lr_final_fraction: PositiveFloat | None = Field(
        None,
        le=1,
        description="learning rate of the last epoch as a fraction of the first one's; 1: constant; "
        + _describe_empty("lr_final_fraction"),
    )
    max_num_epochs: PositiveInt | None = Field(
        None,
        description="passes over the training split, at most (with replay, each has a structure replay.row_copies "
        f"times); {_describe_empty('max_num_epochs')}",
    )
    patience: NonNegativeInt | None = Field(
        None,
        description="stop after this many epochs without a better validation score (MAE of forces in eV/Å plus MAE of "
        f"energies in eV/atom); 0: never; {_describe_empty('patience')}",
    )
    batch_size: PositiveInt | None = Field(None, description=f"structures per step; {_describe_empty('batch_size')}")
    loss: Literal["universal", "weighted"] | None = Field(
        None,
        description="universal (Huber) tames outliers; weighted is the plain sum of squares; "
        + _describe_empty("loss"),
    )
    energy_weight: NonNegativeFloat | None = Field(
        None, description=f"weight of the energy in the loss; {_describe_empty('energy_weight')}"
    )
    forces_weight: NonNegativeFloat | None = Field(
        None, description=f"weight of the forces in the loss; {_describe_empty('forces_weight')}"
    )
    stress_weight: NonNegativeFloat = Field(
        0.0, description="weight of the stress in the loss; above 0 only for data whose stress can be trusted"
    )
    ema: bool | None = Field(None, description=f"average the weights over the last steps; {_describe_empty('ema')}")
    ema_decay: PositiveFloat | None = Field(
        None, lt=1, description=f"decay of that average; {_describe_empty('ema_decay')}"
    )
    dtype: Literal["float32", "float64"] | None = Field(
        None, description=f"precision of the training; {_describe_empty('dtype')}"
    )
    seed: NonNegativeInt = Field(0, description="seed of the order of the batches, and of what is replayed")
    replay: ReplayParams = ReplayParams()
    freeze: PositiveInt = Field(
        5,
        le=6,
        description="strategy freeze: blocks held still: 1 to 4 the embedding, 5 the interactions too, 6 the products "
        "too, which leaves the readouts",
    )
    lora_rank: PositiveInt = Field(4, description="strategy lora: rank of the additions to the weights")
    lora_alpha: PositiveFloat = Field(4.0, description="strategy lora: their scale is alpha / rank")
    architecture: ArchitectureParams = ArchitectureParams()

    def resolve(self) -> Self:
        """Return the same parameters with every empty field filled by the strategy, lr apart: it needs the model."""
        given = {name: value for name, value in self if value is not None}
        return self.model_copy(update=STRATEGIES[self.strategy] | given)

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.replay.labels == "own" and self.replay.structures in {"train", "foundation"}:
            msg = (
                "replay.labels is own, which needs a dataset: copies of the training split have no labels of their own"
            )
            raise ValueError(msg)
        return self


class RangeParams(Params):
    """Numbers between two ends, for a sweep to draw from."""

    low: float = Field(description="smallest number")
    high: float = Field(description="largest number")
    log: bool = Field(default=False, description="draw evenly in the logarithm, as suits lr and weights")
    step: PositiveFloat | None = Field(None, description="distance of the numbers that are allowed; empty: any number")

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        if self.low >= self.high:
            msg = f"low is {self.low:g} and high {self.high:g}; low must be the smaller"
            raise ValueError(msg)
        if self.log and (self.low <= 0 or self.step is not None):
            msg = "a range with log begins above 0 and has no step"
            raise ValueError(msg)
        return self


class SweepParams(Params):
    """A search over parameters of a finetuning: each trial is one training, ranked by its validation score."""

    name: Name = Field(
        "sweep",
        max_length=80,
        description="name of the sweep; its models are NAME-t00, NAME-t01, ...; the same name with other parameters "
        "makes a new version",
    )
    base: FinetuneParams = Field(FinetuneParams(), description="what all trials have in common")
    space: dict[str, RangeParams | tuple[Any, ...]] = Field(
        min_length=1,
        description="what is searched: fields of base, such as lr or replay.weight, each with " + search_space.HELP,
        examples=[{"lr": [5e-4, 2e-3], "forces_weight": {"low": 1, "high": 100, "log": True}}],
    )
    sampler: Literal["grid", "random", "tpe"] = Field(
        "random",
        description="grid tries every combination; random draws them; tpe (tree-structured Parzen estimator) draws "
        "more where scores were good",
    )
    n_trials: PositiveInt | None = Field(
        None,
        description="how many trainings; empty: the whole grid, or 10. A larger number, later, goes on with the sweep",
    )
    n_parallel: PositiveInt = Field(
        2, description="trainings given to the work pool at once; its workers decide how many of them run"
    )
    runner: Literal["pool", "here"] = Field(
        "pool",
        description="pool: each trial is a run of the deployment finetune; here: one after another in this process",
    )
    assess: bool = Field(
        default=True,
        description="measure the best model against its parent once all trials have ended: softening and forgetting",
    )
    seed: NonNegativeInt = Field(0, description="seed of the draws, and of the order of a grid")
    retry_failed: bool = Field(
        default=False, description="train trials again that failed, for example for want of memory or disk"
    )

    @field_validator("base")
    @classmethod
    def _check_base(cls, base: FinetuneParams) -> FinetuneParams:
        if base.name is not None:
            msg = f"name is {base.name!r}; leave it empty: models of a sweep are named after the sweep"
            raise ValueError(msg)
        return base

    @field_validator("space", mode="before")
    @classmethod
    def _read_space(cls, given: Any) -> Any:
        flat = search_space.flatten_space(given)
        return {
            path: _read_range(path, values) if isinstance(values, dict) else values for path, values in flat.items()
        }

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Try the space on the base, so that a wrong value costs no training; keep values as a finetuning has them."""
        base = info.data.get("base")
        if base is None:  # it was refused itself
            return space
        for path in space:
            if path in {"dataset", "name"}:
                msg = f"{path} cannot be searched: scores of one dataset compare, and models are named after the sweep"
                raise ValueError(msg)
            search_space.check_field(base, path)
        lists = {path: list(values) for path, values in space.items() if not isinstance(values, RangeParams)}
        ranges = {path: _sample_range(base, path, values) for path, values in space.items() if path not in lists}
        stored = search_space.try_values(base, lists | ranges)
        for path in lists:
            if twice := [value for i, value in enumerate(stored[path]) if value in stored[path][:i]]:
                msg = f"{path} lists {twice[0]!r} twice"
                raise ValueError(msg)
        return space | {path: tuple(stored[path]) for path in lists}

    @model_validator(mode="after")
    def _check_grid(self) -> Self:
        endless = [path for path in self.space if self.list_points(path) is None]
        if self.sampler == "grid" and endless:
            msg = f"a grid needs values to count: give {', '.join(endless)} as a list, or the range a step"
            raise ValueError(msg)
        if self.sampler == "grid" and (self.count_points() or 0) > MAX_GRID:
            msg = f"the grid has {self.count_points()} points, at most {MAX_GRID} are allowed: take random or tpe"
            raise ValueError(msg)
        return self

    def make_trial(self, values: Mapping[str, Any], name: str) -> FinetuneParams:
        """Return the base with these values and this name; ValidationError for a value that a finetuning refuses."""
        return search_space.set_values(self.base, {**values, "name": name})

    def is_whole(self, path: str) -> bool:
        """Whether a field of the space takes whole numbers only."""
        return search_space.takes_whole_numbers(self.base, path)

    def list_points(self, path: str) -> list[Any] | None:
        """Return the values that a field of the space can have; None where they cannot be counted."""
        values = self.space[path]
        if not isinstance(values, RangeParams):
            return list(values)
        is_whole = self.is_whole(path)
        step = values.step or (1.0 if is_whole else None)
        if step is None:
            return None
        points = [round(values.low + i * step, 12) for i in range(int((values.high - values.low) / step + 1e-9) + 1)]
        return [int(point) for point in points] if is_whole else points

    def count_points(self) -> int | None:
        """Return how many different trials the space holds; None where they cannot be counted."""
        points = [self.list_points(path) for path in self.space]
        return None if None in points else prod(len(values or ()) for values in points)

    def count_trials(self) -> int:
        """Return how many trainings are asked for: never more than the space holds."""
        points = self.count_points()
        wanted = self.n_trials or (points if self.sampler == "grid" and points else 10)
        return wanted if points is None else min(wanted, points)


def _read_range(path: str, values: dict[str, Any]) -> RangeParams:
    try:
        return RangeParams.model_validate(values)
    except ValidationError as exc:
        field, reason = search_space.explain_first(exc)
        msg = f"{'.'.join(filter(None, [path, field]))}: {reason}"
        raise ValueError(msg) from exc


def _sample_range(base: FinetuneParams, path: str, values: RangeParams) -> list[Any]:
    """Both ends and one number between, whole where the field takes whole numbers only."""
    middle = (values.low + values.high) / 2
    if not search_space.takes_whole_numbers(base, path):
        return [values.low, values.high, middle]
    if values.step is not None and not values.step.is_integer():
        msg = f"{path}.step={values.step:g}: {path} takes whole numbers"
        raise ValueError(msg)
    return [*(int(end) if end.is_integer() else end for end in (values.low, values.high)), int(middle)]


PrototypeName = Literal[
    "rocksalt",
    "fluorite",
    "perovskite",
    "perovskite-pnma",
    "spinel",
    "pyrochlore",
    "bixbyite",
    "corundum",
    "rutile",
    "alpha-pbo2",
    "ruddlesden-popper",
    "ruddlesden-popper-2",
]
PROTOTYPE_NAMES: tuple[PrototypeName, ...] = get_args(PrototypeName)

Repeats = tuple[PositiveInt, PositiveInt, PositiveInt]
Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


class GenerationParams(Params):
    """Cells to make: which cations on which parent crystal, how many, how large, and how far from ideal."""

    PATHS = ("parent",)

    name: Name = Field(
        "generated", description="name of the stored set; the same name with other parameters makes a new version"
    )
    composition: str | dict[str, str | dict[str, PositiveFloat]] = Field(
        "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O",
        description="a formula, with the cations of each sublattice in parentheses where that is not plain, such as "
        '(La0.5Sr0.5)(Mn0.5Co0.5)O3; or what fills each sublattice, such as {"A": "La0.5Sr0.5", "B": {"Mn": 0.5, '
        '"Co": 0.5}}; with a parent file, what fills the sites of an element in it, such as {"Mn": "Mn0.5Co0.5"}',
    )
    prototype: PrototypeName = Field("rocksalt", description="parent crystal; not used with a parent file")
    parent: str | None = Field(
        None, description="structure file (CIF, POSCAR, extxyz, ...) to use as parent crystal in place of a prototype"
    )
    n: PositiveInt = Field(10, description="how many cells")
    supercell: Repeats | Matrix | None = Field(
        None,
        description="repeats of the parent's cell along its edges, or a 3x3 matrix of whole numbers whose rows are "
        "the new edges in those of the parent; empty: as near to a cube as repeats give, with at least min_atoms",
    )
    min_atoms: PositiveInt = Field(64, description="smallest number of atoms, where no supercell is given")
    filling: Literal["exact", "iid", "sqs"] = Field(
        "exact",
        description="exact: the nearest whole numbers of each cation, shuffled; iid: each site draws its cation by "
        "itself, so that compositions scatter; sqs: exact, in an order as random as can be (needs the extra heo[sqs])",
    )
    sqs_steps: PositiveInt = Field(10_000, description="steps of the search for each sqs cell")
    vacancies: NonNegativeFloat = Field(0.0, lt=1, description="fraction of the oxygens taken out, at random")
    rattle_ang: NonNegativeFloat = Field(
        0.0, description="standard deviation of each atom's displacement per direction, Å"
    )
    strain: NonNegativeFloat = Field(
        0.0, lt=0.3, description="largest component of a random strain tensor; each is drawn evenly"
    )
    min_distance_ang: PositiveFloat = Field(1.2, description="a cell with two atoms closer than this fails, Å")
    seed: NonNegativeInt = Field(0, description="seed; a cell depends on it and on its number alone")

    @field_validator("composition", "supercell", mode="before")
    @classmethod
    def _read_text(cls, given: Any, info: ValidationInfo) -> Any:
        """Read JSON, and repeats such as 4x2x2, as people type them into a form or a command."""
        if not isinstance(given, str):
            return given
        if info.field_name == "composition":
            return json.loads(given) if given.lstrip().startswith("{") else given
        if re.fullmatch(r"\d+x\d+x\d+", given):
            return [int(number) for number in given.split("x")]
        if not given.lstrip().startswith("["):
            msg = "it is three repeats such as 4x2x2, or a matrix such as [[0,2,2],[2,0,2],[2,2,0]]"
            raise ValueError(msg)
        return json.loads(given)

    @field_validator("supercell")
    @classmethod
    def _check_supercell(cls, supercell: Repeats | Matrix | None) -> Repeats | Matrix | None:
        """Refuse a matrix without a volume."""
        if supercell is not None and isinstance(supercell[0], tuple):
            (a, b, c), (d, e, f), (g, h, i) = supercell
            if (volume := a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) <= 0:
                msg = f"the supercell's matrix has the determinant {volume}; it must be above 0"
                raise ValueError(msg)
        return supercell


class RelaxParams(Params):
    """How structures are relaxed, and when one counts as converged."""

    fmax: PositiveFloat = Field(0.05, description="largest force on any atom and on the cell, eV/Å")
    max_force_calls: PositiveInt = Field(200, description="force calls after which a structure is given up")
    max_seconds: PositiveFloat | None = Field(
        None,
        description="seconds of computing after which a structure is given up, its share of what its batch took; "
        "empty: no limit",
    )
    optimizer: Literal["lbfgs", "bfgs", "fire"] = Field(
        "lbfgs", description="which optimiser moves the atoms and the cell"
    )
    cell_filter: Literal["frechet", "hydrostatic", "none"] = Field(
        "frechet",
        description="relax the cell too (frechet), its volume alone (hydrostatic: only the mean stress is judged), or "
        "keep it fixed (none)",
    )
    dtype: Literal["float32", "float64", "mixed"] = Field(
        "float64",
        description="precision; mixed relaxes in float32 and goes on in float64 until converged there, so that all "
        "final numbers are float64",
    )
    max_atoms_per_batch: PositiveInt | None = Field(
        None,
        description="atoms relaxed side by side; empty: as many as fit into the memory of a GPU, on a CPU as many as "
        "were measured to be fastest for a model of that size",
    )
    trajectory: bool = Field(default=False, description="keep every state of each relaxation")

    @property
    def final_dtype(self) -> Literal["float32", "float64"]:
        """Precision in which the final state is judged."""
        return "float32" if self.dtype == "float32" else "float64"


class EnergyForcesParams(Params):
    """Errors of energies and forces on a split of a dataset."""

    kind: Literal["energy-forces"] = "energy-forces"
    split: Split = Field("test", description="split to evaluate on")
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")


class OffEquilibriumErrorsParams(Params):
    """Errors of energies, forces and stresses away from equilibrium, where a potential that is too soft shows."""

    kind: Literal["off-equilibrium"] = "off-equilibrium"
    dataset: str | None = Field(
        None,
        description="NAME or NAME@VERSION of a dataset with labels of your own, labels:NAME, a label set of 'heo "
        "label', or bundled:dft-offeq, the bundled cells labelled by DFT (PBE+U, GPAW); empty: the bundled cells "
        "labelled by SevenNet 7net-0, not DFT",
    )
    split: Split | Literal["off_equilibrium"] = Field("test", description="split of that dataset to evaluate on")
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")

    @property
    def reference_set(self) -> str | None:
        """Name of the bundled set that it is measured on; None for a dataset or a label set."""
        if self.dataset is None:
            return "off-equilibrium"
        return "dft-offeq" if self.dataset == "bundled:dft-offeq" else None

    @property
    def label_set(self) -> str | None:
        """Name of the label set that it is measured on; None for a dataset or the bundled cells."""
        kind, colon, name = (self.dataset or "").partition(":")
        return name if colon and kind == "labels" else None


class ForgettingHoldoutParams(Params):
    """Errors on simple oxides of one to three cations: what a finetuning on others must not cost."""

    kind: Literal["forgetting-holdout"] = "forgetting-holdout"
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")


class EquationOfStateParams(Params):
    """Energy against volume of binary oxides: equilibrium volume, bulk modulus, and the whole curve."""

    kind: Literal["equation-of-state"] = "equation-of-state"
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")


DFT_OFFEQ = OffEquilibriumErrorsParams(dataset="bundled:dft-offeq")
"""The bundled cells that DFT labelled: too few for the limits of an assessment."""

AUTO_BENCHMARKS = (
    OffEquilibriumErrorsParams(),
    DFT_OFFEQ,
    ForgettingHoldoutParams(),
    EquationOfStateParams(),
)
"""Bundled benchmarks that run by themselves for new models: the same cells for every model, and quickly done."""


class RattleRelaxParams(Params):
    """Relaxed reference structures are rattled and relaxed again, to see whether the model leads them back."""

    kind: Literal["rattle-relax"] = "rattle-relax"
    split: Split = Field("test", description="split to take the structures from")
    max_structures: PositiveInt = Field(8, description="how many structures to take, in a seeded order")
    screen_fmax: PositiveFloat = Field(
        0.05, description="take only rows whose reference forces are below this, eV/Å: relaxed end points"
    )
    min_atoms: PositiveInt = Field(16, description="repeat the cell until it holds this many atoms")
    max_atoms: PositiveInt = Field(96, description="leave out structures with more atoms than this")
    rattle_ang: PositiveFloat = Field(
        0.05, description="standard deviation of each atom's displacement per direction, Å"
    )
    n_rattles: PositiveInt = Field(1, description="rattled copies of each structure")
    seed: NonNegativeInt = Field(0, description="seed of the choice of structures and of their displacements")
    relax: RelaxParams = RelaxParams()


SUBSTITUTION_PRESETS: dict[str, dict[str, Any]] = {
    "origin": {
        "filling": "iid",
        "supercell": ((0, 2, 2), (2, 0, 2), (2, 2, 0)),
        "n_cells": 2,
        "n_rattles": 5,
        "rattle_ang": 0.1,
        "relax": {"fmax": 0.05, "max_force_calls": 100},
    },
}
"""origin: what the origin project did on rock salt MgNiCuCoZn-O: 4x4x4 of the primitive cell (128 atoms), each site
filled by itself, two cells, five rattles of each."""


class SubstitutionRelaxParams(Params):
    """Random cells of one composition on a parent crystal are relaxed and compared under one common reference.

    On the command line `preset=origin` fills the fields that are left out as the origin project had them: two cells of
    128 atoms, each site filled by itself, five rattles of each.
    """

    kind: Literal["substitution-relax"] = "substitution-relax"
    composition: str = Field(
        "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O", description="composition; cations must fill the cation sites of the prototype"
    )
    prototype: PrototypeName = Field("rocksalt", description="parent crystal")
    filling: Literal["exact", "iid"] = Field(
        "exact",
        description="exact: sites are shared out exactly where they divide, else to the nearest whole numbers, which "
        "the stored formula shows; iid: each site draws its cation by itself, as the origin did",
    )
    supercell: Repeats | Matrix = Field(
        (5, 2, 2),
        description="repeats of the conventional cell (rock salt: 8 atoms, 4 cations), or a 3x3 matrix of whole "
        "numbers whose rows are the new edges in those of the cell",
    )
    n_cells: PositiveInt = Field(6, description="random cells")
    n_rattles: PositiveInt = Field(1, description="rattled copies of each cell")
    rattle_ang: PositiveFloat = Field(
        0.1, description="standard deviation of each atom's displacement per direction, Å"
    )
    reference: str = Field(
        "chgnet:0.3.0",
        description="model under which the relaxed cells of all models are compared: the common reference",
    )
    seed: NonNegativeInt = Field(0, description="seed of the cations' places and of the displacements")
    relax: RelaxParams = RelaxParams()

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        """Replace a preset's name by what it stands for, so that it is the fields that are stored."""
        if not isinstance(given, dict) or "preset" not in given:
            return given
        fields = {name: value for name, value in given.items() if name != "preset"}
        if given["preset"] not in SUBSTITUTION_PRESETS:
            msg = f"preset {given['preset']!r} is unknown; allowed: {', '.join(SUBSTITUTION_PRESETS)}"
            raise ValueError(msg)
        preset = SUBSTITUTION_PRESETS[given["preset"]]
        if isinstance(fields.get("relax"), dict):
            fields["relax"] = preset["relax"] | fields["relax"]
        return preset | fields


class PhysicsParams(Params):
    """What must hold whatever the labels: forces are slopes of the energy, energy is conserved, atoms repel."""

    kind: Literal["physics"] = "physics"
    n_cells: PositiveInt = Field(
        3,
        description="cells whose forces and stress are checked and that are let move: the smallest of so many "
        "prototypes of the bundled cells off equilibrium",
    )
    step_ang: PositiveFloat = Field(
        1e-3,
        le=0.1,
        description="how far an atom is moved for the numerical force, Å; a model that computes in float32 needs 1e-2",
    )
    strain_step: PositiveFloat = Field(1e-3, le=0.05, description="strain for the numerical stress")
    temperature_k: PositiveFloat = Field(300.0, description="temperature of the start velocities, K")
    timestep_fs: PositiveFloat = Field(2.0, le=10, description="time step at constant energy, fs")
    n_steps: PositiveInt = Field(100, ge=10, description="time steps at constant energy")
    metals: tuple[str, ...] = Field(
        (),
        description="metals that are pressed against an oxygen; empty: all of the bundled cells off equilibrium",
    )
    seed: NonNegativeInt = Field(0, description="seed of the start velocities")
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")

    @field_validator("metals")
    @classmethod
    def _check_metals(cls, metals: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [metal for metal in metals if metal not in SYMBOLS]:
            msg = f"{', '.join(unknown)} is no element; metals takes symbols such as Mg and Co"
            raise ValueError(msg)
        return metals


class StructureRelaxParams(Params):
    """Structures of one's own are relaxed, for their own sake."""

    kind: Literal["relax"] = "relax"
    relax: RelaxParams = RelaxParams(dtype="mixed")


BenchmarkParams = (
    EnergyForcesParams
    | StructureRelaxParams
    | OffEquilibriumErrorsParams
    | RattleRelaxParams
    | SubstitutionRelaxParams
    | PhysicsParams
    | ForgettingHoldoutParams
    | EquationOfStateParams
)


def parse_benchmark(stored: dict[str, Any]) -> BenchmarkParams:
    """Read a benchmark's parameters back from JSON; its kind says which they are."""
    adapter: TypeAdapter[BenchmarkParams] = TypeAdapter(Annotated[BenchmarkParams, Field(discriminator="kind")])
    return adapter.validate_python(stored)


class ScaleParams(Params):
    """Where structures are computed, and in how large pieces."""

    runner: Literal["local", "dask", "dask-jobqueue"] = Field(
        "local",
        description="local: in the run's own process; dask: in processes of one thread each, on the same machine or "
        "where its HEO_DASK_SCHEDULER says; dask-jobqueue: in SLURM jobs, as Dask's configuration describes them",
    )
    n_workers: int | None = Field(
        None, ge=1, le=1000, description="processes or jobs; empty: a process for each core, or what the scheduler has"
    )
    structures_per_shard: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="structures that a process is given at a time; empty: half of its share "
        "of what is left, at most 256",
    )

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.runner == "local" and (self.n_workers, self.structures_per_shard) != (None, None):
            msg = "n_workers and structures_per_shard go with the runners dask and dask-jobqueue; local is one process"
            raise ValueError(msg)
        if self.runner == "dask-jobqueue" and self.n_workers is None:
            msg = "the runner dask-jobqueue needs n_workers: how many jobs to start"
            raise ValueError(msg)
        return self


class ComparisonParams(Params):
    """Which models are compared."""

    models: tuple[str, ...] = Field(
        (), description="models, the one to compare with first; empty: the newest finetuned model and its parent"
    )

    @property
    def subject(self) -> str:
        """The models in a few words, for the name of a run."""
        shown = ", ".join(self.models[:3]) or "the newest model"
        return f"{shown} and {len(self.models) - 3} more" if len(self.models) > 3 else shown


class EvaluationParams(ComparisonParams):
    """Which models are evaluated on which benchmarks."""

    dataset: str | None = Field(
        None, description="NAME or NAME@VERSION of the dataset to test on; empty: the one the last model was trained on"
    )
    benchmarks: tuple[BenchmarkKind, ...] = Field(
        DEFAULT_BENCHMARKS,
        description="benchmarks to run; forgetting-holdout and equation-of-state are run after every finetuning",
    )
    stored_benchmarks: tuple[str, ...] = Field(
        (),
        description="NAME or NAME@VERSION of benchmarks of your own to run too, those of 'heo benchmark list', "
        "or dft-offeq, the bundled cells labelled by DFT",
    )
    force: bool = Field(
        default=False,
        description="run again what is done; the old numbers stay until the new ones are complete and take their place",
    )
    scale: ScaleParams = ScaleParams()
    energy_forces: EnergyForcesParams = EnergyForcesParams()
    off_equilibrium: OffEquilibriumErrorsParams = OffEquilibriumErrorsParams()
    rattle_relax: RattleRelaxParams = RattleRelaxParams()
    substitution_relax: SubstitutionRelaxParams = SubstitutionRelaxParams()
    physics: PhysicsParams = PhysicsParams()
    forgetting_holdout: ForgettingHoldoutParams = ForgettingHoldoutParams()
    equation_of_state: EquationOfStateParams = EquationOfStateParams()

    def get_benchmark(self, kind: BenchmarkKind) -> BenchmarkParams:
        """Return the parameters of one benchmark."""
        params: BenchmarkParams = getattr(self, kind.replace("-", "_"))
        return params

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if not self.benchmarks and not self.stored_benchmarks:
            msg = f"no benchmark is named; allowed: {', '.join(BENCHMARK_KINDS)}, or a stored one"
            raise ValueError(msg)
        return self


class RelaxJobParams(Params):
    """Structures to relax with one model: those of files, or cells made for it."""

    PATHS = ("files", "out")

    files: tuple[str, ...] = Field(
        (),
        description="structure files on the worker's machine: CIF, POSCAR, extxyz, ASE databases, ...; empty: cells "
        "are generated",
    )
    generation: GenerationParams = Field(
        GenerationParams(rattle_ang=0.1), description="cells to make and relax, where no file is given"
    )
    model: str = Field("heo-mini", description="model that relaxes them: a foundation, or a registered one")
    relax: RelaxParams = RelaxParams(dtype="mixed")
    out: str | None = Field(
        None, description="folder for the relaxed structures, trajectories and summary.csv; empty: the database only"
    )
    file_format: Literal["extxyz", "cif", "poscar"] = Field(
        "extxyz", description="format of the relaxed structures; extxyz carries energy, forces and stress too"
    )
    force: bool = Field(default=False, description="relax again what is done")
    scale: ScaleParams = ScaleParams()


StabilityPrototype = Literal["rocksalt", "fluorite", "perovskite"]
ReferenceSet = Literal["ground-states", "end-members", "almishal-2025"]


class StabilityParams(Params):
    """Which mixtures of cations are to be compared, on which crystal, and against which binary oxides."""

    PATHS = ("out",)

    cations: tuple[str, ...] = Field(
        ("Mg", "Co", "Ni", "Cu", "Zn"), min_length=1, description="cations that the mixtures are made of"
    )
    n: PositiveInt = Field(5, description="cations in each mixture, in equal shares: all combinations are taken")
    prototype: StabilityPrototype = Field("rocksalt", description="parent crystal")
    rest: dict[str, str] = Field(
        {},
        description='what fills the other sublattice, for a perovskite only, for example {"A": "Ba"}: the mixtures '
        "are then on B",
    )
    model: str = Field("chgnet:0.3.0", description="model that relaxes cells and oxides: a foundation or registered")
    references: ReferenceSet = Field(
        "ground-states",
        description="oxides that a mixture's enthalpy is counted from. ground-states: each cation's lowest of the "
        "polymorphs that the model relaxes; end-members: each cation alone on the same crystal; almishal-2025: "
        "published energies of rock-salt oxides, for CHGNet 0.3.0 only",
    )
    n_cells: PositiveInt = Field(3, description="cells of each mixture, each in another order")
    n_atoms: PositiveInt = Field(
        64, description="largest number of atoms of a cell; the largest below it in which the shares are whole is taken"
    )
    filling: Literal["exact", "sqs"] = Field(
        "exact",
        description="exact: cations in random order; sqs: in an order as random as can be (needs the extra heo[sqs])",
    )
    sqs_steps: PositiveInt = Field(10_000, description="steps of the search for each sqs cell")
    rattle_ang: NonNegativeFloat = Field(
        0.05,
        description="standard deviation of each atom's displacement per direction before it is relaxed, Å; copper "
        "leaves its symmetric site only from beside it",
    )
    seed: NonNegativeInt = Field(0, description="seed; a cell depends on it, its cations and its number alone")
    relax: RelaxParams = RelaxParams(dtype="mixed", max_force_calls=500)
    retry_failed: bool = Field(default=False, description="relax again the cells and oxides that failed before")
    out: str | None = Field(None, description="folder for the page and stability.csv; empty: the report folder only")

    @field_validator("cations")
    @classmethod
    def _check_cations(cls, cations: tuple[str, ...]) -> tuple[str, ...]:
        """Sort by atomic number: the same mixtures have the same names."""
        if unknown := [cation for cation in cations if cation not in SYMBOLS or cation == "O"]:
            msg = f"{', '.join(unknown)} cannot be a cation here; cations takes symbols such as Mg and Co"
            raise ValueError(msg)
        if len(set(cations)) < len(cations):
            msg = f"cations {', '.join(cations)} name one twice"
            raise ValueError(msg)
        return tuple(sorted(cations, key=SYMBOLS.index))

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        if self.n > len(self.cations):
            msg = f"n is {self.n}, but {len(self.cations)} cations are given; allowed: at most as many"
            raise ValueError(msg)
        wanted = [{"A"}, {"B"}] if self.prototype == "perovskite" else [set()]
        if set(self.rest) not in wanted:
            allowed = 'one of A and B, such as {"A": "Ba"}' if self.prototype == "perovskite" else "nothing"
            msg = f"rest names {', '.join(self.rest) or 'nothing'}; for {self.prototype} it takes {allowed}"
            raise ValueError(msg)
        if self.references == "almishal-2025" and (self.prototype, self.model) != ("rocksalt", "chgnet:0.3.0"):
            msg = (
                f"references almishal-2025 are energies of rock salts on the scale of chgnet:0.3.0; asked for were "
                f"{self.prototype} and {self.model}; allowed: ground-states, end-members"
            )
            raise ValueError(msg)
        return self

    @property
    def protocol(self) -> dict[str, Any]:
        """What a relaxed cell depends on beside its cations, its number and the model."""
        left_out = {"cations", "n", "model", "references", "n_cells", "retry_failed", "out"}
        if self.filling != "sqs":
            left_out.add("sqs_steps")
        return self.model_dump(mode="json", exclude=left_out)


HUBBARD_U_EV: dict[str, float] = {
    "Co": 3.32,
    "Cr": 3.7,
    "Fe": 5.3,
    "Mn": 3.9,
    "Mo": 4.38,
    "Ni": 6.2,
    "V": 3.25,
    "W": 6.2,
}
"""Materials Project's U on the d states of these metals in oxides, eV; none on the others."""

START_MOMENTS_MUB: dict[str, float] = {
    "Ti": 1.0,
    "V": 3.0,
    "Cr": 4.0,
    "Mn": 5.0,
    "Fe": 4.0,
    "Co": 3.0,
    "Ni": 2.0,
    "Cu": 1.0,
    "Mo": 3.0,
    "W": 3.0,
}
"""High spin to begin with, μB: without it a calculation falls into low spin and stays there."""

DFT_PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"cutoff_ev": 400.0, "kpoints": (2, 2, 2)},
    "standard": {"cutoff_ev": 520.0, "kpoints": (3, 3, 3)},
    "stress": {"cutoff_ev": 700.0, "kpoints": (3, 3, 3)},
}
"""For cells of about eight atoms. Against stress, forces of standard are 9 meV/Å off and those of quick 31 (root mean
square); only stress has a stress to be trusted."""


class GpawParams(Params):
    """Plane-wave PBE+U with GPAW: a preset, changed field by field."""

    preset: Literal["quick", "standard", "stress"] = Field(
        "standard", description="fills cutoff_ev and kpoints where they are left empty; stress alone keeps the stress"
    )
    cutoff_ev: PositiveFloat | None = Field(None, description="energy of the highest plane wave, eV")
    kpoints: Repeats | None = Field(None, description="k-points along each edge of the reciprocal cell")
    hubbard_u_ev: dict[str, NonNegativeFloat] = Field(
        HUBBARD_U_EV, description="U on the d states of each metal, eV; as given, Materials Project's for oxides"
    )
    start_moments_mub: dict[str, NonNegativeFloat] = Field(
        START_MOMENTS_MUB, description="magnetic moment of each element to begin with, μB; others begin without"
    )
    magnetic_starts: tuple[Literal["ferromagnetic", "antiferromagnetic"], ...] = Field(
        ("ferromagnetic",),
        min_length=1,
        description="orders of these moments to begin with: all up, or every other magnetic cation down; the state of "
        "lowest energy is kept",
    )
    smearing_ev: PositiveFloat = Field(0.1, description="width of the Fermi-Dirac occupation, eV")
    max_iterations: PositiveInt = Field(100, description="steps to self-consistency, at most")

    def resolve(self) -> Self:
        """Return the same parameters with every empty field filled from the preset."""
        given = {name: value for name, value in self if value is not None}
        return self.model_copy(update=DFT_PRESETS[self.preset] | given)


class LabelParams(Params):
    """Which structures get reference labels, by what, and into which set."""

    PATHS = ("files",)

    name: Name = Field(
        "dft", description="name of the label set; it has one scale of energies, so that another engine needs another"
    )
    engine: str = Field(
        "gpaw",
        min_length=1,
        description="gpaw (PBE+U, in an environment of its own: 'make setup-dft'), or a model such as chgnet:0.3.0",
    )
    gpaw: GpawParams = GpawParams()
    files: tuple[str, ...] = Field(
        (), description="structure files on the worker's machine: CIF, POSCAR, extxyz, ASE databases, ..."
    )
    dataset: str | None = Field(None, description="NAME or NAME@VERSION of a dataset, or of generated cells")
    split: Split | Literal["off_equilibrium", "generated"] | None = Field(
        None, description="split of that dataset; empty: all of it"
    )
    benchmark: str | None = Field(None, description="NAME or NAME@VERSION of a benchmark, for its start structures")
    relaxed_by: tuple[str, ...] = Field(
        (), description="models whose final geometries on that benchmark are labelled, in place of its start structures"
    )
    max_seconds: PositiveFloat | None = Field(
        7200.0, description="seconds after which gpaw gives a structure up; empty: no limit"
    )
    retry_failed: bool = Field(default=False, description="label structures again that failed before")

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        given = [name for name in ("files", "dataset", "benchmark") if getattr(self, name)]
        if len(given) != 1:
            msg = f"structures come from one of files, dataset and benchmark; given: {', '.join(given) or 'none'}"
            raise ValueError(msg)
        if self.relaxed_by and self.benchmark is None:
            msg = "relaxed_by needs the benchmark that the models relaxed"
            raise ValueError(msg)
        return self


class ReportParams(ComparisonParams):
    """What the report compares, and what is written beside its page."""

    PATHS = ("out", "figures")
    benchmarks: tuple[str, ...] = Field(
        (), description="stored benchmarks to show, NAME or NAME@VERSION; empty: all that any of the models ran"
    )
    name: Name = Field("report", description="name of the page: NAME.html in the report folder")
    out: str | None = Field(None, description="folder for a copy of the page; empty: the report folder only")
    figures: str | None = Field(
        None,
        description="folder for a picture of each figure, drawn by a Chrome or Chromium of the worker's machine; "
        "empty: none",
    )
    figure_format: Literal["svg", "png", "pdf"] = Field(
        "svg", description="format of the pictures: svg and pdf stay sharp at any size, png has 300 dots an inch"
    )


class HousekeepingParams(Params):
    """What to keep."""

    keep_days: int = Field(
        30,
        ge=1,
        description="trajectories of evaluations, checkpoints, replaced report pages and files that no row names stay "
        "so many days",
    )
    remove: bool = Field(False, description="remove what is older; otherwise it is only listed")


class PipelineParams(Params):
    """All four steps; by default the quickstart's, on the bundled sample."""

    curation: CurationParams = CurationParams(
        rules=RuleParams(preset="quickstart"),
        # The sample is small: a tenth of it would decide little.
        split=SplitParams(train=0.6, validation=0.15, test=0.25),
        map="pca",
    )
    # Short, for a laptop.
    finetuning: FinetuneParams = FinetuneParams(max_num_epochs=2)
    evaluation: EvaluationParams = EvaluationParams()
    reporting: ReportParams = ReportParams(name="pipeline")
