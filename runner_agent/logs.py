"""What the app prints, and what we say about it, kept and served. One LogBook a pod; it never makes the app wait.

Writers call :meth:`LogBook.write` with whatever arrived; lines are cut here. Readers hold a sequence number, nothing else: one
that is slower than the app finds that the ring moved on, is told how many lines it lost, and continues. A run is one attempt of
install and app; ``previous`` is the run before. The default is everything that is kept: a restart must not hide why it happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from aiohttp import web

from runner_agent import logs_query
from runner_agent.logs_query import LogQuery
from runner_agent.logs_ring import STREAMS, Line, Ring
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import Stream

RING_BYTES = 4 * 1024 * 1024
LINE_BYTES = 16 * 1024
"""A longer line is kept in parts of this size, as container runtimes do, and joined again when it is read."""
BATCH_BYTES = 64 * 1024
"""Written to a reader at once; between two batches other requests get their turn."""
MAX_FOLLOWERS = 64
IDLE_SECONDS = 5.0
"""Between two looks whether a silent follower is still there."""


class LogBook:
    """Lines of stdout, stderr and system. Not thread-safe: the event loop's own."""

    def __init__(self, limit: int = RING_BYTES, clock: Callable[[], int] = time.time_ns) -> None:
        self._ring = Ring(limit)
        self._clock = clock
        self._open: dict[Stream, bytearray] = {stream: bytearray() for stream in STREAMS}
        self._runs: deque[int] = deque([0], maxlen=2)  # first sequence number of the run before and of this one
        self._readers: set[asyncio.Event] = set()
        self._closed = False

    def write(self, stream: Stream, data: bytes) -> None:
        """Bytes as they came, cut anywhere; a line is stored when its end arrives or when it is over LINE_BYTES."""
        now = self._clock()
        rest = self._open[stream]
        lines = data.split(b"\n")
        if len(lines) > 1 and rest:
            lines[0] = bytes(rest) + lines[0]
            rest.clear()
        for text in islice(lines, len(lines) - 1):
            self._store(now, stream, text.removesuffix(b"\r"))
        rest += lines[-1]
        while len(rest) > LINE_BYTES:
            self._ring.append(now, stream, bytes(rest[:LINE_BYTES]), partial=True)
            del rest[:LINE_BYTES]
        self._wake()

    def system(self, text: str) -> None:
        """One line of our own, for the person who reads the log."""
        self.write("system", text.encode(errors="replace") + b"\n")

    def begin_run(self) -> None:
        """What comes from now on belongs to a new run; the present one becomes ``previous``."""
        self.end_lines()
        self._runs.append(self._ring.next)

    def end_lines(self) -> None:
        """The writers are gone: an unfinished line is finished as it is."""
        for stream, rest in self._open.items():
            if rest:
                self._store(self._clock(), stream, bytes(rest))
                rest.clear()
        self._wake()

    def last_lines(self, count: int, streams: frozenset[Stream] = frozenset({"stdout", "stderr"})) -> list[str]:
        """The newest ``count`` lines of this run that are not blank, oldest first, undecodable bytes replaced."""
        start = self._runs[-1]
        found: list[str] = []
        for line in self._ring.newest_first():
            if line.seq < start or len(found) == count:
                break
            if line.stream in streams and line.text.strip():
                found.append(line.text.decode(errors="replace"))
        return found[::-1]

    def close(self) -> None:
        """Followers get what is there, and their end."""
        self._closed = True
        self._wake()

    async def serve_log(self, request: web.Request) -> web.StreamResponse:
        """Answer of ``/v1/log``. StatusError 400 for a bad query, 429 when MAX_FOLLOWERS follow already."""
        query = logs_query.parse(request.query, self._clock())
        if query.follow and len(self._readers) >= MAX_FOLLOWERS:
            raise StatusError(429, f"{MAX_FOLLOWERS} readers follow this log already; close one and try again", retry_after=5)
        changed = asyncio.Event()
        if query.follow:
            self._readers.add(changed)
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/plain", "Cache-Control": "no-store"})
            await response.prepare(request)
            cursor = self._cursor(query)
            while not cursor.done:
                changed.clear()
                for batch in self._batches(cursor):
                    await response.write(batch)
                if cursor.done or not query.follow or self._closed:
                    break
                await _wait(changed)
                if request.transport is None or request.transport.is_closing():
                    break
            await response.write_eof()
        except ConnectionError:  # the reader went away: nobody is left to tell
            pass
        finally:
            self._readers.discard(changed)
        return response

    def read(self, query: LogQuery) -> bytes:
        """All that matches now, at once."""
        return b"".join(self._batches(self._cursor(query)))

    def _store(self, now: int, stream: Stream, text: bytes) -> None:
        while len(text) > LINE_BYTES:
            self._ring.append(now, stream, text[:LINE_BYTES], partial=True)
            text = text[LINE_BYTES:]
        self._ring.append(now, stream, text)

    def _wake(self) -> None:
        for event in self._readers:
            event.set()

    def _cursor(self, query: LogQuery) -> _Cursor:
        start, end = 0, None
        if query.previous:
            start, end = (self._runs[0], self._runs[1]) if len(self._runs) == 2 else (0, 0)
        for stream, rest in self._open.items():  # a prompt without its line end is worth showing; the rest joins it later
            if rest:
                self._ring.append(self._clock(), stream, bytes(rest), partial=True)
                rest.clear()
        cursor = _Cursor(query, max(start, self._ring.first), end)
        if query.tail is not None:
            cursor.position = self._tail_start(cursor, query.tail)
        return cursor

    def _tail_start(self, cursor: _Cursor, tail: int) -> int:
        """Sequence number where the last ``tail`` whole lines that match begin."""
        end, whole, start = cursor.end, 0, self._ring.next if cursor.end is None else cursor.end
        unfinished = True  # the newest line may still be partial: it counts as one
        for line in self._ring.newest_first():
            if line.seq < cursor.position:
                break
            if (end is not None and line.seq >= end) or not cursor.matches(line):
                continue
            if not line.partial or unfinished:
                whole += 1
                unfinished = False
            if whole > tail:
                break
            start = line.seq
        return start

    def _batches(self, cursor: _Cursor) -> Iterator[bytes]:
        """Lines the cursor has not seen, rendered, in pieces of about BATCH_BYTES; looks at the ring anew for every piece."""
        while not cursor.done:
            if (lost := self._ring.first - cursor.position) > 0:
                cursor.position = self._ring.first
                yield cursor.render(_lost(lost, self._clock()))
            piece = bytearray()
            for line in self._ring.lines(cursor.position):
                if cursor.end is not None and line.seq >= cursor.end:
                    cursor.done = True
                    break
                cursor.position = line.seq + 1
                if cursor.matches(line):
                    piece += cursor.render(line)
                if len(piece) >= BATCH_BYTES or cursor.done:
                    break
            if not piece:
                return
            yield bytes(piece)


@dataclass(slots=True)
class _Cursor:
    """Where a reader is, and how it wants lines to look. ``end``: the first sequence number it must not see."""

    query: LogQuery
    position: int
    end: int | None
    done: bool = False
    _sent: int = 0
    _within: Stream | None = None  # the stream whose line is not finished yet

    def matches(self, line: Line) -> bool:
        query = self.query
        return (query.stream is None or line.stream == query.stream) and (
            query.since_ns is None or line.time_ns >= query.since_ns
        )

    def render(self, line: Line) -> bytes:
        """The line with its end, parts joined as long as no other stream comes between; cut at ``limitBytes``."""
        text = line.text if line.partial else line.text + b"\n"
        if self._within != line.stream:
            prefix = b"" if self._within is None else b"\n"
            if self.query.timestamps:
                prefix += logs_query.format_time(line.time_ns).encode() + b" "
            text = prefix + text
        self._within = line.stream if line.partial else None
        limit = self.query.limit
        if limit is not None and self._sent + len(text) >= limit:
            text = text[: limit - self._sent]
            self.done = True
        self._sent += len(text)
        return text


def _lost(count: int, now: int) -> Line:
    return Line(-1, now, "system", b"%d lines are missing here: this reader was slower than the app" % count)


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            await changed.wait()
    except TimeoutError:
        pass
