"""A local folder as a manifest: what a sync would carry, hashed, without what the ignore rules leave out.

Only regular files and symbolic links travel. Links are described, never followed; a directory exists by what is in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox_client.errors import LocalFileError
from sandbox_protocol.ignore import FILE, MAX_BYTES, Ignore, parse
from sandbox_protocol.wire import ManifestEntry

EXECUTABLE, PLAIN = 0o755, 0o644
"""As in git: who may read a file on the developer's machine says nothing about the pod, whether it is a program does."""


_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tree:
    """Entries by path, in sorted order, and the rules that left others out."""

    root: Path
    entries: dict[str, ManifestEntry]
    ignore: Ignore


def scan(root: Path) -> Tree:
    """Walks and hashes ``root``. Blocking. Raises LocalFileError."""
    if not root.is_dir():
        raise LocalFileError(f"{root} is not a folder")
    ignore = _rules(root)
    found = sorted(_walk(str(root), "", ignore), key=lambda item: item.path)
    return Tree(root, {entry.path: entry for entry in found}, ignore)


def _rules(root: Path) -> Ignore:
    try:
        with (root / FILE).open("rb") as file:
            return parse(file.read(MAX_BYTES + 1))
    except FileNotFoundError:
        return Ignore()
    except OSError as error:
        raise LocalFileError(f"cannot read {root / FILE}: {error.strerror}") from error


def _walk(folder: str, prefix: str, ignore: Ignore) -> Iterator[ManifestEntry]:
    try:
        with os.scandir(folder) as listing:
            items = list(listing)
        for item in items:
            path = f"{prefix}{item.name}"
            directory = item.is_dir(follow_symlinks=False)
            if ignore.ignores(path, directory=directory):
                continue
            if directory:
                yield from _walk(item.path, f"{path}/", ignore)
            elif item.is_symlink():
                target = os.fsencode(Path(item.path).readlink())
                yield ManifestEntry(path, "symlink", len(target), 0o777, hashlib.sha256(target).hexdigest())
            elif item.is_file(follow_symlinks=False):
                yield _file(path, item.path)
            # sockets, FIFOs and devices are run-time things of this machine: nothing to send
    except OSError as error:
        raise LocalFileError(f"cannot read {error.filename or folder}: {error.strerror}") from error


def _file(path: str, file: str) -> ManifestEntry:
    digest = hashlib.sha256()
    size = 0
    with open(file, "rb", buffering=0) as content:  # noqa: PTH123 - thousands of times; a Path costs as much as the read
        while piece := content.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        mode = os.fstat(content.fileno()).st_mode
    return ManifestEntry(path, "file", size, EXECUTABLE if mode & 0o100 else PLAIN, digest.hexdigest())
