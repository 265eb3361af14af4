from datetime import UTC, datetime, timedelta

import pytest

from deploy.services.flow_runs import WORKER_LABEL, is_orphan
from deploy.services.state import WorkerState
from deploy.services.workers import GPU_POOL, Worker


def ago(seconds):
    return datetime.now(UTC) - timedelta(seconds=seconds)


HERE = Worker(GPU_POOL).name
WORKERS = {"gpu": WorkerState(pid=1, create_time=ago(30).timestamp()), "cpu": WorkerState()}


def run(state, *, pool="gpu", seconds_ago=0, worker=HERE):
    state_of_run = {"state_type": state, "state": {"timestamp": ago(seconds_ago).isoformat()}}
    labels = {} if worker is None else {WORKER_LABEL: worker}
    return {"id": "r", "work_pool_name": pool, "labels": labels, **state_of_run}


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


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING", "PENDING"])
@pytest.mark.parametrize("worker", ["gpu on another machine", "ProcessWorker 6a0c", f"{HERE}-2"])
def test_a_run_of_another_machines_worker_is_none_of_our_business(state, worker):
    assert not is_orphan(run(state, seconds_ago=3600, worker=worker), set(), WORKERS)


def test_a_run_of_a_gpu_that_has_no_worker_any_more_is_still_of_this_machine():
    assert is_orphan(run("RUNNING", worker=Worker(GPU_POOL, gpu="7").name), set(), WORKERS)


def test_a_run_that_does_not_say_who_claimed_it_has_its_time_and_then_will_never_start():
    assert not is_orphan(run("PENDING", seconds_ago=40, worker=None), set(), WORKERS)
    assert is_orphan(run("PENDING", seconds_ago=600, worker=None), set(), WORKERS)
    assert not is_orphan(run("RUNNING", seconds_ago=600, worker=None), set(), WORKERS)
