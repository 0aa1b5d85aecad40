"""A reader of the log: where it is, what it wants to see, and how it goes from the volume to memory without a gap or a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runner_agent.logs import LogBook
from runner_agent.logs_block import Block, Record, epoch_of, line_of, position
from runner_agent.logs_store import READ_BYTES, Bookmark, Store
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.log_query import Cursor, LogQuery

BEHIND_SECONDS, BEHIND_STEPS = 0.01, 100
"""A reader that needs lines which are just on their way to the volume waits for them, for a second in all."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a query shows. ``runs``: by process, the part of the log that ``previous`` means."""

    query: LogQuery
    runs: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __call__(self, record: Record) -> bool:
        query = self.query
        if (
            record.mark
            or (query.process is not None and record.process != query.process)
            or (query.stream is not None and record.stream != query.stream)
            or (query.since_ns is not None and record.time_ns < query.since_ns)
        ):
            return False
        if query.previous:
            start, end = self.runs.get(record.process, (0, 0))
            return start <= record.position < end
        return True


@dataclass(frozen=True, slots=True)
class Gap:
    """``count`` lines before the one at ``before`` are not there any more."""

    before: int
    count: int


class Reader:
    """Made by :func:`open_reader`. ``end``: position that it does not reach, None while it follows."""

    def __init__(self, book: LogBook, wanted: Filter, start: int, end: int | None) -> None:
        self._book = book
        self._wanted = wanted
        self._position = start
        self.end = end
        self._bookmark = Bookmark()

    @property
    def over(self) -> bool:
        return self.end is not None and self._position >= self.end

    async def read(self) -> list[Record | Gap]:
        """What comes next of what is there, about READ_BYTES of it at most; empty when there is nothing (more)."""
        while not self.over:
            blocks = await self._blocks()
            if not blocks:
                return []
            if found := [item for block in blocks for item in self._look(block)]:
                return found
        return []

    async def _blocks(self) -> list[Block]:
        ring, store = self._book.ring, self._book.store
        if store is not None and self._position < ring.first:
            for _ in range(BEHIND_STEPS):
                settled = self._book.settled(self._position)
                blocks, bookmark = await asyncio.to_thread(store.read, self._position, self._bookmark)
                if older := [block for block in blocks if block.first < ring.first]:  # beyond it memory may know of more
                    if len(older) == len(blocks):
                        self._bookmark = bookmark
                    return older
                if settled or self._position >= ring.first:
                    break
                await asyncio.sleep(BEHIND_SECONDS)
        blocks, total = [], 0
        for block in ring.blocks(self._position):
            blocks.append(block)
            total += len(block.data)
            if total >= READ_BYTES:
                break
        return blocks

    def _look(self, block: Block) -> Iterator[Record | Gap]:
        """Records of ``block`` that are wanted; the position moves behind it."""
        if block.first > self._position and not self.over:
            missing = line_of(block.first) - line_of(self._position)
            self._position = block.first
            if missing > 0:
                yield Gap(block.first, missing)
        for record in block.records():
            end = record.position + record.lines
            if end <= self._position:
                continue
            if self.end is not None and record.position >= self.end:
                self._position = self.end
                return
            seen = self._position - record.position
            self._position = end
            if self._wanted(record):
                yield _without(record, seen) if seen > 0 else record


async def open_reader(book: LogBook, query: LogQuery) -> Reader:
    """StatusError 410 for a cursor that names no line of this log."""
    book.show_unfinished()
    runs = book.runs.previous() if query.previous else {}
    wanted = Filter(query, runs)
    end = book.ring.next if query.previous or not query.follow else None
    start = book.first if query.cursor is None else _after(book, query.cursor)
    if query.previous:
        windows = [window for process, window in runs.items() if query.process in (None, process)]
        end = max((window[1] for window in windows), default=start)
        start = max(start, min((window[0] for window in windows), default=start))
    store = book.store
    if store is not None and query.since_ns is not None:
        start = max(start, min(store.since(query.since_ns), book.ring.first))
    if query.tail is not None:
        start = await _tail_start(book, wanted, start, book.ring.next if end is None else end)
    return Reader(book, wanted, start, end)


def _after(book: LogBook, cursor: Cursor) -> int:
    place = position(cursor.epoch, cursor.line) + 1
    if cursor.log == book.identity and place <= book.ring.next:
        return place
    oldest = Cursor(book.identity, epoch_of(book.first), max(line_of(book.first) - 1, 0))
    message = f"{cursor} names no line of this log; the oldest that is kept comes after {oldest}. Leave cursor out to begin there"
    raise StatusError(410, f"cursor: {message}", reason="Expired", causes=[Cause("cursor", "FieldValueInvalid", message)])


async def _tail_start(book: LogBook, wanted: Filter, start: int, end: int) -> int:
    """Where the last ``tailLines`` whole lines that are wanted begin."""
    tail = _Tail(wanted, start, end)
    ring_first = book.ring.first
    if tail.count(book.ring.newest_first()) or book.store is None or start >= ring_first:
        return tail.start
    since = wanted.query.since_ns or 0
    await asyncio.to_thread(lambda store: tail.count(_older(store, ring_first, since)), book.store)
    return tail.start


def _older(store: Store, before: int, since_ns: int) -> Iterator[Record]:
    for block in store.newest_first(before, since_ns):
        yield from (record for record in reversed(list(block.records())) if record.position < before)


class _Tail:
    """Counts whole lines from the newest to the oldest; parts of a line belong to the one that they begin."""

    def __init__(self, wanted: Filter, floor: int, end: int) -> None:
        self.start = end
        self._wanted = wanted
        self._floor = floor
        self._end = end
        self._left = wanted.query.tail or 0
        self._unfinished = True  # the newest line may still be in parts: it counts as one

    def count(self, newest_first: Iterable[Record]) -> bool:
        """Whether ``start`` is found; there may be older records otherwise."""
        for record in newest_first:
            if record.position + record.lines <= self._floor:
                return True
            if record.position >= self._end or not self._wanted(record):
                continue
            lines = record.lines if self._unfinished or not record.partial else 0
            self._unfinished = False
            if lines > self._left:
                if self._left:
                    self.start = max(record.position + lines - self._left, self._floor)
                return True
            self._left -= lines
            self.start = max(record.position, self._floor)
        return False


def _without(record: Record, lines: int) -> Record:
    """The record without its first ``lines``."""
    at = 0
    for _ in range(lines):
        at = record.text.index(b"\n", at) + 1
    return record._replace(position=record.position + lines, lines=record.lines - lines, text=record.text[at:])
