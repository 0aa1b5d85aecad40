"""Keys that wait to be looked at: each at most once, never two at a time, failing ones ever more slowly.

Modelled on client-go's work queue. A key that is added while it is being worked on runs again afterwards, so no change is lost; a
thousand changes of it are still one run.
"""

from __future__ import annotations

import asyncio
import random
from typing import Generic, TypeVar

K = TypeVar("K")

# Seconds. The first retry is soon, because most failures are races; the last is rare enough for one that needs a person.
FIRST_DELAY, LAST_DELAY = 0.1, 120.0


class KeyQueue(Generic[K]):
    def __init__(self) -> None:
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return self._ready.qsize()

    def add(self, key: K) -> None:
        """Due now."""
        self._cancel_timer(key)
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Due in ``seconds``, unless it is due sooner already."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if key in self._waiting or (timer is not None and timer.when() <= loop.time() + seconds):
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self._due, key)

    async def get(self) -> K:
        """The next due key; it is being worked on until :meth:`done`."""
        key = await self._ready.get()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def succeeded(self, key: K) -> None:
        self._failures.pop(key, None)

    def failed(self, key: K, at_least: float = 0.0) -> float:
        """Schedules another attempt; the seconds until then."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay: float = min(FIRST_DELAY * 2 ** min(failures - 1, 20), LAST_DELAY) * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
        delay = max(delay, at_least)
        self.add_after(key, delay)
        return delay

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
