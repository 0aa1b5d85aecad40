"""What a user of the proxy decides about a request. Records only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol as Interface

from sandbox_protocol.http1 import Head, encode_response

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the proxy itself: a whole response. The connection is closed after it when ``close``."""

    response: bytes
    close: bool = False


@dataclass(slots=True)
class Load:
    """Exchanges under way, of whatever shares the record: open WebSockets and event streams count as long as they last."""

    open: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """Where a request goes: its line, then ``block`` in place of its header block.

    ``rewrite`` makes the response head that the client sees; equal heads need not be shown to it twice. ``unavailable`` answers
    when the server does not. ``session`` is what :meth:`Proxy.end_sessions` is asked about. ``head_only`` keeps the body from the
    client. With ``still`` the decision may be used again for a GET with the very same header block: it is asked with the target,
    and must say whether all that may have changed since is as it was.
    """

    address: Address
    block: bytes
    rewrite: Callable[[Head], bytes]
    unavailable: Callable[[Head, str], Reply]
    session: object = None
    load: Load = field(default_factory=Load)
    head_only: bool = False
    still: Callable[[bytes], bool] | None = None


class Router(Interface):
    async def __call__(self, request: Head, peer: str) -> Forward | Reply: ...


class Log(Interface):
    """Told of each exchange: the request's head, the client's address, the status it saw, its session."""

    def __call__(self, request: Head, peer: str, status: int, session: object) -> None: ...


def why_not(error: OSError) -> str:
    """Why no connection could be had, in words for whoever looks at a page."""
    match error:
        case TimeoutError():
            return "nothing answered in time"
        case ConnectionRefusedError():
            return "nothing listens there"
        case _:
            return "it cannot be reached"


def plain_reply(status: int, reason: bytes, text: str, *, close: bool = True, retry_after: int | None = None) -> Reply:
    body = text.encode() + b"\n"
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Connection", b"close" if close else b"keep-alive"),
    ]
    if retry_after is not None:
        headers.append((b"Retry-After", b"%d" % retry_after))
    return Reply(encode_response(status, reason, headers) + body, close)
