import asyncio
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

from sandbox_operator.apiserver.lifetime import arriving, deadline
from sandbox_protocol.errors import StatusError


@pytest.fixture
async def body() -> aiohttp.StreamReader:
    return aiohttp.StreamReader(Mock(_reading_paused=False), 2**16)


async def test_a_request_whose_body_does_not_come_in_time_is_told_so(body: aiohttp.StreamReader) -> None:
    with pytest.raises(StatusError) as refused:
        async with deadline(body, 0):
            await asyncio.Event().wait()
    assert (refused.value.code, refused.value.reason) == (408, "RequestTimeout")


async def test_a_request_that_was_sent_and_is_not_answered_in_time_is_a_timeout(body: aiohttp.StreamReader) -> None:
    body.feed_eof()
    with pytest.raises(StatusError) as refused:
        async with deadline(body, 0):
            await asyncio.Event().wait()
    assert refused.value.code == 504


async def test_a_timeout_of_somebody_else_stays_one(body: aiohttp.StreamReader) -> None:
    for bounds in (deadline(body), arriving(body)):
        with pytest.raises(TimeoutError):
            async with bounds:
                raise TimeoutError


class Ticks:
    """Calls back when told to, instead of in time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: list[Any] = []

    def call_later(self, delay: float, callback: Any) -> Any:
        assert delay == 60
        self.waiting.append(callback)
        return Mock()

    def __call__(self) -> None:
        self.waiting.pop()()


@pytest.fixture
async def tick(monkeypatch: pytest.MonkeyPatch) -> Any:
    ticks = Ticks(loop := asyncio.get_running_loop())
    monkeypatch.setattr(loop, "call_later", ticks.call_later)
    return ticks


async def test_a_body_that_goes_on_may_take_as_long_as_it_likes(body: aiohttp.StreamReader, tick: Ticks) -> None:
    async with arriving(body):
        for _ in range(5):
            body.feed_data(b"x")
            tick()
        body.feed_eof()
        tick()
        assert tick.waiting == [], "nobody watches a body that has ended"
        await asyncio.sleep(0)


async def test_a_body_that_stops_ends_its_request(body: aiohttp.StreamReader, tick: Ticks) -> None:
    async def served() -> None:
        async with arriving(body):
            body.feed_data(b"x")
            tick()
            tick()
            await asyncio.Event().wait()

    with pytest.raises(StatusError, match="nothing of the request's body came for 60 s") as refused:
        await served()
    assert refused.value.code == 408
