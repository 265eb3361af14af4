"""When a child counts as softer, or as having forgotten: each limit from both sides."""

import pytest

from heo_core.evaluation.assessment import CHECKS, describe, describe_limit, judge
from heo_core.records import Metric

SLOPE, OFF, HOLDOUT, ENERGY, VOLUME, MODULUS = CHECKS


def make(check, parent, child, low, high):
    difference = None if parent is None or child is None else child - parent
    return judge(
        check,
        Metric(check.metric, parent, "", 100),
        Metric(check.metric, child, "", 100),
        Metric(check.metric, difference, "", 100, low, high),
    )


@pytest.mark.parametrize(
    ("check", "parent", "child", "low", "high", "beyond"),
    [
        (SLOPE, 0.945, 0.635, -0.35, -0.28, True),
        (SLOPE, 0.945, 0.91, -0.05, -0.02, False),  # lower, and not below 0.9
        (SLOPE, 0.91, 0.895, -0.02, -0.01, False),  # below 0.9, but hardly lower
        (SLOPE, 0.91, 0.88, -0.07, 0.01, False),  # may be chance
        (SLOPE, 0.85, 0.89, 0.03, 0.05, False),  # soft, but stiffer than before
        (OFF, 0.200, 0.221, 0.01, 0.03, True),
        (OFF, 0.200, 0.219, 0.01, 0.03, False),
        (OFF, 0.200, 0.300, -0.01, 0.2, False),
        (HOLDOUT, 0.100, 0.126, 0.01, 0.03, True),
        (HOLDOUT, 0.100, 0.124, 0.01, 0.03, False),
        (ENERGY, 0.040, 0.051, 0.001, 0.02, True),
        (VOLUME, 0.010, 0.021, 0.005, 0.02, True),
        (VOLUME, 0.010, 0.019, 0.005, 0.02, False),
        (MODULUS, 0.10, 0.21, 0.05, 0.15, True),
        (MODULUS, 0.10, 0.19, 0.05, 0.15, False),
    ],
)
def test_a_limit_is_passed_only_beyond_it_and_beyond_chance(check, parent, child, low, high, beyond):
    assert make(check, parent, child, low, high).is_beyond is beyond


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_decided_without_numbers_or_interval(check):
    assert not judge(check, None, None, None).is_beyond
    assert not judge(check, None, None, None).is_known
    far = make(check, 0.95 if check is SLOPE else 0.1, 0.1 if check is SLOPE else 9.0, None, None)
    assert far.is_known
    assert not far.is_judged
    assert not far.is_beyond
    assert make(check, 0.1, 0.1, -0.1, 0.1).is_judged
    with pytest.raises(ValueError, match="no numbers"):
        describe(judge(check, None, None, None))


def test_sentences_name_both_values_the_interval_and_the_limit():
    text = describe(make(SLOPE, 0.945, 0.635, -0.35, -0.28))
    assert text.startswith("Softer: the softening slope off equilibrium is 0.635, the parent's 0.945")
    assert "95 % CI −0.350 to −0.280" in text
    assert text.endswith("limit: 0.9 or more, or at most 0.02 below the parent's.")
    text = describe(make(HOLDOUT, 0.1, 0.2, 0.05, 0.15))
    assert text == (
        "Forgets: the force RMSE on simple oxides went from 100 to 200 meV/Å (paired difference +100, "
        "95 % CI +50 to +150); limit: at most 25 % above the parent's."
    )
    assert describe_limit(VOLUME) == "at most 1 percentage point above the parent's"
