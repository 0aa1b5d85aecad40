"""Bodies that are changed on their way, requests that hang, and servers that are gone for a moment."""

from __future__ import annotations

import asyncio

import pytest

from sandbox_protocol.http1 import Head
from sandbox_protocol.http1_client import Client
from sandbox_protocol.http1_routing import Address
from tests.unit.sandbox_protocol.scene import GET, Make, Scene, read_head


class Loud:
    """Upper case, and a word at the end."""

    def head(self, head: Head) -> Head:
        return head

    def feed(self, data: bytes) -> bytes:
        return data.upper()

    def end(self) -> bytes:
        return b"END"


async def chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while size := int(await reader.readline(), 16):
        found += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return found


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nabcd",
    ],
)
async def test_a_body_is_changed_however_it_is_framed_and_sent_in_chunks(make: Make, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        for byte in answer:  # in the smallest pieces
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    scene = await make(serve)
    scene.more = {"change": lambda head: Loud()}
    for _ in range(2):  # never from what is remembered
        reader, _ = await scene.ask(GET)
        head = await read_head(reader)
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Length" not in head
        assert await chunks(reader) == b"ABCDEND"


async def test_what_is_not_to_be_changed_passes_as_it_is(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd")

    scene = await make(serve)
    scene.more = {"change": lambda head: None}
    reader, _ = await scene.ask(GET)
    assert b"Content-Length: 4" in await read_head(reader)
    assert await reader.readexactly(4) == b"abcd"


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    assert await reader.read() == b""  # until it is given up
    writer.close()


async def test_a_request_that_hangs_is_given_up_and_answered(make: Make) -> None:
    scene: Scene = await make(silence)
    scene.more = {"hangs": 0.0}
    reader, _ = await scene.ask(GET)
    client = await accepted(scene)
    for now in (1.0, 2.0):
        client.check(now)
    assert (await read_head(reader)).startswith(b"HTTP/1.1 503")


async def test_a_request_that_may_hang_is_left_alone(make: Make) -> None:
    scene = await make(silence)
    await scene.ask(GET)
    client = await accepted(scene)
    for now in (1.0, 10_000.0):
        client.check(now)
    assert scene.load.open == 1


async def test_a_server_that_is_gone_for_a_moment_gets_the_request_with_its_body(make: Make) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        body = await reader.readexactly(3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)
        writer.close()

    async def back(host: str, port: int) -> Address:
        return host, port

    there = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = there.sockets[0].getsockname()
    scene = await make(silence)
    scene.more = {"address": ("127.0.0.1", 1), "retry": lambda: back(host, port)}
    reader, _ = await scene.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert (await read_head(reader)).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(3) == b"abc"
    there.close()


async def accepted(scene: Scene) -> Client:
    """The proxy's side of a request that it has sent on."""
    while scene.load.open == 0:  # noqa: ASYNC110 - the proxy tells nobody
        await asyncio.sleep(0)
    return next(iter(scene.proxy.clients))
