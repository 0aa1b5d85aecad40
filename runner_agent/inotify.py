"""inotify(7) by ctypes: a descriptor, watches of directories by handle, and the events read from it."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MODIFY, ATTRIB, CLOSE_WRITE, OPEN = 0x2, 0x4, 0x8, 0x20
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED, ISDIR = 0x4000, 0x8000, 0x40000000
_ONLYDIR, _EXCL_UNLINK = 0x01000000, 0x04000000
_INTEREST = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE
_EVENT = struct.Struct("iIII")
_BUFFER = 64 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Event:
    """``name`` below the watched directory; empty for what concerns the watch itself, or the queue."""

    watch: int
    mask: int
    name: str


class Inotify:
    """OSError: EMFILE when this user has too many instances."""

    def __init__(self) -> None:
        self.fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error("inotify_init1")

    def add(self, directory: int, interest: int = _INTEREST) -> int:
        """Watches the directory of this handle, whatever its name may become. ENOSPC when this user has too many watches."""
        # by handle: the path of an open directory cannot be swapped for a link by the app
        path = f"/proc/self/fd/{directory}".encode()
        watch: int = _libc.inotify_add_watch(self.fd, path, interest | _ONLYDIR | _EXCL_UNLINK)
        if watch < 0:
            raise _error("inotify_add_watch")
        return watch

    def remove(self, watch: int) -> None:
        _libc.inotify_rm_watch(self.fd, watch)  # it fails for a directory that is gone, and its watch with it

    def read(self) -> Iterator[Event]:
        """What is there now."""
        while True:
            try:
                data = os.read(self.fd, _BUFFER)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = data[at : at + length].partition(b"\0")[0]
                at += length
                yield Event(watch, mask, os.fsdecode(name))

    def close(self) -> None:
        os.close(self.fd)


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")


def explained(error: OSError) -> str:
    """Which limit of the node was met, with its number where the node tells it."""
    name = {errno.EMFILE: "max_user_instances", errno.ENOSPC: "max_user_watches"}.get(error.errno or 0)
    if name is None:
        return os.strerror(error.errno or 0)
    try:
        allowed = Path(f"/proc/sys/fs/inotify/{name}").read_text().strip()
    except OSError:
        allowed = "an unknown number"
    return f"the node allows {allowed} (fs.inotify.{name}) to all pods of this user"
