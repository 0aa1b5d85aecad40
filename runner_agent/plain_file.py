"""Reading small files that the app may have replaced by anything, and writing to one's own."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_BYTES = 4 * 1024 * 1024
"""Of a file that decides what runs; a package-lock.json of a large project has 1 to 2 MB."""


def read_plain(path: Path) -> bytes | None:
    """A small plain file; None for anything else. The app may have put a link or a pipe in its place: neither is followed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.ENXIO):
            return None
        raise
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = file.read(_BYTES + 1)
        return content if len(content) <= _BYTES else None


def write_all(fd: int, content: bytes | bytearray | memoryview) -> None:
    """From the descriptor's position on."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
