"""What is kept of the log on the volume: numbered segment files of blocks, the oldest of them deleted when all reach the bound.

Nothing is ever synced to the disk: after kill -9 the kernel still has what was written, and after a crash of the node the CRC of
each block tells what arrived. Only whole blocks count; a torn one is cut when the log is opened. Appends come from one thread,
reads from any.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from runner_agent.logs_block import BLOCK_BYTES, Block, epoch_of, line_of, position, read_blocks
from runner_agent.logs_runs import Runs

SEGMENTS = 16
"""Of which the log is made when it is full: deleting one loses a sixteenth."""
MIN_SEGMENT_BYTES = 2 * BLOCK_BYTES
READ_BYTES = 64 * 1024
"""That a reader gets at once."""
_HEADER_BYTES = 64 * 1024
_SUFFIX = ".log"


@dataclass(frozen=True, slots=True)
class Mark:
    """A run of ``process`` begins at ``place``."""

    process: str
    place: int


@dataclass(slots=True)
class Segment:
    """``size``: bytes that count; a reader goes no further. ``time_ns``: no line in it is older."""

    number: int
    path: Path
    first: int
    time_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where a reader left off: the byte ``offset`` in segment ``number``."""

    number: int = -1
    offset: int = 0


class Store:
    """One log. ``start``: position of the first line of this agent. ``torn``: the agent before did not end in order."""

    def __init__(self, folder: Path, limit: int, now_ns: int) -> None:
        """Opens what is there, or begins anew. OSError when the folder cannot be used."""
        self._folder = folder
        self._limit = limit
        self._segment_bytes = max(limit // SEGMENTS, MIN_SEGMENT_BYTES)
        self._file: BinaryIO | None = None
        self.identity = secrets.token_hex(4)
        self.runs = Runs()
        self.newest: tuple[Block, ...] = ()
        """Blocks of the end, as they were found: what people ask for first is there without reading."""
        self.torn = False
        folder.mkdir(parents=True, exist_ok=True)
        self._segments = self._find()
        last = position(0, 1)
        if self._segments:
            last = self._recover(self._segments[-1])
        self._next = self.start = position(max(epoch_of(last) + 1, now_ns // 1_000_000), line_of(last))
        self.failed: OSError | None = None
        try:
            self.append(Block(self.start), (), now_ns)  # the epoch is on the volume before anybody sees a cursor of it
        except OSError as error:
            self.failed = error

    @property
    def first(self) -> int:
        """Of the oldest line that is kept."""
        segments = self._segments
        return segments[0].first if segments else self._next

    @property
    def bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def append(self, block: Block, marks: tuple[Mark, ...], now_ns: int) -> None:
        """OSError (a full volume, most of all): nothing of the block is kept, and the next one may be."""
        data = block.encode()
        if self._file is None or self._segments[-1].size >= self._segment_bytes:
            self._begin(block.first, now_ns)
        assert self._file is not None
        segment = self._segments[-1]
        try:
            _write(self._file, data)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(segment.size)
                self._file.seek(segment.size)
            raise
        segment.size += len(data)
        self._next = block.end
        for mark in marks:
            self.runs.begin(mark.process, mark.place)

    def give_way(self) -> bool:
        """Deletes the oldest segment for newer lines, unless it is the only one."""
        if len(self._segments) < 2:
            return False
        oldest, *rest = self._segments
        self._segments = rest
        oldest.path.unlink(missing_ok=True)
        return True

    def read(self, start: int, bookmark: Bookmark = Bookmark()) -> tuple[list[Block], Bookmark]:
        """Blocks with lines from ``start`` on, about READ_BYTES of them, none at the end; and where to go on."""
        found: list[Block] = []
        total = 0
        segments = self._segments
        at = max(bisect_right(segments, start, key=lambda segment: segment.first) - 1, 0)
        for segment in segments[at:]:
            offset, size = bookmark.offset if bookmark.number == segment.number else 0, segment.size
            with contextlib.suppress(FileNotFoundError), _open(segment, offset) as file:  # deleted meanwhile: a gap
                for block in read_blocks(file, start):
                    if file.tell() > size:  # is being written
                        break
                    found.append(block)
                    total += len(block.data)
                    if total >= READ_BYTES:
                        return found, Bookmark(segment.number, file.tell())
                bookmark = Bookmark(segment.number, min(file.tell(), size))
        return found, bookmark

    def newest_first(self, before: int, since_ns: int = 0) -> Iterator[Block]:
        """Blocks that begin before ``before``, the newest first, read a segment at a time; ends where all is older than asked."""
        for segment in reversed(self._segments):
            if segment.first < before:
                with contextlib.suppress(FileNotFoundError), _open(segment) as file:
                    blocks = [block for block in read_blocks(file, 0) if block.first < before]
                    yield from reversed(blocks)
            if segment.time_ns < since_ns:
                return

    def since(self, time_ns: int) -> int:
        """A position before which every line is older than that."""
        place = self.first
        for segment in self._segments:
            if segment.time_ns >= time_ns:
                break
            place = segment.first
        return place

    def close(self) -> None:
        """In order: the next agent knows that nothing is missing."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                (self._folder / "closed").write_text(str(self._segments[-1].size))

    def _begin(self, first: int, now_ns: int) -> None:
        number = self._segments[-1].number + 1 if self._segments else 1
        path = self._folder / f"{number:012d}{_SUFFIX}"
        head = {
            "log": self.identity,
            "first": [epoch_of(first), line_of(first)],
            "time": now_ns,
            "runs": self.runs.to_json(),
        }
        data = json.dumps(head, separators=(",", ":")).encode() + b"\n"
        self._reclaim(self._segment_bytes)
        file = path.open("xb", buffering=0)
        try:
            _write(file, data)
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            raise
        if self._file is not None:
            self._file.close()
        self._file = file
        self._segments = [*self._segments, Segment(number, path, first, now_ns, len(data))]

    def _reclaim(self, wanted: int) -> None:
        """Room for ``wanted`` bytes within the bound."""
        while self._segments and self.bytes + wanted > self._limit:
            oldest, *rest = self._segments
            oldest.path.unlink(missing_ok=True)
            self._segments = rest

    def _find(self) -> list[Segment]:
        """The segments that are there, oldest first; a file that is none of ours is removed."""
        found: list[Segment] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                with path.open("rb") as file:
                    head = json.loads(file.readline(_HEADER_BYTES))
                    size = file.seek(0, os.SEEK_END)
                segment = Segment(int(path.stem), path, position(*map(int, head["first"])), int(head["time"]), size)
                identity, runs = str(head["log"]), Runs.from_json(head["runs"])
            except (ValueError, KeyError, TypeError, AttributeError):
                path.unlink()
                continue
            if found and segment.first < found[-1].first:
                path.unlink()
                continue
            found.append(segment)
            self.identity, self.runs = identity, runs
        return found

    def _recover(self, segment: Segment) -> int:
        """Cuts a torn end off; the position after the last line. Runs that began in it are remembered."""
        newest: list[Block] = []
        with _open(segment) as file:
            good, end = file.tell(), segment.first
            for block in read_blocks(file, 0):
                try:
                    marks = [record for record in block.records() if record.mark]
                except ValueError:  # its sum is right and its content is not: no writer of ours, and nothing after it counts
                    break
                good, end = file.tell(), max(end, block.end)
                for mark in marks:
                    self.runs.begin(mark.process, mark.position)
                if block.lines:
                    newest.append(block)
                    while sum(len(kept.data) for kept in newest[1:]) > BLOCK_BYTES:
                        newest.pop(0)
        closed = self._folder / "closed"
        self.torn = not closed.exists() or closed.read_text() != str(segment.size)
        closed.unlink(missing_ok=True)
        self.newest = tuple(newest)
        self._file = segment.path.open("r+b", buffering=0)
        self._file.truncate(good)
        self._file.seek(good)
        segment.size = good
        self._reclaim(0)
        return end


def _open(segment: Segment, offset: int = 0) -> BinaryIO:
    """At ``offset``, or at the first block."""
    file = segment.path.open("rb")
    if offset:
        file.seek(offset)
    else:
        file.readline(_HEADER_BYTES)
    return file


def _write(file: Any, data: bytes) -> None:
    """All of it: a volume that is nearly full takes a part and says so only when asked again."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
