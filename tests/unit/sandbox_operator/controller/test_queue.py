from __future__ import annotations

import asyncio

import pytest

from sandbox_operator.controller.queue import FIRST_DELAY, LAST_DELAY, KeyQueue


async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue: KeyQueue[str] = KeyQueue()
    for _ in range(3):
        queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_on_runs_again_afterwards_and_never_twice_at_once() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_failures_come_back_ever_more_slowly_and_success_forgets_them() -> None:
    queue: KeyQueue[str] = KeyQueue()
    delays = [queue.failed("a") for _ in range(15)]
    assert delays[0] == pytest.approx(FIRST_DELAY, rel=0.11)
    assert delays[3] == pytest.approx(FIRST_DELAY * 8, rel=0.11)
    assert delays[-1] == pytest.approx(LAST_DELAY, rel=0.11)
    queue.succeeded("a")
    assert queue.failed("a") == pytest.approx(FIRST_DELAY, rel=0.11)


async def test_the_server_can_ask_for_a_longer_pause() -> None:
    assert KeyQueue[str]().failed("a", at_least=7.0) == 7.0


async def test_a_change_does_not_wait_for_a_pause_to_end() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 1000)
    queue.add("a")
    assert await queue.get() == "a"


async def test_the_sooner_of_two_times_counts() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 1000)
    queue.add_after("a", 0)
    queue.add_after("a", 500)
    async with asyncio.timeout(1):
        assert await queue.get() == "a"
