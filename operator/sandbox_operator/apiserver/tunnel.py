"""Upgraded connections (WebSocket), spliced byte for byte once both sides have agreed.

aiohttp hands a connection over to whatever parser is set on it; ours moves the bytes, with the pressure of a slow reader passed
on to the fast writer, and knows nothing of frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, cast

from aiohttp import web
from multidict import CIMultiDict

from sandbox_operator.apiserver.dial import CONNECT_SECONDS
from sandbox_protocol.errors import StatusError

_HEAD_BYTES = 16 * 1024
_CHUNK = 64 * 1024
# An app that takes longer to accept a WebSocket has not accepted it.
_HANDSHAKE_SECONDS = 10.0
_HANDSHAKE = ("Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")
_ACCEPTED = ("Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")


class _Handover(Protocol):
    """What aiohttp's request protocol does for its own WebSocket reader, and for us."""

    transport: asyncio.Transport | None

    def set_parser(self, parser: Any) -> None: ...

    async def _drain_helper(self) -> None: ...


def wants_upgrade(request: web.BaseRequest) -> bool:
    """RFC 6455 upgrades GET alone; with another method the header means nothing."""
    return (
        request.method == "GET"
        and request.headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in request.headers.get("Connection", "").lower()
    )


class _Inbound:
    """Parser of the caller's side: bytes go to the upstream as they come; reading pauses while the upstream does not drain."""

    def __init__(self, caller: asyncio.Transport, upstream: asyncio.StreamWriter) -> None:
        self._caller = caller
        self._upstream = upstream
        self._draining: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
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


async def splice(request: web.BaseRequest, host: str, port: int, path: str, headers: Mapping[str, str]) -> None:
    """Upgrades towards ``host:port`` and carries the connection until either side ends it.

    ``headers`` go with the WebSocket handshake, which is passed on as it came. StatusError when the other side does not upgrade;
    afterwards the request is answered by :class:`relay.Finished`.
    """
    protocol = cast("_Handover", request.protocol)
    caller = protocol.transport
    if caller is None:
        raise ConnectionResetError("the caller is gone")
    reader, writer = await _open(host, port)
    try:
        head = CIMultiDict(headers)
        head.update({"Host": host, "Connection": "Upgrade", "Upgrade": "websocket"})
        head.update({name: request.headers[name] for name in _HANDSHAKE if name in request.headers})
        writer.write(_render(f"GET {path} HTTP/1.1", head))
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                code, answered = _parse(await reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError, ValueError) as error:
            raise StatusError(502, "the app did not answer the WebSocket handshake") from error
        if code != 101:
            raise StatusError(502, f"the app answered the WebSocket handshake with HTTP {code}, not 101")
        accepted = CIMultiDict({"Connection": "Upgrade", "Upgrade": "websocket"})
        accepted.update({name: answered[name] for name in _ACCEPTED if name in answered})
        caller.write(_render("HTTP/1.1 101 Switching Protocols", accepted))
        await _carry(protocol, caller, reader, writer)
    finally:
        writer.close()


async def _open(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(host, port, limit=_HEAD_BYTES)
    except (OSError, TimeoutError) as error:
        raise StatusError(503, "the runner's agent cannot be reached; try again", retry_after=2) from error


async def _carry(
    protocol: _Handover, caller: asyncio.Transport, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    inbound = _Inbound(caller, writer)
    protocol.set_parser(inbound)
    ended = asyncio.ensure_future(inbound.ended.wait())
    outbound = asyncio.ensure_future(_outbound(protocol, caller, reader))
    try:
        await asyncio.wait((ended, outbound), return_when=asyncio.FIRST_COMPLETED)
    finally:
        inbound.close()
        ended.cancel()
        outbound.cancel()
        await asyncio.gather(ended, outbound, return_exceptions=True)


async def _outbound(protocol: _Handover, caller: asyncio.Transport, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_CHUNK):
        caller.write(data)
        await protocol._drain_helper()


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
