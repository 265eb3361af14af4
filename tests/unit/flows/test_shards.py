"""Shards share the work; rows are stored beside the computing: all of them, in order, and an error is not lost."""

from __future__ import annotations

import math
from itertools import chain
from threading import Event
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.runners import split_guided
from flows.shards import storing_beside


def test_what_is_done_is_stored_at_once_and_together_what_came_in_meanwhile() -> None:
    batches: list[list[int]] = []
    first, released = Event(), Event()

    def store(batch: list[int]) -> None:
        batches.append(batch)
        first.set()
        released.wait(10)

    with storing_beside(store) as put:
        put(0)
        assert first.wait(10)  # before anything else comes
        for number in range(1, 41):
            put(number)
        released.set()
    assert batches == [[0], list(range(1, 33)), list(range(33, 41))]


def test_what_is_done_is_stored_also_where_the_computing_breaks_off() -> None:
    stored: list[int] = []

    def compute() -> None:
        with storing_beside(stored.extend) as put:
            put(1)
            put(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert stored == [1, 2]


@pytest.mark.parametrize("n_more", [0, 10_000])
def test_an_error_of_storing_ends_the_computing(n_more: int) -> None:
    failed = Event()
    put_after_it = 0

    def store(_: list[int]) -> None:
        failed.set()
        raise ConnectionError("no database")

    def compute() -> None:
        nonlocal put_after_it
        with storing_beside(store) as put:
            put(1)
            assert failed.wait(10)
            for _ in range(n_more):
                sleep(0.001)
                put(2)
                put_after_it += 1

    with pytest.raises(ConnectionError, match="no database"):
        compute()
    assert put_after_it <= n_more / 2


@given(n=st.integers(1, 3000), n_workers=st.integers(1, 40))
def test_guided_shards_hold_all_in_order_and_grow_smaller(n: int, n_workers: int) -> None:
    shards = split_guided(range(n), n_workers)
    assert list(chain.from_iterable(shards)) == list(range(n))
    sizes = [len(shard) for shard in shards]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == min(256, math.ceil(n / (2 * n_workers)))
    assert sizes[-1] == 1
