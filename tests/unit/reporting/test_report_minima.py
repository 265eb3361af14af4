"""Which model found the lower minimum by the labels of relaxed cells, in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_report import BASELINE, CANDIDATE, SUBSTITUTION, make_synthetic_report

from heo_core.reporting.answer import compute_statements
from heo_core.reporting.data import make_frame
from heo_core.reporting.minima import METRIC


def tell(differences, engine="gpaw", functional="pbe+u (gpaw)"):
    """What is told of a candidate whose minima are so many eV/atom above the baseline's; None: it has no label."""
    rows = [
        {
            "label": label,
            "benchmark": SUBSTITUTION,
            "label_set": "dft",
            "engine": engine,
            "functional": functional,
            "case_index": i,
            "origin": str(i),
            "energy_ev_per_atom": -5.0 + (difference or 0.0) * (label == CANDIDATE),
        }
        for i, difference in enumerate(differences)
        for label in (BASELINE, CANDIDATE)
        if difference is not None or label == BASELINE
    ]
    data = replace(
        make_synthetic_report(n_structures=40, n_test=8), labelled_minima=make_frame("labelled_minima", rows)
    )
    return [statement for statement in compute_statements(data) if statement.metric == METRIC]


def test_lower_minima_by_dft_are_counted_and_told_with_their_paired_difference():
    (statement,) = tell([-0.001, -0.002, -0.003, -0.001, -0.002, -0.003, None])
    assert statement.text.startswith(
        "By DFT (GPAW, label set dft), the finetuned model found the lower minimum in 6 of 6 starts, the baseline in 0 "
        "(paired difference −2.0 meV/atom, 95 % CI −"
    )
    assert statement.difference == pytest.approx(-2)
    assert -3 < statement.ci_low < -2 < statement.ci_high < -1
    assert (statement.verdict, statement.benchmark) == ("better", SUBSTITUTION)


def test_minima_that_hardly_differ_are_nobodys_and_an_interval_with_zero_decides_nothing():
    (statement,) = tell([-0.003, 0.003, 0.00005, -0.003, 0.003, -0.00005])
    assert "in 2 of 6 starts, the baseline in 2 (" in statement.text
    assert statement.verdict == "undecided"
    assert statement.text.endswith("The interval includes zero: the data do not decide.")


def test_a_third_model_that_judges_is_not_called_dft():
    (statement,) = tell([0.001, 0.002, 0.003] * 2, engine="potential", functional="chgnet:0.3.0 (potential)")
    assert statement.text.startswith("By chgnet:0.3.0 (no DFT, label set dft), the finetuned model found the lower m")
    assert statement.verdict == "worse"


@pytest.mark.parametrize("differences", [[], [None, None]])
def test_without_cells_of_both_models_nothing_is_told(differences):
    assert tell(differences) == []
