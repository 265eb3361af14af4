"""What a reader must know before the numbers are believed, found in them and said in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from heo_core.evaluation.assessment import SOFT_SLOPE, describe
from heo_core.evaluation.energy_forces import RAW_ENERGY_METRICS
from heo_core.labelling.functionals import classify_functional
from heo_core.reporting.comparison import Verdict, find_change, find_outcomes, is_soft, list_judged_benchmarks
from heo_core.reporting.data import ReportData, as_text, is_true
from heo_core.reporting.quantities import format_number, format_significant
from heo_core.reporting.wording import count_cases, count_nouns, format_percent, join_words, name_model

FEW_STRUCTURES = 30
END_POINT_FMAX_EV_PER_ANG = 0.05
_MANY_END_POINTS = 0.5
_SCALE_RATIO = 3.0
_OFF_EQUILIBRIUM_HINT = "run heo evaluate --benchmark off-equilibrium."
# First words of a sentence of the assessment: code and title of the caution.
_VERDICTS = {
    "Softer": ("softer", "is softer"),
    "Worse off equilibrium": ("softer", "is worse off equilibrium"),
    "Forgets": ("forgets", "forgets"),
    "Not measured": ("not-measured", "was not measured for softening and forgetting"),
}
# First words of a sentence stored with an evaluation: title of the caution.
_STORED_TITLES = {
    "energies stand on another scale": "Another energy scale than the labels'",
    "labels were made by this model": "Labels by the model itself",
    "labels are of several functionals": "Labels of several functionals",
    "it computes in": "Another precision than asked for",
}


@dataclass(frozen=True)
class Caution:
    """Something to know before the numbers are believed. serious: it can turn the answer round."""

    code: str
    serious: bool
    title: str
    text: str


def compute_cautions(data: ReportData) -> list[Caution]:
    """Return everything a reader must be told without asking, the serious ones first."""
    finders = (
        _find_assessed,
        _find_softening,
        _find_zero_force,
        _find_forgetting,
        _find_energy_losses,
        _find_failed_training,
        _find_leaks,
        _find_surrogate,
        _find_energy_scale,
        _find_two_scales,
        _find_stored,
        _find_mixed_functionals,
        _find_end_points,
        _find_failures,
        _find_unconverged,
        _find_few_structures,
        _find_missing_reference,
        _find_partial_reference,
        _find_training_limits,
        _find_left_out,
        _find_e0_outliers,
    )
    cautions = [caution for finder in finders for caution in finder(data)]
    return sorted(cautions, key=lambda caution: not caution.serious)


def _labels(data: ReportData) -> list[str]:
    return [str(label) for label in data.models["label"]]


def _find_assessed(data: ReportData) -> Iterator[Caution]:
    """Limits of softening and forgetting that are passed, against the baseline here and as stored with each model."""
    stored = [(str(m["label"]), text) for m in data.models.to_dict("records") for text in list_warnings(m["warnings"])]
    live = [
        (candidate, describe(outcome))
        for candidate in data.candidates
        for outcome in find_outcomes(data, candidate)
        if outcome.is_beyond
    ]
    for label, text in dict.fromkeys([*stored, *live]):
        verdict, _, rest = text.partition(": ")
        code, title = _VERDICTS.get(verdict, ("softer", verdict.lower()))
        # One that was found against another parent than the baseline here stands as it was stored.
        whose = "" if (label, text) in live else " Found against its own parent when it was made."
        sentence = f"{label}: {rest[:1].lower()}{rest[1:]}{whose}"
        yield Caution(code, label != data.baseline, f"{name_model(data, label)} {title}", sentence)


def list_marks(data: ReportData) -> list[tuple[str, list[str]]]:
    """Return the models that their assessment found fault with, and the verdicts: "softer", "forgets"."""
    found = [(str(m["label"]), list_warnings(m["warnings"])) for m in data.models.to_dict("records")]
    return [
        (label, list(dict.fromkeys(text.partition(":")[0].lower() for text in warnings)))
        for label, warnings in found
        if warnings
    ]


def list_warnings(value: Any) -> list[str]:
    """Return the sentences that are stored with a model or an evaluation; none where a frame holds None or NaN."""
    return [str(text) for text in value] if isinstance(value, list | tuple) else []


def _find_softening(data: ReportData) -> Iterator[Caution]:
    yield from _find_soft_off_equilibrium(data)
    # Cells off equilibrium decide; on relaxed end points the slope says little.
    decided, relaxed = bool(list_judged_benchmarks(data, "off-equilibrium")), _has_mostly_end_points(data)
    doubt = ""
    if relaxed:
        doubt = " Most of these structures are relaxed end points, where the slope is unreliable: "
        doubt += "what counts is the slope off equilibrium." if decided else _OFF_EQUILIBRIUM_HINT
    for benchmark in data.benchmarks_of_kind("energy-forces"):
        base = data.find_metric(str(data.baseline), benchmark, "forces_softening_slope")
        for label in _labels(data):
            slope = data.find_metric(label, benchmark, "forces_softening_slope")
            if slope is None or not is_soft(data, benchmark, label):
                continue
            is_candidate = label != data.baseline
            softer = is_candidate and base is not None and slope < base
            against = f"; the baseline's is {base:.3f}" if is_candidate and base is not None else ""
            yield Caution(
                "softer",
                is_candidate and not (decided and relaxed),
                f"{name_model(data, label)} is {'softer' if softer else 'soft'}",
                f"On {benchmark} the forces that {label} predicts are {format_percent(1 - slope)} too small "
                f"(softening slope {slope:.3f}{against}).{_undecided_slope(data, benchmark, label)}{doubt} A soft "
                "potential looks good on relaxed structures and converges faster, and still gives wrong barriers, "
                "phonons and dynamics.",
            )


def _find_soft_off_equilibrium(data: ReportData) -> Iterator[Caution]:
    """Models below the limit that are not softer than the baseline: no fault of a finetuning, and still soft."""
    softer = {
        candidate
        for candidate in data.candidates
        for outcome in find_outcomes(data, candidate)
        if outcome.check.rule == "slope" and outcome.is_beyond
    }
    for benchmark in list_judged_benchmarks(data, "off-equilibrium"):
        slopes = {
            label: slope
            for label in _labels(data)
            if (slope := data.find_metric(label, benchmark, "forces_softening_slope")) is not None
        }
        soft = [f"{label} {slope:.3f}" for label, slope in slopes.items() if slope < SOFT_SLOPE and label not in softer]
        if soft:
            yield Caution(
                "soft",
                False,
                "Soft off equilibrium",
                f"On {benchmark} the softening slope is below {SOFT_SLOPE:g} without being clearly lower than the "
                f"baseline's: {join_words(soft)}.",
            )


def _undecided_slope(data: ReportData, benchmark: str, label: str) -> str:
    change = find_change(data, benchmark, label, "forces_softening_slope")
    if change is None or change.interval is None or not change.interval[0] <= 0 <= change.interval[1]:
        return ""
    return " The interval of the change of slope includes zero, so the change may be chance."


def _find_zero_force(data: ReportData) -> Iterator[Caution]:
    for benchmark in data.benchmarks_of_kind("energy-forces"):
        losers: dict[str, str] = {}
        for label in _labels(data):
            own = data.find_metric(label, benchmark, "forces_rmse_ev_per_ang")
            zero = data.find_metric(label, benchmark, "zero_force_rmse_ev_per_ang")
            if own is not None and zero is not None and own > zero:
                losers[label] = (
                    f"{label} {format_significant(own * 1000)} against {format_significant(zero * 1000)} meV/Å"
                )
        if losers:
            yield Caution(
                "zero-force",
                any(label in losers for label in data.candidates),
                "Worse than predicting no force at all",
                f"On {benchmark} a model that always answers zero force has the lower force RMSE: "
                f"{join_words(list(losers.values()))}. Where forces are this small, a lower force error can simply "
                "mean a flatter potential.",
            )


def _find_forgetting(data: ReportData) -> Iterator[Caution]:
    for candidate in data.candidates:
        verdicts: dict[Verdict, list[str]] = {"better": [], "worse": [], "undecided": []}
        for benchmark in data.benchmarks_of_kind("energy-forces"):
            change = find_change(data, benchmark, candidate, "forces_rmse_ev_per_ang")
            if change is not None:
                verdicts[change.verdict].append(benchmark)
        if verdicts["worse"]:
            gained = f", although it went down on {join_words(verdicts['better'])}" if verdicts["better"] else ""
            fault = "forgets" if gained else "has larger force errors"
            text = f"The force RMSE of {candidate} went up on {join_words(verdicts['worse'])}{gained}."
            yield Caution("forgets", True, f"{name_model(data, candidate)} {fault}", text)


def _find_energy_losses(data: ReportData) -> Iterator[Caution]:
    for benchmark in data.benchmarks_of_kind("energy-forces") + list_judged_benchmarks(data, "off-equilibrium"):
        for candidate in data.candidates:
            change = find_change(data, benchmark, candidate, "energy_rmse_ev_per_atom")
            if change is None or change.verdict != "worse":
                continue
            rise = f"by {format_number(change.difference, change.decimals)}"
            if change.before is not None and change.after is not None:
                before, after = (format_number(level, change.decimals) for level in (change.before, change.after))
                rise = f"from {before} to {after}"
            text = f"On {benchmark} the energy RMSE of {candidate} rose {rise} meV/atom; its interval excludes zero."
            yield Caution("energies-worse", True, "Energies got worse", text)


def _find_failed_training(data: ReportData) -> Iterator[Caution]:
    for run in data.training_runs.to_dict("records"):
        failure = as_text(run["failure"])
        if failure:
            yield Caution("training-failed", True, "A training run failed", f"{run['label']}: {failure}")


def _find_leaks(data: ReportData) -> Iterator[Caution]:
    parts = {split: set(rows["formula_reduced"]) for split, rows in data.structures.groupby("split")}
    shared = parts.get("train", set()) & parts.get("test", set())
    if shared:
        yield Caution(
            "leaks",
            True,
            "Training and test share formulas",
            f"{count_nouns(len(shared), 'formula')} of the test split also {'stands' if len(shared) == 1 else 'stand'} "
            "in the training split, so test errors are too good. Curate with group_by = chemical_system or formula.",
        )


def _find_surrogate(data: ReportData) -> Iterator[Caution]:
    benchmarks: list[str] = []
    names: dict[str, None] = {}
    for benchmark in data.benchmarks["benchmark"].astype(str):
        surrogates = [n for n in data.list_functionals(benchmark) if classify_functional(n) == "surrogate"]
        if surrogates and not data.is_aside(benchmark):
            benchmarks.append(benchmark)
            names |= dict.fromkeys(surrogates)
    source = "another machine-learning potential"
    warning = "Errors {} say how well the models follow that potential, not how well they follow nature."
    if data.dataset is not None and data.dataset.get("label_kind") == "surrogate":
        functionals = join_words([str(name) for name in data.dataset.get("functionals") or []])
        origin = f" ({functionals})" if functionals else ""
        whose = f" That holds for {join_words(benchmarks)}." if benchmarks else ""
        text = f"The reference energies and forces come from {source}{origin}, not from DFT.{whose} "
        yield Caution("surrogate", False, "Surrogate labels, not DFT", text + warning.format("here"))
    elif benchmarks:
        text = f"The labels of {join_words(benchmarks)} come from {source} ({join_words(list(names))}), not from DFT. "
        yield Caution("surrogate", False, "Surrogate labels in benchmarks", text + warning.format("there"))


def _find_energy_scale(data: ReportData) -> Iterator[Caution]:
    for benchmark in data.benchmarks_of_kind("energy-forces"):
        for label in _labels(data):
            whole = data.find_metric(label, benchmark, "energy_rmse_ev_per_atom")
            removed = data.find_metric(label, benchmark, "energy_mean_removed_rmse_ev_per_atom")
            if whole is None or removed is None or whole <= _SCALE_RATIO * removed:
                continue
            shift = f"{format_significant(whole * 1000)} meV/atom as it is, {format_significant(removed * 1000)}"
            yield Caution(
                "energy-scale",
                label != data.baseline,
                "Another energy scale",
                f"On {benchmark} most of the energy error of {label} is one constant shift: {shift} once the mean is "
                "taken off. Model and labels count energies from different zeros; compare the error with the mean "
                "removed.",
            )


def _find_two_scales(data: ReportData) -> Iterator[Caution]:
    """Differences of energies to the baseline that the database marks as saying nothing."""
    marked = data.comparisons["name"].isin(RAW_ENERGY_METRICS)
    shown = data.comparisons[marked & (data.comparisons["baseline"] == data.baseline)]
    for text in dict.fromkeys(filter(None, map(as_text, shown["caution"]))):
        yield Caution("two-scales", False, "Energies on two scales", f"{text[:1].upper()}{text[1:]}.")


def _find_stored(data: ReportData) -> Iterator[Caution]:
    """Sentences stored with an evaluation when it ran, each once for all benchmarks that it was said of."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in data.evaluations.to_dict("records"):
        label, benchmark = str(row["label"]), str(row["benchmark"])
        for sentence in list_warnings(row["cautions"]):
            found.setdefault((label, sentence.removeprefix(f"{label} on {benchmark}: ")), []).append(benchmark)
    for (label, sentence), benchmarks in found.items():
        title = next((title for start, title in _STORED_TITLES.items() if sentence.startswith(start)), "Evaluation")
        yield Caution("evaluation", False, title, f"{label} on {join_words(benchmarks)}: {sentence}.")


def _find_mixed_functionals(data: ReportData) -> Iterator[Caution]:
    functionals = [str(name) for name in (data.dataset or {}).get("functionals") or []]
    if len(functionals) > 1:
        text = f"The dataset mixes {join_words(functionals)}; their energies do not share one scale."
        yield Caution("mixed-functionals", False, "Labels of several functionals", text)


def _has_mostly_end_points(data: ReportData) -> bool:
    rows = data.structures
    return (compute_end_point_share(rows[rows["split"] == "test"]) or 0.0) > _MANY_END_POINTS


def _find_end_points(data: ReportData) -> Iterator[Caution]:
    rows = data.structures
    share = compute_end_point_share(rows[rows["split"] == "test"])
    if share is not None and share > _MANY_END_POINTS and data.benchmarks_of_kind("energy-forces"):
        yield Caution(
            "end-points",
            False,
            "Mostly relaxed structures",
            f"{format_percent(share)} of the test structures have no reference force above 50 meV/Å. Force errors on "
            "relaxed structures reward flat potentials; judge stiffness by the softening slope and by structures away "
            "from equilibrium.",
        )


def _find_failures(data: ReportData) -> Iterator[Caution]:
    # A relaxation that merely did not converge has a final state, and its numbers are in the averages.
    relaxations_failed = data.relaxations["fmax_ev_per_ang"].isna()
    for frame, all_failed in (
        (data.predictions, data.predictions["failure"].notna()),
        (data.relaxations, relaxations_failed),
    ):
        for benchmark, rows in frame.groupby("benchmark", sort=False):
            failed = all_failed.loc[rows.index]
            if failed.any():
                reasons = [
                    f"{reason} ({n})" for reason, n in rows.loc[failed, "failure"].value_counts().head(3).items()
                ]
                yield Caution(
                    "failures",
                    False,
                    "Failed structures",
                    f"In {benchmark}, {_count_by_model(data, rows, failed)} failed: {join_words(reasons)}. They are "
                    "counted, never taken for a zero; errors are averages over the others.",
                )


def _find_unconverged(data: ReportData) -> Iterator[Caution]:
    for benchmark, rows in data.relaxations.groupby("benchmark", sort=False):
        stopped = rows["fmax_ev_per_ang"].notna() & ~is_true(rows["converged"])
        if stopped.any():
            yield Caution(
                "not-converged",
                False,
                "Not all relaxations converged",
                f"In {benchmark}, {_count_by_model(data, rows, stopped)} did not come below the force limit in the "
                "force calls allowed; their final energies and distances are not those of a minimum.",
            )


def _count_by_model(data: ReportData, rows: pd.DataFrame, chosen: pd.Series) -> str:
    """Return "2 of 8 structures under a and 1 of 8 structures under b", for the models with any."""
    parts = []
    for label, n_chosen in rows.loc[chosen, "label"].value_counts(sort=False).items():
        n_all = int((rows["label"] == label).sum())
        parts.append(f"{n_chosen} of {count_cases(data, str(rows['benchmark'].iloc[0]), n_all)} under {label}")
    return join_words(parts)


def _find_few_structures(data: ReportData) -> Iterator[Caution]:
    sizes = {}
    for benchmark, rows in data.metrics.groupby("benchmark", sort=False):
        if data.is_aside(str(benchmark)):
            continue
        numbers = pd.to_numeric(rows["n"], errors="coerce").dropna()
        n = int(numbers.max()) if len(numbers) else FEW_STRUCTURES
        n = min(n, data.count_structures(str(benchmark)) or n)  # copies of one structure are not independent
        if n < FEW_STRUCTURES:
            sizes[str(benchmark)] = n
    if sizes:
        listed = join_words([f"{_count_independent(data, name, n)} in {name}" for name, n in sizes.items()])
        yield Caution(
            "few-structures",
            False,
            "Few structures",
            f"There are only {listed}. Intervals from fewer than {FEW_STRUCTURES} are rough: a bound near zero decides "
            "little.",
        )


def _count_independent(data: ReportData, benchmark: str, n: int) -> str:
    """Return "8 structures", those that rattled copies are of; or "29 oxides", those that cells are of."""
    return count_nouns(n, "oxide" if data.find_kind(benchmark) == "equation-of-state" else "structure")


def _find_partial_reference(data: ReportData) -> Iterator[Caution]:
    """Tell common references that are one of the models compared."""
    labels = _labels(data)
    for benchmark in data.benchmarks_of_kind("substitution-relax"):
        judge = data.find_reference(benchmark)
        if judge in labels and len(labels) > 1:
            whose = "any of the comparisons" if judge == data.baseline else f"how {judge} compares with the baseline"
            yield Caution(
                "partial-reference",
                False,
                "The judge is one of the models",
                f"The common reference of {benchmark} is {judge}, one of the models compared: it favours its own "
                f"minima, so that its energies do not decide {whose}. A third model can judge: heo evaluate "
                "--benchmark substitution-relax --set substitution_relax.reference=MODEL.",
            )


def _find_missing_reference(data: ReportData) -> Iterator[Caution]:
    for benchmark in data.benchmarks_of_kind("substitution-relax"):
        rows = data.relaxations[data.relaxations["benchmark"] == benchmark]
        if len(rows) and pd.to_numeric(rows["reference_energy_ev_per_atom"], errors="coerce").isna().all():
            yield Caution(
                "no-reference",
                False,
                "No common reference",
                f"The relaxed cells of {benchmark} were not evaluated under one reference model, so the energies of "
                "different models are not compared: each counts from its own zero.",
            )


def _find_training_limits(data: ReportData) -> Iterator[Caution]:
    for label, rows in data.epochs.groupby("label", sort=False):
        before = rows.loc[rows["epoch"] == 0, "validation_loss"].min()
        after = rows.loc[rows["epoch"] > 0, "validation_loss"].min()
        if pd.notna(before) and pd.notna(after) and after >= before:
            text = f"No epoch of {label} had a lower validation loss than the foundation model it started from."
            yield Caution("no-gain", True, "Training did not help", text)


def _find_left_out(data: ReportData) -> Iterator[Caution]:
    parts = []
    for run in data.training_runs.to_dict("records"):
        left_out = run["left_out"] if isinstance(run["left_out"], dict) else {}
        reasons = [f"{reason} ({n})" for reason, n in left_out.items() if n]
        if reasons:
            parts.append(f"{run['label']}: {join_words(reasons)}")
    if parts:
        yield Caution(
            "left-out", False, "Rows left out of training", f"Some rows were not trained on. {'; '.join(parts)}."
        )


def _find_e0_outliers(data: ReportData) -> Iterator[Caution]:
    """Structures trained on whose energies no energies of the free atoms explain."""
    parts = []
    for run in data.training_runs.to_dict("records"):
        outliers = run["e0_outliers"] if isinstance(run["e0_outliers"], dict) else {}
        if outliers:
            name, error = max(outliers.items(), key=lambda row: abs(row[1]))
            furthest = f"{name} furthest ({1000 * error:+.0f} meV/atom)"
            parts.append(f"{len(outliers)} of {run['n_train']} for {run['label']}, {furthest}")
    if parts:
        yield Caution(
            "e0-outliers",
            False,
            "Energies of another calculation, perhaps",
            "Some structures trained on have energies far from what the foundation model says with any energies of "
            "the free atoms, as labels with another U, pseudopotential or magnetic order would (predicted less "
            "reference): "
            f"{'; '.join(parts)}. Like ones among the held-out structures decide an RMSE; judge by the MAE.",
        )


def compute_end_point_share(structures: pd.DataFrame) -> float | None:
    """Share of structures whose largest reference force is below 0.05 eV/Å; None without forces."""
    forces = pd.to_numeric(structures["fmax_ev_per_ang"], errors="coerce").to_numpy(dtype=float)
    forces = forces[np.isfinite(forces)]
    return float((forces < END_POINT_FMAX_EV_PER_ANG).mean()) if forces.size else None
