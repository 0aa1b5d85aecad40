"""Files written over where they stand, so that whoever watches the file itself hears of it.

A rename puts another file in the place of the old one. A program that watches the file and not its directory (``node --watch``)
then goes on watching what has no name any more, and the hard link that keeps the old file is an event of its own, in whose wake
chokidar drops the rename. A file that is written over is what every editor makes of it: an event that says "changed", on the file
that was there. docs/decisions/0010 has the measurements.

Whoever reads the file while it is written over may see part of both contents, for the microseconds that the copy takes. What he
must not see is a half *after* an event, as he would keep it; so the kernel tells of the change only when the content is whole. A
content that is as long or longer comes by one ``pwrite``, whose event follows it. A shorter one is copied by a mapping of the
file, of which the kernel tells nothing, and the event is that of cutting the rest off.

The old contents are kept in one file of the staging folder (:class:`Kept`) from before the first is written over until the sync
is done, so that a sync which cannot be finished is undone, by this agent or the next one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runner_agent.paths import RefusedError
from runner_agent.plain_file import write_all
from runner_agent.workspace_tree import Tree

OLD_BYTES = 1024 * 1024
"""A larger file is not copied to be kept: it is linked, and replaced by rename."""
KEPT_BYTES = 64 * 1024 * 1024
"""Of one commit. What follows is linked and renamed as well."""
_GATHERED = 1024 * 1024
_BLOCK = 4096
_INDEX_SIZE = 8
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Old:
    """A file as it was. ``offset``: of its content in the file that keeps it; ``over``: it may be written over, not only
    replaced."""

    offset: int
    size: int
    mode: int
    over: bool


class Kept:
    """The old contents, by path. A context, which closes their file."""

    def __init__(self, fd: int = -1, files: Mapping[str, Old] | None = None) -> None:
        self._fd = fd
        self.files = files or {}

    def content(self, path: str) -> bytes:
        old = self.files[path]
        return os.pread(self._fd, old.size, old.offset)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def keep(tree: Tree, folder: int, name: str, wanted: Iterable[tuple[str, int]]) -> Kept:
    """Keeps what stands at each path in the file ``name`` of ``folder``, if it is a plain file and not too large. Beside a
    path stands the size of what will be written there: the volume has room for it when this returns, else OSError (ENOSPC)."""
    keeper = _Keeper(folder, name)
    try:
        for path, size in wanted:
            try:
                fd = tree.open_file(path)
            except (OSError, RefusedError):
                continue  # nothing there, or nothing that can be kept so
            try:
                keeper.add(path, fd, size)
            finally:
                os.close(fd)
        return keeper.finish()
    except BaseException:
        keeper.close()
        raise


class _Keeper:
    def __init__(self, folder: int, name: str) -> None:
        self._folder, self._name = folder, name
        self._fd = -1
        self._files: dict[str, Old] = {}
        self._buffer = bytearray()
        self._size = 0
        self._reserve = 0

    def add(self, path: str, fd: int, size: int) -> None:
        info = os.fstat(fd)
        if info.st_size > OLD_BYTES or self._size + info.st_size > KEPT_BYTES:
            return
        content = os.pread(fd, info.st_size + 1, 0)
        if len(content) > info.st_size:
            return  # it grows at this moment
        over = info.st_nlink == 1 and is_text(content)
        self._files[path] = Old(self._size, len(content), stat.S_IMODE(info.st_mode), over)
        self._buffer += content
        self._size += len(content)
        self._reserve += max(0, _blocks(size) - _blocks(len(content))) if over else _blocks(size)
        if len(self._buffer) > _GATHERED:
            self._write()

    def finish(self) -> Kept:
        if not self._files:
            return Kept()
        rows = [[path, old.offset, old.size, old.mode, old.over] for path, old in self._files.items()]
        index = json.dumps(rows).encode()
        self._buffer += index + len(index).to_bytes(_INDEX_SIZE, "big")
        self._write()
        if self._reserve:
            end = self._size + len(index) + _INDEX_SIZE
            os.posix_fallocate(self._fd, end, self._reserve)
            os.ftruncate(self._fd, end)  # free again; if the app is quicker than we are, the sync is undone
        return Kept(self._fd, self._files)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _write(self) -> None:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._folder)
        write_all(self._fd, self._buffer)
        self._buffer.clear()


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def load(folder: int, name: str) -> Kept:
    """What the agent before kept. It was complete before the commit it belongs to; without the file nothing was kept."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return Kept()
    end = os.fstat(fd).st_size - _INDEX_SIZE
    size = int.from_bytes(os.pread(fd, _INDEX_SIZE, end), "big")
    rows: list[tuple[str, int, int, int, bool]] = json.loads(os.pread(fd, size, end - size))
    return Kept(fd, {path: Old(*rest) for path, *rest in rows})  # type: ignore[arg-type]


def is_text(content: bytes) -> bool:
    """As git tells. What is no text may be a database, a library or a program that somebody has mapped or works on: a file that
    changes below him ends him, where one that is renamed leaves him the old one."""
    return b"\0" not in content


def overwrite(parent: int, name: str, content: bytes, mode: int) -> int | None:
    """Writes ``content`` into the file ``name`` as it stands. Returns its new time of modification (ns), or None, with nothing
    done, when that cannot be: no plain file, read-only, being run, with a second name that is not the sync's, or no text."""
    try:
        fd = os.open(name, _FLAGS, dir_fd=parent)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1 or info.st_size > OLD_BYTES:
            return None
        if len(content) < info.st_size:
            if content and not _copied_unseen(fd, content):
                _pwrite(fd, content)
            os.ftruncate(fd, len(content))
        else:
            _pwrite(fd, content)
        if stat.S_IMODE(info.st_mode) != mode:
            os.fchmod(fd, mode)  # last: told of first, it would begin chokidar's silence
        return os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)


def _pwrite(fd: int, content: bytes) -> None:
    """By one call, unless the disk is full or a signal kills us: the kernel tells of the change after each."""
    view, at = memoryview(content), 0
    while at < len(view):
        at += os.pwrite(fd, view[at:], at)


def _copied_unseen(fd: int, content: bytes) -> bool:
    """Copies ``content`` to the beginning of the file without an event; False where files cannot be mapped. The app may cut the
    file meanwhile: touching the mapping would then end this process (SIGBUS), so the kernel copies, and gives an error."""
    with contextlib.ExitStack() as stack:
        try:
            source = os.memfd_create("content")
            stack.callback(os.close, source)
            write_all(source, content)
            mapped = stack.enter_context(mmap.mmap(fd, len(content)))
            view = stack.enter_context(memoryview(mapped))
            return os.preadv(source, [view], 0) == len(content)
        except (OSError, ValueError) as error:  # ValueError: the file is shorter by now
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return False
