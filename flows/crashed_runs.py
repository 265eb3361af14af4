"""Start crashed runs again of which no automation heard, for a run must not wait for somebody to run 'heo up'.

A Prefect server stores that a run has crashed and then tells its automations, in memory: one that is killed in between
has not told them. One without `deploy.event_ordering` tells them a quarter of an hour late after it was restarted.
"""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.states import AwaitingRetry

from flows.deployment_runs import get_log
from flows.settings import RESTART_LOOK_BACK, RESTART_PATIENCE, RESTART_TAG, TAG
from flows.tries import AGAIN

UNHEARD = FlowRunFilter(
    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
    tags=FlowRunFilterTags(all_=[TAG, RESTART_TAG]),
)


@task(name="start again what crashed unheard", cache_policy=NO_CACHE, **AGAIN)
def restart_unheard() -> list[str]:
    """Return the names of the runs that crashed in the last day and are started again now.

    Those of the last minute are left to the automation. A run that was started too often ends itself (`admission`).
    """
    now = datetime.now(UTC)
    ended = FlowRunFilterEndTime(after_=now - RESTART_LOOK_BACK, before_=now - RESTART_PATIENCE)
    restarted = []
    with get_client(sync_client=True) as client:
        for crashed in client.read_flow_runs(flow_run_filter=UNHEARD.model_copy(update={"end_time": ended})):
            run = client.read_flow_run(crashed.id)  # again: an automation or a user may have been quicker
            if run.state_id != crashed.state_id:
                continue
            message = "Its process died, and no automation heard of it; it goes on where it stopped."
            client.set_flow_run_state(run.id, AwaitingRetry(message=message), force=True)
            get_log().warning("run %s (%s) crashed unheard, and is started again", run.name, run.id)
            restarted.append(run.name)
    return restarted
