"""What a proxy remembers of heads it has read, by their very bytes. Pure.

Browsers send the same header block with every request of a kind, and servers answer with nearly the same one: only the request
line differs. What is derived from a block (framing, session, rewritten headers) is a function of its bytes, so equal bytes may
share it; what can change meanwhile (time, rights) is asked again for each request, see :attr:`Forward.still`. A block ends with
the empty line and one that announces a body is never kept: bytes that go on behind a known block are another key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sandbox_protocol.http1 import Body, Chunked, Head, ProtocolError, Sized, UntilClose, response_body

KEY_BYTES = 8 * 1024
"""Of a remembered block: a browser's with our session in it takes 1 to 5 kB. A longer one is read anew each time."""
QUICK_LINE = re.compile(rb"GET (/[!-~\x80-\xff]*) HTTP/1\.1(?:\r\nX-Request-Id: [0-9A-Za-z._:-]{1,128})?")
"""Begin of a request that a remembered block may complete: the one method whose requests come in hundreds."""
ID_HEADER = b"X-Request-Id: "
CHUNKED, UNTIL_CLOSE = -1, -2

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """The last ``entries`` of them, in the order they were learnt: a hit costs one look-up and moves nothing."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: dict[K, V] = {}
        self.get = self._kept.get

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, key: K, value: V) -> None:
        if key not in self._kept and len(self._kept) >= self._entries:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = value

    def forget(self, key: K) -> None:
        self._kept.pop(key, None)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's head as the client sees it. ``length`` is that of its body in bytes, or CHUNKED or UNTIL_CLOSE;
    ``keep_alive`` is what its server wants."""

    head: bytes
    length: int
    keep_alive: bool
    status: int

    def body(self) -> Body:
        return Chunked() if self.length == CHUNKED else UntilClose() if self.length == UNTIL_CLOSE else Sized(self.length)


def answer(response: Head, method: bytes, rewrite: Callable[[Head], bytes]) -> Answer:
    """``method`` is that of the request. ProtocolError when the end of the body is in doubt."""
    match response_body(response, method):
        case Sized() as body:
            length = body.left
        case Chunked():
            length = CHUNKED
        case _:
            length = UNTIL_CLOSE
    return Answer(rewrite(response), length, response.keep_alive, response.status)


def split(head: bytes) -> tuple[bytes, bytes, bytes]:
    """Request line, request id (empty when it is not the first header), and the block from the CRLF before its first header on.

    The id differs in every request, so it stands apart from what is remembered; a proxy of ours puts it first.
    """
    cut = head.find(b"\r\n")
    if not head.startswith(ID_HEADER, cut + 2):
        return head[:cut], b"", head[cut:]
    end = head.find(b"\r\n", cut + 2)
    request_id = head[cut + 2 + len(ID_HEADER) : end]
    if re.fullmatch(rb"[0-9A-Za-z._:-]{1,128}", request_id) is None:
        raise ProtocolError("malformed X-Request-Id")
    return head[:cut], request_id, head[end:]
