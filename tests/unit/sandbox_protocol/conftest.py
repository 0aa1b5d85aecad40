import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sandbox_protocol.http1 import Head, encode_block, encode_response
from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Forward, Reply, plain_reply
from tests.unit.sandbox_protocol.scene import Make, Scene, Serve


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:

        async def scene(serve: Serve) -> Scene:
            async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                made.upstream_connections += 1
                made.writers.append(writer)
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    await serve(reader, writer)

            upstream = await asyncio.start_server(counted, "127.0.0.1", 0)
            address = ("127.0.0.1", upstream.sockets[0].getsockname()[1])

            def response(head: Head) -> bytes:
                upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)] if head.upgrade else []
                return encode_response(head.status, head.reason, [*head.end_to_end(), *upgrade])

            def bare(head: Head) -> bytes:
                return encode_response(head.status, head.reason, [(b"Content-Length", b"0")])

            async def route(request: Head, peer: str) -> Forward | Reply:
                made.routed += 1
                if request.target == b"/own":
                    return plain_reply(200, b"OK", "mine", close=False)
                if request.target == b"/nowhere":
                    return Forward(("127.0.0.1", 1), b"", response, lambda _, why: plain_reply(503, b"Busy", why, close=False))
                upgrade = [(b"Connection", b"Upgrade"), (b"Upgrade", request.upgrade)] if request.upgrade else []
                block = encode_block([*request.end_to_end(), *upgrade])
                forward = Forward(
                    address,
                    block,
                    bare if made.head_only else response,
                    lambda _, why: plain_reply(503, b"Busy", why),
                    "session",
                    made.load,
                    made.head_only,
                    made.still,
                )
                return replace(forward, **made.more)

            proxy = Proxy(route)
            server = await asyncio.get_running_loop().create_server(proxy.protocol, "127.0.0.1", 0)
            made = Scene(proxy, server.sockets[0].getsockname()[1])

            async def end() -> None:
                proxy.close()
                for writer in made.writers:
                    writer.transport.abort()
                server.close()
                upstream.close()
                await asyncio.sleep(0)

            stack.push_async_callback(end)
            return made

        yield scene
