"""Whether somebody reads the sources that a sync has changed: a program that does not is the old one.

A program that loads its sources once shows an edit only when it is restarted. Most are known and restarted by us, or known to see
changed files by themselves (:class:`runner_agent.detect.Plan`). Of any other the kernel can tell: whoever loads a changed file
opens it. So where nothing that is known takes care of a change, the files are watched from just before they are written, and
those that nobody has opened within a second are named in the sync's answer.

Under gVisor a container hears nothing of what another one opens, so nothing is said there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from runner_agent import inotify, paths
from runner_agent.inotify import Inotify
from runner_agent.paths import RefusedError
from runner_agent.workspace_tree import Tree

WITHIN_SECONDS = 1.0
"""From a sync to the opening of its files: reloaders wait a little for more changes, and a start takes a moment."""
_AT_ONCE = 4
"""Syncs whose files are watched; of more nothing is said, as a node allows each user 128 instances of inotify."""
_DIRECTORIES = 64
_NAMED = 100
"""Paths in one answer."""
_SOURCES = (
    *(".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx", ".vue", ".svelte"),
    *(".py", ".rb", ".go", ".rs", ".java", ".kt", ".scala", ".cs", ".ex", ".exs", ".clj", ".swift", ".dart", ".lua", ".pl"),
)
"""Of code that a program loads. Pages, styles, templates and PHP are read for each request, and so when somebody looks."""
_SERVED = frozenset({"public", "static", "assets", "www", "wwwroot", "templates", "dist", "build"})
"""Folders whose files are sent to a browser, and read when it asks."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What came of a sync for the processes. ``unapplied``: sources that nothing is known to restart or reload for."""

    restarted: bool
    unapplied: tuple[str, ...] = ()


def sources(changed: Sequence[str]) -> tuple[str, ...]:
    """Those that a program loads when it starts, up to 100."""
    found = (path for path in changed if path.endswith(_SOURCES) and not _SERVED.intersection(path.split("/")[:-1]))
    return tuple(path for path, _ in zip(found, range(_NAMED), strict=False))


class Reading:
    """Of one sync: ``expect`` before it changes the tree, in the workspace's thread; then ``unread``; ``close`` in any case."""

    _open = 0

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._directories: dict[int, str] = {}
        self._unread: set[str] = set()
        self._lost = False

    def expect(self, tree: Tree, changed: Sequence[str]) -> None:
        """Watches the directories of the sources, as far as they exist."""
        expected = sources(changed)
        parents = sorted({paths.split(path)[0] for path in expected})
        if not expected or len(parents) > _DIRECTORIES or Reading._open >= _AT_ONCE:
            return
        with contextlib.suppress(OSError):
            self._inotify = Inotify()
            Reading._open += 1
            for parent in parents:
                with contextlib.suppress(RefusedError, FileNotFoundError):
                    watch = self._inotify.add(tree.directory(parent), inotify.OPEN | inotify.CLOSE_WRITE | inotify.MOVED_TO)
                    self._directories[watch] = parent
            self._unread = {path for path in expected if paths.split(path)[0] in self._directories.values()}

    async def unread(self, candidates: Sequence[str]) -> tuple[str, ...]:
        """Those of ``candidates`` that were written and are opened by nobody within a second. Returns as soon as all are."""
        watching = self._inotify
        if watching is None or not self._unread.intersection(candidates):
            return ()
        self._unread.intersection_update(candidates)
        expected = frozenset(self._unread)
        done = asyncio.Event()

        def look() -> None:
            self._look(watching, expected)
            if not self._unread or self._lost:
                done.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(watching.fd, look)
        try:
            look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), WITHIN_SECONDS)
        finally:
            loop.remove_reader(watching.fd)
        return () if self._lost else tuple(sorted(self._unread))

    def _look(self, watching: Inotify, expected: frozenset[str]) -> None:
        """Our own writing opens a file too; its end, or the rename that brings the file, comes after that."""
        for event in watching.read():
            self._lost = self._lost or bool(event.mask & inotify.OVERFLOW)
            parent = self._directories.get(event.watch, "")
            path = f"{parent}/{event.name}" if parent else event.name
            if path not in expected:
                continue
            if event.mask & inotify.OPEN:
                self._unread.discard(path)
            else:
                self._unread.add(path)

    def close(self) -> None:
        """Blocks: the kernel takes some milliseconds to forget the watches."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None
            Reading._open -= 1
