"""An HTTP/1.1 reverse proxy that reads heads and lets bodies pass: asyncio protocols, no copy of a body, flow control both ways.

Who uses it says where a request goes (:class:`Router`); this module keeps the connections honest: one request at a time on each,
the end of every body known, the slower side slows the other one down, an upgrade becomes a plain pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import cast

from sandbox_protocol.http1 import (
    HEAD_BYTES,
    Body,
    Head,
    ProtocolError,
    UntilClose,
    encode_response,
    head_end,
    parse_request,
    parse_response,
    request_body,
    response_body,
)

HEAD_SECONDS = 10.0
"""For a client to send a whole head once it began: a browser takes milliseconds, a slow-loris as long as it is let."""
IDLE_SECONDS = 75.0
"""Between two requests on one connection; nginx's default."""
CONNECT_SECONDS = 5.0
UPSTREAM_IDLE_SECONDS = 30.0
"""Of an upstream connection kept for the next request: shorter than what dev servers keep (Node: 5 s, then a retry saves it)."""
_READ_AHEAD = 2 * HEAD_BYTES
_SAFE_TO_REPEAT = frozenset([b"GET", b"HEAD", b"OPTIONS"])

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the proxy itself: a whole response. The connection is closed after it when ``close``."""

    response: bytes
    close: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """Where the request goes: ``head`` is sent in place of its head, ``rewrite`` makes the head that the client sees, and
    ``unavailable`` answers when nobody listens there. ``session`` is kept on the connection for :meth:`Proxy.end_sessions`."""

    address: Address
    head: bytes
    rewrite: Callable[[Head], bytes]
    unavailable: Callable[[str], Reply]
    session: object = None


class Router(Interface):
    async def __call__(self, request: Head, peer: str) -> Forward | Reply: ...


def plain_reply(status: int, reason: bytes, text: str, *, close: bool = True) -> Reply:
    body = text.encode() + b"\n"
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Connection", b"close" if close else b"keep-alive"),
    ]
    return Reply(encode_response(status, reason, headers) + body, close)


class Proxy:
    """Server side: make one, hand :meth:`protocol` to ``loop.create_server``, :meth:`close` it in the end."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.clients: set[_Client] = set()
        self._idle: dict[Address, deque[_Upstream]] = {}
        self.draining = False
        self._all_gone: asyncio.Event | None = None

    def protocol(self) -> asyncio.Protocol:
        return _Client(self)

    def end_sessions(self, ended: Callable[[object], bool]) -> int:
        """Cuts every exchange under way whose session ``ended``; returns how many."""
        cut = [client for client in self.clients if client.session is not None and ended(client.session)]
        for client in cut:
            client.abort()
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

    def gone(self, client: _Client) -> None:
        self.clients.discard(client)
        if not self.clients and self._all_gone is not None:
            self._all_gone.set()

    def close(self) -> None:
        for client in list(self.clients):
            client.abort()
        for idle in self._idle.values():
            for upstream in idle:
                upstream.abort()
        self._idle.clear()

    async def connect(self, address: Address, *, fresh: bool = False) -> _Upstream:
        """An idle connection, or a new one. OSError or TimeoutError when there is none to be had."""
        idle = self._idle.get(address)
        while idle and not fresh:
            upstream = idle.pop()
            if upstream.take_from_pool():
                return upstream
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, made = await loop.create_connection(lambda: _Upstream(self, address), *address)
        return made

    def keep(self, upstream: _Upstream) -> None:
        self._idle.setdefault(upstream.address, deque(maxlen=64)).append(upstream)

    def forget(self, upstream: _Upstream) -> None:
        idle = self._idle.get(upstream.address)
        if idle is not None:
            with contextlib.suppress(ValueError):
                idle.remove(upstream)
            if not idle:
                del self._idle[upstream.address]


class _Side(asyncio.Protocol):
    """What both sides share: a transport, and a partner who is paused while this side cannot take more."""

    transport: asyncio.Transport
    partner: _Side | None = None
    closed = False
    full = False

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


class _Upstream(_Side):
    """One connection to a server; serves one exchange at a time, waits in the pool in between."""

    def __init__(self, proxy: Proxy, address: Address) -> None:
        self.address = address
        self.used_before = False
        self._proxy = proxy
        self._timer: asyncio.TimerHandle | None = None

    def take_from_pool(self) -> bool:
        if self._timer is not None:
            self._timer.cancel()
        self.used_before = True
        return not self.closed and not self.transport.is_closing()

    def give_back(self) -> None:
        self.partner = None
        self.resume()
        self._timer = asyncio.get_running_loop().call_later(UPSTREAM_IDLE_SECONDS, self.abort)
        self._proxy.keep(self)

    def data_received(self, data: bytes) -> None:
        if isinstance(self.partner, _Client):
            self.partner.from_upstream(data)
        else:  # an idle server has nothing to say
            self.abort()

    def eof_received(self) -> bool:
        return isinstance(self.partner, _Client) and self.partner.upstream_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._proxy.forget(self)
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(self.partner, _Client):
            self.partner.upstream_lost()


class _Client(_Side):
    """One connection of a client, request after request."""

    def __init__(self, proxy: Proxy) -> None:
        self.session: object = None
        self._proxy = proxy
        self._buffer = bytearray()
        self._searched = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._request: Head | None = None
        self._request_body: Body | None = None
        self._forward: Forward | None = None
        self._upstream: _Upstream | None = None
        self._response_head = bytearray()
        self._response: Head | None = None
        self._response_body: Body | None = None
        self._tunnel = False
        self._kept = b""  # the request head, while it may have to be repeated

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._proxy.clients.add(self)
        self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._proxy.gone(self)
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        if self._upstream is not None:
            self._upstream.partner = None
            self._upstream.abort()

    def eof_received(self) -> bool:
        if self._tunnel and self._upstream is not None and not self._upstream.closed:
            if self._upstream.transport.can_write_eof():
                self._upstream.transport.write_eof()
            return True
        return self._request is not None and self._request_body is not None and self._request_body.done

    def close_if_idle(self) -> None:
        if self._request is None and not self._buffer:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            assert self._upstream is not None
            self._upstream.transport.write(data)
            return
        self._buffer += data
        if self._request is None:
            self._next_request()
        elif self._upstream is not None:
            self._send_body()
        if len(self._buffer) > _READ_AHEAD:  # a body that cannot go anywhere yet, or requests sent ahead
            self.pause()

    def _next_request(self) -> None:
        try:
            end = head_end(self._buffer, self._searched)
            if end < 0:
                if self._buffer and self._searched == 0:
                    self._expect(HEAD_SECONDS)
                self._searched = len(self._buffer)
                return
            head = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._searched = 0
            self._request = parse_request(head)
            self._request_body = request_body(self._request)
            if self._request.version == 0:  # its client could not read a chunked answer
                self._refuse(505, b"HTTP Version Not Supported", "speak HTTP/1.1")
                return
        except ProtocolError as error:
            self._refuse(400, b"Bad Request", str(error))
            return
        self._stop_timer()
        self._task = asyncio.get_running_loop().create_task(self._route(self._request))

    async def _route(self, request: Head) -> None:
        peer = self.transport.get_extra_info("peername")
        try:
            decision = await self._proxy.router(request, peer[0] if peer else "")
            if isinstance(decision, Forward):
                await self._open(decision, fresh=False)
            else:
                self._reply(decision)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._refuse(500, b"Internal Server Error", "the proxy failed; try again")
            raise
        finally:
            self._task = None

    async def _open(self, forward: Forward, *, fresh: bool) -> None:
        try:
            upstream = await self._proxy.connect(forward.address, fresh=fresh)
        except (OSError, TimeoutError) as error:
            self._reply(forward.unavailable(str(error) or "no answer in time"))
            return
        if self.closed:
            upstream.abort()
            return
        self._forward, self._upstream, self.session = forward, upstream, forward.session
        upstream.partner, self.partner = self, upstream
        if self.full:  # still busy with the answer before this one
            upstream.pause()
        repeatable = upstream.used_before and self._request is not None and self._request.method in _SAFE_TO_REPEAT
        self._kept = forward.head if repeatable and self._request_body is not None and self._request_body.done else b""
        upstream.transport.write(forward.head)
        self._send_body()
        if not upstream.full:  # writing may just have filled it, and it says so only once
            self.resume()

    def _send_body(self) -> None:
        body, upstream = self._request_body, self._upstream
        if body is None or upstream is None or body.done or not self._buffer:
            return
        try:
            count = body.take(bytes(self._buffer))
        except ProtocolError as error:
            self._refuse(400, b"Bad Request", str(error))
            return
        upstream.transport.write(bytes(self._buffer[:count]))
        del self._buffer[:count]

    # The server's side

    def from_upstream(self, data: bytes) -> None:
        self._kept = b""
        if self._tunnel:
            self.transport.write(data)
            return
        try:
            if self._response_body is None:
                data = self._read_response_head(data)
                if self._response_body is None:
                    return
            if data:
                count = self._response_body.take(data)
                self.transport.write(data if count == len(data) else data[:count])
                if count < len(data):
                    raise ProtocolError("more than the response announced")
        except ProtocolError as error:
            self._bad_gateway(str(error))
            return
        if self._response_body.done:
            self._finish()

    def _read_response_head(self, data: bytes) -> bytes:
        """Consumes heads, interim ones included; returns what follows the final one."""
        assert self._request is not None
        assert self._forward is not None
        buffer = self._response_head
        searched = len(buffer)
        buffer += data
        while (end := head_end(buffer, searched)) >= 0:
            response = parse_response(bytes(buffer[:end]))
            del buffer[:end]
            searched = 0
            if response.status == 101:
                self._start_tunnel(response, bytes(buffer))
                return b""
            if response.status < 200:
                self.transport.write(encode_response(response.status, response.reason, response.headers))
                continue
            self._response_body = response_body(response, self._request.method)
            self._response = response
            self.transport.write(self._forward.rewrite(response))
            rest = bytes(buffer)
            buffer.clear()
            return rest
        return b""

    def _start_tunnel(self, response: Head, first: bytes) -> None:
        if self._request is None or self._request.upgrade is None or self._forward is None or self._upstream is None:
            raise ProtocolError("a change of protocol that nobody asked for")
        self.transport.write(self._forward.rewrite(response) + first)
        self._tunnel = True
        if self._buffer:
            self._upstream.transport.write(bytes(self._buffer))
            self._buffer.clear()
        if not self._upstream.full:
            self.resume()

    def upstream_eof(self) -> bool:
        """True keeps our half open: the client may still be sending."""
        if self._tunnel:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            return True
        return False

    def upstream_lost(self) -> None:
        upstream, self._upstream, self.partner = self._upstream, None, None
        if self._tunnel:
            self.transport.close()
            return
        if self._kept and self._forward is not None and upstream is not None:
            # the server closed the idle connection as we took it: nothing of this request was looked at
            self._kept = b""
            self._task = asyncio.get_running_loop().create_task(self._again(self._forward))
            return
        if self._response_body is None:
            self._bad_gateway("the app closed the connection without an answer")
            return
        try:
            self._response_body.eof()
        except ProtocolError:
            self.abort()  # the client must see that the body is cut short
            return
        self._finish()

    async def _again(self, forward: Forward) -> None:
        try:
            await self._open(forward, fresh=True)
        finally:
            self._task = None

    def _finish(self) -> None:
        """The response is through: on to the next request, if both sides can."""
        request, response, upstream = self._request, self._response, self._upstream
        assert request is not None
        assert response is not None
        sent_all = self._request_body is not None and self._request_body.done
        ended_by_close = isinstance(self._response_body, UntilClose)
        close = ended_by_close or not (request.keep_alive and sent_all) or self._proxy.draining
        self._upstream = self.partner = self.session = None
        if upstream is not None:
            upstream.partner = None
            if response.keep_alive and sent_all:
                upstream.give_back()
            else:
                upstream.abort()
        self._forget_exchange()
        if close:
            self.transport.close()
        else:
            self._continue()

    def _forget_exchange(self) -> None:
        self._request = self._request_body = self._forward = self._response = self._response_body = None
        self._response_head.clear()

    def _continue(self) -> None:
        self._expect(IDLE_SECONDS)
        self.resume()
        if self._buffer:
            self._next_request()

    # Answers of our own

    def _reply(self, reply: Reply) -> None:
        if self.closed:
            return
        self.transport.write(reply.response)
        unread = self._request_body is not None and not self._request_body.done
        keep_alive = self._request is not None and self._request.keep_alive
        self._forget_exchange()
        if reply.close or unread or not keep_alive or self._proxy.draining:
            self.transport.close()
        else:
            self._continue()

    def _refuse(self, status: int, reason: bytes, text: str) -> None:
        if self._response is not None:
            self.abort()
        else:
            self._reply(plain_reply(status, reason, text))

    def _bad_gateway(self, why: str) -> None:
        upstream, self._upstream, self.partner = self._upstream, None, None
        if upstream is not None:
            upstream.partner = None
            upstream.abort()
        if self._response is not None or self._forward is None:
            self.abort()
        else:
            self._reply(self._forward.unavailable(why))

    # Time

    def _expect(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._buffer:
            self._refuse(408, b"Request Timeout", "the request did not arrive in time")
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
