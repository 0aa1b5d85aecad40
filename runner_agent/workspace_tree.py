"""The workspace by directory handle: every look and every write names one component relative to an open directory.

The app runs under the same uid and may change anything in the tree at any moment, so a path that was checked is worth
nothing when it is opened again as text. Here a directory is opened by ``openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)``,
where the kernel refuses what leaves the tree or passes a symbolic link, and by a walk of single components with O_NOFOLLOW
where that call is missing (ENOSYS before Linux 5.6 and under gVisor, EPERM from older seccomp profiles). The last component
is only ever given to calls that do not follow a link: renameat, linkat, unlinkat, fstatat(AT_SYMLINK_NOFOLLOW).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner_agent import paths
from runner_agent.paths import RefusedError
from sandbox_protocol import ignore
from sandbox_protocol.ignore import Ignore

PATH_MAX = 4096
"""Bytes of a path by limits.h; what an app put deeper is not entered."""
_SYS_OPENAT2 = 437  # the same number on every architecture: it is younger than the common table
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING = {errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL}

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(_DIRECTORY, 0, _RESOLVE)


def _openat2(root: int, path: str) -> int:
    fd: int = _libc.syscall(_SYS_OPENAT2, root, os.fsencode(path), ctypes.byref(_HOW), ctypes.sizeof(_HOW))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return fd


def _walk(root: int, path: str) -> int:
    fd = root
    for part in path.split("/"):
        try:
            below = os.open(part, _DIRECTORY, dir_fd=fd)
        finally:
            if fd != root:
                os.close(fd)
        fd = below
    return fd


def syncfs(fd: int) -> None:
    """Everything written to the filesystem of ``fd`` is on the disk when this returns; OSError otherwise."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True, slots=True)
class Room:
    """Of the volume: bytes, and files (0 where the filesystem does not count them)."""

    used: int
    free: int
    files: int
    files_free: int


def room(fd: int) -> Room:
    """Of the filesystem of ``fd``."""
    space = os.statvfs(fd)
    used, free = (space.f_blocks - space.f_bfree) * space.f_frsize, space.f_bavail * space.f_frsize
    return Room(used, free, space.f_files, space.f_favail)


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What stands at a path right now. ``other`` is a pipe, a socket or a device."""

    kind: str  # "file" | "symlink" | "directory" | "other"
    mode: int
    size: int
    fingerprint: tuple[int, int, int, int]
    """inode, size, mtime and ctime in ns. The app can set a file's mtime back, its ctime it cannot."""


_KINDS = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}


def on_disk(info: os.stat_result) -> OnDisk:
    return OnDisk(
        _KINDS.get(stat.S_IFMT(info.st_mode), "other"),
        info.st_mode & 0o777,
        info.st_size,
        (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns),
    )


class Tree:
    """One directory tree, used as a context by one thread at a time; closes the handles it kept when left.

    ``openat2`` None asks the kernel whether it has the call, once a process.
    """

    _KEPT = 64
    """Open directories remembered inside one context. Entries come sorted, so neighbours share theirs."""

    _kernel_has_openat2 = True

    def __init__(self, root: int, *, openat2: bool | None = None) -> None:
        self._root = root
        self._openat2 = openat2
        self._kept: dict[str, int] = {}

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def forget(self) -> None:
        for fd in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def directory(self, path: str) -> int:
        """A handle of the directory, open until the context ends or 64 others were asked for.

        RefusedError names the component that is a symbolic link or no directory; FileNotFoundError when it is missing.
        """
        if not path:
            return self._root
        if (fd := self._kept.get(path)) is not None:
            return fd
        try:
            fd = self._open(path)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EACCES):
                raise self._refusal(path, error) from error
            raise
        if len(self._kept) >= self._KEPT:
            os.close(self._kept.pop(next(iter(self._kept))))
        self._kept[path] = fd
        return fd

    def _open(self, path: str) -> int:
        if self._openat2 is False or not Tree._kernel_has_openat2:
            return _walk(self._root, path)
        while True:
            try:
                return _openat2(self._root, path)
            except OSError as error:
                if error.errno == errno.EAGAIN:  # something in the tree was renamed during the resolution
                    continue
                if error.errno not in _MISSING:
                    raise
                Tree._kernel_has_openat2 = False
                return _walk(self._root, path)

    def _refusal(self, path: str, error: OSError) -> RefusedError:
        """Names the first component that stands in the way, as far as it still does."""
        for at in [*paths.ancestors(path), path]:
            parent, name = paths.split(at)
            try:
                fd = _walk(self._root, parent) if parent else os.dup(self._root)
                try:
                    info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                finally:
                    os.close(fd)
            except OSError:
                break
            if stat.S_ISLNK(info.st_mode):
                return RefusedError(at, "SymbolicLink", "is a symbolic link in the workspace; no sync writes through links")
            if not stat.S_ISDIR(info.st_mode):
                return RefusedError(at, "NotADirectory", "is not a directory in the workspace; delete it in the same sync")
            if info.st_mode & 0o700 != 0o700:
                return RefusedError(at, "NoAccess", f"the directory's mode {info.st_mode & 0o777:04o} keeps the sync out")
        return RefusedError(path, "NotADirectory", f"cannot be opened as a directory: {os.strerror(error.errno or 0)}")

    def look(self, path: str) -> OnDisk | None:
        """What stands at ``path``, itself and not what it may link to; None when nothing does. RefusedError as above."""
        parent, name = paths.split(path)
        try:
            return on_disk(os.stat(name, dir_fd=self.directory(parent), follow_symlinks=False))
        except FileNotFoundError:
            return None

    def open_file(self, path: str) -> int:
        """A regular file for reading; OSError (ENXIO for anything else). A pipe planted there cannot make this wait."""
        parent, name = paths.split(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=self.directory(parent))
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ENXIO, "not a regular file", path)
        return fd

    def read_link(self, path: str) -> str:
        parent, name = paths.split(path)
        return os.readlink(name, dir_fd=self.directory(parent))

    def walk(self, top: str, enters: Callable[[str, OnDisk], bool]) -> Iterator[tuple[str, OnDisk]]:
        """Every entry below ``top``, parents first, sorted within a directory; what disappears meanwhile is left out.

        ``enters`` is asked of each directory after it was given out, and before it is listed. Deeper than a path may be long is
        not entered.
        """
        pending = [top]
        while pending:
            here = pending.pop()
            try:
                with os.scandir(self.directory(here)) as found:
                    names = sorted(entry.name for entry in found)
            except (OSError, RefusedError):
                continue
            below: list[str] = []
            for name in names:
                path = f"{here}/{name}" if here else name
                try:
                    entry = self.look(path)
                except (OSError, RefusedError):
                    continue
                if entry is None:
                    continue
                yield path, entry
                if entry.kind == "directory" and len(path) < PATH_MAX and enters(path, entry):
                    below.append(path)
            pending.extend(reversed(below))


def ignore_rules(tree: Tree) -> Ignore:
    """Of the tree's own ``.sandboxignore``; what is no file there says nothing."""
    try:
        fd = tree.open_file(ignore.FILE)
    except OSError:
        return Ignore()
    try:
        return ignore.parse(os.read(fd, ignore.MAX_BYTES + 1))
    finally:
        os.close(fd)


def remove(parent: int, name: str) -> None:
    """Removes the entry ``name`` of ``parent`` with all below it, without following links; a missing one is fine.

    Directories are moved up into ``parent`` one by one and emptied there, so that neither recursion nor open handles grow
    with a depth that the app chose. ``parent`` must be out of the app's sight. The app may hold a directory open that is
    being removed and keep filling it: after some rounds OSError says so.
    """
    pending, rounds, refilled = [name], 0, 0
    while pending:
        current = pending[-1]
        if not _is_directory(parent, current):
            pending.pop()
            continue
        fd = _open_own(parent, current)
        try:
            with os.scandir(fd) as found:
                below = [entry.name for entry in found]
            for index, entry in enumerate(below):
                if _is_directory(fd, entry):
                    moved = f"{name}.{len(pending)}.{rounds}.{index}"
                    make_movable(fd, entry)
                    os.rename(entry, moved, src_dir_fd=fd, dst_dir_fd=parent)
                    pending.insert(0, moved)
        finally:
            os.close(fd)
        try:
            os.rmdir(current, dir_fd=parent)
            pending.pop()
        except FileNotFoundError:
            pending.pop()
        except OSError as error:
            refilled += 1
            if error.errno != errno.ENOTEMPTY or refilled > 20:
                raise
        rounds += 1


def _is_directory(parent: int, name: str) -> bool:
    """Removes anything else on the way."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        return True
    return False


def make_movable(parent: int, name: str) -> None:
    """Moving a directory elsewhere, and emptying it, needs write access to it. By handle: a link cannot take its place."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            Path(f"/proc/self/fd/{fd}").chmod(0o700)
    finally:
        os.close(fd)


def _open_own(parent: int, name: str) -> int:
    make_movable(parent, name)
    return os.open(name, _DIRECTORY, dir_fd=parent)
