"""Where a log goes on, where it must not end in silence, and what stays of a reader that stops: asynchronous and blocking."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from sandbox_client import LogRecord, Sandbox, Unreachable, blocking, logs
from sandbox_client.kubeconfig import Connection
from tests.unit.sandbox_client.fake_api import FakeApi
from tests.unit.sandbox_client.test_batches import chunk, record


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_FIRST_DELAY", 0.0)


@pytest.fixture
def blocked(api: FakeApi) -> Iterator[blocking.Sandbox]:
    """A runner behind the blocking shell; the API is served by the shell's own loop."""

    async def serve() -> web.AppRunner:
        runner = web.AppRunner(api.application(), shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = blocking._Loop.run(serve())
    try:
        with blocking.Client(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}", "demo")) as client:
            yield client.sandbox("shop")
    finally:
        blocking._Loop.run(runner.cleanup())


def texts(records: list[LogRecord]) -> list[int]:
    return [int(one.text) for one in records]


async def take(shop: Sandbox, count: int, *, follow: bool = True, cursor: str | None = None) -> list[LogRecord]:
    async with aclosing(shop.log_records(follow=follow, cursor=cursor)) as found:
        return [await anext(found) for _ in range(count)]


def asked(api: FakeApi) -> list[str | None]:
    return [request.query.get("cursor") for request in api.requests]


async def test_who_stops_amid_a_chunk_goes_on_after_the_last_record_that_was_taken(api: FakeApi, shop: Sandbox) -> None:
    api.log = b"".join(b"%d\n" % number for number in range(1, 8))
    api.log_pieces = [chunk(*range(1, 8))]
    first = await take(shop, 3)
    rest = await take(shop, 4, cursor=first[-1].cursor)
    assert texts(first + rest) == [1, 2, 3, 4, 5, 6, 7]


def test_who_stops_amid_a_chunk_and_blocks_goes_on_there_too(api: FakeApi, blocked: blocking.Sandbox) -> None:
    api.log = b"".join(b"%d\n" % number for number in range(1, 8))
    api.log_pieces = [chunk(*range(1, 8))]
    first = blocked.log_records(follow=True)
    taken = [next(first) for _ in range(3)]
    assert texts([*taken, *blocked.log_records(cursor=taken[-1].cursor)]) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("end", [b"", record(3)[:20], record(3)[:-2], b"a Status that says why\n"])
async def test_a_record_cut_in_two_comes_again_when_it_is_followed(api: FakeApi, shop: Sandbox, end: bytes) -> None:
    api.log_pieces = [chunk(1, 2) + end, chunk(3, 4)]
    assert texts(await take(shop, 4)) == [1, 2, 3, 4]
    assert asked(api) == [None, "2"]


def test_a_blocking_reader_s_record_cut_in_two_comes_again(api: FakeApi, blocked: blocking.Sandbox) -> None:
    api.log_pieces = [chunk(1, 2) + record(3)[:20], chunk(3, 4)]
    found = blocked.log_records(follow=True)
    assert texts([next(found) for _ in range(4)]) == [1, 2, 3, 4]
    assert asked(api) == [None, "2"]


@pytest.mark.parametrize("query", [{}, {"follow": True, "previous": True}, {"follow": True, "limit_bytes": 1000}])
async def test_what_cannot_go_on_and_ends_within_a_record_says_so(api: FakeApi, shop: Sandbox, query: dict[str, int]) -> None:
    api.log_pieces = [chunk(1, 2) + record(3)[:20]]
    async with aclosing(shop.log_records(**query)) as found:  # type: ignore[arg-type]
        assert texts([await anext(found), await anext(found)]) == [1, 2]
        with pytest.raises(Unreachable, match=r"broke off its answer to GET .*/log within a record"):
            await anext(found)


@pytest.mark.parametrize("query", [{"previous": True}, {"limit_bytes": 1000}])
async def test_what_is_followed_but_cannot_be_continued_tells_of_a_broken_connection(
    api: FakeApi, shop: Sandbox, query: dict[str, int]
) -> None:
    api.log, api.log_breaks = b"1\n2\n3\n", 3
    with pytest.raises(Unreachable):
        _ = [one async for one in shop.log_records(follow=True, **query)]  # type: ignore[arg-type]


def test_a_blocking_read_that_ends_within_a_record_says_so(api: FakeApi, blocked: blocking.Sandbox) -> None:
    api.log_pieces = [chunk(1, 2) + record(3)[:20]]
    found = blocked.log_records()
    assert texts([next(found), next(found)]) == [1, 2]
    with pytest.raises(Unreachable, match="within a record"):
        next(found)


async def test_a_last_record_without_its_line_end_is_whole(api: FakeApi, shop: Sandbox) -> None:
    api.log_pieces = [chunk(1, 2)[:-1]]
    assert texts([one async for one in shop.log_records()]) == [1, 2]


async def test_a_caller_that_takes_its_time_over_a_chunk_is_connected_again(
    api: FakeApi, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.log_pieces = [chunk(1, 2) + record(3)[:20], chunk(3)]
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    async with aclosing(shop.log_records(follow=True)) as found:
        assert (await anext(found)).text == "1"
        passed = logs.PATIENCE_SECONDS + 1
        assert texts([await anext(found), await anext(found)]) == [2, 3]


@pytest.mark.parametrize("start", [Sandbox.logs, Sandbox.log_records])
async def test_closing_early_closes_the_connection(api: FakeApi, shop: Sandbox, start: Callable[..., Any]) -> None:
    api.log_pieces, api.log_held = [chunk(1, 2, 3)], True
    async with aclosing(start(shop, follow=True)) as found:
        await anext(found)
        assert api.logs_left == 0
    await api.until(lambda: api.logs_left == 1)


@pytest.mark.parametrize("start", [blocking.Sandbox.logs, blocking.Sandbox.log_records])
def test_closing_a_blocking_iterator_amid_a_chunk_closes_the_connection(
    api: FakeApi, blocked: blocking.Sandbox, start: Callable[..., Any]
) -> None:
    api.log_pieces, api.log_held = [chunk(1, 2, 3)], True
    found = start(blocked, follow=True)
    next(found)
    assert api.logs_left == 0
    found.close()
    blocking._Loop.run(api.until(lambda: api.logs_left == 1))
