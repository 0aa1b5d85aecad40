"""Reading the app's tree for detection: no link is followed, not even one that stands for a folder on the way."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from runner_agent.detect.reading import NAMES
from runner_agent.plain_file import read_plain

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeReader:
    """A :class:`runner_agent.detect.Reader` of the folder ``root``, which itself may lie anywhere."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        if name in ("", ".", "..") or not _can_be(path) or (fd := self._folder(folder)) is None:
            return None
        try:
            return read_plain(Path(f"/proc/self/fd/{fd}/{name}"))
        finally:
            os.close(fd)

    def names(self, folder: str) -> Sequence[str]:
        if not _can_be(folder) or (fd := self._folder(folder)) is None:
            return ()
        found = []
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    found.append(entry.name + "/" * entry.is_dir(follow_symlinks=False))
                    if len(found) == NAMES:
                        break
        except OSError:  # it went away meanwhile
            return ()
        finally:
            os.close(fd)
        return sorted(found)

    def _folder(self, path: str) -> int | None:
        """An open descriptor, step by step; None when a step is no folder."""
        try:
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return None
        for part in path.split("/") if path else ():
            above = fd
            try:
                fd = os.open(part, _OPEN_FOLDER, dir_fd=above) if part != ".." else -1
            except OSError:
                fd = -1
            os.close(above)
            if fd < 0:
                return None
        return fd


def _can_be(path: str) -> bool:
    """Whether a path that was read out of somebody's script can be one at all."""
    return "\0" not in path and all(len(part.encode("utf-8", "replace")) <= 255 for part in path.split("/"))
