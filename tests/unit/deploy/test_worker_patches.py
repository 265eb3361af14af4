"""A worker, as `prefect worker start` makes it, does not end itself over a run that comes back too early."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import anyio
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.plugins import load_prefect_collections
from prefect.workers.process import ProcessWorker


def test_a_run_that_has_its_place_still_is_left_for_the_next_look():
    assert "heo" in load_prefect_collections()
    worker = ProcessWorker(work_pool_name="gpu", limit=2)
    run = FlowRun(id=uuid4(), flow_id=uuid4())
    entry = WorkerFlowRunResponse(work_pool_id=uuid4(), work_queue_id=uuid4(), flow_run=run)

    async def come_back() -> tuple[int, int]:
        worker._limiter = anyio.CapacityLimiter(2)
        worker._limiter.acquire_on_behalf_of_nowait(run.id)
        submitted = await worker._submit_scheduled_flow_runs([entry])
        return len(submitted), worker._limiter.borrowed_tokens

    # In a thread of its own: a browser test before this one leaves a loop running in the main one.
    with ThreadPoolExecutor(max_workers=1) as pool:
        assert pool.submit(lambda: asyncio.run(come_back())).result() == (0, 1)
