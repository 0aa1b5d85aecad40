"""A local folder as a manifest: what a sync would carry, hashed, and what stays out with the reason.

Only regular files and symbolic links travel. Links are described, never followed; a directory exists by what is in it. What
cannot be read, or vanishes meanwhile as editors' files do, stays out like what is ignored: one file must not hold up all others.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from sandbox_client.errors import LocalFileError
from sandbox_client.leaving_out import LeftOut, Rules
from sandbox_protocol import entry_names
from sandbox_protocol.wire import ManifestEntry

EXECUTABLE, PLAIN = 0o755, 0o644
"""As in git: who may read a file on the developer's machine says nothing about the pod, whether it is a program does."""

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Tree:
    """Entries by path, in sorted order, the rules that left others out, and which those are."""

    root: Path
    entries: dict[str, ManifestEntry]
    rules: Rules
    left_out: list[LeftOut] = field(default_factory=list)


def scan(root: Path, *, include_env: bool = False) -> Tree:
    """Walks and hashes ``root``. Blocking. Raises LocalFileError for what is no folder, or more than a project's."""
    if not root.is_dir():
        raise LocalFileError(f"{root} is not a folder")
    _refuse_home(root)
    found = Tree(root, {}, Rules.of(root, include_env=include_env))
    _walk(str(root), "", found)
    ordered = dict(sorted(found.entries.items()))
    return Tree(root, ordered, found.rules, found.left_out)


def _refuse_home(root: Path) -> None:
    folder = root.resolve()
    try:
        home = Path.home().resolve()
    except (OSError, RuntimeError):
        home = folder / "no home"
    if folder in (home, *home.parents) or folder == Path(folder.anchor):
        what = "your home folder" if folder == home else "a folder that holds your home folder" if folder in home.parents else "/"
        raise LocalFileError(f"{root} is {what}; name the project's own folder, as all that it holds would be sent")


def _walk(folder: str, prefix: str, found: Tree) -> None:
    try:
        with os.scandir(folder) as listing:
            items = list(listing)
    except OSError as error:
        if not prefix:
            raise LocalFileError(f"cannot read {folder}: {error.strerror}") from error
        _cannot_read(prefix.rstrip("/"), error, found)
        return
    for item in items:
        path = f"{prefix}{item.name}"
        try:
            directory = item.is_dir(follow_symlinks=False)
            why = found.rules.reason(path, directory=directory)
            if why is not None:
                if why.path == path:
                    found.left_out.append(why)
                if not (directory and found.rules.enters(path, why)):
                    continue
            if directory:
                _walk(item.path, f"{path}/", found)
            elif fault := entry_names.path_fault(path):
                found.left_out.append(LeftOut(path, "name", fault))
            elif item.is_symlink():
                _link(path, item.path, found)
            elif item.is_file(follow_symlinks=False):
                found.entries[path] = _file(path, item.path)
            else:
                found.left_out.append(LeftOut(path, "special", "a socket, pipe or device does not travel"))
        except OSError as error:
            _cannot_read(path, error, found)


def _cannot_read(path: str, error: OSError, found: Tree) -> None:
    why = "vanished meanwhile" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    found.left_out.append(LeftOut(path, "unreadable", why))


def _link(path: str, file: str, found: Tree) -> None:
    target = str(Path(file).readlink())
    if fault := entry_names.link_fault(path, target):
        found.left_out.append(LeftOut(path, "link", fault))
        return
    raw = os.fsencode(target)
    found.entries[path] = ManifestEntry(path, "symlink", len(raw), 0o777, hashlib.sha256(raw).hexdigest())


def _file(path: str, file: str) -> ManifestEntry:
    digest = hashlib.sha256()
    size = 0
    with open(file, "rb", buffering=0) as content:  # noqa: PTH123 - thousands of times; a Path costs as much as the read
        while piece := content.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        mode = os.fstat(content.fileno()).st_mode
    return ManifestEntry(path, "file", size, EXECUTABLE if mode & 0o100 else PLAIN, digest.hexdigest())
