"""Which model found the lower minimum by the labels of relaxed cells, in a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic_report import BASELINE, CANDIDATE, SUBSTITUTION, make_synthetic_report

from heo_core.reporting.answer import compute_headline, compute_statements
from heo_core.reporting.data import make_frame
from heo_core.reporting.minima import METRIC

SURROGATE = {"engine": "potential", "functional": "chgnet:0.3.0 (potential)"}


def make_report(differences, engine="gpaw", functional="pbe+u (gpaw)", judge=None, moments_mub=(0.0, 0.0)):
    """A report on a candidate whose minima are so many eV/atom above the baseline's; None: it has no label.

    judge: label of the model that labelled. moments_mub: of every cell of the baseline, and of the candidate.
    """
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
            "total_moment_mub": moments_mub[label == CANDIDATE],
            "judged_by_itself": label == judge,
        }
        for i, difference in enumerate(differences)
        for label in (BASELINE, CANDIDATE)
        if difference is not None or label == BASELINE
    ]
    return replace(
        make_synthetic_report(n_structures=40, n_test=8), labelled_minima=make_frame("labelled_minima", rows)
    )


def tell(*args, **kwargs):
    """What is told of the lower minima in such a report."""
    return pick(make_report(*args, **kwargs))


def pick(data):
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
    assert statement.is_counted


def test_minima_that_hardly_differ_are_nobodys_and_an_interval_with_zero_decides_nothing():
    (statement,) = tell([-0.003, 0.003, 0.00005, -0.003, 0.003, -0.00005])
    assert "in 2 of 6 starts, the baseline in 2 (" in statement.text
    assert statement.verdict == "undecided"
    assert statement.text.endswith("The interval includes zero: the data do not decide.")


def test_a_third_model_that_judges_is_not_called_dft():
    (statement,) = tell([0.001, 0.002, 0.003] * 2, **SURROGATE)
    assert statement.text.startswith(
        "By chgnet:0.3.0 (surrogate, not DFT, label set dft), the finetuned model found the lower minimum in 0 of 6 "
        "starts, the baseline in 6 (paired difference +2.0 meV/atom"
    )
    assert statement.verdict == "worse"


def test_the_word_of_a_surrogate_does_not_count_in_the_headline():
    def count(data):
        return compute_headline(data, compute_statements(data), [])

    worse = [0.001, 0.002, 0.003] * 2
    assert count(make_report(worse, **SURROGATE)) == count(make_report([])) != count(make_report(worse))


@pytest.mark.parametrize(("judge", "called"), [(BASELINE, "the baseline"), (CANDIDATE, "the finetuned model")])
def test_a_model_is_no_judge_in_its_own_case(judge, called):
    (statement,) = tell([-0.001, -0.002, -0.003] * 2, **SURROGATE, judge=judge)
    assert (statement.verdict, statement.difference, statement.is_counted) == ("undecided", None, False)
    assert statement.text == (
        "By chgnet:0.3.0 (surrogate, not DFT, label set dft), it is not decided whose minima are lower: the judge is "
        f"{called} itself, and favours its own."
    )


def test_cells_in_other_magnetic_states_are_counted():
    (statement,) = tell([-0.001] * 6, moments_mub=(4.0, 4.6))
    assert "meV/atom; in 6 the two cells are in different magnetic states, 95 % CI" in statement.text
    for moments_mub in ((4.0, 4.4), (None, 4.6), (4.0, -4.0)):
        (statement,) = tell([-0.001] * 6, moments_mub=moments_mub)
        assert "magnetic" not in statement.text


def test_too_few_cells_are_the_reason_that_there_is_no_interval():
    (statement,) = tell([-0.001] * 4)
    assert statement.text.endswith("; fewer than 5 different cells give no interval, so this may be chance.")
    assert statement.verdict == "undecided"


@pytest.mark.parametrize("differences", [[], [None, None]])
def test_without_cells_of_both_models_nothing_is_told(differences):
    assert tell(differences) == []
