"""A body that is changed on its way to the client: taken out of its framing, changed piece by piece, sent on in chunks.

Bodies pass untouched everywhere else; what is here costs nothing to who does not ask for it (:attr:`Forward.change`).
"""

from __future__ import annotations

from typing import Protocol

from sandbox_protocol.http1 import Body, Chunked, Head, encode_response
from sandbox_protocol.http1_memo import CHUNKED, Answer

_FRAMING = frozenset([b"content-length", b"transfer-encoding"])


class Change(Protocol):
    """What is done to one body. Both answer with what can be sent on by now."""

    def head(self, head: Head) -> Head:
        """The response's head, which describes the changed body; its framing is not looked at."""

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Changing:
    """One body under a change: :meth:`take` follows it by its framing, and answers with chunks for the client."""

    def __init__(self, change: Change, body: Body) -> None:
        self._change = change
        self._content: list[bytes] | None = None
        self.body = body
        if isinstance(body, Chunked):
            self._content = []
            self.body = Chunked(content=self._content.append)

    def take(self, data: bytes) -> tuple[int, bytes]:
        """How many bytes belong to the body, and what to send. ProtocolError as :class:`Body` has it."""
        count = self.body.take(data)
        if self._content is None:
            content = data[:count]
        else:
            content = b"".join(self._content)
            self._content.clear()
        sent = _chunk(self._change.feed(content)) if content else b""
        return count, sent + self.end() if self.body.done else sent

    def end(self) -> bytes:
        return _chunk(self._change.end()) + b"0\r\n\r\n"


def changed(head: Head, keep_alive: bool) -> Answer:
    """The answer whose ``head`` a change has made, in chunks: nobody knows how long it becomes."""
    headers = [(name, value) for name, value in head.headers if name.lower() not in _FRAMING]
    made = encode_response(head.status, head.reason, [*headers, (b"Transfer-Encoding", b"chunked")])
    return Answer(made, CHUNKED, keep_alive, head.status)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""
