"""Entries as a tar stream.

The headers are tarfile's. The rest is written here, as tarfile's own stream takes half as long again for a tree of small files
(0.21 s against 0.14 s for 2,000 of them), and their sync has to wait for it.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from sandbox_client.errors import LocalFileError
from sandbox_protocol.wire import ManifestEntry

Source = Path | Mapping[str, bytes]
"""Where the content of an entry is: below a folder, or in memory."""

_PIECE = 1024 * 1024
_END = bytes(2 * tarfile.BLOCKSIZE)


def write(entries: Iterable[ManifestEntry], source: Source, out: IO[bytes]) -> None:
    """Raises LocalFileError for what cannot be read."""
    for entry in entries:
        info = tarfile.TarInfo(entry.path)
        info.mode = entry.mode
        if not isinstance(source, Path):
            content = source[entry.path]
            info.size = len(content)
            out.write(_header(info) + content + _padding(info.size))
        elif entry.type == "symlink":
            info.type, info.linkname = tarfile.SYMTYPE, str((source / entry.path).readlink())
            out.write(_header(info))
        else:
            _write_file(info, f"{source}/{entry.path}", out)
    out.write(_END)


def _write_file(info: tarfile.TarInfo, file: str, out: IO[bytes]) -> None:
    """As long as it is when it is opened: one that is being written meanwhile must not shift what follows it."""
    try:
        with open(file, "rb", buffering=0) as content:  # noqa: PTH123 - thousands of times; a Path costs as much as the read
            info.size = left = os.fstat(content.fileno()).st_size
            out.write(_header(info))
            while left:
                piece = content.read(min(left, _PIECE))
                if not piece:
                    raise LocalFileError(f"{file} became shorter while it was read; sync again")
                out.write(piece)
                left -= len(piece)
    except OSError as error:
        raise LocalFileError(f"cannot read {file}: {error.strerror}") from error
    out.write(_padding(info.size))


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
