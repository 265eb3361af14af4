"""Tasks are called by names where the database knows them; tests/integration/test_assessment_flow.py has these."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.task_names import name_by_labels


def test_without_a_database_a_task_is_called_by_ids_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEO_HOME", str(tmp_path))
    monkeypatch.delenv("HEO_DATABASE_URL", raising=False)
    name = name_by_labels("evaluate {model_version_id} on {benchmark_id}")
    assert name({"model_version_id": 2, "benchmark_id": 1, "force": False}) == "evaluate model 2 on benchmark 1"
