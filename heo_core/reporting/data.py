"""What a report is made of. The flow fills it from the database; figures, answers and the page only read it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import pandas as pd

COLUMNS: dict[str, tuple[str, ...]] = {
    "models": (
        "label",
        "name",
        "version",
        "family",
        "role",
        "parent",
        "sha256",
        "licence",
        "dataset",
        "n_elements",
        "created_at",
        "warnings",
        "reference",
        "foundation",
        "energy_scale",
        "n_parameters",
        "r_max_ang",
        "dtype",
        "params_hash",
        "dataset_hash",
        "code_version",
        "package_versions",
        "device",
    ),
    "rejections": ("rule", "n_rejected", "example_ids"),
    "splits": ("split", "n_structures", "n_formulas", "n_chemical_systems"),
    "structures": (
        "structure_id",
        "immutable_id",
        "formula_reduced",
        "chemical_system",
        "elements",
        "n_elements",
        "n_atoms",
        "split",
        "source",
        "energy_ev_per_atom",
        "fmax_ev_per_ang",
        "volume_per_atom_ang3",
        "entropy_pooled_r",
        "entropy_sublattice_r",
        "space_group_number",
        "space_group_symbol",
        "prototype",
        "map_method",
        "map_x",
        "map_y",
    ),
    "sample_cells": ("structure_id", "lattice_ang", "positions_ang", "species"),
    "training_runs": (
        "label",
        "foundation",
        "dataset",
        "strategy",
        "state",
        "failure",
        "n_train",
        "n_validation",
        "left_out",
        "e0s",
        "e0_outliers",
        "replay",
        "best_epoch",
        "wall_s",
        "train_s",
        "device",
        "params",
        "versions",
    ),
    "trials": (
        "label",
        "sweep",
        "strategy",
        "state",
        "failure",
        "params",
        "score",
        "best_epoch",
        "energy_rmse_ev_per_atom",
        "forces_rmse_ev_per_ang",
        "train_s",
    ),
    "epochs": (
        "label",
        "epoch",
        "train_loss",
        "validation_loss",
        "energy_rmse_ev_per_atom",
        "energy_mae_ev_per_atom",
        "forces_rmse_ev_per_ang",
        "forces_mae_ev_per_ang",
        "forces_q95_ev_per_ang",
        "score",
        "lr",
        "seconds",
    ),
    "benchmarks": (
        "benchmark",
        "kind",
        "version",
        "n_cases",
        "n_structures",
        "reference",
        "functionals",
        "params",
        "key",
    ),
    "evaluations": ("label", "benchmark", "device", "dtype", "wall_s", "cautions"),
    "metrics": ("label", "benchmark", "kind", "name", "value", "unit", "n", "ci_low", "ci_high"),
    "group_metrics": ("label", "benchmark", "kind", "grouping", "group_name", "name", "value", "unit", "n"),
    "comparisons": (
        "benchmark",
        "kind",
        "baseline",
        "candidate",
        "name",
        "value",
        "unit",
        "n",
        "ci_low",
        "ci_high",
        "caution",
    ),
    "predictions": (
        "label",
        "benchmark",
        "structure_id",
        "immutable_id",
        "formula_reduced",
        "n_atoms",
        "energy_reference_ev_per_atom",
        "energy_predicted_ev_per_atom",
        "forces_rmse_ev_per_ang",
        "forces_mae_ev_per_ang",
        "failure",
    ),
    "force_components": (
        "label",
        "benchmark",
        "structure_id",
        "immutable_id",
        "formula_reduced",
        "reference_ev_per_ang",
        "predicted_ev_per_ang",
    ),
    "relaxations": (
        "label",
        "benchmark",
        "kind",
        "case_index",
        "case_id",
        "formula_reduced",
        "n_atoms",
        "rattle_ang",
        "converged",
        "failure",
        "force_calls",
        "fmax_ev_per_ang",
        "cell_fmax_ev_per_ang",
        "energy_final_ev_per_atom",
        "reference_energy_ev_per_atom",
        "displacement_rmsd_ang",
        "rmsd_normalized",
        "volume_change_fraction",
        "energy_above_unrattled_ev_per_atom",
        "energies_ev",
        "fmaxes_ev_per_ang",
    ),
    "labelled_minima": (
        "label",
        "benchmark",
        "label_set",
        "engine",
        "functional",
        "case_index",
        "origin",
        "energy_ev_per_atom",
        "total_moment_mub",
        "judged_by_itself",
    ),
    "relaxed_cells": ("benchmark", "case_index", "label", "lattice_ang", "positions_ang", "species"),
    "volume_curves": (
        "label",
        "benchmark",
        "material",
        "n_volumes",
        "reference_volume_ang3_per_atom",
        "reference_bulk_modulus_gpa",
        "equilibrium_volume_ang3_per_atom",
        "bulk_modulus_gpa",
        "equilibrium_volume_error_fraction",
        "bulk_modulus_error_fraction",
        "energy_volume_rmse_ev_per_atom",
        "failure",
    ),
    "physics_checks": ("label", "benchmark", "kind", "subject", "name", "value", "unit", "failure"),
    "physics_curves": ("label", "benchmark", "kind", "subject", "n_atoms", "x", "energy_ev"),
    "curve_points": (
        "label",
        "benchmark",
        "material",
        "volume_factor",
        "volume_ang3_per_atom",
        "energy_reference_ev_per_atom",
        "energy_predicted_ev_per_atom",
    ),
}
"""Columns of each frame of `ReportData`; the units are in the names."""
COLUMNS["own_relaxations"] = COLUMNS["relaxations"]
COLUMNS["trial_epochs"] = COLUMNS["epochs"]


def make_frame(name: str, rows: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    """Return the rows as the frame `name` of `ReportData`, with all its columns; KeyError for an unknown name."""
    return pd.DataFrame(rows or [], columns=list(COLUMNS[name]))


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows. Every frame has the columns that `COLUMNS` names and may be empty.

    models: in comparison order, the baseline first; role is "baseline" or "candidate"; warnings: what the assessment
    of each model found against its parent, a list of sentences.
    dataset: None, or label, source_uri, source_revision, licence, citation, label_kind ("surrogate" or "dft"),
    functionals, n_scanned, n_kept, params and content_hash.
    training_runs: e0s are the energies of free atoms, eV by element; e0_outliers: structures that they were not fitted
    to, predicted less reference energy with them in eV/atom by immutable_id; replay: what was replayed; None where
    nothing was.
    epochs: epoch 0 is the foundation model before training.
    trials: every training of the sweeps that a model here came from, the model's own too; label is that of its model,
    or SWEEP trial NUMBER where it made none; errors are those of its best epoch. trial_epochs: as epochs, of trials.
    benchmarks: n_structures are those that the n_cases start from, rattled or not, None where every case has its own;
    functionals are the names of the labels that predictions are compared with, a list; empty where they are
    compared with none.
    group_metrics: grouping is "element", "source" or "n_elements".
    evaluations: cautions are sentences on what must be known before the numbers are read, a list.
    comparisons: value is candidate minus baseline on paired structures, of any pair of the models; caution: why it says
    nothing, None where it does.
    force_components: a seeded subsample.
    sample_cells: structures of the dataset that are drawn; relaxed_cells: cases of relaxations that are drawn, before
    (label is None) and after under each model; both chosen by `heo_core.reporting.scenes`.
    labelled_minima: energies by label sets of what models relaxed to rest; origin: the cell or structure that a case is
    a rattled copy of. They are on the scale of their label set: only differences within one mean something.
    judged_by_itself: whether the labels are by the very model that relaxed it.
    own_relaxations: as relaxations, of structures of a user's own, whose benchmarks stand in no other frame;
    n_own_relaxations: how many of them are stored, of which these may be the first.
    physics_curves: x is the volume per atom in Å³ for kind "volume-curve", the distance in Å for kind "repulsion".
    curve_points: one row a model and volume; volume_factor is over the reference's relaxed volume.
    ValueError when a frame lacks a column.
    """

    title: str
    generated_at: datetime
    heo_version: str
    dataset: dict[str, Any] | None = None
    models: pd.DataFrame = field(default_factory=lambda: make_frame("models"))
    rejections: pd.DataFrame = field(default_factory=lambda: make_frame("rejections"))
    splits: pd.DataFrame = field(default_factory=lambda: make_frame("splits"))
    structures: pd.DataFrame = field(default_factory=lambda: make_frame("structures"))
    sample_cells: pd.DataFrame = field(default_factory=lambda: make_frame("sample_cells"))
    training_runs: pd.DataFrame = field(default_factory=lambda: make_frame("training_runs"))
    epochs: pd.DataFrame = field(default_factory=lambda: make_frame("epochs"))
    trials: pd.DataFrame = field(default_factory=lambda: make_frame("trials"))
    trial_epochs: pd.DataFrame = field(default_factory=lambda: make_frame("trial_epochs"))
    benchmarks: pd.DataFrame = field(default_factory=lambda: make_frame("benchmarks"))
    evaluations: pd.DataFrame = field(default_factory=lambda: make_frame("evaluations"))
    metrics: pd.DataFrame = field(default_factory=lambda: make_frame("metrics"))
    group_metrics: pd.DataFrame = field(default_factory=lambda: make_frame("group_metrics"))
    comparisons: pd.DataFrame = field(default_factory=lambda: make_frame("comparisons"))
    predictions: pd.DataFrame = field(default_factory=lambda: make_frame("predictions"))
    force_components: pd.DataFrame = field(default_factory=lambda: make_frame("force_components"))
    relaxations: pd.DataFrame = field(default_factory=lambda: make_frame("relaxations"))
    labelled_minima: pd.DataFrame = field(default_factory=lambda: make_frame("labelled_minima"))
    relaxed_cells: pd.DataFrame = field(default_factory=lambda: make_frame("relaxed_cells"))
    own_relaxations: pd.DataFrame = field(default_factory=lambda: make_frame("own_relaxations"))
    n_own_relaxations: int = 0
    physics_checks: pd.DataFrame = field(default_factory=lambda: make_frame("physics_checks"))
    physics_curves: pd.DataFrame = field(default_factory=lambda: make_frame("physics_curves"))
    volume_curves: pd.DataFrame = field(default_factory=lambda: make_frame("volume_curves"))
    curve_points: pd.DataFrame = field(default_factory=lambda: make_frame("curve_points"))

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name not in COLUMNS:
                continue
            missing = [column for column in COLUMNS[item.name] if column not in getattr(self, item.name).columns]
            if missing:
                raise ValueError(f"frame {item.name} of the report lacks {', '.join(missing)}")

    @property
    def baseline(self) -> str | None:
        """Label of the model that the others are compared with; None without models."""
        if self.models.empty:
            return None
        marked = self.models.loc[self.models["role"] == "baseline", "label"]
        return str(marked.iloc[0] if len(marked) else self.models["label"].iloc[0])

    @property
    def candidates(self) -> list[str]:
        """Labels of all other models, in comparison order."""
        return [str(label) for label in self.models["label"] if label != self.baseline]

    def benchmarks_of_kind(self, kind: str) -> list[str]:
        """Names of the benchmarks of one kind, in the order of the benchmarks frame, then of the metrics.

        Those on a split that models were trained or chosen on stand aside where there is one on another.
        """
        names = [
            str(name)
            for frame in (self.benchmarks, self.metrics)
            for name in frame.loc[frame["kind"] == kind, "benchmark"]
        ]
        names = list(dict.fromkeys(names))
        fair = [name for name in names if self.find_split(name) not in {"train", "validation"}]
        return fair or names

    def find_split(self, benchmark: str) -> str | None:
        """Split of a dataset that a benchmark is on; None where it is on none."""
        params = self.benchmarks.loc[self.benchmarks["benchmark"] == benchmark, "params"]
        found = params.iloc[0] if len(params) else None
        return as_text(found.get("split")) if isinstance(found, dict) else None

    def is_aside(self, benchmark: str) -> bool:
        """Whether a benchmark is left to the section on training: see `benchmarks_of_kind`."""
        kind = self.find_kind(benchmark)
        return kind is not None and benchmark not in self.benchmarks_of_kind(kind)

    def find_kind(self, benchmark: str) -> str | None:
        """Kind of a benchmark; None where it is not among the benchmarks."""
        kinds = self.benchmarks.loc[self.benchmarks["benchmark"] == benchmark, "kind"]
        return as_text(kinds.iloc[0]) if len(kinds) else None

    def find_reference(self, benchmark: str) -> str | None:
        """Label of the common reference model of a benchmark; None where it has none."""
        found = self.benchmarks.loc[self.benchmarks["benchmark"] == benchmark, "reference"]
        return as_text(found.iloc[0]) if len(found) else None

    def list_functionals(self, benchmark: str) -> list[str]:
        """Return the names of the labels of a benchmark; none where it has no labels, or nobody said."""
        found = self.benchmarks.loc[self.benchmarks["benchmark"] == benchmark, "functionals"]
        names = found.iloc[0] if len(found) else None
        return [str(name) for name in names] if isinstance(names, list | tuple) else []

    def count_structures(self, benchmark: str) -> int | None:
        """Return how many structures the cases of a benchmark start from; None where every case has its own.

        Those of equations of state are cells of so many oxides.
        """
        if self.find_kind(benchmark) == "equation-of-state":
            materials = self.volume_curves.loc[self.volume_curves["benchmark"] == benchmark, "material"]
            return materials.nunique() or None
        found = self.benchmarks.loc[self.benchmarks["benchmark"] == benchmark, ["n_structures", "n_cases"]]
        n, n_cases = (as_number(value) for value in found.iloc[0]) if len(found) else (None, None)
        return None if n is None or n == n_cases else int(n)

    def find_metric(self, label: str, benchmark: str, name: str) -> float | None:
        """Value of one metric; None when it is missing or not a number."""
        rows = self.metrics
        found = rows.loc[(rows["label"] == label) & (rows["benchmark"] == benchmark) & (rows["name"] == name), "value"]
        return as_number(found.iloc[0]) if len(found) else None

    def find_comparison(self, candidate: str, benchmark: str, name: str) -> pd.Series | None:
        """Row of the paired difference of a candidate to the baseline of this report; None where there is none.

        Other pairs of its models may be stored too: a grandchild's assessment compares it with its own parent.
        """
        rows = self.comparisons
        found = rows[(rows["candidate"] == candidate) & (rows["benchmark"] == benchmark) & (rows["name"] == name)]
        found = found[found["baseline"] == self.baseline]
        return found.iloc[0] if len(found) else None


def as_number(value: Any) -> float | None:
    """Return a finite float, or None for None, NaN, infinities and what is no number."""
    number = pd.to_numeric(value, errors="coerce")
    return float(number) if pd.notna(number) and abs(float(number)) != float("inf") else None


def as_text(value: Any) -> str | None:
    """Return the value as text, or None where a frame holds None or NaN."""
    return None if value is None or (isinstance(value, float) and pd.isna(value)) or value is pd.NA else str(value)


def is_true(values: pd.Series) -> pd.Series:
    """Return a mask of the values that are true; None and NaN are not."""
    return values.astype("boolean").fillna(value=False).astype(bool)
