"""`make test-fuzz`: parameters over REST, a thousand by default (HEO_FUZZ_CASES), against a real server.

The server refuses what its schema shows to be wrong; what it lets through, the run itself admits or refuses before its
first task. Never a failure of the server, never any work.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parameter_cases import REFUSALS, admit_parameters, broken, load_flows, make_valid

from deploy.services import Services, down, up
from flows.settings import FLOW_RUN_MARK, Settings

CASES = int(os.environ.get("HEO_FUZZ_CASES", "1000"))
FLOWS = load_flows()

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A server with every deployment and no worker: nothing that it admits is begun."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEO_DATABASE_URL", raising=False)
        home = tmp_path_factory.mktemp("fuzzed")
        patch.setenv("HEO_HOME", str(home))
        yield up(Settings(), with_workers=False, say=print)
        down(Settings())


def count_rows(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        tables = connection.execute("select table_name from information_schema.tables where table_schema = 'public'")
        return {
            table: connection.execute(f'select count(*) from "{table}"').fetchone()[0] for (table,) in tables.fetchall()
        }


def test_nothing_breaks_the_server_and_nothing_wrong_gets_to_work(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FLOW_RUN_MARK, "of a test")
    before, counts = count_rows(services.psql_url), Counter()
    client = httpx.Client(base_url=services.api_url, timeout=60, trust_env=False)
    deployments = {row["name"]: row["id"] for row in client.post("/deployments/filter", json={}).json()}

    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(FLOWS)))
        values = data.draw(broken(make_valid(FLOWS[name])))
        try:
            body = {"parameters": values, "state": {"type": "SCHEDULED"}}
            answer = client.post(f"/deployments/{deployments[name]}/create_flow_run", json=body)
        except (UnicodeEncodeError, ValueError):
            counts["no JSON"] += 1  # half of a surrogate pair cannot be sent at all
            return
        if "\\u0000" in answer.request.content.decode():
            # Postgres holds no NUL in JSON: Prefect answers that it is not available, and makes no run.
            assert answer.is_error
            counts["refused by the database: a NUL"] += 1
            return
        assert answer.status_code < 500, answer.text
        if answer.is_error:
            assert len(answer.json().get("detail", answer.text)) > 10
            counts[f"refused by the server with {answer.status_code}"] += 1
            return
        client.delete(f"/flow_runs/{answer.json()['id']}").raise_for_status()
        try:
            admit_parameters(FLOWS[name], values)
        except REFUSALS:
            counts["refused by the run before any work"] += 1
        else:
            counts["admitted"] += 1

    ask()
    print(dict(counts))  # noqa: T201
    assert count_rows(services.psql_url) == before
    assert counts.total() >= CASES
