import json
from datetime import UTC, datetime, timedelta

import pytest

from deploy import quickstart
from deploy.quickstart import choose_run, latest_report
from deploy.services.prefect_api import PAGE, PrefectApi
from flows.settings import Settings

TAGS = ["quickstart", "definition:abc"]


class FakeApi:
    """A Prefect server with one deployment and the runs it is given."""

    def __init__(self, runs=()):
        self.runs = list(runs)
        self.created = []

    def deployment(self, name):
        assert name == "pipeline"
        return {"id": "d"}

    def flow_runs(self, **criteria):
        return [run for run in self.runs if set(criteria["tags"]["all_"]) <= set(run["tags"])]

    def create_flow_run(self, deployment_id, *, idempotency_key, tags):
        self.created.append((deployment_id, idempotency_key, tags))
        return {"id": "new"}


def run(state, number=1, *, tags=TAGS):
    return {"id": f"r{number}", "state_type": state, "tags": tags, "idempotency_key": f"quickstart-abc-{number}"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "source_definition", lambda: "abc")
    return Settings(home=tmp_path, report_root=tmp_path / "reports")


@pytest.fixture
def report(settings):
    page = settings.reports / "r.html"
    page.parent.mkdir()
    page.write_text("<html>")
    (settings.reports / "pipeline.json").write_text(
        json.dumps({"path": str(page), "summary": ["better", "by 3 meV/Å"]})
    )
    return page


def test_the_first_quickstart_starts_a_run(settings):
    api = FakeApi()
    assert choose_run(settings, api, again=False).kind == "started"
    assert api.created == [("d", "quickstart-abc-1", TAGS)]


@pytest.mark.parametrize("state", ["SCHEDULED", "PENDING", "RUNNING"])
@pytest.mark.parametrize("again", [True, False])
def test_a_run_that_goes_on_is_followed_and_never_doubled(settings, report, state, again):
    api = FakeApi([run(state, 2), run("COMPLETED", 1)])
    choice = choose_run(settings, api, again=again)
    assert (choice.kind, choice.run["id"], api.created) == ("followed", "r2", [])


def test_a_run_of_older_sources_that_goes_on_is_followed_too(settings):
    api = FakeApi([run("RUNNING", 1, tags=["quickstart", "definition:old"])])
    assert choose_run(settings, api, again=False).kind == "followed"


def test_a_completed_run_with_its_report_is_reused(settings, report):
    api = FakeApi([run("CRASHED", 2), run("COMPLETED", 1)])
    choice = choose_run(settings, api, again=False)
    assert (choice.kind, choice.run["id"], api.created) == ("done", "r1", [])


def test_a_completed_run_without_its_report_is_made_again(settings, report):
    report.unlink()
    assert choose_run(settings, FakeApi([run("COMPLETED")]), again=False).kind == "started"


def test_a_completed_run_of_older_sources_is_not_reused(settings, report):
    api = FakeApi([run("COMPLETED", 1, tags=["quickstart", "definition:old"])])
    assert choose_run(settings, api, again=False).kind == "started"


def test_again_makes_another_run_with_a_key_of_its_own(settings, report):
    api = FakeApi([run("COMPLETED", 7), run("FAILED", 3)])
    assert choose_run(settings, api, again=True).kind == "started"
    assert api.created[0][1] == "quickstart-abc-8"


def test_two_quickstarts_at_once_ask_for_the_same_run(settings):
    first, second = FakeApi([run("CRASHED", 1)]), FakeApi([run("CRASHED", 1)])
    choose_run(settings, first, again=False)
    choose_run(settings, second, again=False)
    assert first.created == second.created


def test_the_latest_report_is_read_with_its_summary(settings, report):
    found = latest_report(settings)
    assert found is not None
    assert (found.path, found.summary) == (report, ("better", "by 3 meV/Å"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"path": "/no/such/file"}', '{"path": 3}'])
def test_a_damaged_pointer_to_the_report_counts_as_none(settings, report, content):
    (settings.reports / "pipeline.json").write_text(content)
    assert latest_report(settings) is None


class LogServer(PrefectApi):
    """A Prefect server with the log of one run, which it gives a page at a time."""

    def __init__(self, n_records):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        self.records = [
            {
                "id": n,
                "flow_run_id": "r",
                "task_run_id": None,
                "timestamp": (start + timedelta(milliseconds=n)).isoformat(),
                "name": "prefect.flow_runs",
                "level": 20,
                "message": f"line {n}",
            }
            for n in range(n_records)
        ]

    def request(self, method, path, body=None):
        if path != "/logs/filter":
            return []
        after = body["logs"].get("timestamp", {}).get("after_", "")
        found = [record for record in self.records if record["timestamp"] > after]
        return found[body.get("offset", 0) :][: body["limit"]]


def test_a_log_that_says_more_than_a_page_at_once_is_given_whole_and_goes_on():
    server = LogServer(2 * PAGE + 50)
    late, logs = server.records.pop(), quickstart._Logs(server, "r")
    assert [line.message for line in logs.fresh()] == [record["message"] for record in server.records]
    server.records.append(late)
    assert [line.message for line in logs.fresh()] == [late["message"]]


@pytest.mark.parametrize(
    ("name", "level", "message", "matters"),
    [
        ("prefect.flow_runs", 20, "142 structures kept", True),
        ("prefect.flow_runs", 10, "142 structures kept", False),
        ("prefect.flow_runs.worker", 20, "Worker 'gpu' submitting flow run", False),
        ("prefect.flow_runs", 20, "Executing deployment step: set_working_directory", False),
        ("prefect.task_runs", 20, "Finished in state Completed()", False),
        ("prefect.task_runs", 40, "Finished in state Failed('x')", True),
    ],
)
def test_only_what_flows_say_is_shown(name, level, message, matters):
    assert quickstart._matters({"name": name, "level": level, "message": message}) is matters
