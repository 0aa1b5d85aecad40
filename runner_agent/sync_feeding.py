"""A body on its way from the event loop to the thread that unpacks it: one handful is worked on while the next one gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

HANDFUL = 64 * 1024
"""A body up to this goes to the thread in one trip, together with the commit; a trip costs 0.1 ms."""


class Feeding:
    """``feed`` is run with one handful at a time, in order; whatever it raises comes out of the next call."""

    def __init__(self, feed: Callable[[bytes], Awaitable[None]]) -> None:
        self._feed = feed
        self._gathered: list[bytes] = []
        self._size = 0
        self._busy: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Waits only while two handfuls are there, so that a caller who sends faster than we unpack is slowed down."""
        self._gathered.append(chunk)
        self._size += len(chunk)
        if self._size > HANDFUL:
            await self._finished()
            self._busy = asyncio.ensure_future(self._feed(self._taken()))

    async def rest(self) -> bytes:
        """What has not been fed, once everything before it has been."""
        await self._finished()
        return self._taken()

    def abandon(self) -> None:
        """Nobody will ask any more; what is being worked on comes to its end by itself."""
        if self._busy is not None:
            self._busy.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _finished(self) -> None:
        if self._busy is not None:
            await asyncio.shield(self._busy)
            self._busy = None

    def _taken(self) -> bytes:
        taken, self._gathered, self._size = b"".join(self._gathered), [], 0
        return taken
