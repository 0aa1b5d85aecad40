"""Files whose change a watcher may have dropped, brought to the app's notice once more.

chokidar, which watches for Vite and most of Node, tells of a file, and then for 50 ms drops what else happens to it. So of two
syncs that close together the second is on the disk and never on the page: an editor that saves as one types, or an AI that mends
its own mistake, is that quick. Where a file takes the place of another, the keeping of the old one is told before the rename. And
of a file that comes with its directory many watchers hear nothing, as they begin to watch that too late. A new modification time
is told when the silence is over, and changes nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import chain

from runner_agent.touch import Touch

WITHIN_SECONDS = 1.0
"""From one sync of a file to the next: the silence of 50 ms, and what a busy watcher is late by when it tells of the first."""
QUIET_SECONDS = 0.1
"""From the last sync of a file to its touch: twice the silence."""


class Repeats:
    """``synced`` after every sync; ``close`` at the end."""

    def __init__(self, touch: Touch) -> None:
        self._touch = touch
        self._recent: deque[Sequence[str]] = deque()
        self._due: dict[str, float] = {}
        self._touching: asyncio.Task[None] | None = None

    def synced(self, changed: Sequence[str], unsure: Sequence[str] = ()) -> None:
        """``unsure``: those of ``changed`` that not every watcher has been told of, however long ago the last sync was."""
        loop = asyncio.get_running_loop()
        again = set(changed).intersection(chain.from_iterable(self._recent)).union(unsure)
        self._due.update(dict.fromkeys(again, loop.time() + QUIET_SECONDS))
        self._recent.append(changed)
        loop.call_later(WITHIN_SECONDS, self._recent.popleft)
        if self._due and self._touching is None:
            self._touching = asyncio.create_task(self._touch_due(), name="repeats")

    async def _touch_due(self) -> None:
        try:
            while self._due:
                await asyncio.sleep(QUIET_SECONDS / 4)
                now = asyncio.get_running_loop().time()
                if ripe := [path for path, when in self._due.items() if when <= now]:
                    for path in ripe:
                        del self._due[path]
                    await self._touch(ripe)
        finally:
            self._touching = None

    async def close(self) -> None:
        if self._touching is not None:
            self._touching.cancel()
            await asyncio.wait([self._touching])
