from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from heo_core.reporting.data import ReportData
from heo_core.reporting.page import render_page


def test_empty_data_says_what_is_missing_and_which_command_makes_it():
    html = render_page(ReportData("nothing", datetime.now(UTC), "0.1.0"))
    for command in ("heo finetune", "heo evaluate", "heo curate"):
        assert f"<code>{command}" in html
    assert "data-figure" not in html.split("<script", 1)[0]


@pytest.mark.parametrize(
    "name",
    [
        "models",
        "rejections",
        "splits",
        "structures",
        "training_runs",
        "epochs",
        "benchmarks",
        "metrics",
        "comparisons",
        "predictions",
        "force_components",
        "relaxations",
    ],
)
def test_any_one_frame_may_be_empty(report, name):
    assert "<h1>" in render_page(replace(report, **{name: getattr(report, name).iloc[:0]}))


def test_a_report_without_dataset_renders(report):
    assert "heo curate" in render_page(replace(report, dataset=None))
