"""Clients that are slow, silent, too many, or of another age."""

import asyncio
import contextlib

import pytest

from sandbox_protocol import http1_client, http1_proxy
from tests.unit.sandbox_protocol.scene import GET, Make, echo_length, read_head


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_proxy, "SWEEP_SECONDS", 0.01)


async def test_one_connection_too_many_is_told_so_and_the_others_go_on(make: Make) -> None:
    scene = await make(echo_length)
    scene.proxy.max_clients = 1
    reader, writer = await scene.ask(GET)
    assert b"200" in await read_head(reader)
    await reader.readexactly(1)
    other, _ = await scene.ask(GET)
    told = await other.read()
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5" in told
    assert b"serves 1 connections" in told
    writer.write(GET)
    assert b"200" in await read_head(reader)
    assert scene.proxy.turned_away == 1


async def test_far_too_many_connections_are_cut_without_a_word(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_proxy, "_TOLD", 0)
    scene = await make(echo_length)
    scene.proxy.max_clients = 0
    reader, _ = await scene.ask(GET)
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert not scene.proxy.clients


async def test_an_answer_that_comes_before_the_end_of_an_upload_is_not_reset_away(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await reader.read()

    scene = await make(serve)
    reader, writer = await scene.ask(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    head = await read_head(reader)
    assert b"413" in head
    assert b"Connection: close" in head
    for _ in range(20):  # a reset by the proxy would fail the writes, and take the rest of the answer along
        writer.write(bytes(100_000))
        await writer.drain()
    assert await reader.read() == b"big"


async def test_a_client_that_never_ends_its_upload_lingers_for_seconds_only(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_client, "LINGER_SECONDS", 0.05)
    scene = await make(echo_length)
    reader, _ = await scene.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    async with asyncio.timeout(2):
        while scene.proxy.clients:  # noqa: ASYNC110 - the other side of a socket has no event
            await asyncio.sleep(0.005)


async def test_a_body_that_stops_coming_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_client, "STALL_SECONDS", 0.05)
    scene = await make(echo_length)
    reader, _ = await scene.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_client_that_takes_nothing_of_its_answer_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_client, "STALL_SECONDS", 0.1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(64 << 20))
        await reader.read()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    await read_head(reader)
    async with asyncio.timeout(5):
        while scene.proxy.clients:  # noqa: ASYNC110 - the other side of a socket has no event
            await asyncio.sleep(0.01)


async def test_an_app_that_thinks_for_long_is_not_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HEAD_SECONDS", "IDLE_SECONDS", "STALL_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(http1_client, name, 0.02)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await asyncio.sleep(0.2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    assert b"200" in await read_head(reader)


async def test_an_idle_connection_is_closed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_client, "IDLE_SECONDS", 0.05)
    scene = await make(echo_length)
    reader, _ = await scene.ask(GET)
    await read_head(reader)
    assert await reader.read() == b"0"


async def test_an_idle_server_connection_is_closed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1_proxy, "UPSTREAM_IDLE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        ended.set()

    scene = await make(serve)
    reader, _ = await scene.ask(GET)
    await read_head(reader)
    async with asyncio.timeout(2):
        await ended.wait()


async def test_a_client_of_http_1_0_gets_what_it_can_read(make: Make) -> None:
    seen = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen = await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    scene = await make(serve)
    reader, _ = await scene.ask(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
    assert b"Connection: close" in await read_head(reader)
    assert await reader.read() == b"all of it"
    assert seen.startswith(b"GET / HTTP/1.0\r\n")


async def test_chunks_are_kept_from_a_client_of_http_1_0(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    scene = await make(serve)
    reader, _ = await scene.ask(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")


async def test_a_draining_proxy_answers_and_says_that_it_leaves(make: Make) -> None:
    scene = await make(echo_length)
    reader, writer = await scene.ask(GET)
    assert b"Connection: close" not in await read_head(reader)
    await reader.readexactly(1)
    scene.proxy.draining = True
    writer.write(GET)
    assert b"Connection: close" in await read_head(reader)
    assert await reader.read() == b"0"


async def test_what_is_kept_of_the_body_s_head_only_is_no_body(make: Make) -> None:
    scene = await make(echo_length)
    scene.head_only = True
    reader, writer = await scene.ask(b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n")
    await read_head(reader)
    writer.write(GET.replace(b"/ ", b"/own "))
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain")
    assert await reader.readexactly(5) == b"mine\n"


async def test_exchanges_are_counted_while_they_last_and_end_when_the_client_leaves(make: Make) -> None:
    go = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await read_head(reader)
            await go.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    scene = await make(serve)
    reader, writer = await scene.ask(GET)
    for _ in range(2):
        async with asyncio.timeout(2):
            while scene.load.open != 1:  # noqa: ASYNC110 - the other side of a socket has no event
                await asyncio.sleep(0.001)
        go.set()
        await read_head(reader)
        await reader.readexactly(2)
        assert scene.load.open == 0
        go.clear()
        writer.write(GET)
    async with asyncio.timeout(2):
        while scene.load.open != 1:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    writer.transport.abort()
    async with asyncio.timeout(2):
        while scene.load.open:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
