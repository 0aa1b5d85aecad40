"""The way back of a proxied exchange: from the server's bytes, or from words of our own, to the client, and then to its next
request or to the end of the connection.

The end of every body is known, the slower side slows the other one down, an upgrade becomes a pipe.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sandbox_protocol.http1 import Body, Head, ProtocolError, encode_response, head_end, parse_request, parse_response
from sandbox_protocol.http1_change import Changing, changed
from sandbox_protocol.http1_memo import CHUNKED, KEY_BYTES, UNTIL_CLOSE, Answer, answer, split
from sandbox_protocol.http1_routing import Forward, Reply, plain_reply
from sandbox_protocol.http1_sides import Side, Upstream

if TYPE_CHECKING:
    from sandbox_protocol.http1_proxy import Proxy


class Exchange(Side):
    """A client's connection as far as answers go; :class:`~sandbox_protocol.http1_client.Client` reads the requests."""

    __slots__ = (
        "_answer",
        "_block",
        "_body",
        "_buffer",
        "_busy",
        "_changing",
        "_crowded",
        "_ending",
        "_forward",
        "_get",
        "_keep_alive",
        "_key",
        "_peer",
        "_proxy",
        "_repeat",
        "_request",
        "_response_body",
        "_response_head",
        "_searched",
        "_sent_head",
        "_since",
        "_stuck",
        "_task",
        "_tunnel",
        "_upstream",
        "_watched",
    )

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy
        self._peer = ""
        self._key = b""  # the peer, as a prefix of what is remembered: it is part of what the server is told
        self._crowded = False
        self._ending = False  # answered for the last time; what still comes is not read
        self._since = 0.0  # when what is waited for began, by the proxy's clock
        self._stuck = -1  # bytes that the client had not taken yet, a sweep ago
        self._buffer = bytearray()
        self._searched = 0
        self._task: asyncio.Task[None] | None = None
        self._upstream: Upstream | None = None
        self._tunnel = False
        self._watched = b""  # the head of the exchange that the sweeps have been watching since ``_since``
        self._forget_exchange()

    def _forget_exchange(self) -> None:
        self._busy = False
        self._request: Head | None = None
        self._body: Body | None = None  # of the request, None once it has been sent (or there is none)
        self._block = b""  # the header block, if it may be remembered
        self._get = self._keep_alive = False
        self._forward: Forward | None = None
        self._sent_head = b""
        self._repeat = False  # whether the head may have to be sent again
        self._response_head: bytearray | None = None  # an unfinished one
        self._answer: Answer | None = None
        self._response_body: Body | None = None
        self._changing: Changing | None = None

    @property
    def session(self) -> object:
        return None if self._forward is None else self._forward.session

    def _next_request(self) -> None:
        """Reads on in what the client has sent already."""
        raise NotImplementedError

    async def _again(self, request: Head, forward: Forward) -> None:
        """Sends the request once more, on a new connection."""
        raise NotImplementedError

    def _asked(self) -> Head:
        """The request under way. A quick one is read only if somebody wants to know."""
        if self._request is None:
            line, request_id, block = split(self._sent_head)
            self._request = parse_request(line + block, request_id)
        return self._request

    # The server's side

    def from_upstream(self, data: bytes) -> None:
        if self._tunnel:
            self.transport.write(data)
            return
        self._repeat = False
        try:
            if self._response_body is None:
                known = self._known_answer(data) if self._get and self._response_head is None else None
                if known is not None:
                    answer, data = known
                    if answer.length == len(data):
                        self._whole(answer, data)
                        return
                    self._answer, head, self._response_body = answer, answer.head, answer.body()
                else:
                    head, data = self._read_response_head(data)
                    if self._response_body is None:
                        return
                if self._forward is not None and self._forward.head_only:
                    self.transport.write(head)
                    self._finish()
                    return
                if data:
                    data = self._take_response(data)
                self.transport.write(head + data)
            else:
                self.transport.write(self._take_response(data))
        except ProtocolError as error:
            self._bad_gateway(str(error))
            return
        if self._response_body.done:
            self._finish()

    def _known_answer(self, data: bytes) -> tuple[Answer, bytes] | None:
        """The answer that begins with ``data``, and what follows its head, when such a head was seen before and we stay open."""
        end = data.find(b"\r\n\r\n") + 4
        assert self._forward is not None
        known = self._proxy.answers.get((self._forward.rewrite, data[:end]))
        return None if known is None or not self._stays_open(known) else (known, data[end:])

    def _whole(self, answer: Answer, body: bytes) -> None:
        """A known answer that came in one piece, as most do: :meth:`_finish` without its questions."""
        self.transport.write(answer.head + body)
        self._answer = answer
        self._count(answer.status)
        upstream, self._upstream, self.partner = self._upstream, None, None
        if upstream is not None:
            upstream.partner = None
            if self.full:  # by the last write
                upstream.resume()
            if answer.keep_alive:
                self._proxy.keep(upstream)
            else:
                upstream.abort()
        self._end_exchange()
        self._continue()

    def _stays_open(self, answer: Answer) -> bool:
        return self._keep_alive and self._body is None and answer.length != UNTIL_CLOSE and not self._proxy.draining

    def _take_response(self, data: bytes) -> bytes:
        """What of ``data`` the client gets."""
        assert self._response_body is not None
        if self._changing is None:
            count, sent = self._response_body.take(data), data
        else:
            count, sent = self._changing.take(data)
        if count < len(data):
            raise ProtocolError("more than the response announced")
        return sent

    def _read_response_head(self, data: bytes) -> tuple[bytes, bytes]:
        """Consumes heads, interim ones included; returns the final one as the client will see it, and what follows it."""
        assert self._forward is not None
        request = self._asked()
        buffer = bytearray() if self._response_head is None else self._response_head
        searched = len(buffer)
        buffer += data
        while (end := head_end(buffer, searched)) >= 0:
            head = bytes(buffer[:end])
            response = parse_response(head)
            del buffer[:end]
            searched = 0
            if response.status == 101:
                self._start_tunnel(response, bytes(buffer))
                return b"", b""
            if response.status < 200:
                if request.version == 1:
                    self.transport.write(encode_response(response.status, response.reason, response.headers))
                continue
            made = answer(response, request.method, self._forward.rewrite)
            if request.version == 0 and made.length == CHUNKED:
                raise ProtocolError("chunks for a client of HTTP/1.0")
            if self._forward.change is not None:
                made = self._change(parse_response(made.head), made, request)
            self._answer = made
            if self._get and len(head) <= KEY_BYTES and self._forward.still is not None:
                self._proxy.answers.put((self._forward.rewrite, head), made)
            self._response_body = made.body() if self._changing is None else self._changing.body
            self._response_head = None
            stays = self._stays_open(made)
            return made.head if stays else made.head[:-2] + b"Connection: close\r\n\r\n", bytes(buffer)
        self._response_head = buffer
        return b"", b""

    def _change(self, response: Head, made: Answer, request: Head) -> Answer:
        """The answer as its body will be changed, if it is."""
        assert self._forward is not None
        assert self._forward.change is not None
        change = None if request.version == 0 or made.length == 0 else self._forward.change(response)
        if change is None:
            return made
        self._changing = Changing(change, made.body())
        return changed(change.head(response), made.keep_alive)

    def _start_tunnel(self, response: Head, first: bytes) -> None:
        request, forward, upstream = self._asked(), self._forward, self._upstream
        if request.upgrade is None or forward is None or upstream is None:
            raise ProtocolError("a change of protocol that nobody asked for")
        self.transport.write(forward.rewrite(response) + first)
        self._tunnel = True
        self._count(101)
        self._request, self._sent_head, self._response_head = None, b"", None  # it may last for hours
        if self._buffer:
            upstream.transport.write(bytes(self._buffer))
            self._buffer.clear()
        if not upstream.full:
            self.resume()

    def upstream_eof(self) -> bool:
        """True keeps our half open: the client may still be sending."""
        if self._tunnel:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            return True
        return False

    def upstream_lost(self) -> None:
        self._upstream = self.partner = None
        if self._tunnel:
            self.transport.close()
            return
        if self._repeat and self._forward is not None:
            # the server closed the idle connection as we took it: nothing of this request was looked at
            self._repeat = False
            self._task = asyncio.get_running_loop().create_task(self._again(self._asked(), self._forward))
            return
        if self._response_body is None:
            self._bad_gateway("the app closed the connection without an answer")
            return
        try:
            self._response_body.eof()
        except ProtocolError:
            self.abort()  # the client must see that the body is cut short
            return
        if self._changing is not None:
            self.transport.write(self._changing.end())
        self._finish()

    def _finish(self) -> None:
        """The response is through: on to the next request, if both sides can."""
        answer, upstream = self._answer, self._upstream
        assert answer is not None
        self._count(answer.status)
        stays, sent_all = self._stays_open(answer), self._body is None
        self._upstream = self.partner = None
        if upstream is not None:
            upstream.partner = None
            whole = self._response_body is not None and self._response_body.done
            if answer.keep_alive and sent_all and whole and not upstream.closed:
                if self.full:
                    upstream.resume()
                self._proxy.keep(upstream)
            else:
                upstream.abort()
        self._end_exchange()
        if stays:
            self._continue()
        else:
            self._close(unread=not sent_all)

    def _end_exchange(self) -> None:
        if self._forward is not None:
            self._forward.load.open -= 1
        self._forget_exchange()

    def _continue(self) -> None:
        self._since = self._proxy.now
        if self._buffer:
            self.resume()
            self._next_request()

    def _close(self, *, unread: bool) -> None:
        """After all that was written has been sent. ``unread`` says that the client is still sending: a reset would then take
        our last words from it, so it may go on for a while, unheard (RFC 9112 §9.6)."""
        self._busy = self._ending = True
        self._since = self._proxy.now
        self._buffer.clear()
        if unread and self.transport.can_write_eof():
            self.transport.write_eof()
            self.resume()
        else:
            self.transport.close()

    # Answers of our own

    def _reply(self, reply: Reply) -> None:
        if self.closed or self._ending:
            return
        self.transport.write(reply.response)
        self._count(int(reply.response[9:12]))
        unread, stays = self._body is not None, self._keep_alive and not reply.close and not self._proxy.draining
        self._end_exchange()
        if stays and not unread:
            self._continue()
        else:
            self._close(unread=True)

    def _refuse(self, status: int, reason: bytes, text: str) -> None:
        self._drop_upstream()
        if self._answer is not None:
            self.abort()
        else:
            self._reply(plain_reply(status, reason, text))

    def _bad_gateway(self, why: str) -> None:
        self._drop_upstream()
        if self._answer is not None or self._forward is None:
            self.abort()
        else:
            self._reply(self._forward.unavailable(self._asked(), why))

    def _drop_upstream(self) -> None:
        upstream, self._upstream, self.partner = self._upstream, None, None
        if upstream is not None:
            upstream.partner = None
            upstream.abort()

    def _count(self, status: int) -> None:
        proxy = self._proxy
        proxy.answered[status // 100] += 1
        if proxy.log is not None and (self._request is not None or self._sent_head):
            proxy.log(self._asked(), self._peer, status, self.session)
