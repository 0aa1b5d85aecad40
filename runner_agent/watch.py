"""What changes in the tree, as events with a cursor: a picture of the tree, kept up to date by inotify while somebody looks.

inotify says where something happened; what it means is found by comparing that place with the picture. So a file that was
replaced by rename is MODIFIED, one that was made and removed between two looks is nothing, and a directory that was made with
all its content (before it could be watched) is there with all its content.

A look happens a moment after the kernel's word, and around each sync: just before it, so that what the app did is the app's,
and just after, so that what the sync did is the sync's. Both in the workspace's thread, where nothing else writes then.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from runner_agent import inotify, isolation, paths
from runner_agent.inotify import Inotify
from runner_agent.paths import RefusedError
from runner_agent.workspace_tree import OnDisk, Tree, ignore_rules
from sandbox_protocol import ignore as sync_ignore
from sandbox_protocol.errors import StatusError

DIRECTORIES = 8192
"""Watches at most; each takes 1 kB of the kernel's memory, and the node's limit (often 8192 to 1 million) is shared."""
ENTRIES = 100_000
"""Of the picture, 250 bytes each, in an agent that has 128 MiB."""
KEPT = 4096
"""Events that a watcher may be behind."""


@dataclass(frozen=True, slots=True)
class Change:
    """One event. ``number`` counts within one watch; ``type`` is CREATED, MODIFIED, DELETED or RESYNC."""

    number: int
    type: str
    path: str = ""
    kind: str = ""
    size: int | None = None
    origin: str = ""

    def to_json(self, epoch: str) -> dict[str, Any]:
        told: dict[str, Any] = {"type": self.type, "cursor": f"{epoch}-{self.number}"}
        if self.path:
            # a name that is not UTF-8 is shown as well as can be; it cannot be asked for
            told |= {"path": self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), "entryType": self.kind}
            told |= {"origin": self.origin} | ({} if self.size is None else {"size": self.size})
        return told


class Watch:
    """Blocking; belongs to one thread but for ``fd`` and reading ``changes``, which only grow at their end.

    StatusError 507 when the tree has more directories or entries than can be watched, here or on this node.
    """

    def __init__(self, tree: Tree, *, polled: bool | None = None) -> None:
        """``polled``: this kernel does not tell of changes, so every look goes everywhere. By default that is so under gVisor,
        where a container has inotify for what it does itself."""
        self.epoch = secrets.token_hex(4)
        self.number = 0
        self.changes: deque[Change] = deque(maxlen=KEPT)
        self.polled = isolation.is_gvisor() if polled is None else polled
        self._tree = tree
        self._picture: dict[str, int] = {}
        """Path → hash of kind and fingerprint; the hash alone, as the parts would take four times the memory."""
        self._directories: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._ended: set[str] = set()
        """Directories whose watch the kernel has ended."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            raise _refused(f"the tree cannot be watched: {inotify.explained(error)}") from error
        try:
            self._begin()
        except BaseException:
            self._inotify.close()
            raise

    @property
    def fd(self) -> int:
        """Readable when it is time for a look."""
        return self._inotify.fd

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.number}"

    def close(self) -> None:
        self._tree.forget()
        self._inotify.close()

    def after(self, cursor: str) -> list[Change] | None:
        """The changes since ``cursor``; None when they are not known any more, or never were."""
        epoch, _, number = cursor.partition("-")
        if epoch != self.epoch or not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        seen = int(number)
        if seen > self.number or seen < self.number - len(self.changes):
            return None
        return [change for change in list(self.changes) if change.number > seen]  # copied in one step: another thread appends

    # -- looking --------------------------------------------------------------------------------------------------------

    def look(self, synced: Collection[str] | None = None) -> bool:
        """Compares the places of which the kernel has told; whether there was any change. ``synced`` are the paths of the sync
        that has just ended; None: what is found is the app's doing."""
        dirty: set[str] = set()
        lost = False
        for event in self._inotify.read():
            lost = lost or bool(event.mask & inotify.OVERFLOW)
            parent = self._names.get(event.watch)
            if parent is None:
                continue
            if event.mask & inotify.IGNORED:
                # the directory is gone; what has its name now may have got its inode too
                self._ended.add(parent)
                dirty.add(parent)
            elif event.name:
                dirty.add(f"{parent}/{event.name}" if parent else event.name)
        if self.polled:
            self._tree.forget()
            dirty.update(self._picture, (path for path, _ in self._walk("")))
        if lost:
            return self._again()
        before = self.number
        origins = _Origins(synced)
        try:
            for path in sorted(dirty):
                self._compare(path, origins)
        except (OSError, StatusError):
            return self._again()
        finally:
            self._tree.forget()
            self._ended.clear()
        if sync_ignore.FILE in dirty:
            return self._again()
        return self.number != before

    def _again(self) -> bool:
        """Events were lost, or the rules changed: a new picture, and whoever watches must look for himself."""
        for watch in list(self._names):
            self._inotify.remove(watch)
        self._names.clear()
        self._directories.clear()
        self._picture.clear()
        self._begin()
        self._tell(Change(0, "RESYNC"))
        return True

    def _begin(self) -> None:
        self._ignore = ignore_rules(self._tree)
        try:
            self._enter("")
            for path, found in self._walk(""):
                self._picture[path] = self._hash(found)
                self._bounded()
        except OSError as error:
            raise _refused(f"the tree cannot be watched: {inotify.explained(error)}") from error
        finally:
            self._tree.forget()

    def _walk(self, top: str) -> Iterable[tuple[str, OnDisk]]:
        """What is not ignored below ``top``. Directories are watched before they are listed: nothing falls between."""

        def watched(path: str, found: OnDisk) -> bool:
            return not self._ignore.ignores(path, directory=found.kind == "directory")

        for path, found in self._tree.walk(top, watched):
            if watched(path, found):
                if found.kind == "directory":
                    self._enter(path)
                yield path, found

    def _enter(self, path: str) -> None:
        if path in self._directories:
            return
        if len(self._directories) >= DIRECTORIES:
            raise _refused(f"the tree has more than {DIRECTORIES} directories, which is as many as are watched")
        try:
            watch = self._inotify.add(self._tree.directory(path))
        except (FileNotFoundError, RefusedError):
            return  # gone or replaced meanwhile: its parent's watch tells
        self._directories[path] = watch
        self._names[watch] = path

    def _hash(self, found: OnDisk) -> int:
        """Of a directory its identity and, in the last nine bits, its mode: its times change with its content, which has events
        of its own."""
        if found.kind == "directory":
            return hash(("directory", found.fingerprint[0])) << 9 | found.mode
        # under gVisor the launcher shows files to the app by setting the times that they have, which only the ctime tells
        fingerprint = found.fingerprint[:3] if self.polled else found.fingerprint
        return hash((found.kind, found.mode, fingerprint))

    def _bounded(self) -> None:
        if len(self._picture) > ENTRIES:
            raise _refused(f"the tree has more than {ENTRIES} entries, which is as many as are watched")

    # -- comparing ------------------------------------------------------------------------------------------------------

    def _compare(self, path: str, origins: _Origins) -> None:
        try:
            found = self._tree.look(path)
        except (OSError, RefusedError):
            found = None
        if found is not None and self._ignore.ignores(path, directory=found.kind == "directory"):
            found = None
        known = self._picture.get(path)
        if found is None:
            if known is not None:
                self._gone(path, origins)
            return
        now = self._hash(found)
        if known is None:
            self._created(path, found, origins)
        elif self._replaced(path, known, found):
            self._gone(path, origins)
            self._created(path, found, origins)
        elif known != now:
            self._picture[path] = now
            self._tell(Change(0, "MODIFIED", path, found.kind, _size(found), origins.of(path, found.kind)))

    def _replaced(self, path: str, known: int, found: OnDisk) -> bool:
        """A directory by something else, or the other way round. A file that takes a file's place is the same path modified."""
        if (path in self._directories) != (found.kind == "directory"):
            return True
        return found.kind == "directory" and (path in self._ended or known >> 9 != self._hash(found) >> 9)

    def _created(self, path: str, found: OnDisk, origins: _Origins) -> None:
        self._picture[path] = self._hash(found)
        self._bounded()
        self._tell(Change(0, "CREATED", path, found.kind, _size(found), origins.of(path, found.kind)))
        if found.kind != "directory":
            return
        self._enter(path)
        for below, entry in self._walk(path):
            if below not in self._picture:
                self._picture[below] = self._hash(entry)
                self._bounded()
                self._tell(Change(0, "CREATED", below, entry.kind, _size(entry), origins.of(below, entry.kind)))

    def _gone(self, path: str, origins: _Origins) -> None:
        if path in self._directories:
            prefix = f"{path}/"
            for below in sorted((each for each in self._picture if each.startswith(prefix)), reverse=True):
                self._drop(below, origins)
        self._drop(path, origins)

    def _drop(self, path: str, origins: _Origins) -> None:
        kind = "directory" if path in self._directories else "file"
        del self._picture[path]
        watch = self._directories.pop(path, None)
        # a directory that was moved within the tree keeps its watch, which has the new name then
        if watch is not None and self._names.get(watch) == path:
            del self._names[watch]
            self._inotify.remove(watch)
        self._tell(Change(0, "DELETED", path, kind, None, origins.of(path, kind)))

    def _tell(self, change: Change) -> None:
        self.number += 1
        self.changes.append(replace(change, number=self.number))


class _Origins:
    """Whose doing a change is: of the sync what it named, what lies below, and the directories that it had to make or empty."""

    def __init__(self, synced: Collection[str] | None) -> None:
        self._synced = frozenset(synced or ())
        self._above = frozenset(above for path in self._synced for above in paths.ancestors(path))

    def of(self, path: str, kind: str) -> str:
        if not self._synced:
            return "app"
        if path in self._synced or (kind == "directory" and path in self._above):
            return "sync"
        return "sync" if any(above in self._synced for above in paths.ancestors(path)) else "app"


def _size(found: OnDisk) -> int | None:
    return found.size if found.kind == "file" else None


def _refused(message: str) -> StatusError:
    return StatusError(507, f"{message}. Name what need not be watched in {sync_ignore.FILE}.", reason="WatchLimit")
