from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_report import BASELINE, CANDIDATE, EF

from db.reports import predictions
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


@pytest.mark.parametrize("most", [5, 1000])
def test_a_sample_of_components_is_that_of_all_rows_and_the_same_for_every_model(monkeypatch, most):
    monkeypatch.setattr(predictions, "_MAX_COMPONENTS", most)
    found, every = [], []
    for i, n_atoms in enumerate((2, 1, 3)):
        forces = (100 * i + np.arange(3.0 * n_atoms)).reshape(-1, 3)
        predicted = None if n_atoms == 1 else (forces + 0.5).tolist()
        about = {"id": i, "immutable_id": str(i), "formula_reduced": "MgO", "n_atoms": n_atoms}
        found.append(
            (SimpleNamespace(forces_ev_per_ang=predicted), SimpleNamespace(**about, forces_ev_per_ang=forces.tolist()))
        )
        every += [] if predicted is None else [(i, force) for force in forces.ravel()]
    rows = predictions._sample_components("a", "test", found)
    chosen = np.sort(np.random.default_rng(0).choice(15, 5, replace=False)) if most == 5 else range(15)
    assert [(row["structure_id"], row["reference_ev_per_ang"]) for row in rows] == [every[i] for i in chosen]
    assert all(row["predicted_ev_per_ang"] == row["reference_ev_per_ang"] + 0.5 for row in rows)
    assert predictions._sample_components("a", "test", found[1:2]) == []


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
