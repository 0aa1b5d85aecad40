"""What the runner holds on its volume and what is left, for the status.

A volume that is a file system of its own bounds bytes and inodes by itself, and ``statvfs`` tells both. Where it is a directory
of a larger one (hostPath, local-path, NFS), that would tell about the node's disk or a server's: what this runner holds there is
counted, in a thread of its own, seldom, and up to a number of entries.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner_agent.paths import RefusedError
from runner_agent.workspace_tree import PATH_MAX, Tree, room

COUNT_SECONDS = 60.0
"""At least, between two counts; a count that took long is repeated later still."""
_PATIENCE = 50
"""A count may take a fiftieth of the time."""
COUNT_ENTRIES = 300_000
"""What is beyond is not counted: 20 MB of memory for names and hard links, and two seconds, are enough."""
_SERVED = frozenset({"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph"})
"""File systems whose ``statvfs`` speaks of the server."""


@dataclass(frozen=True, slots=True)
class Held:
    bytes: int
    entries: int


class Volume:
    """The file system of ``data``, a directory. Any thread may ask."""

    def __init__(self, data: Path, shared: bool | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._shared = is_shared(data, mountinfo()) if shared is None else shared
        self._clock = clock
        self._held: Held | None = None
        self._due = float("-inf")
        self._counting = threading.Lock()

    def usage(self) -> dict[str, int | bool]:
        """``workspaceFiles`` and ``workspaceFreeFiles`` are inodes, absent where the file system does not count them; of a
        ``volumeShared`` what is used is what this runner holds, absent until it was counted."""
        fd = os.open(self._data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            space = room(fd)
        finally:
            os.close(fd)
        used: dict[str, int | bool] = {"workspaceBytes": space.used}
        files: dict[str, int | bool] = {}
        if space.files:
            used["workspaceFiles"] = space.files - space.files_free
            files["workspaceFreeFiles"] = space.files_free
        if self._shared:
            held = self._held
            self._count_if_due()
            used = {} if held is None else {"workspaceBytes": held.bytes, "workspaceFiles": held.entries}
        return {**used, "workspaceFreeBytes": space.free, **files, "volumeShared": self._shared}

    def _count_if_due(self) -> None:
        if self._clock() >= self._due and self._counting.acquire(blocking=False):
            threading.Thread(target=self._count, name="count", daemon=True).start()

    def _count(self) -> None:
        started = self._clock()
        try:
            with contextlib.suppress(OSError):
                self._held = count(self._data)
        finally:
            now = self._clock()
            self._due = now + max(COUNT_SECONDS, _PATIENCE * (now - started))
            self._counting.release()


def count(directory: Path, most: int = COUNT_ENTRIES) -> Held:
    """Everything below ``directory``, a file with several names once; ``most`` entries at most."""
    total = entries = 0
    linked: set[int] = set()
    for info in itertools.islice(_below(directory), most):
        entries += 1
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            if info.st_ino in linked:
                continue
            linked.add(info.st_ino)
        total += info.st_blocks * 512
    return Held(total, entries)


def _below(directory: Path) -> Iterator[os.stat_result]:
    """Links are not followed; what vanishes meanwhile, or lies deeper than a path can name, is left out."""
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.ExitStack() as held:
        held.callback(os.close, root)
        tree = held.enter_context(Tree(root))
        pending = [""]
        while pending:
            here = pending.pop()
            with contextlib.suppress(OSError, RefusedError), os.scandir(tree.directory(here)) as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        yield entry.stat(follow_symlinks=False)
                    path = f"{here}/{entry.name}" if here else entry.name
                    if entry.is_dir(follow_symlinks=False) and len(path) < PATH_MAX:
                        pending.append(path)


def mountinfo() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    return ""


def is_shared(data: Path, mounts: str) -> bool:
    """Whether ``data`` is anything but the root of a file system that is mounted there, by proc_pid_mountinfo(5); untold: no."""
    where, shared = "", False
    for line in mounts.splitlines():
        fields = line.split(" ")
        root, point = fields[3], fields[4].encode().decode("unicode_escape")
        if len(point) >= len(where) and data.is_relative_to(point):  # a later line hides an earlier one
            kind = fields[fields.index("-") + 1]
            where, shared = point, root != "/" or Path(point) != data or kind in _SERVED
    return shared
