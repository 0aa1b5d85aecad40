"""A proxy between real sockets: a played client, a played server."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox_protocol.http1_proxy import Proxy
from sandbox_protocol.http1_routing import Load

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Scene:
    """``serve`` plays the server for each connection; ``ask`` opens a client's connection to the proxy."""

    proxy: Proxy
    port: int
    upstream_connections: int = 0
    routed: int = 0
    asked: list[bytes] = field(default_factory=list)
    holds: bool = True
    head_only: bool = False
    load: Load = field(default_factory=Load)
    more: dict[str, Any] = field(default_factory=dict)
    """Further fields of each Forward."""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def ask(self, sent: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(sent)
        return reader, writer

    def still(self, target: bytes) -> bool:
        self.asked.append(target)
        return self.holds and target not in (b"/own", b"/nowhere")


Make = Callable[[Serve], Awaitable[Scene]]


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def echo_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with the size of its body, on one connection."""
    while True:
        head = await read_head(reader)
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        await reader.readexactly(length)
        body = b"%d" % length
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """And close without an answer at the second request, as a server does whose patience just ended."""
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await read_head(reader)
    writer.close()


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
