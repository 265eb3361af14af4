"""Flow runs and their processes: which runs still go on, and an end for those whose process is gone."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from deploy.services.prefect_api import Json, PrefectApi
from deploy.services.process import Say, marked_processes
from deploy.services.state import WorkerState
from deploy.services.workers import is_of_this_machine
from flows.settings import RESTART_LOOK_BACK, RESTART_PATIENCE, RESTART_TAG, TAG

WORKER_LABEL = "prefect.worker.name"  # a worker gives it to a run after its claim, before the start of its process
SUBMIT_PATIENCE_S = 60.0  # between a worker's claim of a run and the start of its process


def live_flow_run_ids(home: Path) -> set[str]:
    """Return the flow runs that have a process of this home."""
    return {marked.flow_run_id for marked in marked_processes(home) if marked.flow_run_id is not None}


def is_orphan(run: Json, live: set[str], workers: Mapping[str, WorkerState]) -> bool:
    """Tell whether a run of this machine's workers counts as going on although nothing works on it.

    A scheduled run waits for a worker and is none. A pending one was claimed: its worker is about to start a process,
    unless that worker is gone, or a process should be there long since. Where it does not say yet who claimed it, it
    may be another machine's, and has its time.
    """
    worker, name = workers.get(run["work_pool_name"] or ""), run["labels"].get(WORKER_LABEL)
    is_ours = name is not None and is_of_this_machine(name)
    if worker is None or run["id"] in live or (name is not None and not is_ours):
        return False
    if run["state_type"] in {"RUNNING", "CANCELLING"}:
        return is_ours
    if run["state_type"] != "PENDING":
        return False
    claimed = datetime.fromisoformat(run["state"]["timestamp"]).timestamp()
    if datetime.now(UTC).timestamp() - claimed > SUBMIT_PATIENCE_S:
        return True
    return is_ours and (worker.create_time is None or claimed < worker.create_time)


def crash_orphans(api: PrefectApi, home: Path, workers: Mapping[str, WorkerState], say: Say) -> list[str]:
    """Give an end to the runs that nothing works on any more, and return their ids.

    Without this they would count as running for ever, and hold the only place in their pool.
    """
    suspects = [run for run in api.runs_in_flight() if is_orphan(run, live_flow_run_ids(home), workers)]
    crashed = []
    for suspect in suspects:
        run = api.flow_run(suspect["id"])  # again: it may have ended between the look at runs and at processes
        if run["state"]["id"] == suspect["state"]["id"]:
            say(f"flow run {run['name']}: its process is gone, so it is marked as crashed")
            crash(api, run, "The process of this run is gone: it was killed, or the machine was restarted.")
            crashed.append(str(run["id"]))
    return crashed


def restart_crashed(api: PrefectApi, say: Say, orphans: Collection[str] = ()) -> None:
    """Start the runs again that crashed in the last day and that no automation has started again.

    A server that was killed between storing a crash and telling its automations has not told them. They are given
    their time first, but for the orphans that `crash_orphans` has just found.
    """
    runs = api.flow_runs(
        state={"type": {"any_": ["CRASHED"]}},
        tags={"all_": [TAG, RESTART_TAG]},
        end_time={"after_": (datetime.now(UTC) - RESTART_LOOK_BACK).isoformat()},
    )
    for crashed in runs:
        age = datetime.now(UTC) - datetime.fromisoformat(crashed["state"]["timestamp"])
        if crashed["id"] not in orphans and age < RESTART_PATIENCE:
            say(f"flow run {crashed['name']}: it has just crashed; waiting for its automation to start it again")
            time.sleep((RESTART_PATIENCE - age).total_seconds())
        run = api.flow_run(crashed["id"])  # again: an automation or a user may have been quicker
        if run["state"]["id"] == crashed["state"]["id"]:
            say(f"flow run {run['name']}: it crashed, and is started again")
            api.set_state(run["id"], "SCHEDULED", "Its process died; it goes on where it stopped.", "AwaitingRetry")


def crash(api: PrefectApi, run: Json, message: str) -> None:
    """Give an end to a run and to its subflows; not to children in a work pool, which have processes of their own."""
    for child in api.runs_in_flight(parent_flow_run_id={"any_": [run["id"]]}):
        if child["work_pool_name"] is None:
            crash(api, child, message)
    api.set_state(run["id"], "CANCELLED" if run["state_type"] == "CANCELLING" else "CRASHED", message)
