"""One connection of a client: request after request, each read strictly, decided by the router and sent on.

A request whose head is remembered goes through without parsing and without a task: :meth:`Client._quick`.
"""

from __future__ import annotations

import asyncio
import logging

from sandbox_protocol.http1 import HEAD_BYTES, Chunked, Head, ProtocolError, head_end, parse_request, request_body
from sandbox_protocol.http1_exchange import Exchange
from sandbox_protocol.http1_memo import ID_HEADER, KEY_BYTES, QUICK_LINE, split
from sandbox_protocol.http1_routing import HANGS, Address, Forward, plain_reply, why_not
from sandbox_protocol.http1_sides import Upstream

_LOG = logging.getLogger(__name__)
HEAD_SECONDS = 10.0
"""For a client to send a whole head once it began: a browser takes milliseconds, a slow-loris as long as it is let."""
IDLE_SECONDS = 75.0
"""Between two requests on one connection; nginx's default."""
STALL_SECONDS = 60.0
"""Without one more byte of a body that its sender announced, or taken by its receiver; nginx's defaults."""
LINGER_SECONDS = 5.0
"""For a client to read an answer that came before its upload ended: closing at once would reset the answer away."""
_READ_AHEAD = 2 * HEAD_BYTES
_SAFE_TO_REPEAT = frozenset([b"GET", b"HEAD", b"OPTIONS"])
_ID_LINE = b"\r\n" + ID_HEADER


class Client(Exchange):
    """What the proxy makes for each connection."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._key = self._peer.encode()
        self._crowded = not self._proxy.came(self)
        self._since = self._proxy.now

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._proxy.gone(self)
        if self._task is not None:
            self._task.cancel()
        if self._upstream is not None:
            self._upstream.partner = None
            self._upstream.abort()
        self._end_exchange()

    def eof_received(self) -> bool:
        if self._tunnel and self._upstream is not None and not self._upstream.closed:
            if self._upstream.transport.can_write_eof():
                self._upstream.transport.write_eof()
            return True
        return False  # it left: browsers do not half-close, and a silent event stream would never tell us otherwise

    def close_if_idle(self) -> None:
        if not self._busy and not self._buffer:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            if not self._buffer:
                if self._quick(data):
                    return
                self._since = self._proxy.now
            self._buffer += data
            self._next_request()
        elif self._tunnel:
            assert self._upstream is not None
            self._upstream.transport.write(data)
        elif self._ending:
            return
        elif self._body is not None and self._upstream is not None:
            self._send_body(data)
        else:
            self._buffer += data
        if len(self._buffer) > _READ_AHEAD:  # a body that cannot go anywhere yet, or requests sent ahead
            self.pause()

    def _quick(self, data: bytes) -> bool:
        """Sends a request on whose whole header block was seen before; False leaves everything to the long way."""
        proxy = self._proxy
        cut = start = data.find(b"\r\n")
        if data.startswith(ID_HEADER, cut + 2):
            start = data.find(b"\r\n", cut + 2)
        forward = proxy.requests.get(self._key + data[start:])
        if forward is None or forward.still is None or proxy.draining or self._crowded:
            return False
        line = QUICK_LINE.fullmatch(data, 0, start)
        if line is None or not forward.still(line[1]):
            return False
        upstream = proxy.idle(forward.address)
        if upstream is None:
            return False
        if proxy.names_requests:
            self._sent_head = b"".join((data[:cut], _ID_LINE, proxy.next_id(), forward.block))
        else:
            self._sent_head = data[:start] + forward.block
        proxy.quick += 1
        self._busy = self._get = self._keep_alive = self._repeat = True
        self._join(forward, upstream)
        return True

    def _join(self, forward: Forward, upstream: Upstream) -> None:
        self._forward = forward
        forward.load.open += 1
        self._upstream = self.partner = upstream
        upstream.partner = self
        if self.full:  # still busy with the answer before this one
            upstream.pause()
        upstream.transport.write(self._sent_head)

    def _next_request(self) -> None:
        try:
            end = head_end(self._buffer, self._searched)
            if end < 0:
                self._searched = len(self._buffer)
                return
            line, request_id, block = split(bytes(self._buffer[:end]))
            del self._buffer[:end]
            self._searched = 0
            self._busy = True
            if self._proxy.names_requests:
                request_id = self._proxy.next_id()
            request = self._request = parse_request(line + block, request_id)
            body = request_body(request)
        except ProtocolError as error:
            self._refuse(400, b"Bad Request", str(error))
            return
        self._body = None if body.done else body
        self._get = request.method == b"GET"
        self._keep_alive = request.keep_alive and request.version == 1
        if request.version == 0 and isinstance(body, Chunked):
            self._refuse(400, b"Bad Request", "HTTP/1.0 knows no chunks")
        elif self._crowded:
            text = f"the proxy serves {self._proxy.max_clients} connections, and all are taken; try again"
            self._reply(plain_reply(503, b"Service Unavailable", text, retry_after=5))
        else:
            plain = self._get and body.done and self._keep_alive and request.upgrade is None
            self._block = block if plain and len(block) <= KEY_BYTES else b""
            self._task = asyncio.get_running_loop().create_task(self._route(request))

    async def _route(self, request: Head) -> None:
        try:
            decision = await self._proxy.router(request, self._peer)
            if isinstance(decision, Forward):
                await self._open(request, decision, fresh=False)
            else:
                self._reply(decision)
        except Exception:
            _LOG.exception("cannot route a request")
            self._refuse(500, b"Internal Server Error", "the proxy failed; try again")
        finally:
            self._task = None

    async def _open(self, request: Head, forward: Forward, *, fresh: bool) -> None:
        address: Address | None = forward.address
        while True:
            assert address is not None
            try:
                upstream = await self._proxy.connect(address, fresh=fresh)
                break
            except OSError as error:
                self._proxy.requests.forget(self._key + self._block)
                address = None if forward.retry is None else await forward.retry()
                if address is None:
                    self._reply(forward.unavailable(request, why_not(error)))
                    return
        if self.closed:
            upstream.abort()
            return
        line = b"%s %s HTTP/1.%d" % (request.method, request.target, request.version)
        named = (line, _ID_LINE, request.id, forward.block) if request.id else (line, forward.block)
        self._sent_head = b"".join(named)
        self._repeat = upstream.used_before and request.method in _SAFE_TO_REPEAT and self._body is None
        if forward.change is not None:
            self._get = False  # no known answer stands for one that is changed
        elif self._block and forward.still is not None:
            self._proxy.requests.put(self._key + self._block, forward)
        self._join(forward, upstream)
        if self._body is not None and self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._send_body(data)
        if not upstream.full:  # writing may just have filled it, and it says so only once
            self.resume()

    def _send_body(self, data: bytes) -> None:
        assert self._body is not None
        assert self._upstream is not None
        self._since = self._proxy.now
        try:
            count = self._body.take(data)
        except ProtocolError as error:
            self._refuse(400, b"Bad Request", str(error))
            return
        if self._body.done:
            self._body = None
        if count == len(data):
            self._upstream.transport.write(data)
        else:
            self._upstream.transport.write(data[:count])
            self._buffer += data[count:]

    async def _again(self, request: Head, forward: Forward) -> None:
        forward.load.open -= 1
        self._forward = None
        try:
            await self._open(request, forward, fresh=True)
        finally:
            self._task = None

    # Time

    def check(self, now: float) -> None:
        """Lets go what took too long; called at every sweep."""
        waited = now - self._since
        left = self.transport.get_write_buffer_size()
        if left and (left != self._stuck or waited < STALL_SECONDS):
            if left != self._stuck:
                self._stuck, self._since = left, now
        elif left:
            self.abort()
        elif self._ending:
            if waited >= LINGER_SECONDS:
                self.abort()
        elif not self._busy:
            if self._buffer and waited >= HEAD_SECONDS:
                self._refuse(408, b"Request Timeout", "the request did not arrive in time")
            elif waited >= IDLE_SECONDS:
                self.transport.close()
        elif self._body is not None and self._answer is None and waited >= STALL_SECONDS and not self._waiting_for_server():
            self._refuse(408, b"Request Timeout", f"no byte of the body came in {STALL_SECONDS:.0f} s")
        elif self._body is None and self._answer is None and self._forward is not None and self._forward.hangs is not None:
            self._check_hanging(self._forward.hangs, now)

    def _check_hanging(self, seconds: float, now: float) -> None:
        """The sweeps count from the first that met an exchange: a request that is answered at once costs nothing."""
        if self._watched is not self._sent_head:
            self._watched, self._since = self._sent_head, now
        elif now - self._since >= seconds and not self._tunnel and self._upstream is not None:
            self._bad_gateway(HANGS)

    def _waiting_for_server(self) -> bool:
        return self._upstream is None or self._upstream.full
