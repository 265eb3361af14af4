"""Whatever is asked of a deployment is admitted as it was meant, or refused with a reason, before any work.

A short form; `make test-fuzz` asks a real server a thousand times.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parameter_cases import REFUSALS, admit_parameters, broken, dump, load_flows, make_valid

from flows.settings import FLOW_RUN_MARK

CASES = int(os.environ.get("HEO_FUZZ_CASES", "150"))
FLOWS = load_flows()


@pytest.fixture(autouse=True)
def _as_the_server_starts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FLOW_RUN_MARK, "of a test")
    monkeypatch.setenv("HEO_HOME", str(tmp_path))


@pytest.mark.parametrize("name", FLOWS)
def test_what_the_form_shows_at_first_is_admitted(name: str) -> None:
    valid = make_valid(FLOWS[name])
    again = dump(admit_parameters(FLOWS[name], valid))
    assert dump(admit_parameters(FLOWS[name], again)) == again


@settings(
    derandomize=True,
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_anything_else_is_admitted_as_it_is_or_refused_with_a_reason(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FLOWS)))
    values = data.draw(broken(make_valid(FLOWS[name])))
    try:
        admitted = dump(admit_parameters(FLOWS[name], values))
    except REFUSALS:
        return
    assert dump(admit_parameters(FLOWS[name], admitted)) == admitted
