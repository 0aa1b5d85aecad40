"""What the app prints, and what we say about it. One LogBook a pod; neither the app nor the event loop waits for the volume.

Writers call :meth:`LogBook.write` with whatever arrived; lines are cut here. The newest are in memory, all of them within a bound
on the volume, where they outlive agent and pod. A flood is cut at its source: beyond RATE_BYTES a process's output is counted and
dropped before anything else is done with it. A run is one start of a process; ``previous`` is the run before, of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runner_agent.logs_block import TEXT_BYTES, Block, pack, position
from runner_agent.logs_ring import Ring
from runner_agent.logs_runs import Runs
from runner_agent.logs_store import Mark, Store
from runner_agent.logs_writer import Writer
from sandbox_protocol.log_query import STREAMS
from sandbox_protocol.wire import Stream

RING_BYTES = 1024 * 1024
RATE_BYTES = 16 * 1024 * 1024
"""A second, of one process, LINE_COST for each line included: 90,000 lines of 100 characters. More than anybody can read or a
browser show; storing it takes less than a tenth of a core."""
BURST_BYTES = 16 * 1024 * 1024
"""Passed at once after a quiet second: a build's whole output."""
LINE_COST = 80
"""Bytes that a line weighs beside its text, for whoever renders it."""
SAMPLE_BYTES = 4096
"""Of a large piece, in which lines are counted: counting all of a flood would take a quarter of a core."""
HELD_BYTES, HELD_SECONDS = 4096, 0.25
"""Of the end of what was dropped: kept aside for so long, then stored unless more was dropped."""
CLOSE_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Budget:
    """Of one process."""

    left: float
    at: int

    def take(self, cost: int, now: int) -> bool:
        self.left = min(BURST_BYTES, self.left + (now - self.at) * RATE_BYTES / 1e9)
        self.at = now
        if cost > self.left:
            return False
        self.left -= cost
        return True


class LogBook:
    """Lines of stdout, stderr and system. Not thread-safe: the event loop's own. Without a ``store`` it is in memory only."""

    def __init__(self, limit: int = RING_BYTES, clock: Callable[[], int] = time.time_ns, store: Store | None = None) -> None:
        self._clock = clock
        self.store = store
        self.ring = Ring(limit, *_beginning(store, clock()))
        self.identity = store.identity if store is not None else f"{time.time_ns() & 0xFFFFFFFF:08x}"
        self.runs = Runs() if store is None else store.runs.copy()
        self._writer = None if store is None else Writer(store, self._heard, clock)
        self._loop = None if store is None else asyncio.get_running_loop()
        self._open: dict[tuple[str, Stream], bytearray] = {}
        self._cut: set[tuple[str, Stream]] = set()  # their line lost its beginning: what is left of it goes, too
        self._held: dict[tuple[str, Stream], bytes] = {}  # the last whole lines of what was dropped
        self._releasing: asyncio.TimerHandle | None = None
        self._budgets: dict[str, _Budget] = {}
        self._changed: set[asyncio.Event] = set()
        self.closed = False
        if store is not None and store.torn:
            self.system("the agent ended without notice and was started again: lines of its last moments may be missing")
        if store is not None and store.failed is not None:
            self.system(f"the log is not kept on the volume for now: {store.failed.strerror or store.failed}")

    def write(self, process: str, stream: Stream, data: bytes) -> None:
        """What ``process`` (a name that we gave) wrote, cut anywhere; a line is stored when its end arrives or when it is longer
        than TEXT_BYTES."""
        now, key = self._clock(), (process, stream)
        lines = _about_lines(data, now)
        budget = self._budgets.get(process) or self._budgets.setdefault(process, _Budget(BURST_BYTES, now))
        if not budget.take(len(data) + LINE_COST * lines, now):
            self._drop(key, data, lines)
            return
        self._release(key)
        if key in self._cut:
            _, end, data = data.partition(b"\n")
            if not end:
                return
            self._cut.discard(key)
            self.ring.skip(1)
        self._accept(now, key, data)

    def system(self, text: str, process: str = "agent") -> None:
        """One line of our own about ``process``, for the person who reads the log."""
        self._accept(self._clock(), (process, "system"), text.encode(errors="replace") + b"\n")

    def begin_run(self, process: str) -> None:
        """What comes from now on of ``process`` belongs to a new run; the present one becomes ``previous``."""
        self.end_lines(process)
        place = self.ring.next
        self.runs.begin(process, place)
        record = pack(self._clock(), (process, "system"), b"", 0)
        self.ring.append(record, 0)
        if self._writer is not None:
            self._writer.put(place, record, 0, Mark(process, place))

    def end_lines(self, process: str) -> None:
        """The writers of ``process`` are gone: an unfinished line is finished as it is."""
        for stream in STREAMS:
            key = (process, stream)
            self._release(key)
            self._cut.discard(key)
            if rest := self._open.pop(key, None):
                self._store(self._clock(), key, bytes(rest) + b"\n", 1)
        self._wake()

    def show_unfinished(self) -> None:
        """A prompt without its line end is worth showing to who begins to read; the rest joins it later."""
        self._release_all()
        for key, rest in self._open.items():
            if cut := _characters(rest, len(rest)):
                self._store(self._clock(), key, bytes(rest[:cut]), 1, partial=True)
                del rest[:cut]

    def last_lines(self, count: int, process: str, streams: frozenset[Stream] = frozenset({"stdout", "stderr"})) -> list[str]:
        """The newest ``count`` lines of this run of ``process`` that are not blank, oldest first, undecodable bytes replaced."""
        start = self.runs.present(process)
        found: list[str] = []
        for record in self.ring.newest_first():
            if record.position + record.lines <= start or len(found) >= count:
                break
            if record.process == process and record.stream in streams:
                lines = (line for line in reversed(record.text.decode(errors="replace").split("\n")) if line.strip())
                found += lines
        return found[:count][::-1]

    @contextlib.contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change."""
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            yield changed
        finally:
            self._changed.discard(changed)

    def close(self) -> None:
        """Followers get what is there, and their end."""
        self.closed = True
        self._wake()

    @property
    def first(self) -> int:
        """Position of the oldest line that is kept."""
        return self.ring.first if self.store is None else min(self.store.first, self.ring.first)

    def settled(self, place: int) -> bool:
        """Whether the line at ``place`` is on the volume, if it ever will be."""
        return self._writer is None or self._writer.settled(place)

    async def flush(self) -> None:
        """The last word: what is not on the volume yet is brought there. Nothing may be written after."""
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close, CLOSE_SECONDS)

    def _accept(self, now: int, key: tuple[str, Stream], data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        rest = self._open.setdefault(key, bytearray())
        if end:
            whole = data[:end] if not rest else bytes(rest) + data[:end]
            rest.clear()
            if b"\r" in whole:
                whole = whole.replace(b"\r\n", b"\n")
            self._store_lines(now, key, whole)
        rest += data[end:]
        while len(rest) > TEXT_BYTES:
            cut = _characters(rest, TEXT_BYTES)
            self._store(now, key, bytes(rest[:cut]), 1, partial=True)
            del rest[:cut]
        self._wake()

    def _drop(self, key: tuple[str, Stream], data: bytes, lines: int) -> None:
        """Not kept, but counted. The line that was begun is finished as it is; the one that is cut off goes altogether."""
        rest = self._open.get(key)
        begun = bool(rest) or key in self._cut
        if rest:
            self._store(self._clock(), key, bytes(rest) + b"\n", 1)
            rest.clear()
        self.ring.skip(lines)
        if self._releasing is None:
            with contextlib.suppress(RuntimeError):  # no loop: the next write or reader finds it
                self._releasing = asyncio.get_running_loop().call_later(HELD_SECONDS, self._release_all)
        self._held[key] = _last_lines(data, begun=begun)
        if data.endswith(b"\n"):
            self._cut.discard(key)
        else:
            self._cut.add(key)
        self._wake()

    def _release(self, key: tuple[str, Stream]) -> None:
        """The end of a flood is what people look for: its last lines are stored once it lets up."""
        if held := self._held.pop(key, None):
            self._store_lines(self._clock(), key, held)

    def _release_all(self) -> None:
        self._releasing = None
        for key in tuple(self._held):
            self._release(key)
        self._wake()

    def _store_lines(self, now: int, key: tuple[str, Stream], text: bytes) -> None:
        """``text`` ends with LF; it is cut between lines where it can be, within a line that is too long."""
        at = 0
        while at < len(text):
            end = min(at + TEXT_BYTES, len(text))
            cut = text.rfind(b"\n", at, end) + 1
            if cut:
                piece = text[at:cut]
                self._store(now, key, piece, piece.count(b"\n"))
            else:
                cut = at + _characters(text[at : end + 1], TEXT_BYTES)
                self._store(now, key, text[at:cut], 1, partial=True)
            at = cut

    def _store(self, now: int, key: tuple[str, Stream], text: bytes, lines: int, *, partial: bool = False) -> None:
        record = pack(now, key, text, lines, partial=partial)
        if self._writer is not None:
            self._writer.put(self.ring.next, record, lines)
        self.ring.append(record, lines)

    def _wake(self) -> None:
        for event in self._changed:
            event.set()

    def _heard(self, text: str) -> None:
        """From the writer's thread."""
        log.warning("%s", text)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self.system, text)


def _beginning(store: Store | None, now: int) -> tuple[int, tuple[Block, ...]]:
    """Position of the first line of this agent, and what is there before it."""
    return (position(now // 1_000_000, 1), ()) if store is None else (store.start, store.newest)


def _about_lines(data: bytes, now: int) -> int:
    """Line ends in ``data``; of a large piece an estimate, from a place that its writer cannot foresee."""
    if len(data) <= SAMPLE_BYTES:
        return data.count(b"\n")
    at = now // 1000 % (len(data) - SAMPLE_BYTES)
    return data.count(b"\n", at, at + SAMPLE_BYTES) * len(data) // SAMPLE_BYTES


def _last_lines(data: bytes, *, begun: bool) -> bytes:
    """The last whole lines of ``data`` within HELD_BYTES. ``begun``: it begins within a line, whose start is gone."""
    end = data.rfind(b"\n") + 1
    start = max(0, end - HELD_BYTES)
    if begun or start:
        start = data.find(b"\n", start, end) + 1
    return data[start:end] if end > 0 and (start or not begun) else b""


def _characters(data: bytes | bytearray, limit: int) -> int:
    """Bytes of ``data``, at most ``limit`` of them, that do not end within a character of UTF-8."""
    for back in range(1, min(4, limit) + 1):
        byte = data[limit - back]
        if byte & 0xC0 != 0x80:  # a character begins here
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return limit if length <= back or length == 1 else limit - back
    return limit
