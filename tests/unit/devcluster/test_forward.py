"""The forwarder copies both directions to the end, and a slow reader slows the writer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from devcluster.forward import serve

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def forwarded(handler: Handler) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through the forwarder to a server that runs `handler`."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0))
    forwarder = asyncio.create_task(serve(listening, server.sockets[0].getsockname()))
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        forwarder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await forwarder
        server.close()
        await server.wait_closed()


async def echo_until_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()  # up to the end of stream: it must arrive
    writer.write(data)
    await writer.drain()
    writer.close()


async def test_half_closed_connections_still_answer() -> None:
    async with forwarded(echo_until_end) as (reader, writer):
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 300_000


async def test_a_reader_that_stops_stops_the_writer() -> None:
    sent = 0
    stuck = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 64 * 2**20:
            writer.write(b"y" * 65536)
            sent += 65536
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stuck.set()
                break
        writer.transport.abort()

    async with forwarded(flood):
        await stuck.wait()  # we never read: socket buffers fill, then the flood has to stop
        assert sent < 64 * 2**20


async def test_a_target_that_is_not_there_closes_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as absent:
        target = absent.getsockname()
    listening = socket.create_server(("127.0.0.1", 0))
    forwarder = asyncio.create_task(serve(listening, target))
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    assert await reader.read() == b""
    writer.close()
    forwarder.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forwarder
