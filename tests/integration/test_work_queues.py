"""Laws of the work queues, asked of a real Prefect server as its workers ask it, and of what it does by itself."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from itertools import chain

import prefect.types._datetime
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.plugins import load_prefect_collections
from prefect.workers.process import ProcessWorker

from deploy.services import flow_runs
from deploy.services.bootstrap import CLAIM_RECOVERY, CRASH_RECOVERY, CRASH_RESTART, SWEEP_QUEUE, prepare_server
from deploy.services.flow_runs import restart_crashed
from deploy.services.prefect_api import PrefectApi
from flows import crashed_runs as by_the_clock
from flows.settings import RESTART_TAG, TAG


def add_deployment(api, flow_id, name, queue):
    body = {"name": name, "flow_id": flow_id, "work_pool_name": "cpu", "work_queue_name": queue}
    return api.request("POST", "/deployments/", body)["id"]


def list_startable(api, prefix):
    """Names of the runs that a free worker of the pool cpu would start now."""
    soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
    found = api.request("POST", "/work_pools/cpu/get_scheduled_flow_runs", {"scheduled_before": soon})
    return {run["flow_run"]["name"] for run in found if run["flow_run"]["name"].startswith(prefix)}


def test_a_second_sweep_waits_for_the_first_and_leaves_the_place_to_others(services):
    with PrefectApi(services.api_url) as api:
        prepare_server(api)
        flow_id = api.request("POST", "/flows/", {"name": "law-of-queues"})["id"]
        sweep = add_deployment(api, flow_id, "law-sweep", SWEEP_QUEUE)
        curate = add_deployment(api, flow_id, "law-curate", "default")
        runs = {
            name: api.request("POST", f"/deployments/{deployment}/create_flow_run", {"name": name})["id"]
            for name, deployment in (("law-first", sweep), ("law-second", sweep), ("law-curation", curate))
        }
        api.set_state(runs["law-first"], "RUNNING", "a worker has begun")
        assert list_startable(api, "law-") == {"law-curation"}
        api.set_state(runs["law-first"], "COMPLETED", "done")
        assert list_startable(api, "law-") == {"law-curation", "law-second"}
        for run_id in runs.values():
            api.set_state(run_id, "CANCELLED", "of a test")


def test_a_worker_whose_clock_is_an_hour_behind_finds_what_is_due(services, monkeypatch):
    load_prefect_collections()
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    monkeypatch.setattr(prefect.types._datetime, "now", lambda *_: an_hour_ago)
    worker = ProcessWorker(work_pool_name="cpu")

    async def list_due():
        async with PrefectClient(services.api_url) as worker._client:
            return {entry.flow_run.name for entry in await worker._get_scheduled_flow_runs()}

    with PrefectApi(services.api_url) as api:
        prepare_server(api)
        flow_id = api.request("POST", "/flows/", {"name": "law-of-clocks"})["id"]
        deployment_id = add_deployment(api, flow_id, "law-clock", "default")
        run = api.request("POST", f"/deployments/{deployment_id}/create_flow_run", {"name": "law-due"})
        # In a thread of its own: a browser test before this one leaves a loop running in the main one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            assert "law-due" in pool.submit(lambda: asyncio.run(list_due())).result()
        api.set_state(run["id"], "CANCELLED", "of a test")


@pytest.mark.parametrize("automation", [CRASH_RECOVERY, CLAIM_RECOVERY, CRASH_RESTART], ids=lambda one: one["name"])
def test_runs_of_others_on_the_same_server_are_left_alone(automation):
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import RelatedResource, Resource

    trigger = EventTrigger.model_validate(deepcopy(automation["trigger"]))  # it changes what it is given
    run = Resource({"prefect.resource.id": "prefect.flow-run.1"})

    def covers(*tags):
        named = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
        return trigger.covers_resources(run, [RelatedResource(tag) for tag in named])

    assert covers("heo", "auto-restart", "gpu")
    assert covers("heo", "gpu") is (automation is not CRASH_RESTART)  # that one is asked for
    assert not covers("auto-restart", "gpu")
    assert not covers()


@pytest.mark.parametrize(
    ("automation", "lives"),
    [
        (CLAIM_RECOVERY, [["PENDING", "RUNNING", "CRASHED"], ["SCHEDULED", "PENDING"]]),
        (CRASH_RECOVERY, [["PENDING", "RUNNING", "CRASHED"], ["SCHEDULED", "PENDING", "RUNNING"]]),
    ],
    ids=["claims", "silence"],
)
def test_a_second_life_within_the_time_that_the_first_had_is_watched_too(services, automation, lives):
    within_s = 10
    quick = deepcopy(automation) | {"name": f"quick {automation['name']}"}
    tag = quick["trigger"]["match_related"]["prefect.resource.id"] = f"prefect.tag.quick-{automation['name'][5:10]}"
    quick["trigger"]["within"] = within_s
    with PrefectApi(services.api_url) as api:
        api.ensure_automation(quick)
        time.sleep(2)  # until the server knows of it
        flow_id = api.request("POST", "/flows/", {"name": "law-of-lives"})["id"]
        body = {"flow_id": flow_id, "tags": [tag.removeprefix("prefect.tag.")], "state": {"type": "PENDING"}}
        run_id = api.request("POST", "/flow_runs/", body)["id"]
        for state in chain(*lives):
            api.set_state(run_id, state, "as if")
        deadline = time.monotonic() + 60
        while (state := api.flow_run(run_id)["state"])["name"] != "Crashed" and time.monotonic() < deadline:
            time.sleep(0.2)
        (found,) = api.request("POST", "/automations/filter", {"automations": {"name": {"any_": [quick["name"]]}}})
        api.request("DELETE", f"/automations/{found['id']}")
    assert state["name"] == "Crashed"


@contextmanager
def crashed_runs(api, *tags_of_each):
    """Ids of runs with these tags, planned for three days ago, that have just crashed; cancelled at the end."""
    flow_id = api.request("POST", "/flows/", {"name": "law-of-crashes"})["id"]
    deployment_id = add_deployment(api, flow_id, "law-crash", "default")
    planned = {"scheduled_time": (datetime.now(UTC) - timedelta(days=3)).isoformat()}
    run_ids = []
    try:
        for tags in tags_of_each:
            body = {"tags": tags, "state": {"type": "SCHEDULED", "state_details": planned}}
            made = api.request("POST", f"/deployments/{deployment_id}/create_flow_run", body)
            run_ids.append(made["id"])
            api.set_state(made["id"], "CRASHED", "as if")
        yield run_ids
    finally:
        for run_id in run_ids:
            api.set_state(run_id, "CANCELLED", "of a test")


def list_states(api, run_ids):
    return [api.flow_run(run_id)["state"]["name"] for run_id in run_ids]


def test_a_crashed_run_of_which_no_automation_heard_is_started_again(services):
    with PrefectApi(services.api_url) as api:
        prepare_server(api)
        with crashed_runs(api, [TAG, RESTART_TAG], [RESTART_TAG]) as (ours, other):
            restart_crashed(api, print, orphans=[ours, other])
            assert list_states(api, [ours, other]) == ["AwaitingRetry", "Crashed"]


def test_a_run_that_has_just_crashed_is_left_to_its_automation_first(services, monkeypatch):
    monkeypatch.setattr(flow_runs, "RESTART_PATIENCE", timedelta(seconds=1))
    with PrefectApi(services.api_url) as api, crashed_runs(api, [TAG, RESTART_TAG]) as (run_id,):
        crashed = datetime.fromisoformat(api.flow_run(run_id)["state"]["timestamp"])
        restart_crashed(api, print)
        restarted = api.flow_run(run_id)["state"]
        assert restarted["name"] == "AwaitingRetry"
        assert datetime.fromisoformat(restarted["timestamp"]) - crashed >= timedelta(seconds=1)


def test_a_crashed_run_that_an_automation_starts_again_in_the_same_moment_has_one_process(services):
    class Racing(PrefectApi):
        def flow_runs(self, **criteria):
            found = super().flow_runs(**criteria)
            self.set_state(run_id, "RUNNING", "the automation was quicker")
            return found

    with Racing(services.api_url) as api, crashed_runs(api, [TAG, RESTART_TAG]) as (run_id,):
        restart_crashed(api, print, orphans=[run_id])
        assert list_states(api, [run_id]) == ["Running"]


def test_the_clock_starts_a_run_again_that_crashed_unheard_once_its_automation_had_its_time(
    prefect_api_url, monkeypatch
):
    with (
        PrefectApi(prefect_api_url) as api,
        crashed_runs(api, [TAG, RESTART_TAG], [TAG], [RESTART_TAG]) as (ours, unasked, other),
    ):
        assert by_the_clock.restart_unheard.fn() == []
        monkeypatch.setattr(by_the_clock, "RESTART_PATIENCE", timedelta(0))
        assert by_the_clock.restart_unheard.fn() == [api.flow_run(ours)["name"]]
        assert list_states(api, [ours, unasked, other]) == ["AwaitingRetry", "Crashed", "Crashed"]
