from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from synthetic_report import BASELINE, CANDIDATE, EF, RATTLE, SUBSTITUTION, make_softened_report, make_synthetic_report

from heo_core.evaluation.energy_forces import find_offset
from heo_core.records import Metric
from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.cautions import compute_cautions
from heo_core.reporting.comparison import find_change
from heo_core.reporting.data import ReportData, make_frame
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.quantities import get_quantity
from heo_core.reporting.sections.benchmark_titles import describe_benchmark
from heo_core.reporting.sections.leaderboard import build_leaderboard
from heo_core.reporting.sections.relaxation import build_relaxation


def make_comparison(before, after, low, high, name="forces_rmse_ev_per_ang", n=36):
    """A report of nothing but one metric of two models and their paired difference."""
    kind, benchmark = "energy-forces", "test"
    models = [
        {"label": BASELINE, "role": "baseline"},
        {"label": CANDIDATE, "role": "candidate", "parent": BASELINE},
    ]
    shared = {"benchmark": benchmark, "kind": kind, "name": name, "n": n}
    return ReportData(
        "report",
        datetime.now(UTC),
        "0",
        models=make_frame("models", models),
        metrics=make_frame(
            "metrics", [{**shared, "label": BASELINE, "value": before}, {**shared, "label": CANDIDATE, "value": after}]
        ),
        comparisons=make_frame(
            "comparisons",
            [
                {
                    **shared,
                    "baseline": BASELINE,
                    "candidate": CANDIDATE,
                    "value": after - before,
                    "ci_low": low,
                    "ci_high": high,
                }
            ],
        ),
    )


def get_statement(data, metric="forces_rmse_ev_per_ang", benchmark=None):
    return next(s for s in compute_statements(data) if s.metric == metric and benchmark in (None, s.benchmark))


def find_codes(data, *, serious=None):
    return {caution.code for caution in compute_cautions(data) if serious in (None, caution.serious)}


def test_an_improvement_is_told_with_both_values_the_paired_difference_and_its_interval():
    statement = get_statement(make_comparison(0.0412, 0.0318, -0.013, -0.006))
    assert statement.verdict == "better"
    assert statement.text == (
        "The finetuned model's force RMSE is 23 % lower (41 → 32 meV/Å; paired difference −9, 95 % CI −13 to −6, "
        "36 structures)."
    )


def test_an_interval_with_zero_decides_nothing():
    statement = get_statement(make_comparison(0.0412, 0.0400, -0.005, 0.003))
    assert statement.verdict == "undecided"
    assert statement.text.endswith("The interval includes zero: the data do not decide.")


def test_a_missing_interval_decides_nothing():
    statement = get_statement(make_comparison(0.0412, 0.0400, None, None))
    assert statement.verdict == "undecided"
    assert "no interval was computed" in statement.text


def test_a_worse_model_is_called_worse():
    statement = get_statement(
        make_comparison(0.123, 0.142, 0.008, 0.031, name="energy_rmse_ev_per_atom"), "energy_rmse_ev_per_atom"
    )
    assert statement.verdict == "worse"
    assert "energy RMSE is 15 % higher" in statement.text


@pytest.mark.parametrize(
    ("before", "after", "low", "high", "told"),
    [
        (0.0062, 0.0100, 0.002, 0.006, "61 % higher (6.2 → 10.0 meV/Å; paired difference +3.8"),
        (0.1156, 0.1194, -0.004, 0.014, "(115.6 → 119.4 meV/Å; paired difference +3.8, 95 % CI −4.0 to +14.0"),
        (0.2286, 0.2252, -0.010, 0.004, "(228.6 → 225.2 meV/Å; paired difference −3.4, 95 % CI −10.0 to +4.0"),
        (0.0412, 0.0318, -0.013, -0.006, "(41 → 32 meV/Å; paired difference −9, 95 % CI −13 to −6"),
    ],
)
def test_levels_have_two_digits_and_differ_by_the_difference_beside_them(before, after, low, high, told):
    assert told in get_statement(make_comparison(before, after, low, high)).text


def test_a_bound_beside_zero_is_never_shown_as_zero():
    statement = get_statement(make_comparison(0.2, 0.18, -0.04, -0.0003))
    assert statement.verdict == "better"
    assert "to −0.3" in statement.text


def test_more_converged_structures_are_better(report):
    changed = report.comparisons.copy()
    changed.loc[changed["name"] == "success_at_100", "ci_low"] = 0.05
    statement = get_statement(replace(report, comparisons=changed), "success_at_100", RATTLE)
    assert statement.verdict == "better"
    assert "25.0 percentage points higher (62.5 → 87.5 %; paired difference +25.0, " in statement.text


def test_total_energies_are_told_as_a_difference_only(report):
    statement = get_statement(report, "reference_energy_mean_ev_per_atom", SUBSTITUTION)
    assert "2.9 meV/atom lower (paired difference −2.9 meV/atom, 95 % CI −4.4 to −1.3, 8 structures)" in statement.text


def test_rattled_copies_of_a_structure_are_starts_and_no_structures(report):
    data = replace(report, benchmarks=report.benchmarks.assign(n_structures=[None, 4, 8]))
    assert "8 starts)" in get_statement(data, "displacement_rmsd_mean_ang", RATTLE).text
    assert "8 structures)" in get_statement(data, "reference_energy_mean_ev_per_atom", SUBSTITUTION).text
    assert describe_benchmark(data, RATTLE).endswith("8 starts from 4 structures")
    assert describe_benchmark(data, SUBSTITUTION).endswith("8 structures")
    cautions = {caution.code: caution.text for caution in compute_cautions(data)}
    assert f"4 structures in {RATTLE}" in cautions["few-structures"]
    assert f"1 of 8 starts under {BASELINE}" in cautions["not-converged"]


def test_a_difference_to_another_model_than_the_baseline_is_shown_nowhere():
    report = make_synthetic_report(candidates=("child@1", "grandchild@1"))
    own = report.comparisons[report.comparisons["candidate"] == "grandchild@1"]
    other = own.assign(baseline="child@1", value=9.0, ci_low=8.0, ci_high=10.0)
    without = report.comparisons.drop(own.index)

    def draw(*rows):
        data = replace(report, comparisons=pd.concat(rows))
        styles = assign_styles(data.models)
        panels = (
            panel
            for block in build_relaxation(data, styles).blocks
            for panel in getattr(block, "panels", [])
            if panel.key.startswith("paired-energy-")
        )
        return build_leaderboard(data, styles).blocks, [panel.figure.layout.shapes for panel in panels]

    assert draw(other, report.comparisons) == draw(report.comparisons)
    assert draw(report.comparisons, other) == draw(report.comparisons)
    assert draw(other, without) == draw(without) != draw(report.comparisons)


def test_a_missing_comparison_is_said_and_not_counted(report):
    data = replace(report, comparisons=report.comparisons[report.comparisons["name"] != "energy_rmse_ev_per_atom"])
    statements = compute_statements(data)
    assert get_statement(data, "energy_rmse_ev_per_atom").verdict == "missing"
    assert "of 5 questions" in compute_headline(data, statements, [])


def test_several_candidates_are_called_by_their_labels():
    data = make_synthetic_report(candidates=("a@1", "b@1"))
    texts = [statement.text for statement in compute_statements(data)]
    assert any(text.startswith("a@1's force RMSE") for text in texts)
    assert any(text.startswith("b@1's force RMSE") for text in texts)


def test_headline_counts_the_questions(report):
    assert compute_headline(report, compute_statements(report), []) == (
        "The finetuned model is better than the baseline on 3 of 6 questions; the data do not decide 3."
    )


def test_headline_of_nothing():
    data = ReportData("empty", datetime.now(UTC), "0")
    assert (
        compute_headline(data, compute_statements(data), compute_cautions(data)) == "There is nothing to compare yet."
    )


def test_a_softened_child_is_flagged_although_its_force_error_fell():
    data = make_softened_report()
    statement = get_statement(data)
    assert statement.verdict == "caution"
    assert "predicting zero force everywhere would score 29.8 meV/Å" in statement.text
    assert find_codes(data, serious=True) >= {"softer", "zero-force", "energies-worse"}
    assert "end-points" in find_codes(data)
    softer = next(caution for caution in compute_cautions(data) if caution.code == "softer")
    assert "36 % too small (softening slope 0.635; the baseline's is 0.945)" in softer.text
    assert "serious warnings" in compute_headline(data, compute_statements(data), compute_cautions(data))


def test_faster_relaxation_of_a_soft_child_gets_a_caveat():
    data = make_softened_report()
    changed = data.comparisons.copy()
    changed.loc[changed["name"] == "success_at_100", "ci_low"] = 0.05
    statement = get_statement(replace(data, comparisons=changed), "success_at_100", RATTLE)
    assert statement.verdict == "caution"
    assert "a softer model converges faster" in statement.text


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"),
    [
        (0.945, 0.93, False),
        (0.945, 0.92, True),
        (0.85, 0.89, True),
        (1.10, 1.02, False),
        (None, 0.95, False),
        (None, 0.85, True),
    ],
)
def test_softer_means_below_nine_tenths_or_clearly_below_the_baseline(baseline, candidate, expected):
    rows = [
        {"label": label, "benchmark": "test", "kind": "energy-forces", "name": "forces_softening_slope", "value": value}
        for label, value in ((BASELINE, baseline), (CANDIDATE, candidate))
    ]
    data = replace(make_comparison(0.1, 0.1, None, None), metrics=make_frame("metrics", rows))
    assert ("softer" in find_codes(data, serious=True)) is expected


def test_a_model_that_got_worse_elsewhere_forgets(report):
    other = report.comparisons[report.comparisons["benchmark"] == EF].assign(
        benchmark="off-equilibrium", value=0.18, ci_low=0.1, ci_high=0.2
    )
    metrics = report.metrics[report.metrics["benchmark"] == EF].assign(benchmark="off-equilibrium")
    data = replace(
        report, comparisons=pd.concat([report.comparisons, other]), metrics=pd.concat([report.metrics, metrics])
    )
    forgets = next(caution for caution in compute_cautions(data) if caution.code == "forgets")
    assert forgets.serious
    assert forgets.title == "The finetuned model forgets"


def test_surrogate_labels_and_few_structures_are_told(report):
    cautions = {caution.code: caution.text for caution in compute_cautions(report)}
    assert "not from DFT" in cautions["surrogate"]
    assert "8 structures in rattle-relax" in cautions["few-structures"]
    assert EF not in cautions["few-structures"]


def test_dft_labels_raise_no_warning(report):
    data = replace(report, dataset={**report.dataset, "label_kind": "dft"})
    assert "surrogate" not in find_codes(data)


def test_surrogate_labels_of_benchmarks_are_told_where_the_training_labels_are_dft(report):
    name = "7net-0 (surrogate, not DFT)"
    functionals = [["pbe"], [], [name]]
    data = replace(
        report,
        dataset={**report.dataset, "label_kind": "dft"},
        benchmarks=report.benchmarks.assign(functionals=functionals),
    )
    (caution,) = [caution for caution in compute_cautions(data) if caution.code == "surrogate"]
    assert f"The labels of {SUBSTITUTION} come from another machine-learning potential ({name})" in caution.text
    assert describe_benchmark(data, SUBSTITUTION).endswith(f"8 structures · labels: {name}")
    assert describe_benchmark(data, EF).endswith("36 structures · labels: pbe")


def test_shared_formulas_are_a_leak(report):
    assert "leaks" in find_codes(
        replace(report, structures=report.structures.assign(formula_reduced="MgO")), serious=True
    )
    assert "leaks" not in find_codes(report)


def test_failures_and_unconverged_structures_are_counted_with_their_reasons(report):
    predictions = report.predictions.copy()
    predictions["failure"] = predictions["failure"].astype(object)
    predictions.loc[predictions.index[:2], "failure"] = "energy is not finite"
    cautions = {caution.code: caution.text for caution in compute_cautions(replace(report, predictions=predictions))}
    assert f"2 of 36 structures under {BASELINE} failed: energy is not finite (2)" in cautions["failures"]
    assert f"1 of 8 structures under {BASELINE} did not come below the force limit" in cautions["not-converged"]


def test_a_constant_energy_shift_is_another_energy_scale(report):
    metrics = report.metrics.copy()
    chosen = (metrics["label"] == CANDIDATE) & (metrics["name"] == "energy_rmse_ev_per_atom")
    metrics.loc[chosen, "value"] = 0.9
    assert "energy-scale" in find_codes(replace(report, metrics=metrics), serious=True)


TWO_SCALES = "energies of a (pbe-uncorrected) and b (mp2020-corrected) stand on two scales"


def mark_two_scales(report, *more):
    """The report, the raw energies of its models on two scales, their difference an 80 % gain beyond chance."""
    comparisons = report.comparisons.copy()
    chosen = comparisons["name"] == "energy_rmse_ev_per_atom"
    comparisons.loc[chosen, ["value", "ci_low", "ci_high"]] = [-0.8, -0.9, -0.7]
    comparisons["caution"] = comparisons["caution"].astype(object).mask(chosen, TWO_SCALES)
    return replace(report, comparisons=pd.concat([comparisons, *more], ignore_index=True))


def test_a_difference_that_is_marked_as_saying_nothing_is_never_told_as_better_or_worse(report):
    data = mark_two_scales(report)
    statement = get_statement(data, "energy_rmse_ev_per_atom")
    assert statement.verdict == "undecided"
    assert statement.text.endswith(f"cannot be compared with the baseline's: {TWO_SCALES}.")
    assert statement.difference is None
    assert [caution.text[1:] for caution in compute_cautions(data) if caution.code == "two-scales"] == [
        f"{TWO_SCALES[1:]}."
    ]
    rising = data.comparisons.assign(value=0.8, ci_low=0.7, ci_high=0.9)
    codes = [find_codes(replace(data, comparisons=rising.assign(caution=c))) for c in (TWO_SCALES, None)]
    assert ["energies-worse" in found for found in codes] == [False, True]


def test_energies_on_two_scales_are_compared_with_the_offset_removed(report):
    name = "energy_offset_removed_rmse_ev_per_atom"
    fair = report.comparisons[report.comparisons["name"] == "energy_rmse_ev_per_atom"]
    data = mark_two_scales(report, fair.assign(name=name, value=-0.003, ci_low=-0.004, ci_high=-0.002))
    statement = get_statement(data, name)
    assert statement.verdict == "better"
    assert statement.difference == pytest.approx(-3)
    assert "energy RMSE with the offset of its energy scale removed is 3.0 meV/atom lower" in statement.text
    assert "energy_rmse_ev_per_atom" not in {s.metric for s in compute_statements(data)}


def mark_labels_on_another_scale(report):
    """The report, its baseline far from the labels until the offset is removed, and the raw errors a gain."""
    raw, left = "energy_rmse_ev_per_atom", "energy_offset_removed_rmse_ev_per_atom"
    about = {"benchmark": EF, "kind": "energy-forces", "n": 36}
    of_models = zip((BASELINE, CANDIDATE), ((0.9, 0.030), (0.1, 0.033)), strict=True)
    metrics = [
        {**about, "label": label, "name": n, "value": v}
        for label, pair in of_models
        for n, v in zip((raw, left), pair, strict=True)
    ]
    pair = {**about, "baseline": BASELINE, "candidate": CANDIDATE}
    differences = [
        {**pair, "name": raw, "value": -0.8, "ci_low": -0.9, "ci_high": -0.7},
        {**pair, "name": left, "value": 0.003, "ci_low": 0.002, "ci_high": 0.004},
    ]
    kept = [frame[~frame["name"].isin([raw, left])] for frame in (report.metrics, report.comparisons)]
    return replace(
        report,
        metrics=pd.concat([kept[0], make_frame("metrics", metrics)]),
        comparisons=pd.concat([kept[1], make_frame("comparisons", differences)]),
    )


def test_errors_against_labels_on_another_scale_are_compared_with_the_offset_removed(report):
    data = mark_labels_on_another_scale(report)
    statement = get_statement(data, "energy_offset_removed_rmse_ev_per_atom")
    assert statement.verdict == "worse"
    assert "energy RMSE with the offset of its energy scale removed is 10 % higher (30" in statement.text
    assert "energies-worse" not in find_codes(data)
    unfair = data.comparisons[data.comparisons["name"] != statement.metric]
    refused = get_statement(replace(data, comparisons=unfair), "energy_rmse_ev_per_atom")
    assert refused.verdict == "undecided"
    assert f"of {BASELINE}, energies stand on another scale than the labels" in refused.text


@pytest.mark.parametrize(
    ("judge", "verdict"), [(BASELINE, "undecided"), (CANDIDATE, "undecided"), ("third@1", "better")]
)
def test_a_reference_that_is_one_of_the_models_decides_nothing(report, judge, verdict):
    data = replace(report, benchmarks=report.benchmarks.assign(reference=[None, None, judge]))
    statement = get_statement(data, "reference_energy_mean_ev_per_atom")
    assert statement.verdict == verdict
    assert (f"{judge} is the common reference itself" in statement.text) is (verdict == "undecided")
    assert ("partial-reference" in find_codes(data)) is (verdict == "undecided")


def test_a_stored_caution_on_the_reference_is_no_matter_of_scales(report):
    judged = report.comparisons["name"] == "reference_energy_mean_ev_per_atom"
    stored = report.comparisons["caution"].astype(object).mask(judged, "a is the common reference itself")
    data = replace(report, comparisons=report.comparisons.assign(caution=stored))
    assert get_statement(data, "reference_energy_mean_ev_per_atom").text.endswith("a is the common reference itself.")
    assert "two-scales" not in find_codes(data)


def test_what_is_stored_of_another_scale_names_the_number_that_the_page_shows(report):
    raw, left = "energy_rmse_ev_per_atom", "energy_offset_removed_rmse_ev_per_atom"
    said = find_offset([Metric(raw, 0.9, "eV/atom", 36), Metric(left, 0.03, "eV/atom", 36)])
    cautions = [[f"{BASELINE} on {EF}: {said}"], *[None] * (len(report.evaluations) - 1)]
    data = replace(report, evaluations=report.evaluations.assign(cautions=cautions))
    (caution,) = [caution for caution in compute_cautions(data) if caution.code == "evaluation"]
    assert caution.title == "Another energy scale than the labels'"
    assert caution.text.endswith(f'read "{get_quantity(left).title}".')


def test_what_was_said_of_an_evaluation_is_a_warning_once(report):
    said = [[f"{row.label} on {row.benchmark}: it computes in float32"] for row in report.evaluations.itertuples()]
    cautions = compute_cautions(replace(report, evaluations=report.evaluations.assign(cautions=said)))
    assert {c.title for c in cautions if c.code == "evaluation"} == {"Another precision than asked for"}
    texts = [caution.text for caution in cautions if caution.code == "evaluation"]
    assert texts == [
        f"{label} on {EF}, {RATTLE} and {SUBSTITUTION}: it computes in float32." for label in (BASELINE, CANDIDATE)
    ]


def test_no_common_reference_is_told(report):
    relaxations = report.relaxations.assign(reference_energy_ev_per_atom=None)
    assert "no-reference" in find_codes(replace(report, relaxations=relaxations))


def test_a_training_without_gain_on_the_validation_split_is_told(report):
    assert "no-gain" not in find_codes(report)
    worse = report.epochs["validation_loss"].where(report.epochs["epoch"] > 0, 0.0)
    assert "no-gain" in find_codes(replace(report, epochs=report.epochs.assign(validation_loss=worse)), serious=True)


def test_a_failed_training_and_rows_left_out_are_told(report):
    data = replace(report, training_runs=report.training_runs.assign(failure="loss became nan"))
    cautions = {caution.code: caution.text for caution in compute_cautions(data)}
    assert cautions["training-failed"] == f"{CANDIDATE}: loss became nan"
    assert "unknown element: Tb (3)" in cautions["left-out"]


def test_structures_whose_energies_no_e0s_explain_are_told(report):
    assert "e0-outliers" not in find_codes(report)
    outliers = [{"mp-1": -0.2, "mp-2": 1.5862}] * len(report.training_runs)
    data = replace(report, training_runs=report.training_runs.assign(e0_outliers=outliers))
    cautions = {caution.code: caution.text for caution in compute_cautions(data)}
    assert f"2 of 168 for {CANDIDATE}, mp-2 furthest (+1586 meV/atom)" in cautions["e0-outliers"]


def test_levels_over_other_structures_than_the_paired_ones_are_not_shown(report):
    (benchmark,) = report.benchmarks_of_kind("rattle-relax")
    paired = find_change(report, benchmark, CANDIDATE, "displacement_rmsd_mean_ang")
    assert paired is not None
    assert paired.before is not None
    fewer = report.metrics["n"].where(report.metrics["label"] != CANDIDATE, report.metrics["n"] - 1)
    change = find_change(
        replace(report, metrics=report.metrics.assign(n=fewer)), benchmark, CANDIDATE, "displacement_rmsd_mean_ang"
    )
    assert change is not None
    assert (change.before, change.after) == (None, None)
    assert change.difference == paired.difference


def test_the_leaderboard_marks_no_best_energy_where_two_scales_are_compared(report):
    def count_best(data):
        energy = get_quantity("energy_rmse_ev_per_atom").title
        table = build_leaderboard(data, assign_styles(data.models)).blocks[0]
        at = [index for index, column in enumerate(table.columns) if column.title == energy]
        return sum(row.cells[index].best for row in table.rows for index in at), table

    two = replace(report, models=report.models.assign(energy_scale=["pbe", "mp2020"]))
    one = replace(report, models=report.models.assign(energy_scale=["pbe", None]))
    assert count_best(one)[0] == 1
    n_best, table = count_best(two)
    assert n_best == 0
    assert "energies on the scale mp2020" in table.rows[1].cells[0].detail
