import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prefect.states import Failed

from flows.tries import may_pass
from heo_core.errors import InputError, ModelError, ServiceError


def answer(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=httpx.Request("POST", "http://server"), response=httpx.Response(status))


PASSING = [ServiceError("no database"), httpx.ConnectError("no server"), ConnectionResetError(), answer(500)]
LASTING = [answer(404), InputError("no such model"), ModelError("no model file"), ValueError(), MemoryError()]


@pytest.mark.parametrize("error", PASSING)
def test_what_may_pass_by_itself_is_tried_again(error):
    assert may_pass(None, None, Failed(data=error))


@pytest.mark.parametrize("error", LASTING)
def test_what_would_fail_again_is_not(error):
    assert not may_pass(None, None, Failed(data=error))


def test_a_running_event_loop_changes_nothing():
    async def ask() -> bool:
        return may_pass(None, None, Failed(data=ServiceError("no database")))

    # In a thread of its own: a browser test before this one leaves a loop running in the main one.
    with ThreadPoolExecutor(max_workers=1) as pool:
        assert pool.submit(lambda: asyncio.run(ask())).result()
