"""Everything that a browser or an app may send to the proxies."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sandbox_protocol.http1 import (
    HEAD_BYTES,
    Body,
    Chunked,
    Head,
    ProtocolError,
    Sized,
    UntilClose,
    encode_block,
    head_end,
    parse_request,
    parse_response,
    request_body,
    response_body,
)
from sandbox_protocol.http1_client import Client
from sandbox_protocol.http1_memo import Memo, split
from sandbox_protocol.http1_routing import Forward, Reply
from tests.fuzz.target import cuts, target

_CONTROLS = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")


def _head(data: bytes) -> bytes | None:
    end = head_end(data)
    return data[:end] if end >= 0 else None


def _plain(head: Head) -> None:
    """No part of a head can begin another line, and names are tokens."""
    for part in (head.method, head.target, head.reason, *(text for pair in head.headers for text in pair)):
        assert not _CONTROLS.search(part)
    for name, value in head.headers:
        assert name
        assert not set(name) & set(b' \t"(),/:;<=>?@[\\]{}')
        assert value == value.strip(b" \t")


def _framing(head: Head, body: Body, announced: Body) -> None:
    """RFC 9112 §6: Transfer-Encoding or Content-Length or neither, never two, never a list."""
    lengths = [value for name, value in head.headers if name.lower() == b"content-length"]
    codings = [value for name, value in head.headers if name.lower() == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    if isinstance(body, Chunked):
        assert [value.strip(b" \t,").lower() for value in codings] == [b"chunked"]
        assert head.version == 1
    elif lengths:
        assert isinstance(body, Sized)
        assert body.left == int(lengths[0])
        assert lengths[0].isdigit()
    else:
        assert not codings
        assert type(body) is type(announced)


@target
def http_request(data: bytes) -> None:
    """ProtocolError only. What is accepted has one Host, a path, no byte that could end a line, one framing of its body, and
    reads the same when it is written out again."""
    try:
        raw = _head(data)
        if raw is None:
            return
        head = parse_request(raw)
        body = request_body(head)
    except ProtocolError:
        return
    _plain(head)
    _framing(head, body, Sized(0))
    assert sum(name.lower() == b"host" for name, _ in head.headers) == 1
    assert head.target.startswith(b"/") or head.target == b"*"
    assert b" " not in head.target
    line = b"%s %s HTTP/1.%d" % (head.method, head.target, head.version)
    assert parse_request(line + encode_block(head.headers)) == head


@target
def http_response(data: bytes) -> None:
    """ProtocolError only. The first byte chooses the request's method. What is accepted reads the same when written out again."""
    method = b"HEAD" if data[:1] == b"H" else b"GET"
    try:
        raw = _head(data[1:])
        if raw is None:
            return
        head = parse_response(raw)
        body = response_body(head, method)
    except ProtocolError:
        return
    _plain(head)
    bodiless = method == b"HEAD" or head.status in (204, 304) or head.status < 200
    if bodiless:
        assert body.done
    else:
        _framing(head, body, UntilClose())
    line = b"HTTP/1.%d %d %s" % (head.version, head.status, head.reason)
    assert parse_response(line + encode_block(head.headers)) == head


def _chunked_end(data: bytes) -> int | None:
    """Where a chunked body ends, read at leisure from RFC 9112 §7.1; None where it does not or is not well formed."""
    at = 0
    while match := re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\0-\x08\x0a-\x1f\x7f]*)?\r\n").match(data, at):
        at = match.end()
        size = int(match[1], 16)
        if not size:
            trailers = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0-\x08\x0a-\x1f\x7f]*\r\n)*\r\n").match(data, at)
            return trailers.end() if trailers else None
        if data[at + size : at + size + 2] != b"\r\n":
            return None
        at += size + 2
    return None


@target
def http_chunked(data: bytes) -> None:
    """ProtocolError only. A body ends at the same byte in whatever pieces it comes, and a reader by the book ends there too."""

    def measured(pieces: list[bytes]) -> int | None:
        body, total = Chunked(), 0
        for piece in pieces:
            taken = body.take(piece)
            total += taken
            assert taken == len(piece) or body.done
            if body.done:
                return total
        return None

    results: list[int | None] = []
    for pieces in ([data], list(cuts(data)), [data[at : at + 1] for at in range(len(data))]):
        try:
            results.append(measured(pieces))
        except ProtocolError:
            results.append(-1)
    assert len(set(results)) == 1, results
    end = results[0]
    if end != -1:
        assert end == _chunked_end(data)


class _Wire:
    """What both transports of the exchange write to."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def get_extra_info(self, name: str) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else None

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class _Upstream:
    """An idle connection to the app, always there: so that every request goes on in the same turn."""

    def __init__(self) -> None:
        self.transport = _Wire()
        self.partner: object = None
        self.used_before = self.full = self.closed = False

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


class _Proxy:
    names_requests, draining, max_clients, now, quick = False, False, 10, 0.0, 0

    def __init__(self) -> None:
        self.requests: Memo[bytes, Forward] = Memo(16)
        self.upstream = _Upstream()
        self.answered = [0] * 6

    def came(self, _: object) -> bool:
        return True

    def idle(self, _: object) -> _Upstream:
        return self.upstream

    async def connect(self, _: object, *, fresh: bool) -> _Upstream:
        return self.upstream

    async def router(self, request: Head, _: str) -> Forward | Reply:
        return Forward(
            ("", 1), encode_block(request.headers), lambda _: b"", lambda *_: Reply(b""), still=lambda target: target != b"/gone"
        )

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def _sent_on(requests: list[bytes]) -> list[bytes]:
    """What the app got of each through one proxy, each on a connection of its own."""
    proxy: Any = _Proxy()

    async def all_of_them() -> list[bytes]:
        got = []
        for data in requests:
            proxy.upstream.transport = _Wire()
            client = Client(proxy)
            wire: Any = _Wire()
            client.connection_made(wire)
            client.data_received(data)
            for _ in range(3):
                await asyncio.sleep(0)
            got.append(proxy.upstream.transport.written)
        return got

    with asyncio.Runner() as runner:
        return runner.run(all_of_them())


@target
def http_memo(data: bytes) -> None:
    """Requests divided by NUL NUL, each sent twice: what a proxy that remembers heads sends on is, byte for byte, what one that
    remembers none does."""
    requests = [one for one in data.split(b"\0\0")[:4] for _ in range(2)]
    remembering = _sent_on(requests)
    plainly = [_sent_on([one])[0] for one in requests]
    assert remembering == plainly


@target
def http_split(data: bytes) -> None:
    """ProtocolError only; request line, id and block together are the head, and the id holds nothing but its own characters."""
    head = data[:HEAD_BYTES] + b"\r\n\r\n"
    try:
        line, request_id, block = split(head)
    except ProtocolError:
        return
    assert block.startswith(b"\r\n")
    if request_id:
        assert head == line + b"\r\nX-Request-Id: " + request_id + block
        assert not _CONTROLS.search(request_id)
    else:
        assert head == line + block
