"""What a user of the proxy decides about a request. Records only."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from sandbox_protocol.http1 import Head, encode_response

if TYPE_CHECKING:
    from sandbox_protocol.http1_change import Change

Address = tuple[str, int] | tuple[str, int, ssl.SSLContext]
"""Host and port of a server; with a context it is spoken to over TLS."""
HANGS = "the answer has not begun"
"""Why a request was given up that the server took."""


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
    and must say whether all that may have changed since is as it was. ``change`` is asked with the response's head (after
    ``rewrite``) whether and how its body is changed; such a request is read anew each time. ``retry`` is asked when no connection
    can be had, and answers, after a while, where to try again. With ``hangs`` a request without a body whose answer has not
    begun after so many seconds is given up, and ``unavailable`` answers.
    """

    address: Address
    block: bytes
    rewrite: Callable[[Head], bytes]
    unavailable: Callable[[Head, str], Reply]
    session: object = None
    load: Load = field(default_factory=Load)
    head_only: bool = False
    still: Callable[[bytes], bool] | None = None
    change: Callable[[Head], Change | None] | None = None
    retry: Callable[[], Awaitable[Address | None]] | None = None
    hangs: float | None = None


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
