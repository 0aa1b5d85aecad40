"""``GET sync?watch=true``: what changes in the tree, as lines of JSON for whoever looks, and nothing done while nobody does.

A stream ends itself with a BOOKMARK before the API server would end it (60 s); its reader comes back with the cursor. The watch
of the tree waits a minute for that. After it, or when a reader is too far behind, RESYNC says that the tree must be read anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeVar

from aiohttp import web

from runner_agent.watch import Watch
from runner_agent.workspace_tree import Tree
from sandbox_protocol.errors import StatusError

VIEWERS = 8
"""Streams at a time."""
_SECONDS = 55.0
_LINGER_SECONDS = 60.0
"""From the last stream's end until the tree is not watched any more."""
_GATHER_SECONDS = 0.05
"""From the kernel's first word to the look: an editor's save is several events within a millisecond, a build's thousands."""
_POLL_SECONDS = 2.0
"""Between looks where the kernel does not tell."""

T = TypeVar("T")


class Run(Protocol):
    """Does blocking work in the workspace's thread."""

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T: ...


class Watching:
    """The watch of one tree, shared by its streams."""

    def __init__(self, open_tree: Callable[[], Tree], run: Run) -> None:
        self._open_tree = open_tree
        self._run = run
        self._watch: Watch | None = None
        self._viewers = 0
        self._opening = asyncio.Lock()
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None
        self._failed = False
        self._ending = False

    # -- around a sync, in the workspace's thread -----------------------------------------------------------------------

    def before_sync(self) -> None:
        self._look(None)

    def after_sync(self, synced: Collection[str]) -> None:
        self._look(synced)

    def _look(self, synced: Collection[str] | None) -> None:
        """Notes when the tree cannot be watched any more: the streams end, and who comes back is told why."""
        if self._watch is not None and not self._failed:
            try:
                self._watch.look(synced)
            except StatusError:
                self._failed = True

    # -- streams --------------------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.StreamResponse:
        """StatusError: 400, 429 too many streams, 507 the tree is too large to be watched."""
        if request.query["watch"].lower() not in ("", "1", "true"):
            raise StatusError(400, "watch must be true")
        if self._viewers >= VIEWERS:
            raise StatusError(429, f"{self._viewers} streams watch this tree and {VIEWERS} may", retry_after=10)
        self._viewers += 1
        try:
            watch = await self._begun()
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
            await response.prepare(request)
            await self._stream(response, watch, request.query.get("cursor", ""))
            await response.write_eof()
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._end_later()
        return response

    async def _stream(self, response: web.StreamResponse, watch: Watch, cursor: str) -> None:
        """Bounded in time, whatever the reader does: a write that hangs is given up a moment later."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _SECONDS
        async with asyncio.timeout_at(end + 3):
            if not cursor:
                cursor = watch.cursor
                await response.write(_line({"type": "BOOKMARK", "cursor": cursor}))
            while True:
                news = self._news
                changes = watch.after(cursor)
                if changes is None:
                    cursor = watch.cursor
                    await response.write(_line({"type": "RESYNC", "cursor": cursor}))
                elif changes:
                    cursor = f"{watch.epoch}-{changes[-1].number}"
                    await response.write(b"".join(_line(change.to_json(watch.epoch)) for change in changes))
                if self._ending or self._failed:
                    break
                try:
                    async with asyncio.timeout_at(end):
                        await news.wait()
                except TimeoutError:
                    break
            await response.write(_line({"type": "BOOKMARK", "cursor": cursor}))

    # -- the watch ------------------------------------------------------------------------------------------------------

    async def _begun(self) -> Watch:
        async with self._opening:
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if self._failed:
                await self._closed()
            if self._watch is None:
                self._watch = await self._run(self._open)
                self._looking = asyncio.create_task(self._keep_looking(self._watch), name="watch")
            return self._watch

    def _open(self) -> Watch:
        return Watch(self._open_tree())

    async def _keep_looking(self, watch: Watch) -> None:
        while not self._failed:
            await self._readable(watch)
            await asyncio.sleep(_GATHER_SECONDS)
            await self._run(self._look, None)
            self.told()

    async def _readable(self, watch: Watch) -> None:
        """Until the kernel has something to tell, or it is time to look without being told."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(watch.fd, ready.set)
        try:
            async with asyncio.timeout(_POLL_SECONDS if watch.polled else None):
                await ready.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(watch.fd)

    def told(self) -> None:
        """There may be news: wakes the streams."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- its end --------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Ends the streams in due form; new ones end at once."""
        self._ending = True
        self.told()

    def _end_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._forget)

    def _forget(self) -> None:
        self._later = None
        if not self._viewers:
            self._closing = asyncio.create_task(self.close(), name="watch-end")

    async def close(self) -> None:
        """Stops watching; the next stream begins anew."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        async with self._opening:
            await self._closed()

    async def _closed(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])  # before its descriptor is closed
            self._looking = None
        watch, self._watch, self._failed = self._watch, None, False
        if watch is not None:
            await self._run(watch.close)


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
