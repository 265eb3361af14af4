"""The report tells softening and forgetting without being asked, from cells off equilibrium first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_report import BASELINE, CANDIDATE, make_softened_report, make_synthetic_report

from heo_core.evaluation.assessment import CHECKS
from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.cautions import compute_cautions, list_marks
from heo_core.reporting.comparison import find_outcomes, list_judged_benchmarks
from heo_core.reporting.data import make_frame
from heo_core.reporting.figures import plot_volume_curve, rank_materials
from heo_core.reporting.page import render_page
from heo_core.reporting.palette import assign_styles
from heo_core.reporting.sections import build_sections
from heo_core.reporting.sections.answers import build_answers
from heo_core.reporting.sections.benchmark_titles import describe_benchmark
from heo_core.reporting.summary import compute_answer
from heo_core.reporting.wording import count_cases

OFF, HOLDOUT, CURVES = "off-equilibrium@1", "forgetting-holdout@1", "equation-of-state@1"
KINDS = {OFF: "off-equilibrium", HOLDOUT: "forgetting-holdout", CURVES: "equation-of-state"}
NUMBERS = {
    (OFF, "forces_softening_slope"): (0.945, 0.635, -0.35, -0.28),
    (OFF, "forces_rmse_ev_per_ang"): (0.222, 0.400, 0.15, 0.2),
    (OFF, "energy_rmse_ev_per_atom"): (0.0109, 0.0203, 0.0072, 0.0117),
    (HOLDOUT, "forces_rmse_ev_per_ang"): (0.100, 0.105, -0.01, 0.02),
    (HOLDOUT, "energy_offset_removed_rmse_ev_per_atom"): (0.050, 0.051, -0.01, 0.02),
    (CURVES, "equilibrium_volume_mae_fraction"): (0.01, 0.03, 0.01, 0.03),
    (CURVES, "bulk_modulus_mae_fraction"): (0.1, 0.15, 0.02, 0.08),
}


def make_assessed_report(numbers=NUMBERS, data=None, candidates=(CANDIDATE,), warnings=()):
    """A report with the three benchmarks of an assessment: by default a child that is a third too soft."""
    data = make_synthetic_report(candidates=candidates) if data is None else data
    benchmarks = [
        {"benchmark": name, "kind": kind, "version": 1, "n_cases": 100, "reference": None, "params": {"kind": kind}}
        for name, kind in KINDS.items()
    ]
    metrics, comparisons = [], []
    for (benchmark, name), (before, after, low, high) in numbers.items():
        about = {"benchmark": benchmark, "kind": KINDS[benchmark], "name": name, "unit": "", "n": 100}
        metrics += [
            {**about, "label": label, "value": before if label == BASELINE else after}
            for label in (BASELINE, *candidates)
        ]
        comparisons += [
            {
                **about,
                "baseline": BASELINE,
                "candidate": candidate,
                "value": after - before,
                "ci_low": low,
                "ci_high": high,
            }
            for candidate in candidates
        ]
    points, curves = make_curves((BASELINE, *candidates))
    return replace(
        data,
        models=data.models.assign(warnings=[[], *[list(warnings)] * len(candidates)]),
        benchmarks=pd.concat([data.benchmarks, make_frame("benchmarks", benchmarks)]),
        metrics=pd.concat([data.metrics, make_frame("metrics", metrics)]),
        comparisons=pd.concat([data.comparisons, make_frame("comparisons", comparisons)]),
        force_components=pd.concat([data.force_components, data.force_components.assign(benchmark=OFF)]),
        volume_curves=curves,
        curve_points=points,
    )


def make_curves(labels):
    points, curves = [], []
    for number in range(8):
        material = f"M{number}O rocksalt"
        for i, label in enumerate(labels):
            volumes = np.linspace(9, 11, 9)
            points += [
                {
                    "label": label,
                    "benchmark": CURVES,
                    "material": material,
                    "volume_factor": v / 10,
                    "volume_ang3_per_atom": v,
                    "energy_reference_ev_per_atom": -6 + 0.08 * (v - 10) ** 2,
                    "energy_predicted_ev_per_atom": -9 + (0.08 - 0.005 * i * number) * (v - 10) ** 2,
                }
                for v in volumes
            ]
            failed = number == 7 and i == 1
            curves.append(
                {
                    "label": label,
                    "benchmark": CURVES,
                    "material": material,
                    "n_volumes": 9,
                    "reference_volume_ang3_per_atom": 10.0,
                    "reference_bulk_modulus_gpa": 160.0,
                    "equilibrium_volume_error_fraction": None if failed else 0.01,
                    "bulk_modulus_error_fraction": None if failed else -0.1,
                    "energy_volume_rmse_ev_per_atom": 0.002,
                    "failure": "no minimum of the energy" if failed else None,
                }
            )
    return make_frame("curve_points", points), make_frame("volume_curves", curves)


def find(data, code):
    return [caution for caution in compute_cautions(data) if caution.code == code]


def test_a_child_beyond_the_limits_is_told_in_warnings_table_and_answer():
    data = make_assessed_report()
    softer, forgets = find(data, "softer"), find(data, "forgets")
    assert [caution.title for caution in softer] == [
        "The finetuned model is softer",
        "The finetuned model is worse off equilibrium",
    ]
    assert "the softening slope off equilibrium is 0.635, the parent's 0.945" in softer[0].text
    assert all(caution.serious for caution in (*softer, *forgets))
    assert len(forgets) == 1
    assert "equilibrium volume" in forgets[0].text
    page = render_page(data)
    assert page.count("beyond the limit") == 3
    texts = [s.text for s in compute_statements(data) if s.kind in set(KINDS.values())]
    assert len(texts) == 5
    assert any("force RMSE off equilibrium is 80 % higher" in text for text in texts)
    assert any("energy RMSE off equilibrium is 86 % higher (10.9 → 20.3 meV/atom; paired" in text for text in texts)
    (energies,) = find(data, "energies-worse")
    assert f"On {OFF} the energy RMSE of {CANDIDATE} rose from 10.9 to 20.3 meV/atom" in energies.text
    assert any("softening slope (1 is right) is 0.310 further from 1" in text for text in texts)
    assert "serious warnings" in compute_headline(data, compute_statements(data), compute_cautions(data))


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((0.10, 0.20, -0.01, 0.21), "beyond the limit, not decided"),
        ((0.10, 0.20, 0.05, 0.15), "beyond the limit"),
        ((0.10, 0.11, -0.01, 0.03), "within"),
        ((0.10, 0.20, None, None), "not decided: no interval"),
    ],
)
def test_a_limit_that_is_passed_but_not_decided_is_not_called_within(numbers, verdict):
    data = make_assessed_report({(HOLDOUT, "forces_rmse_ev_per_ang"): numbers})
    section = next(s for s in build_sections(data) if s.key == "softening")
    table = next(block for block in section.blocks if getattr(block, "key", "") == "softening-checks")
    assert [row.cells[-1].text for row in table.rows] == [verdict]


def test_the_table_of_limits_has_the_digits_of_the_answer():
    data = make_assessed_report({(CURVES, "equilibrium_volume_mae_fraction"): (0.0100, 0.0155, -0.000002, 0.000112)})
    section = next(s for s in build_sections(data) if s.key == "softening")
    (row,) = next(block for block in section.blocks if getattr(block, "key", "") == "softening-checks").rows
    assert [cell.text for cell in row.cells[3:6]] == ["1.000", "1.550", "+0.550"]
    assert row.cells[5].detail == "−0.0002 to +0.011"


def test_equations_of_state_count_oxides_and_their_cells():
    data = make_assessed_report()
    assert describe_benchmark(data, CURVES) == f"{CURVES} · 8 oxides, 100 cells"
    assert "1 oxide" in count_cases(data, CURVES, 1)
    (few,) = find(replace(data, metrics=data.metrics.assign(n=8)), "few-structures")
    assert f"8 oxides in {CURVES}" in few.text
    assert "run more" not in few.text
    facts = next(
        block for block in build_sections(data)[-1].blocks if getattr(block, "title", "") == f"Benchmark {CURVES}"
    )
    assert ("oxides that they are cells of", "8") in facts.rows


def test_cells_by_dft_are_told_of_and_judge_nobody():
    fine = {key: (before, before, -0.01, 0.01) for key, (before, *_) in NUMBERS.items()}
    data, name = make_assessed_report(fine), "dft-offeq@1"

    def add(frame, rows):
        return pd.concat([getattr(data, frame), make_frame(frame, rows)])

    by_dft = {"benchmark": name, "kind": "off-equilibrium", "n": 32, "unit": "1", "name": "forces_softening_slope"}
    data = replace(
        data,
        benchmarks=add("benchmarks", [{**by_dft, "n_cases": 32, "params": {"dataset": "bundled:dft-offeq"}}]),
        metrics=add(
            "metrics", [{**by_dft, "label": BASELINE, "value": 0.95}, {**by_dft, "label": CANDIDATE, "value": 0.6}]
        ),
        comparisons=add(
            "comparisons",
            [{**by_dft, "baseline": BASELINE, "candidate": CANDIDATE, "value": -0.35, "ci_low": -0.4, "ci_high": -0.3}],
        ),
    )
    assert data.benchmarks_of_kind("off-equilibrium") == [OFF, name]
    assert list_judged_benchmarks(data, "off-equilibrium") == [OFF]
    assert [outcome.is_beyond for outcome in find_outcomes(data, CANDIDATE)] == [False] * len(CHECKS)
    assert not find(data, "softer") + find(data, "soft")
    told = [line for line in compute_answer(data) if line.startswith(f"{name}: ")]
    assert any("softening slope (1 is right) is 0.35 further from 1" in line for line in told)
    # Without the cells that limits are for, nothing off equilibrium is judged, and the report says so.
    alone = replace(data, benchmarks=data.benchmarks[data.benchmarks["benchmark"] != OFF])
    alone = replace(alone, metrics=alone.metrics[alone.metrics["benchmark"] != OFF])
    assert {outcome.check.kind for outcome in find_outcomes(alone, CANDIDATE)} == {
        "forgetting-holdout",
        "equation-of-state",
    }
    section = next(section for section in build_sections(alone) if section.key == "softening")
    assert any(getattr(block, "text", "") == "Not measured: off equilibrium." for block in section.blocks)


def test_a_check_on_cells_of_ones_own_names_them():
    data = make_assessed_report()
    extra = data.benchmarks[data.benchmarks["benchmark"] == OFF].assign(benchmark="mine@2")
    data = replace(data, benchmarks=pd.concat([data.benchmarks, extra]))
    subjects = [outcome.check.subject for outcome in find_outcomes(data, CANDIDATE)][:2]
    assert subjects == ["softening slope off equilibrium", "softening slope off equilibrium, mine@2"]


def test_the_same_fault_is_told_once_although_it_is_stored_with_the_model_too():
    told = [c.text for c in compute_cautions(make_assessed_report()) if c.code == "softer"]
    stored = "Softer: " + told[0].removeprefix(f"{CANDIDATE}: ")
    data = make_assessed_report(warnings=(stored,))
    assert [c.text for c in compute_cautions(data) if c.code == "softer"] == told
    assert list_marks(data) == [(CANDIDATE, ["softer"])]
    assert "is marked after its training: softer." in render_page(data)


def test_a_stored_fault_that_this_comparison_does_not_show_is_told_all_the_same():
    numbers = {key: (before, before, -0.01, 0.01) for key, (before, *_) in NUMBERS.items()}
    data = make_assessed_report(numbers, warnings=("Forgets: the force RMSE went up; limit: 25 %.",))
    (forgets,) = find(data, "forgets")
    assert forgets.serious
    assert forgets.text.endswith("Found against its own parent when it was made.")
    assert not find(data, "softer")


def test_on_relaxed_end_points_the_slope_off_equilibrium_decides():
    fine = {key: (before, before, -0.01, 0.01) for key, (before, *_) in NUMBERS.items()}
    (alone,) = find(make_softened_report(), "softer")
    assert alone.serious
    assert "run heo evaluate --benchmark off-equilibrium" in alone.text
    (beside,) = find(make_assessed_report(fine, make_softened_report()), "softer")
    assert not beside.serious
    assert "the slope is unreliable: what counts is the slope off equilibrium" in beside.text
    statements = compute_statements(make_assessed_report(fine, make_softened_report()))
    force = next(s for s in statements if s.kind == "energy-forces" and s.metric == "forces_rmse_ev_per_ang")
    assert "the model is soft" not in force.text


def test_a_slope_nearer_to_one_is_better_from_either_side():
    for before, after in ((0.8, 0.95), (1.3, 1.1)):
        low, high = sorted((0.9 * (after - before), 1.1 * (after - before)))
        data = make_assessed_report({(OFF, "forces_softening_slope"): (before, after, low, high)})
        statement = next(s for s in compute_statements(data) if s.metric == "forces_softening_slope")
        assert statement.verdict == "better"
        assert "nearer to 1" in statement.text


@pytest.mark.parametrize(
    ("before", "after", "low", "high", "verdict", "words", "good"),
    [
        # 0.08 below 1, then 0.07 above it, give or take 0.03: no way is decided although the change itself is.
        (0.92, 1.07, 0.12, 0.18, "undecided", "0.01 nearer to 1", (100.0, 179.4)),
        (0.92, 1.3, 0.30, 0.46, "worse", "0.22 further from 1", (100.0, 131.1)),
        (1.05, 1.01, -0.06, -0.02, "better", "0.040 nearer to 1", (0.0, 100.0)),
        (1.05, 1.10, 0.03, 0.07, "worse", "0.050 further from 1", (0.0, 100.0)),
    ],
)
def test_a_slope_is_nearer_to_one_only_where_the_whole_interval_is(before, after, low, high, verdict, words, good):
    data = make_assessed_report({(OFF, "forces_softening_slope"): (before, after, low, high)})
    statement = next(s for s in compute_statements(data) if s.metric == "forces_softening_slope")
    assert (statement.verdict, words in statement.text) == (verdict, True)
    assert ("do not decide which of the two is nearer to 1" in statement.text) == (verdict == "undecided")
    (answer,) = build_answers(data, [statement])
    assert answer.statements[0][1].good == good


def test_a_slope_whose_distance_from_one_is_not_known_is_neither_better_nor_worse():
    data = make_assessed_report({(OFF, "forces_softening_slope"): (0.8, 0.9, 0.08, 0.12)})
    data = replace(data, metrics=data.metrics[data.metrics["benchmark"] != OFF])
    statement = next(s for s in compute_statements(data) if s.metric == "forces_softening_slope")
    assert statement.verdict == "undecided"
    assert "is 0.100 higher" in statement.text
    (answer,) = build_answers(data, [statement])
    assert answer.statements[0][1].good is None


def test_what_was_not_measured_is_said_with_the_command_that_measures_it():
    section = next(s for s in build_sections(make_synthetic_report()) if s.key == "softening")
    (missing,) = section.blocks
    assert missing.command == (
        "heo evaluate --benchmark off-equilibrium --benchmark forgetting-holdout --benchmark equation-of-state"
    )


def test_four_strategies_stand_in_one_table_each_with_every_check():
    candidates = tuple(f"{name}@1" for name in ("naive", "replay", "freeze", "lora"))
    data = make_assessed_report(candidates=candidates)
    section = next(s for s in build_sections(data) if s.key == "softening")
    table = next(block for block in section.blocks if getattr(block, "key", "") == "softening-checks")
    assert len(table.rows) == 4 * len(CHECKS)
    assert [row.cells[0].text for row in table.rows[:: len(CHECKS)]] == list(candidates)
    assert len(list_marks(data)) == 0
    assert "naive@1" in render_page(data)


def test_outcomes_without_a_comparison_are_known_to_be_unknown():
    data = make_assessed_report()
    data = replace(data, comparisons=make_frame("comparisons"))
    assert not any(outcome.is_known or outcome.is_beyond for outcome in find_outcomes(data, CANDIDATE))


def test_curves_count_from_the_reference_volume_and_the_worst_comes_first():
    data = make_assessed_report()
    assert rank_materials(data.curve_points)[:2] == ["M7O rocksalt", "M6O rocksalt"]
    figure = plot_volume_curve(data.curve_points, assign_styles(data.models), "M4O rocksalt")
    assert [trace.name for trace in figure.data] == ["reference", BASELINE, CANDIDATE]
    for trace, stiffness in zip(figure.data, (80, 80, 60), strict=True):
        assert trace.y[4] == pytest.approx(0, abs=1e-3)
        assert trace.y[0] == pytest.approx(stiffness, rel=1e-3)


def test_two_benchmarks_of_equations_of_state_are_not_mixed():
    data = make_assessed_report()
    mine = {"benchmark": "mine@1"}
    second = data.benchmarks[data.benchmarks["benchmark"] == CURVES].assign(**mine)
    curves = data.volume_curves.assign(bulk_modulus_error_fraction=0.3, **mine)
    points = data.curve_points.assign(volume_ang3_per_atom=data.curve_points["volume_ang3_per_atom"] + 5, **mine)
    both = replace(
        data,
        benchmarks=pd.concat([data.benchmarks, second]),
        volume_curves=pd.concat([data.volume_curves, curves]),
        curve_points=pd.concat([data.curve_points, points]),
    )

    def draw(data):
        blocks = next(section for section in build_sections(data) if section.key == "softening").blocks
        tables = [block for block in blocks if getattr(block, "key", "").startswith("materials")]
        panels = [p for b in blocks for p in getattr(b, "panels", []) if p.key.startswith("curve-M0O")]
        return [table.rows[0] for table in tables], [tuple(panel.figure.data[0].x) for panel in panels]

    (row,), (x,) = draw(data)
    (first, own), (first_x, own_x) = draw(both)
    assert (first, first_x) == (row, x)
    assert own.cells[4].text == "+30.0"
    assert own_x == pytest.approx(np.array(x) + 5)


def test_errors_on_training_and_validation_stand_in_their_own_table_and_not_in_the_answer():
    data = make_synthetic_report()
    ef = data.benchmarks["benchmark"].iloc[0]
    names = {"train": "energy-forces:sample:train@1", "validation": "energy-forces:sample:validation@1"}
    extra = [
        data.benchmarks[data.benchmarks["benchmark"] == ef].assign(benchmark=name, params=[{"split": split}])
        for split, name in names.items()
    ]
    metrics = [data.metrics[data.metrics["benchmark"] == ef].assign(benchmark=name) for name in names.values()]
    data = replace(data, benchmarks=pd.concat([data.benchmarks, *extra]), metrics=pd.concat([data.metrics, *metrics]))
    assert data.benchmarks_of_kind("energy-forces") == [ef]
    assert all(data.is_aside(name) for name in names.values())
    assert {s.benchmark for s in compute_statements(data) if s.kind == "energy-forces"} == {ef}
    section = next(s for s in build_sections(data) if s.key == "training")
    table = next(block for block in section.blocks if getattr(block, "key", "") == "split-errors")
    assert list(dict.fromkeys(row.cells[0].text for row in table.rows)) == ["train", "validation", "test"]
    assert [row.cells[1].text for row in table.rows[:4]] == [
        BASELINE,
        CANDIDATE,
        "zero force",
        "mean energy by composition",
    ]
    assert [row.aside for row in table.rows[:4]] == [False, False, True, True]
    forces = next(p for b in section.blocks if hasattr(b, "panels") for p in b.panels if p.key == "training-forces")
    assert forces.figure.data[-1].name == "zero force"
    assert forces.figure.data[-1].y[0] == pytest.approx(710)
