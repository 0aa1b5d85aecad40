"""The last few megabytes of lines, in memory, each with a sequence number, a time and a stream.

Lines are packed into segments of bytes: a Python object a line would cost tenfold for the short lines dev servers write, and the
agent has 40 MB in all. Dropping the oldest is dropping a segment. Pure: the caller brings the clock.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox_protocol.wire import Stream

SEGMENT_BYTES = 64 * 1024
STREAMS: tuple[Stream, ...] = ("stdout", "stderr", "system")
_RECORD = struct.Struct("<qBH")  # nanoseconds, stream and flag, length: one byte more than 16 KiB fits H
_PARTIAL = 0x80


@dataclass(frozen=True, slots=True)
class Line:
    """``text`` has no line end. ``partial``: the next line of the same stream continues this one (as CRI's P)."""

    seq: int
    time_ns: int
    stream: Stream
    text: bytes
    partial: bool = False


class _Segment:
    __slots__ = ("count", "data", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self.count = 0
        self.data = bytearray()

    def lines(self) -> Iterator[Line]:
        """Stops at what was there when it began: the segment may grow meanwhile."""
        position, seq, end = 0, self.first, len(self.data)
        while position < end:
            time_ns, flags, length = _RECORD.unpack_from(self.data, position)
            position += _RECORD.size
            text = bytes(self.data[position : position + length])
            position += length
            yield Line(seq, time_ns, STREAMS[flags & ~_PARTIAL], text, bool(flags & _PARTIAL))
            seq += 1


class Ring:
    """Bounded by bytes of text plus 11 a line; ``first`` to ``next`` (exclusive) are the sequence numbers it holds."""

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 2 * SEGMENT_BYTES)
        self._segments: deque[_Segment] = deque([_Segment(0)])
        self._bytes = 0  # of all segments but the last

    @property
    def first(self) -> int:
        return self._segments[0].first

    @property
    def next(self) -> int:
        last = self._segments[-1]
        return last.first + last.count

    def append(self, time_ns: int, stream: Stream, text: bytes, *, partial: bool = False) -> None:
        """``text`` is at most 65,535 bytes (the format's limit); the caller cuts longer lines."""
        segment = self._segments[-1]
        if len(segment.data) >= SEGMENT_BYTES:
            self._bytes += len(segment.data)
            segment = _Segment(segment.first + segment.count)
            self._segments.append(segment)
            while self._bytes + SEGMENT_BYTES > self._limit:
                self._bytes -= len(self._segments.popleft().data)
        segment.data += _RECORD.pack(time_ns, STREAMS.index(stream) | (_PARTIAL if partial else 0), len(text))
        segment.data += text
        segment.count += 1

    def lines(self, start: int) -> Iterator[Line]:
        """From sequence number ``start`` (or the oldest that is left) on, up to what is there now. Do not append meanwhile."""
        segments = list(self._segments)
        at = bisect_right(segments, start, key=lambda segment: segment.first) - 1
        for segment in segments[max(at, 0) :]:
            for line in segment.lines():
                if line.seq >= start:
                    yield line

    def newest_first(self) -> Iterator[Line]:
        for segment in reversed(self._segments):
            yield from reversed(list(segment.lines()))
