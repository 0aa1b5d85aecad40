"""Brings lines to the volume from a thread of its own, so that a slow disk or a full volume holds up nobody.

What waits is bounded; what does not fit is not kept on the volume, is counted, and is said. While little is written, a line is on
its way at once; under load everything that came meanwhile goes with the next write.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from runner_agent.journal import FULL
from runner_agent.logs_block import Block
from runner_agent.logs_store import Mark, Store

PENDING_BYTES = 16 * 1024 * 1024
"""That wait for a slow disk, at most, what is being written included: as much as a process may print at once, so that no stall
costs a line of a build."""
HURRY_BYTES = 128 * 1024
"""That wait: no pause before the next write."""
WRITE_BYTES = 256 * 1024
"""Of one block on the volume."""
PAUSE_SECONDS = 0.01
"""Between two writes: a hundred a second cost nothing that can be measured, ten thousand would."""
RETRY_SECONDS = 5.0
"""After a failure. Somebody may make room meanwhile."""


class _Batch:
    __slots__ = ("block", "marks")

    def __init__(self, first: int) -> None:
        self.block = Block(first)
        self.marks: list[Mark] = []


class Writer:
    """``put`` from the event loop; ``notify`` is called from the thread, with words for the reader of the log."""

    def __init__(self, store: Store, notify: Callable[[str], None], clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._notify = notify
        self._clock = clock
        self._ready = threading.Condition()
        self._batches: deque[_Batch] = deque()
        self._pending = 0
        self._idle = False
        self._closing = False
        self._writing: int | None = None  # position from which on the batches in the thread's hands are not written yet
        self._failing = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def put(self, place: int, record: bytes, lines: int, mark: Mark | None = None) -> None:
        """The record at ``place``. A mark is let in even where there is no room: it is small, and there is one a start."""
        with self._ready:
            if self._pending + len(record) > PENDING_BYTES and mark is None:
                self._dropped += lines
                return
            batch = self._batches[-1] if self._batches else None
            if batch is None or batch.block.end != place or len(batch.block.data) + len(record) > WRITE_BYTES:
                batch = _Batch(place)
                self._batches.append(batch)
            batch.block.data += record
            batch.block.lines += lines
            if mark is not None:
                batch.marks.append(mark)
            self._pending += len(record)
            if self._idle or self._pending >= HURRY_BYTES:
                self._idle = False
                self._ready.notify()

    def settled(self, place: int) -> bool:
        """Whether all before and at ``place`` has been written, or never will be."""
        with self._ready:
            waiting = self._batches[0].block.first if self._batches else None
            return all(first is None or place < first for first in (self._writing, waiting))

    def close(self, seconds: float) -> None:
        """Writes what waits, for at most so long."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join(seconds)

    def _work(self) -> None:
        while batches := self._take():
            while batches:
                self._writing = batches[0].block.first
                if not self._write(batches[0]):
                    with self._ready:
                        self._pending -= sum(len(batch.block.data) for batch in batches)
                        self._dropped += sum(batch.block.lines for batch in batches)
                        self._ready.wait_for(lambda: self._closing, RETRY_SECONDS)
                    break
                with self._ready:
                    self._pending -= len(batches.popleft().block.data)
            with self._ready:
                self._writing = None
                self._ready.wait_for(lambda: self._closing or self._pending >= HURRY_BYTES, PAUSE_SECONDS)
        self._store.close()

    def _take(self) -> deque[_Batch]:
        with self._ready:
            while not self._batches and not self._closing:
                self._idle = True
                self._ready.wait()
            batches, self._batches = self._batches, deque()
            self._writing = batches[0].block.first if batches else None
            return batches

    def _write(self, batch: _Batch) -> bool:
        try:
            self._append(batch)
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._notify(f"the log is not kept on the volume for now: {error.strerror or error}")
            return False
        with self._ready:
            dropped, self._dropped = self._dropped, 0
        if self._failing or dropped:
            self._failing = False
            self._notify(f"{dropped} lines of the log were not kept on the volume: it was full or too slow")
        return True

    def _append(self, batch: _Batch) -> None:
        try:
            self._store.append(batch.block, tuple(batch.marks), self._clock())
        except OSError as error:
            if error.errno not in FULL or not self._store.give_way():
                raise
            self._store.append(batch.block, tuple(batch.marks), self._clock())
