"""Our reader of requests beside llhttp, the reader of Node.js and aiohttp: most apps behind the proxy have that one."""

from __future__ import annotations

import asyncio
import functools

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from sandbox_protocol.http1 import Chunked, Headers, ProtocolError, head_end, parse_request, request_body
from tests.fuzz.target import target

# Method, target, headers, bytes of the body: as they travel when it is sized, without framing when it is chunked.
Message = tuple[bytes, bytes, Headers, int | None]


def ours(data: bytes) -> list[Message]:
    """The requests of a connection that are whole, up to one that changes the protocol."""
    found: list[Message] = []
    try:
        while (end := head_end(data)) >= 0:
            head = parse_request(data[:end])
            body = request_body(head)
            length = body.take(data[end:])
            if not body.done:
                break
            found.append((head.method, head.target, head.headers, None if isinstance(body, Chunked) else length))
            if head.upgrade is not None:
                break
            data = data[end + length :]
    except ProtocolError:
        pass
    return found


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def llhttp(data: bytes) -> list[Message] | None:
    """What aiohttp's server makes of the same connection; None when it refuses any of it."""
    parser = HttpRequestParser(BaseProtocol(_loop()), _loop(), 2**16, max_line_size=2**16, max_field_size=2**16)
    try:
        messages, _, _ = parser.feed_data(data)
    except (HttpProcessingError, ValueError):
        return None
    return [
        (
            one.method.encode(),
            one.path.encode("utf-8", "surrogateescape"),
            one.raw_headers,
            None if one.chunked else body.total_bytes,
        )
        for one, body in messages
    ]


@target
def http_connection(data: bytes) -> None:
    """A client's bytes on one connection. Whatever we take for whole requests, llhttp takes for the same ones or refuses."""
    mine = ours(data)
    theirs = llhttp(data) if mine else None
    if theirs is not None:
        assert theirs[: len(mine)] == mine
