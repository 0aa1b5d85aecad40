"""An archive of a workspace, unpacked into a local folder. It comes from a pod that runs anybody's code.

Every entry is made by the handle of its folder, and no link is followed on the way, neither one of the archive nor one that is
here. A file or link is made beside its place and renamed onto it: what was there stays whole or is replaced, and nothing is
written through it. Links travel only where the protocol's own check of their text takes them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sandbox_client.errors import LocalFileError
from sandbox_protocol.entry_names import link_fault, shown

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_BELOW = _FOLDER | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_END = bytes(2 * tarfile.BLOCKSIZE)
_LATEST = 1 << 35
"""Seconds. What a file system cannot keep as a time is not set."""


def unpack(archive: IO[bytes], target: Path) -> list[str]:
    """The files and links written below ``target``, which is made. Names are checked before anything is written. Links that lead
    out, hard links, pipes and devices are left out. Raises LocalFileError, with what came before it in place."""
    if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
        raise LocalFileError("this system cannot open files by the handle of their folder, which a safe export needs; use `cat`")
    try:
        with opened(archive) as tar:
            members = [(_path(member.name), member) for member in tar]
            target.mkdir(parents=True, exist_ok=True)
            with _Folder(target) as folder:
                return [path for path, member in members if _made(folder, path, member, tar)]
    except (OSError, tarfile.TarError) as error:
        raise LocalFileError(f"cannot unpack into {target}: {_why(error)}") from error


@contextlib.contextmanager
def opened(archive: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """For reading. TarError for what is no whole, plain archive: the standard library would take one without an end, and
    compressed ones that unpack to any size."""
    size = archive.seek(0, os.SEEK_END)
    archive.seek(max(0, size - len(_END)))
    if size % tarfile.BLOCKSIZE or archive.read() != _END:
        raise tarfile.ReadError("the archive has no end, so some of it may be missing; export again")
    archive.seek(0)
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            yield tar
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:  # of numbers and texts in its headers
        raise tarfile.ReadError(f"the archive is damaged: {error}") from error


class _Folder:
    """The folder that everything is made below. Keeps the handle of the last one used: entries of a folder follow each other."""

    def __init__(self, target: Path) -> None:
        self._top = os.open(target, _FOLDER)
        self._last: tuple[tuple[str, ...], int] = ((), self._top)

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        os.close(self._top)

    def _forget(self) -> None:
        if self._last[1] != self._top:
            os.close(self._last[1])
        self._last = ((), self._top)

    def at(self, parts: tuple[str, ...]) -> int:
        """The handle of that folder, which is made where it is missing. OSError where something else is in its place."""
        if self._last[0] == parts:
            return self._last[1]
        self._forget()
        above = self._top
        for part in parts:
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=above)
                below = os.open(part, _BELOW, dir_fd=above)
            finally:
                if above != self._top:
                    os.close(above)
            above = below
        self._last = (parts, above)
        return above


def _path(name: str) -> str:
    """Relative, of plain parts, without what ``tar -C dir .`` adds; "" is the folder itself."""
    path = name.rstrip("/")
    while path.startswith("./"):
        path = path[2:]
    if path == ".":
        return ""
    if "\0" in name or name.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise LocalFileError(f"the archive holds {shown(name)!r}, which is no path below a folder; nothing was written")
    return path


def _made(folder: _Folder, path: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> bool:
    """Whether a file or a link was written."""
    *above, name = path.split("/")
    try:
        if member.isdir():
            folder.at((*above, name) if name else ())
        elif member.issym() and name and not link_fault(path, member.linkname):
            _put_link(folder.at(tuple(above)), name, member.linkname)
            return True
        elif member.isreg() and not member.issparse() and name:
            _put_file(folder.at(tuple(above)), name, member, tar)
            return True
    except OSError as error:
        raise LocalFileError(f"cannot write {shown(path)}: {_why(error)}") from error
    return False


def _put_link(folder: int, name: str, target: str) -> None:
    beside = _beside()
    os.symlink(target, beside, dir_fd=folder)
    _rename(folder, beside, name)


def _put_file(folder: int, name: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
    """Of the mode only the executable bit counts, as in a sync."""
    beside = _beside()
    fd = os.open(beside, _NEW, 0o777 if member.mode & stat.S_IXUSR else 0o666, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            content = tar.extractfile(member)
            assert content is not None
            shutil.copyfileobj(content, file, 1024 * 1024)
            file.flush()
            if os.fstat(fd).st_size != member.size:
                raise OSError("the archive ends in the middle of it")
            if 0 <= member.mtime < _LATEST and os.utime in os.supports_fd:
                os.utime(fd, (member.mtime, member.mtime))
    except BaseException:
        os.unlink(beside, dir_fd=folder)
        raise
    _rename(folder, beside, name)


def _rename(folder: int, beside: str, name: str) -> None:
    try:
        os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(beside, dir_fd=folder)
        raise


def _beside() -> str:
    return f".sandbox-export-{secrets.token_hex(8)}"


def _why(error: Exception) -> str:
    """ENOTDIR and ELOOP come from a link or a file where a folder has to be: they are not followed."""
    if isinstance(error, NotADirectoryError) or getattr(error, "errno", None) == errno.ELOOP:
        return "on the way to it is a link or a file, which is not followed; move it away or export elsewhere"
    if isinstance(error, IsADirectoryError):
        return "there is a folder in its place; move it away or export elsewhere"
    return getattr(error, "strerror", None) or str(error)
