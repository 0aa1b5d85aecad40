from __future__ import annotations

import asyncio

import pytest

from runner_agent.sync_feeding import HANDFUL, Feeding


class Slow:
    """Takes a handful when it is let."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.let = asyncio.Semaphore(0)

    async def feed(self, handful: bytes) -> None:
        await self.let.acquire()
        if handful.startswith(b"bad"):
            raise ValueError("bad")
        self.taken.append(handful)


async def test_a_small_body_is_left_for_one_trip() -> None:
    slow = Slow()
    feeding = Feeding(slow.feed)
    await feeding.add(b"a" * HANDFUL)
    assert await feeding.rest() == b"a" * HANDFUL
    assert slow.taken == []


async def test_the_next_handful_gathers_while_one_is_worked_on_and_a_third_waits() -> None:
    slow = Slow()
    feeding = Feeding(slow.feed)
    handfuls = [bytes([number]) * (HANDFUL + 1) for number in range(3)]
    await feeding.add(handfuls[0])
    second = asyncio.ensure_future(feeding.add(handfuls[1]))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()
    slow.let.release()
    await second
    slow.let.release()
    await feeding.add(handfuls[2][:-1])
    assert await feeding.rest() == handfuls[2][:-1]
    assert slow.taken == handfuls[:2]


async def test_what_is_wrong_with_a_handful_is_told_with_the_next() -> None:
    slow = Slow()
    slow.let.release()
    feeding = Feeding(slow.feed)
    await feeding.add(b"bad" * HANDFUL)
    with pytest.raises(ValueError, match="bad"):
        await feeding.rest()
    feeding.abandon()


async def test_what_is_left_in_the_middle_comes_to_its_end_in_silence() -> None:
    slow = Slow()
    feeding = Feeding(slow.feed)
    await feeding.add(b"bad" * HANDFUL)
    feeding.abandon()
    slow.let.release()
    for _ in range(5):
        await asyncio.sleep(0)
