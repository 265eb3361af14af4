from datetime import UTC, datetime, timedelta

import pytest

from deploy.services.flow_runs import is_orphan
from deploy.services.state import WorkerState


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


WORKERS = {"gpu": WorkerState(pid=1, create_time=ago(30).timestamp()), "cpu": WorkerState()}


def run(state, *, pool="gpu", seconds_ago=0):
    timestamp = ago(seconds_ago).isoformat()
    return {"id": "r", "work_pool_name": pool, "state_type": state, "state": {"timestamp": timestamp}}


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING"])
def test_a_run_goes_on_as_long_as_its_process_is_there(state):
    assert not is_orphan(run(state), {"r"}, WORKERS)
    assert is_orphan(run(state), {"another"}, WORKERS)


def test_a_scheduled_run_waits_for_a_worker():
    assert not is_orphan(run("SCHEDULED", pool="cpu"), set(), WORKERS)


def test_a_run_that_a_living_worker_has_just_claimed_is_about_to_start():
    assert not is_orphan(run("PENDING"), set(), WORKERS)


def test_a_run_that_an_earlier_worker_claimed_will_never_start():
    assert is_orphan(run("PENDING", seconds_ago=3600), set(), WORKERS)


def test_a_run_that_was_claimed_when_no_worker_lives_will_never_start():
    assert is_orphan(run("PENDING", pool="cpu"), set(), WORKERS)


def test_a_run_that_was_claimed_long_ago_will_never_start():
    old_worker = {"gpu": WorkerState(pid=1, create_time=ago(3600).timestamp())}
    assert not is_orphan(run("PENDING", seconds_ago=0), set(), old_worker)
    assert is_orphan(run("PENDING", seconds_ago=600), set(), old_worker)


def test_a_run_outside_our_pools_is_none_of_our_business():
    assert not is_orphan(run("RUNNING", pool=None), set(), WORKERS)
    assert not is_orphan(run("RUNNING", pool="another"), set(), WORKERS)
