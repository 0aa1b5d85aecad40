"""Empties a directory before anything runs that could fill it again. Standard library, Python 3.8 and later: it arrives beside
the launcher, in whatever image the app has."""

from __future__ import annotations

import contextlib
import os


def empty(directory: str) -> None:
    """Removes all below ``directory``, follows no link, and leaves what it may not remove.

    Directories are moved up one by one and emptied there: neither recursion, nor open files, nor the length of a path grows with
    a depth that an app chose. OSError when ``directory`` cannot be opened.
    """
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pending = _without_directories(root)
        while pending:
            with contextlib.suppress(OSError):
                pending += _emptied(root, pending.pop())
    finally:
        os.close(root)


def _emptied(root: int, name: str) -> list[str]:
    """Removes the directory ``name`` of ``root``. What it held of directories is in ``root`` now, by the names returned."""
    os.chmod(name, 0o700, dir_fd=root)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    moved = []
    try:
        for below in _without_directories(fd):
            with contextlib.suppress(OSError):
                os.chmod(below, 0o700, dir_fd=fd)  # moving a directory writes to it
                moved.append(os.urandom(8).hex())
                os.rename(below, moved[-1], src_dir_fd=fd, dst_dir_fd=root)
    finally:
        os.close(fd)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=root)
    return moved


def _without_directories(fd: int) -> list[str]:
    """Removes all else in the directory of ``fd``, and tells the names of those."""
    with os.scandir(fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    for name, is_directory in entries:
        if not is_directory:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)
    return [name for name, is_directory in entries if is_directory]
