"""Every knob of an experiment: frozen pydantic models, which the command line fills and Prefect's UI shows as forms.

Units stand in the descriptions; the defaults are those of the quickstart unless a docstring says otherwise. This
module imports no scientific package, so that a form or a `--help` costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

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
    model_validator,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name people type: letters, digits, dot, underscore, hyphen; it starts with a letter or digit."""

BenchmarkKind = Literal["energy-forces", "rattle-relax", "substitution-relax"]
BENCHMARK_KINDS: tuple[BenchmarkKind, ...] = ("energy-forces", "rattle-relax", "substitution-relax")

HUB_DATASET = "LeMaterial/LeMat-Bulk"


def _number_fields(schema: dict[str, Any]) -> None:
    """Give each field its position: Postgres' JSONB forgets the order in which Prefect's form should show them."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Params(BaseModel):
    """Base of all parameters: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_number_fields)

    def compute_hash(self) -> str:
        """Sha256 of the canonical JSON: equal parameters have equal hashes on every machine."""
        return hash_json(self.model_dump(mode="json"))


def hash_json(value: Any) -> str:
    """Sha256 (64 hex digits) of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class RuleParams(Params):
    """Which rows are kept. By default, as in the origin project: oxygen, at least five elements, all others metals."""

    min_elements: PositiveInt = Field(5, description="smallest number of different elements, oxygen included")
    allow_metalloids: bool = Field(default=False, description="count B, Si, Ge, As, Sb and Te as cations")
    max_force_ev_per_ang: PositiveFloat | None = Field(
        10.0, description="largest force on any atom, eV/Å; empty: no limit"
    )
    min_distance_ang: NonNegativeFloat = Field(0.7, description="smallest distance between two atoms, Å")
    min_volume_per_atom_ang3: PositiveFloat = Field(1.0, description="smallest cell volume per atom, Å³")
    max_n_atoms: PositiveInt | None = Field(None, description="largest number of atoms in a cell; empty: no limit")
    exclude_sources: tuple[str, ...] = Field(
        (), description="sources to leave out, for example oqmd (the prefix of immutable_id)"
    )


class SplitParams(Params):
    """How kept structures are shared out. No group ever stands in two splits."""

    train: PositiveFloat = Field(0.7, description="fraction of the structures to train on", lt=1)
    validation: PositiveFloat = Field(0.15, description="fraction that picks the best epoch", lt=1)
    test: PositiveFloat = Field(0.15, description="fraction that is only ever used to evaluate", lt=1)
    group_by: Literal["chemical_system", "formula", "none"] = Field(
        "chemical_system",
        description="what must not stand in two splits; none is the origin's random split, which leaks",
    )
    seed: NonNegativeInt = Field(0, description="seed of the random order")

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            msg = f"train + validation + test is {total:g}; it must be 1"
            raise ValueError(msg)
        return self


class CurationParams(Params):
    """Where the structures come from and which are kept."""

    name: Name = Field(
        "sample", description="name of the dataset; the same name with other parameters makes a new version"
    )
    source: str = Field(
        "sample",
        min_length=1,
        description="sample (bundled), hub (LeMat-Bulk on Hugging Face), or a parquet file or folder in its schema",
    )
    hub_config: Literal["compatible_pbe", "compatible_pbesol", "compatible_scan", "non_compatible"] = Field(
        "compatible_pbe", description="part of LeMat-Bulk, when source is hub"
    )
    hub_revision: str = Field(
        "main", description="commit of the Hub dataset; it is resolved and stored, so that a dataset says what it read"
    )
    rules: RuleParams = RuleParams()
    split: SplitParams = SplitParams()


class FinetuneParams(Params):
    """How a foundation model is finetuned, in the words of MACE's own options."""

    dataset: str = Field("sample", description="NAME (its newest version) or NAME@VERSION of a curated dataset")
    foundation: str = Field(
        "heo-mini",
        description="heo-mini (bundled), mace-mp:small|medium|large, file:PATH, or NAME@VERSION of a registered model",
    )
    name: Name | None = Field(None, description="name of the new model; empty: FOUNDATION-DATASET")
    lr: PositiveFloat | None = Field(
        None,
        description="learning rate; empty: 1e-4 (the origin's), or 5e-3 for a model file below 4 MB such as heo-mini",
    )
    max_num_epochs: PositiveInt = Field(6, description="passes over the training split")
    batch_size: PositiveInt = Field(4, description="structures per step")
    loss: Literal["universal", "weighted"] = Field(
        "universal", description="universal (Huber) tames outliers; weighted is the origin's"
    )
    energy_weight: NonNegativeFloat = Field(1.0, description="weight of the energy in the loss")
    forces_weight: NonNegativeFloat = Field(10.0, description="weight of the forces in the loss")
    ema: bool = Field(default=True, description="average the weights over the last steps")
    ema_decay: PositiveFloat = Field(0.99, lt=1, description="decay of that average; 0.995 suits long runs")
    dtype: Literal["float32", "float64"] = Field("float32", description="precision of the training")
    seed: NonNegativeInt = Field(0, description="seed of the order of the batches")


class RelaxParams(Params):
    """How structures are relaxed, and when one counts as converged."""

    fmax: PositiveFloat = Field(0.05, description="largest force on any atom and on the cell, eV/Å")
    max_force_calls: PositiveInt = Field(200, description="force calls after which a structure is given up")
    optimizer: Literal["lbfgs", "fire"] = Field("lbfgs", description="which optimiser moves the atoms and the cell")
    cell_filter: Literal["frechet", "none"] = Field(
        "frechet", description="relax the cell too (frechet), or keep it fixed (none)"
    )
    dtype: Literal["float32", "float64"] = Field(
        "float64", description="precision of the relaxation and of its judgement"
    )
    max_atoms_per_batch: PositiveInt = Field(
        256, description="atoms relaxed side by side; more is faster on a GPU and takes more memory"
    )


class EnergyForcesParams(Params):
    """Errors of energies and forces on a split of a dataset."""

    kind: Literal["energy-forces"] = "energy-forces"
    split: Literal["train", "validation", "test"] = Field("test", description="split to evaluate on")
    dtype: Literal["float32", "float64"] = Field("float64", description="precision of the predictions")


class RattleRelaxParams(Params):
    """Relaxed reference structures are rattled and relaxed again, to see whether the model leads them back."""

    kind: Literal["rattle-relax"] = "rattle-relax"
    split: Literal["train", "validation", "test"] = Field("test", description="split to take the structures from")
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
    seed: NonNegativeInt = 0
    relax: RelaxParams = RelaxParams()


class SubstitutionRelaxParams(Params):
    """Random cells of one exact composition on a parent crystal are relaxed and compared under one common reference."""

    kind: Literal["substitution-relax"] = "substitution-relax"
    composition: str = Field(
        "Mg0.2Ni0.2Cu0.2Co0.2Zn0.2O", description="composition; cations must fill the cation sites of the prototype"
    )
    prototype: Literal["rocksalt"] = Field("rocksalt", description="parent crystal")
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (5, 2, 2),
        description="repeats of the conventional cell (8 atoms, 4 cations); sites are shared out exactly where they "
        "divide, else to the nearest whole numbers, which the stored formula shows",
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
    seed: NonNegativeInt = 0
    relax: RelaxParams = RelaxParams()


BenchmarkParams = EnergyForcesParams | RattleRelaxParams | SubstitutionRelaxParams


def parse_benchmark(stored: dict[str, Any]) -> BenchmarkParams:
    """Read a benchmark's parameters back from JSON; its kind says which they are."""
    adapter: TypeAdapter[BenchmarkParams] = TypeAdapter(Annotated[BenchmarkParams, Field(discriminator="kind")])
    return adapter.validate_python(stored)


class EvaluationParams(Params):
    """Which models are evaluated on which benchmarks."""

    models: tuple[str, ...] = Field(
        (), description="models, the one to compare with first; empty: the newest finetuned model and its parent"
    )
    dataset: str | None = Field(
        None, description="NAME or NAME@VERSION of the dataset to test on; empty: the one the last model was trained on"
    )
    benchmarks: tuple[BenchmarkKind, ...] = Field(BENCHMARK_KINDS, min_length=1, description="benchmarks to run")
    energy_forces: EnergyForcesParams = EnergyForcesParams()
    rattle_relax: RattleRelaxParams = RattleRelaxParams()
    substitution_relax: SubstitutionRelaxParams = SubstitutionRelaxParams()

    def get_benchmark(self, kind: BenchmarkKind) -> BenchmarkParams:
        """Return the parameters of one benchmark."""
        match kind:
            case "energy-forces":
                return self.energy_forces
            case "rattle-relax":
                return self.rattle_relax
            case "substitution-relax":
                return self.substitution_relax


class ReportParams(Params):
    """What the report compares."""

    models: tuple[str, ...] = Field(
        (), description="models, the one to compare with first; empty: the newest finetuned model and its parent"
    )
    name: Name = Field("report", description="name of the page: NAME.html in the report folder")


class PipelineParams(Params):
    """All four steps."""

    curation: CurationParams = CurationParams()
    finetuning: FinetuneParams = FinetuneParams()
    evaluation: EvaluationParams = EvaluationParams()
    reporting: ReportParams = ReportParams(name="pipeline")
