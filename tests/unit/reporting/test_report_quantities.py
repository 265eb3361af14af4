from __future__ import annotations

import pytest

from heo_core.reporting.quantities import (
    QUANTITIES,
    choose_decimals,
    format_number,
    format_significant,
    get_difference_quantity,
    get_quantity,
)


@pytest.mark.parametrize(
    ("scale", "decimals"), [(35, 0), (3.5, 0), (1.2, 1), (0.35, 1), (0.12, 2), (0.0029, 4), (0, 0), (float("nan"), 0)]
)
def test_decimals_follow_the_size_of_the_uncertainty(scale, decimals):
    assert choose_decimals(scale) == decimals


def test_numbers_have_a_true_minus_and_zero_has_no_sign():
    assert format_number(-9.4, 0, signed=True) == "−9"
    assert format_number(9.4, 0, signed=True) == "+9"
    assert format_number(-0.01, 1, signed=True) == "0.0"


def test_significant_digits_never_use_powers_of_ten():
    assert format_significant(0.0312) == "0.0312"
    assert format_significant(314.2) == "314"
    assert format_significant(-6.2712) == "−6.27"
    assert format_significant(0) == "0"


def test_energies_and_forces_are_shown_in_mev():
    for name, quantity in QUANTITIES.items():
        if name.endswith(("rmse_ev_per_atom", "ev_per_ang")):
            assert quantity.unit in ("meV/atom", "meV/Å")
            assert quantity.factor == 1000


def test_total_energies_differ_by_mev_and_shares_by_points():
    assert get_difference_quantity("reference_energy_mean_ev_per_atom").unit == "meV/atom"
    assert get_difference_quantity("success_at_100").unit == "points"


def test_an_unknown_metric_keeps_its_words_and_unit():
    quantity = get_quantity("new_thing_mean", "GPa")
    assert (quantity.title, quantity.unit, quantity.factor, quantity.better) == ("new thing mean", "GPa", 1.0, None)
