from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from heo_core.errors import InputError
from heo_core.reporting.data import ReportData
from heo_core.reporting.images import write_images


@pytest.fixture
def small(report):
    frames = {name: getattr(report, name) for name in ("models", "training_runs", "epochs")}
    return ReportData("small", datetime(2026, 11, 23, tzinfo=UTC), "0", **frames)


def test_every_figure_becomes_a_whole_file_of_its_own(chromium, small, tmp_path):
    (tmp_path / "training-loss.svg").write_text("old")
    paths = write_images(small, tmp_path, "svg")
    assert [path.name for path in paths] == [
        "training-energy.svg",
        "training-forces.svg",
        "training-loss.svg",
        "training-rate.svg",
    ]
    assert sorted(tmp_path.iterdir()) == paths
    picture = paths[1].read_text(encoding="utf-8")
    assert "Force error (meV/Å)" in picture
    assert re.search(r'<svg[^>]* width="460"', picture)


def test_without_a_browser_it_is_said_what_to_install_and_nothing_is_left(small, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="apt-get install chromium"):
        write_images(small, tmp_path / "figures", "svg")
    assert list((tmp_path / "figures").iterdir()) == []
