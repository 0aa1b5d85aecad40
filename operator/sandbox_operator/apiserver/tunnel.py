"""Upgraded connections (WebSocket), spliced byte for byte once both sides have agreed.

aiohttp hands a connection over to whatever parser is set on it; ours moves the bytes, with the pressure of a slow reader passed
on to the fast writer, and looks at frames only to speak between two of them when it
has to end a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from aiohttp import web
from multidict import CIMultiDict

from sandbox_operator.apiserver import request_id
from sandbox_operator.apiserver.dial import CONNECT_SECONDS
from sandbox_operator.apiserver.frames import Boundaries
from sandbox_protocol.errors import StatusError

_HEAD_BYTES = 16 * 1024
_CHUNK = 64 * 1024
# An app that takes longer to accept a WebSocket has not accepted it.
_HANDSHAKE_SECONDS = 10.0
# Of an answer that refuses the upgrade; it says why in a few hundred.
_REFUSAL_BYTES = 64 * 1024
# A message that has begun ends within this, or the session ends without a last word.
_FAREWELL_SECONDS = 1.0
_HANDSHAKE = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")
_ACCEPTED = ("Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Upstream:
    """The far side. ``headers`` are all that is sent besides the upgrade itself; ``refusal`` makes an error of an answer other
    than 101, from its code and body."""

    open: Callable[[], Awaitable[Streams]]
    path: str
    headers: Mapping[str, str]
    refusal: Callable[[int, bytes], StatusError]


@dataclass(frozen=True, slots=True)
class Ending:
    """``must_end`` returns when the connection may not go on; its ``farewell`` is sent to the caller between two messages."""

    must_end: Callable[[], Awaitable[StatusError]]
    farewell: Callable[[StatusError], bytes]


@dataclass(slots=True)
class Carried:
    """Bytes from the caller and to it, and the reason for which we ended it, if it was us."""

    inbound: int = 0
    outbound: int = 0
    cause: str = ""


class _Handover(Protocol):
    """What aiohttp's request protocol does for its own WebSocket reader, and for us."""

    transport: asyncio.Transport | None

    def set_parser(self, parser: Any) -> None: ...

    async def _drain_helper(self) -> None: ...


def wants_upgrade(request: web.BaseRequest, *, methods: Collection[str] = ("GET",)) -> bool:
    """RFC 6455 upgrades GET alone; with another method the header means nothing, unless a verb says otherwise."""
    return (
        request.method in methods
        and request.headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in request.headers.get("Connection", "").lower()
    )


def to_app(request: web.BaseRequest, host: str, port: int, path: str, headers: Mapping[str, str]) -> Upstream:
    """The app behind ``host:port``, a preview port; the caller's handshake goes on as it came."""

    async def connect() -> Streams:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(host, port, limit=_HEAD_BYTES)
        except (OSError, TimeoutError) as error:
            raise StatusError(503, "the runner's agent cannot be reached; try again", retry_after=2) from error

    def refusal(code: int, _body: bytes) -> StatusError:
        return StatusError(502, f"the app answered the WebSocket handshake with HTTP {code}, not 101")

    sent = CIMultiDict(headers)
    sent["Host"] = host
    sent.update({name: request.headers[name] for name in _HANDSHAKE if name in request.headers})
    return Upstream(connect, path, sent, refusal)


class _Inbound:
    """Parser of the caller's side: bytes go to the upstream as they come; reading pauses while the upstream does not drain."""

    def __init__(self, caller: asyncio.Transport, upstream: asyncio.StreamWriter, carried: Carried) -> None:
        self._caller = caller
        self._upstream = upstream
        self._carried = carried
        self._draining: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._carried.inbound += len(data)
        self._upstream.write(data)
        if self._upstream.transport.get_write_buffer_size() > _CHUNK and self._draining is None:
            self._caller.pause_reading()
            self._draining = asyncio.ensure_future(self._drain())
        return False, b""

    def feed_eof(self) -> None:
        self.ended.set()

    async def _drain(self) -> None:
        try:
            await self._upstream.drain()
        except ConnectionError:
            self.ended.set()
        finally:
            self._draining = None
            if not self._caller.is_closing():
                self._caller.resume_reading()

    def close(self) -> None:
        if self._draining is not None:
            self._draining.cancel()


async def splice(
    request: web.BaseRequest, upstream: Upstream, *, ending: Ending | None = None, carried: Carried | None = None
) -> None:
    """Upgrades and carries the connection until either side, or ``ending``, ends it; ``carried`` is kept up to date meanwhile.

    StatusError when the other side does not upgrade; afterwards the request is answered by :class:`relay.Finished`.
    """
    protocol = cast("_Handover", request.protocol)
    caller = protocol.transport
    if caller is None:
        raise ConnectionResetError("the caller is gone")
    reader, writer = await upstream.open()
    try:
        head = CIMultiDict(upstream.headers)
        head.update({"Connection": "Upgrade", "Upgrade": "websocket"})
        writer.write(_render(f"GET {upstream.path} HTTP/1.1", head))
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                code, answered = _parse(await reader.readuntil(b"\r\n\r\n"))
                refused = b"" if code == 101 else await _body(reader, answered)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError, ValueError) as error:
            raise StatusError(502, "the WebSocket handshake was not answered") from error
        if code != 101:
            raise upstream.refusal(code, refused)
        accepted = CIMultiDict({"Connection": "Upgrade", "Upgrade": "websocket", **request_id.headers()})
        accepted.update({name: answered[name] for name in _ACCEPTED if name in answered})
        caller.write(_render("HTTP/1.1 101 Switching Protocols", accepted))
        await _Tunnel(protocol, caller, reader, writer, carried or Carried()).carry(ending)
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    length = headers.get("Content-Length", "")
    if not length.isdigit():
        return b""
    return await reader.readexactly(min(int(length), _REFUSAL_BYTES))


class _Tunnel:
    """A connection after its upgrade."""

    def __init__(
        self,
        protocol: _Handover,
        caller: asyncio.Transport,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        carried: Carried,
    ) -> None:
        self._protocol = protocol
        self._caller = caller
        self._reader = reader
        self._writer = writer
        self._carried = carried
        self._boundaries: Boundaries | None = None

    async def carry(self, ending: Ending | None) -> None:
        inbound = _Inbound(self._caller, self._writer, self._carried)
        self._protocol.set_parser(inbound)
        ended = asyncio.ensure_future(inbound.ended.wait())
        tasks: list[asyncio.Future[Any]] = [ended]
        if ending is not None:
            self._boundaries = Boundaries()
            tasks.append(asyncio.ensure_future(ending.must_end()))
        outbound = asyncio.ensure_future(self._outbound())
        try:
            await asyncio.wait((*tasks, outbound), return_when=asyncio.FIRST_COMPLETED)
            over = next((task for task in tasks[1:] if task.done()), None)
            if ending is not None and over is not None and not outbound.done() and not ended.done():
                await _cancelled(outbound)
                why: StatusError = over.result()
                self._carried.cause = why.reason
                await self._bid_farewell(ending.farewell(why))
        finally:
            inbound.close()
            await _cancelled(*tasks, outbound)

    async def _outbound(self) -> None:
        while data := await self._reader.read(_CHUNK):
            if self._boundaries is not None:
                self._boundaries.feed(data)
            self._send(data)
            await self._protocol._drain_helper()

    async def _bid_farewell(self, words: bytes) -> None:
        assert self._boundaries is not None
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while not self._boundaries.between:
                    data = await self._reader.read(_CHUNK)
                    if not data:
                        return
                    self._send(self._boundaries.take_message(data))
                self._send(words)
                await self._protocol._drain_helper()
        except (TimeoutError, ConnectionError):
            self._caller.abort()

    def _send(self, data: bytes) -> None:
        self._carried.outbound += len(data)
        self._caller.write(data)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _render(start: str, headers: Mapping[str, str]) -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise StatusError(400, "a header or the path holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def _parse(head: bytes) -> tuple[int, CIMultiDict[str]]:
    """Status code and headers of a response head; ValueError for anything else."""
    start, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = start.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not an HTTP response")
    headers = CIMultiDict[str]()
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    return int(rest[:3]), headers
