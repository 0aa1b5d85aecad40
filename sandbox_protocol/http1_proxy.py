"""An HTTP/1.1 reverse proxy that reads heads and lets bodies pass: asyncio protocols, no copy of a body, flow control both ways.

Who uses it says where a request goes (:mod:`~sandbox_protocol.http1_routing`), :mod:`~sandbox_protocol.http1_client` keeps each
connection honest; here is what they share: connections to servers that wait for a request, what is remembered of heads, bounds,
time, the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from sandbox_protocol.http1 import Head
from sandbox_protocol.http1_client import Client
from sandbox_protocol.http1_memo import Answer, Memo
from sandbox_protocol.http1_routing import Address, Forward, Log, Router
from sandbox_protocol.http1_sides import Upstream

CONNECT_SECONDS = 5.0
UPSTREAM_IDLE_SECONDS = 30.0
"""Of an upstream connection kept for the next request: shorter than what dev servers keep (Node: 5 s, then a retry saves it)."""
SWEEP_SECONDS = 1.0
"""Between two looks at what took too long: one timer for all connections, none for each request."""
_POOLED = 64
_TOLD = 64
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


class Proxy:
    """Server side: make one, hand :meth:`protocol` to ``loop.create_server``, :meth:`close` it in the end.

    ``max_clients`` connections at once, one more is answered with 503. ``remember`` heads are kept of requests and of responses
    each. The proxy that meets clients names requests (``names_requests``); one behind it passes the name on.
    """

    def __init__(
        self,
        router: Router,
        *,
        max_clients: int = 4096,
        remember: int = 1024,
        names_requests: bool = False,
        log: Log | None = None,
    ) -> None:
        self.router = router
        self.clients: set[Client] = set()
        self.max_clients = max_clients
        self.names_requests = names_requests
        self.log = log
        self.requests: Memo[bytes, Forward] = Memo(remember)
        self.answers: Memo[tuple[Callable[[Head], bytes], bytes], Answer] = Memo(remember)
        self.answered = [0] * 6
        """Responses by the hundreds of their status."""
        self.turned_away = 0
        """Connections that were one too many."""
        self.quick = 0
        """Requests answered from what was remembered of their head."""
        self.cut = 0
        """Exchanges ended because their session was over."""
        self.draining = False
        self.now = 0.0
        """The loop's clock at the last sweep."""
        self._idle: dict[Address, list[Upstream]] = {}
        self._all_gone: asyncio.Event | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._prefix = os.urandom(6).hex().encode()
        self._named = 0

    def protocol(self) -> asyncio.Protocol:
        return Client(self)

    def next_id(self) -> bytes:
        self._named += 1
        return b"%s-%x" % (self._prefix, self._named)

    def end_sessions(self, ended: Callable[[object], bool]) -> int:
        """Cuts every exchange under way whose session ``ended``; returns how many."""
        cut = [client for client in self.clients if client.session is not None and ended(client.session)]
        for client in cut:
            client.abort()
        self.cut += len(cut)
        return len(cut)

    async def drain(self, seconds: float) -> None:
        """Lets requests under way end, at most so long; connections close after their present response."""
        self.draining = True
        for client in list(self.clients):
            client.close_if_idle()
        self._all_gone = asyncio.Event()
        if self.clients:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._all_gone.wait()
        self.close()

    def close(self) -> None:
        for client in list(self.clients):
            client.abort()
        for upstream in [upstream for idle in self._idle.values() for upstream in idle]:
            upstream.abort()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    # Clients

    def came(self, client: Client) -> bool:
        """False when it is one too many. A few of those may stay until they were told so in words."""
        if self._sweeper is None:
            self._tick()
        crowded = len(self.clients) >= self.max_clients
        if crowded:
            self.turned_away += 1
        if len(self.clients) < self.max_clients + _TOLD:
            self.clients.add(client)
        else:
            client.abort()
        return not crowded

    def gone(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients and self._all_gone is not None:
            self._all_gone.set()

    # Servers

    async def connect(self, address: Address, *, fresh: bool = False) -> Upstream:
        """An idle connection, or a new one. OSError or TimeoutError when there is none to be had."""
        if not fresh and (idle := self.idle(address)) is not None:
            return idle
        loop = asyncio.get_running_loop()
        host, port, *tls = address
        async with asyncio.timeout(CONNECT_SECONDS):
            _, made = await loop.create_connection(lambda: Upstream(self, address), host, port, ssl=tls[0] if tls else None)
        return made

    def idle(self, address: Address) -> Upstream | None:
        """One that waits for a request, the last one that came back first: the others may be let go."""
        waiting = self._idle.get(address)
        while waiting:
            upstream = waiting.pop()
            if not upstream.closed:
                upstream.used_before = True
                return upstream
        return None

    def keep(self, upstream: Upstream) -> None:
        waiting = self._idle.get(upstream.address)
        if waiting is None:
            waiting = self._idle[upstream.address] = []
        if len(waiting) >= _POOLED:
            upstream.abort()
            return
        upstream.since = self.now
        waiting.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        waiting = self._idle.get(upstream.address)
        if waiting is not None:
            with contextlib.suppress(ValueError):
                waiting.remove(upstream)
            if not waiting:
                del self._idle[upstream.address]

    # Time

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Ends what took too long. Nothing ticks while nobody is there."""
        self._sweeper = None
        if self.clients or self._idle:
            self._tick()
        for client in list(self.clients):
            client.check(self.now)
        for upstream in [upstream for idle in self._idle.values() for upstream in idle]:
            if self.now - upstream.since >= UPSTREAM_IDLE_SECONDS:
                upstream.abort()


def listening_socket(host: str, port: int) -> socket.socket:
    """For ``create_server``: what is accepted inherits TCP keep-alive, which finds the dead among silent WebSockets."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=1024)
    listening.setblocking(False)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        listening.setsockopt(socket.IPPROTO_TCP, option, value)
    return listening
