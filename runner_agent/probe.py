"""Does an app answer: one ``GET /``, and what came back. An open socket alone proves nothing.

A request shows in the app's log, and a dev server compiles the page for it. So there is one at a time, and it may take as long as
it takes: a request that is given up is made again, and compiled again.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

ANSWER_SECONDS = 300.0
"""For the first byte of an answer. The first page of a large app on a small machine takes a minute to compile."""
ACCEPT_SECONDS = 1.0
_HEAD_SECONDS = 2.0
"""From the status line to the end of the head, of which only the content type is wanted."""
_HEAD_BYTES = 16384
_FRAME_BYTES = 9
"""Head of a frame of HTTP/2: length (3), type, flags, stream (4)."""
_SETTINGS = 4
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")
_HTML = re.compile(rb"\r\ncontent-type:[ \t]*(text/html|application/xhtml)", re.IGNORECASE)
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer to ``GET /``. ``html``: it is a page. ``tls``: it came over TLS, as none came without."""

    status: int
    html: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True)
class NoHttp:
    """Somebody listens and does not speak HTTP/1; ``why`` follows a subject."""

    why: str


Said = Answer | NoHttp


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there. Never raises; the connection is ended in order, a reset would be an error to some apps."""
    try:
        async with asyncio.timeout(ACCEPT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, limit=4096)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def ask(hosts: Sequence[str], port: int) -> tuple[str, Said] | None:
    """What the first of ``hosts`` that takes a connection says to ``GET /``; None when none does. TimeoutError after
    ANSWER_SECONDS without an answer."""
    for host in hosts:
        said = await _said(host, port, None)
        if said is not None:
            return host, await _understood(host, port, said)
    return None


async def _understood(host: str, port: int, said: bytes) -> Said:
    status = _STATUS.match(said)
    if status is not None:
        plain = Answer(int(status[1]), _HTML.search(said) is not None)
        if plain.status != _BAD_REQUEST or b"https" not in said.lower():
            return plain
        secure = await _over_tls(host, port)
        return secure if isinstance(secure, Answer) else plain
    if _is_http2(said):
        return NoHttp("speaks HTTP/2 without TLS, which no browser does: serve HTTP/1.1 here")
    if said and not said.startswith(b"\x15\x03"):  # an alert of TLS
        return NoHttp("does not answer in HTTP")
    return await _over_tls(host, port)


def _is_http2(said: bytes) -> bool:
    """Whether it begins with the frame that a server of HTTP/2 sends first."""
    return len(said) >= _FRAME_BYTES and said[3] == _SETTINGS and said[5:_FRAME_BYTES] == bytes(4)


async def _over_tls(host: str, port: int) -> Said:
    """For one that hung up on plain HTTP, or said that it wants HTTPS."""
    try:
        said = await _said(host, port, unverified())
    except ssl.SSLError as error:
        if "NO_APPLICATION_PROTOCOL" in str(error.reason):
            return NoHttp("speaks HTTP/2 only, over TLS: allow HTTP/1.1 beside it")
        if "CERTIFICATE_REQUIRED" in str(error.reason) or "HANDSHAKE_FAILURE" in str(error.reason):
            return NoHttp("speaks TLS and refuses the connection (a client's certificate?)")
        return NoHttp("closes connections without an answer")
    if _is_http2(said or b""):
        return NoHttp("speaks HTTP/2 only, over TLS: allow HTTP/1.1 beside it")
    status = _STATUS.match(said or b"")
    if status is None:
        return NoHttp("closes connections without an answer")
    return Answer(int(status[1]), _HTML.search(said or b"") is not None, tls=True)


async def _said(host: str, port: int, tls: ssl.SSLContext | None) -> bytes | None:
    """The beginning of the answer, up to the end of its head; empty when the connection was closed instead, None when there was
    no connection. ssl.SSLError, TimeoutError."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS if tls is None else ACCEPT_SECONDS * 5):
            reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_BYTES, ssl=tls)
    except ssl.SSLError:
        raise
    except (OSError, TimeoutError):
        return None
    request = (
        f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: sandbox-readiness\r\n"
        "Accept: text/html, */*\r\nConnection: close\r\n\r\n"
    )
    try:
        writer.write(request.encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            said = await reader.read(_HEAD_BYTES)
        return await _rest_of_head(reader, said)
    except ssl.SSLError:
        raise
    except OSError:
        return b""
    finally:
        writer.transport.abort()


async def _rest_of_head(reader: asyncio.StreamReader, said: bytes) -> bytes:
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            while len(said) < _HEAD_BYTES and not _complete(said) and (more := await reader.read(_HEAD_BYTES)):
                said += more
    except (OSError, TimeoutError):
        pass
    return said


def _complete(said: bytes) -> bool:
    if not said or (len(said) >= _FRAME_BYTES and not said.startswith(b"HTTP/1.")):
        return True
    status = _STATUS.match(said)
    # what says that it wants HTTPS says so in the body
    return b"\r\n\r\n" in said and not (status is not None and int(status[1]) == _BAD_REQUEST)


@cache
def unverified() -> ssl.SSLContext:
    """For the app's own TLS, in its own pod: its certificate is self-signed, and whoever listens there is the app."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # short keys, as old tools make them, are keys
    context.set_alpn_protocols(["http/1.1"])
    return context
