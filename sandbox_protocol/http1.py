"""HTTP/1.1 as far as a proxy needs it: heads, and where a body ends. Pure and strict; bytes in, records out.

Strict because two readers who disagree about where a message ends can be made to smuggle one inside another: what RFC 9112 lets a
server tolerate (bare LF, folded lines, white space before the colon, both length and chunks, repeated lengths) is refused here.
Header names and values are kept as they came; :meth:`Head.get` looks names up without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

HEAD_BYTES = 64 * 1024
"""Of a whole head; browsers send a few kilobytes, an app with many large cookies 16."""
HEADERS = 200

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~\x80-\xff]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")
_VISIBLE, _FIELD = rb"[\x21-\x7e\x80-\xff]", rb"[\t\x20-\x7e\x80-\xff]"
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*((?:" + _VISIBLE + rb"(?:" + _FIELD + rb"*" + _VISIBLE + rb")?)?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_LINE_BYTES = 256
_TRAILER_BYTES = 16 * 1024

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer upgrade".split(),
)
"""Meant for the next reader only. Transfer-Encoding is not among them: bodies pass byte for byte, framing included."""


class ProtocolError(Exception):
    """A message that is not well formed, or that two readers could understand differently. The connection cannot go on."""


Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Head:
    """Of a request (``method`` and ``target``) or a response (``status``). ``version`` is the minor one: 0 or 1."""

    headers: Headers
    version: int = 1
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    reason: bytes = b""
    id: bytes = b""
    """Of the request, across our hops; set by the proxy that met the client."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        return next(self.all(name), None)

    def all(self, name: bytes) -> Iterator[bytes]:
        return (value for key, value in self.headers if key.lower() == name)

    def tokens(self, name: bytes) -> list[bytes]:
        """The lower-case elements of a comma-separated header, over all its lines."""
        return [token.strip().lower() for value in self.all(name) for token in value.split(b",") if token.strip()]

    @property
    def keep_alive(self) -> bool:
        connection = self.tokens(b"connection")
        return b"close" not in connection and (self.version == 1 or b"keep-alive" in connection)

    @property
    def upgrade(self) -> bytes | None:
        """The protocol that a request asks to change to, lower case (``websocket``)."""
        return (self.get(b"upgrade") or b"").lower() or None if b"upgrade" in self.tokens(b"connection") else None

    def end_to_end(self, drop: Callable[[bytes], bool] = lambda _: False) -> list[tuple[bytes, bytes]]:
        """Headers for the next hop: without hop-by-hop ones, without those that Connection names, without what ``drop`` says of a
        lower-case name."""
        gone = HOP_BY_HOP.union(self.tokens(b"connection")) - {b"content-length", b"transfer-encoding", b"host"}
        return [(key, value) for key, value in self.headers if (name := key.lower()) not in gone and not drop(name)]


def head_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Index just after the head, or -1 while it is not complete. ProtocolError once it cannot become one of legal size."""
    end = buffer.find(b"\r\n\r\n", max(0, start - 3), HEAD_BYTES)
    if end < 0 and len(buffer) >= HEAD_BYTES:
        raise ProtocolError(f"head longer than {HEAD_BYTES} bytes")
    return end + 4 if end >= 0 else -1


def parse_request(head: bytes, request_id: bytes = b"") -> Head:
    """``head`` up to and including its empty line."""
    lines = head[:-4].split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise ProtocolError("malformed request line")
    method, target, version = match.groups()
    headers = _headers(lines[1:])
    request = Head(headers, int(version), method, target, id=request_id)
    hosts = list(request.all(b"host"))
    if len(hosts) != 1:
        raise ProtocolError("exactly one Host header is needed")
    if not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise ProtocolError("the request target must be a path")
    return request


def parse_response(head: bytes) -> Head:
    """``head`` up to and including its empty line."""
    lines = head[:-4].split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise ProtocolError("malformed status line")
    version, status, reason = match.groups()
    return Head(_headers(lines[1:]), int(version), status=int(status), reason=reason or b"")


def _headers(lines: list[bytes]) -> Headers:
    if len(lines) > HEADERS:
        raise ProtocolError(f"more than {HEADERS} headers")
    return tuple([_short_header(line) if len(line) <= _SHORT_BYTES else _header(line) for line in lines])


def _header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise ProtocolError("malformed header line")
    return match[1], match[2]


_SHORT_BYTES = 128
# The same few lines come again and again ("Accept: */*"); at most 1024 * 2 * 128 bytes in an agent of 40 MiB.
_short_header = lru_cache(1024)(_header)


def encode_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What follows a first line: its CRLF, the headers, the empty line."""
    return b"".join([b"\r\n", *_lines(headers), b"\r\n"])


def encode_response(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"HTTP/1.1 %d %s\r\n" % (status, reason), *_lines(headers), b"\r\n"])


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    return (b"%s: %s\r\n" % pair for pair in headers)


class Body:
    """Follows a body through its bytes: how many of the next ones belong to it. The bytes themselves pass untouched."""

    done = False

    def take(self, data: bytes | memoryview) -> int:
        """How many bytes of ``data`` belong to the body; sets ``done`` at its end."""
        raise NotImplementedError

    def eof(self) -> None:
        """The sender closed. ProtocolError where that cuts the body short."""
        if not self.done:
            raise ProtocolError("the connection ended inside a body")


class Sized(Body):
    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def take(self, data: bytes | memoryview) -> int:
        count = min(self.left, len(data))
        self.left -= count
        self.done = self.left == 0
        return count


class UntilClose(Body):
    def take(self, data: bytes | memoryview) -> int:
        return len(data)

    def eof(self) -> None:
        self.done = True


class Chunked(Body):
    """Counts through chunk headers, data and trailers, whatever pieces they arrive in. ``trailers`` says whether any may come;
    ``content`` is given the data of each chunk, without framing."""

    def __init__(self, *, trailers: bool = True, content: Callable[[bytes], None] | None = None) -> None:
        self._trailers = trailers
        self._content = content
        self._left = 0  # of the present chunk, its CRLF included
        self._line = bytearray()  # the unfinished line
        self._trailer = -1  # bytes of trailers so far, -1 before the last chunk

    def take(self, data: bytes | memoryview) -> int:
        raw = bytes(data)
        at = 0
        while at < len(raw) and not self.done:
            if self._left > 2:  # the data of a chunk
                step = min(self._left - 2, len(raw) - at)
                if self._content is not None:
                    self._content(raw[at : at + step])
                self._left -= step
                at += step
            elif self._left:  # its CRLF
                if raw[at] != (13 if self._left == 2 else 10):
                    raise ProtocolError("a chunk does not end where it said")
                self._left -= 1
                at += 1
            else:
                at = self._take_line(raw, at)
        return at

    def _take_line(self, raw: bytes, at: int) -> int:
        newline = raw.find(b"\n", at)
        end = len(raw) if newline < 0 else newline + 1
        self._line += raw[at:end]
        if len(self._line) > (_CHUNK_LINE_BYTES if self._trailer < 0 else _TRAILER_BYTES):
            raise ProtocolError("chunk header or trailer too long")
        if newline >= 0:
            line = bytes(self._line)
            self._line.clear()
            if not line.endswith(b"\r\n"):
                raise ProtocolError("bare LF in a chunked body")
            self._end_line(line[:-2])
        return end

    def _end_line(self, line: bytes) -> None:
        if self._trailer >= 0:
            self._trailer += len(line)
            if not line:
                self.done = True
            elif not self._trailers:
                raise ProtocolError("a request with trailers")
            elif _HEADER.fullmatch(line) is None or self._trailer > _TRAILER_BYTES:
                raise ProtocolError("malformed trailer")
            return
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ProtocolError("malformed chunk header")
        size = int(match[1], 16)
        if size:
            self._left = size + 2
        else:
            self._trailer = 0


def request_body(head: Head) -> Body:
    """ProtocolError for anything that two readers could measure differently.

    Trailers too, once they come: there are servers (aiohttp 3.14 on llhttp) that take them for headers of the next request on the
    connection, which may be another client's. No browser sends any.
    """
    body = _framed(head)
    if isinstance(body, Chunked):
        return Chunked(trailers=False)
    return Sized(0) if body is None else body


def response_body(head: Head, method: bytes) -> Body:
    """``method`` is that of the request. Interim responses (1xx) have no body; neither have 204, 304 and answers to HEAD."""
    if method == b"HEAD" or head.status in (204, 304) or head.status < 200:
        return Sized(0)
    body = _framed(head)
    return UntilClose() if body is None else body


def _framed(head: Head) -> Body | None:
    lengths, codings = list(head.all(b"content-length")), list(head.all(b"transfer-encoding"))
    if codings:
        if lengths:
            raise ProtocolError("both Content-Length and Transfer-Encoding")
        # word for word: not every reader passes over an empty line or element, or joins two lines
        if [coding.lower() for coding in codings] != [b"chunked"] or head.version == 0:
            raise ProtocolError("unsupported Transfer-Encoding")
        return Chunked()
    if not lengths:
        return None
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise ProtocolError("malformed or repeated Content-Length")
    return Sized(int(lengths[0]))
