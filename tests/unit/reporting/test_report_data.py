from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from synthetic_report import BASELINE, CANDIDATE, EF

from heo_core.reporting.data import COLUMNS, ReportData, as_number, as_text, is_true, make_frame


def test_every_frame_of_an_empty_report_has_its_columns():
    data = ReportData("empty", datetime.now(UTC), "0")
    for name, columns in COLUMNS.items():
        assert list(getattr(data, name).columns) == list(columns)
    assert data.baseline is None
    assert data.candidates == []


def test_a_missing_column_is_named(report):
    with pytest.raises(ValueError, match="frame metrics of the report lacks unit"):
        replace(report, metrics=report.metrics.drop(columns="unit"))


def test_baseline_is_the_marked_model_wherever_it_stands(report):
    turned = replace(report, models=report.models.iloc[::-1])
    assert turned.baseline == BASELINE
    assert turned.candidates == [CANDIDATE]


def test_missing_metric_is_none_not_zero(report):
    assert report.find_metric(CANDIDATE, EF, "forces_rmse_ev_per_ang") == pytest.approx(0.171)
    assert report.find_metric(CANDIDATE, EF, "no_such_metric") is None


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "a word"])
def test_what_is_no_number_is_none(value):
    assert as_number(value) is None


def test_nan_of_a_text_column_is_none():
    frame = make_frame("predictions", [{"failure": None}, {"failure": "no energy"}])
    assert [as_text(value) for value in frame["failure"]] == [None, "no energy"]
    assert is_true(make_frame("relaxations", [{"converged": None}, {"converged": True}])["converged"]).tolist() == [
        False,
        True,
    ]
