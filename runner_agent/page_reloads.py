"""Tells open pages when to load anew: after a sync, once the app answers again or has failed: an edit, or its error, is seen.

A page holds the mark of what it was made from, and asks with it; the answer comes when there is another one. The mark is the
revision of the workspace, which outlives the agent, and a number for what happens later with the same revision: a reloader of the
app's own, which says so in its log, or a port that goes away and comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runner_agent.logs import LogBook
from runner_agent.process import Process
from runner_agent.supervisor import Supervisor, Synced

WAIT_SECONDS = 25.0
"""For which a page's question stays open: shorter than what proxies on the way take for silence."""
MOST_WAITING = 32
"""Pages of all ports that wait at once; the next one is told to come back."""
_SETTLE_SECONDS = 0.05
"""From a sync until a process that restarts for it is not ready any more."""
_WATCH_SECONDS, _LOOK_SECONDS = 6.0, 0.1
"""After a sync: for how long, and how often, it is looked at what the app's own reloader does. Flask looks each second."""
_ONCE_MORE_SECONDS = 4.0
"""After a sync that a page missed, as its client was not connected: a tool that compiles may still give it what was before."""
_READY_SECONDS = 120.0
_DEATH_SECONDS = 1.0
"""Between two looks of a waiting page whether the app died: of a death without a sync nobody else tells."""
_RELOADER = re.compile(r"\b(?:re-?start|re-?load)(?:ing|ed)?\b", re.IGNORECASE)
_LINES = 20


@dataclass(slots=True)
class _Port:
    """What a page of this port is made from by now. ``connected_at``: when a page last opened a WebSocket or
    a stream of events (monotonic); ``heard_at``: the same by the time of the last sync; ``missed``: a page did not hear of it."""

    revision: str = ""
    later: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    connected_at: float = 0.0
    heard_at: float = 0.0
    missed: bool = False
    following: asyncio.Task[None] | None = None


class PageReloads:
    """Hears of each sync from the supervisor."""

    def __init__(self, supervisor: Supervisor, workspace: Synced, logbook: LogBook) -> None:
        self._supervisor = supervisor
        self._workspace = workspace
        self._logbook = logbook
        self._boot = os.urandom(4).hex()
        self._ports: dict[int, _Port] = {}
        self._waiting = 0
        supervisor.heard = self.synced

    def synced(self, changed: Sequence[str]) -> None:
        if changed:
            for port, known in self._ports.items():
                known.heard_at, known.missed = known.connected_at, False
                self._follow(port, known)

    def connected(self, port: int) -> None:
        """A page opened a WebSocket or a stream of events: from now on a client of the app's own may hear of edits."""
        self._known(port).connected_at = time.monotonic()

    def hears(self, port: int, since: float, *, synced: bool) -> bool:
        """Whether a page has opened one since that moment (monotonic); with ``synced``, before the last sync."""
        known = self._known(port)
        heard = (known.heard_at if synced else known.connected_at) >= since
        known.missed |= synced and not heard
        return heard

    async def close(self) -> None:
        tasks = [known.following for known in self._ports.values() if known.following is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def mark(self, port: int) -> str:
        known = self._known(port)
        return f"{known.revision}.{self._boot}.{known.later}"

    def is_new(self, port: int, seen: str) -> bool:
        """Whether a page with the mark ``seen`` is older than what there is. What another agent counted says nothing."""
        known = self._known(port)
        revision, _, rest = seen.partition(".")
        boot, _, later = rest.partition(".")
        return revision != known.revision or (boot == self._boot and later != str(known.later))

    async def wait(self, port: int, seen: str) -> str | None:
        """The mark once it is not ``seen`` any more, or after WAIT_SECONDS; None when too many wait already.

        A page of an app that dies meanwhile is old as well: why it died stands in its place.
        """
        if self._waiting >= MOST_WAITING:
            return None
        self._waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_SECONDS):
                    while not self.is_new(port, seen):
                        await self._changed_or_dead(port)
        finally:
            self._waiting -= 1
        return self.mark(port)

    async def _changed_or_dead(self, port: int) -> None:
        known, process = self._known(port), self._supervisor.serving(port)
        was_up = process is not None and process.ready
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await known.changed.wait()
        except TimeoutError:
            if was_up and process is not None and process.dead and self._known(port) is known:
                known.later += 1
                _announce(known)

    # After a sync

    def _known(self, port: int) -> _Port:
        known = self._ports.get(port)
        if known is None:
            if len(self._ports) >= 2 * MOST_WAITING:  # any port may be asked for
                self._ports = {p: k for p, k in self._ports.items() if self._supervisor.serving(p) is not None}
            known = self._ports[port] = _Port(self._workspace.revision or "")
        return known

    def _follow(self, port: int, known: _Port) -> None:
        if known.following is not None:
            known.following.cancel()
        known.following = asyncio.create_task(self._tell(self._supervisor.serving(port), known), name=f"reloads of {port}")

    async def _tell(self, process: Process | None, known: _Port) -> None:
        await asyncio.sleep(_SETTLE_SECONDS)
        if process is not None:
            await _until(lambda: process.ready or process.dead, _READY_SECONDS)
        known.revision, known.later = self._workspace.revision or "", 0
        _announce(known)
        if process is None:
            return
        said, was_up = self._reloader(process), process.ready
        loop = asyncio.get_running_loop()
        once_more, end = loop.time() + _ONCE_MORE_SECONDS, loop.time() + _WATCH_SECONDS
        while loop.time() < end:
            await asyncio.sleep(_LOOK_SECONDS)
            now_up, now_said = process.ready, self._reloader(process)
            if known.missed and loop.time() >= once_more:
                once_more = end
                known.later += 1
                _announce(known)
            if (now_up is not was_up and (process.ready or process.dead)) or now_said > said:
                await asyncio.sleep(2 * _LOOK_SECONDS)
                known.later += 1
                _announce(known)
            said, was_up = now_said, now_up
        if not process.ready:  # its error is on the waiting page
            known.later += 1
            _announce(known)

    def _reloader(self, process: Process) -> int:
        """How many of the last lines tell that the app's own reloader is at work."""
        return sum(1 for line in self._logbook.last_lines(_LINES, process.name) if _RELOADER.search(line))


def _announce(known: _Port) -> None:
    changed, known.changed = known.changed, asyncio.Event()
    changed.set()


async def _until(holds: Callable[[], bool], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - processes tell nobody, and this ends with the first yes
                await asyncio.sleep(_LOOK_SECONDS / 2)
