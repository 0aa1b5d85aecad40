"""What both sides of a proxied exchange share, and the server's side: a connection that serves one exchange after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from sandbox_protocol.http1_routing import Address

if TYPE_CHECKING:
    from sandbox_protocol.http1_exchange import Exchange
    from sandbox_protocol.http1_proxy import Proxy


class Side(asyncio.Protocol):
    """What both sides share: a transport, and a partner who is paused while this side cannot take more."""

    __slots__ = ("closed", "full", "partner", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.partner: Side | None = None
        self.closed = False
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def pause_writing(self) -> None:
        self.full = True
        if self.partner is not None:
            self.partner.pause()

    def resume_writing(self) -> None:
        self.full = False
        if self.partner is not None:
            self.partner.resume()

    def pause(self) -> None:
        if not self.closed:
            self.transport.pause_reading()

    def resume(self) -> None:
        if not self.closed:
            self.transport.resume_reading()

    def abort(self) -> None:
        if not self.closed:
            self.transport.abort()


class Upstream(Side):
    """One connection to a server; serves one exchange at a time, waits in the proxy's pool in between (``since`` then)."""

    __slots__ = ("_proxy", "address", "since", "used_before")
    partner: Exchange | None

    def __init__(self, proxy: Proxy, address: Address) -> None:
        super().__init__()
        self.address = address
        self.used_before = False
        self.since = 0.0
        self._proxy = proxy

    def data_received(self, data: bytes) -> None:
        if self.partner is not None:
            self.partner.from_upstream(data)
        else:  # an idle server has nothing to say
            self.abort()

    def eof_received(self) -> bool:
        return self.partner is not None and self.partner.upstream_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._proxy.forget(self)
        if self.partner is not None:
            self.partner.upstream_lost()
