"""The workspace, or parts of it, as a tar archive: what is on the disk now, written by sync or by the app.

Left out are the entries that a sync would ignore too (unless the asked path lies in one of them), pipes, sockets, devices, and
files that the app made unreadable. The app may write meanwhile. A file is sent as long as it is when it is opened, so one that
grows is cut; one that shrinks after that ends the archive as an error, since what was there cannot be sent any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from runner_agent import paths, tar_writer
from runner_agent.paths import RefusedError
from runner_agent.sync_request import zstd_module
from runner_agent.sync_stage import over, refusal
from runner_agent.workspace import Workspace
from runner_agent.workspace_tree import OnDisk, Tree, ignore_rules, on_disk
from sandbox_protocol import ignore as sync_ignore
from sandbox_protocol.errors import Cause, StatusError

_CHUNK = 256 * 1024
_LOOK_UP = 256
"""Entries between two looks whether somebody still waits."""
PATHS = 1000
"""That one request may name."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries to send, parents first, as they were when it was made."""

    entries: tuple[tuple[str, OnDisk], ...]
    bytes: int


class GoneError(ConnectionError):
    """Nobody waits for the answer any more."""


def select(workspace: Workspace, asked: Sequence[str], gone: Callable[[], bool] = lambda: False) -> Selection:
    """StatusError: 404 names a path that is not there, 413 when more than a sync may carry would have to be sent. Blocks, for one
    walk over the tree however many paths are asked for; GoneError soon after ``gone`` says so."""
    limits = workspace.limits
    found: dict[str, OnDisk] = {}
    total = seen = 0

    def waiting() -> None:
        nonlocal seen
        seen += 1
        if seen % _LOOK_UP == 0 and gone():
            raise GoneError

    with workspace.open_tree() as tree:
        ignore = ignore_rules(tree)
        tops = _parsed(asked)
        named = set(tops)
        for top in tops:
            below = _below(tree, top, ignore, waiting) if not _covered(top, named, ignore) else _alone(tree, top)
            for path, entry in below:
                if entry.kind == "other" or path in found:
                    continue
                found[path] = entry
                total += entry.size if entry.kind == "file" else 0
                if len(found) > limits.tree_entries:
                    raise over("tree_entries", f"there are more than {limits.tree_entries} entries", limits.tree_entries)
                if total > limits.total_bytes:
                    raise over("total_bytes", f"the files have more than {limits.total_bytes} bytes", limits.total_bytes)
    return Selection(tuple(found.items()), total)


def _parsed(asked: Sequence[str]) -> list[str]:
    """Each path once, those above others first."""
    if len(asked) > PATHS:
        message = f"path is given {len(asked)} times; {PATHS} are allowed. Name folders, or ask more than once."
        raise StatusError(400, message, causes=[Cause("path", "LimitExceeded", message)])
    try:
        return sorted({paths.parse(raw or ".") for raw in asked or ("",)})
    except RefusedError as error:
        raise refusal([error.cause], 1) from error


def _covered(top: str, named: set[str], ignore: sync_ignore.Ignore) -> bool:
    """Whether what is below ``top`` comes with another path that was asked for."""
    above = [one for one in (("", *paths.ancestors(top)) if top else ()) if one in named]
    return any(_ignored(one, ignore) for one in above) or (bool(above) and not _ignored(top, ignore))


def _ignored(top: str, ignore: sync_ignore.Ignore) -> bool:
    return bool(top) and ignore.reason(top, directory=True) is not None


def _alone(tree: Tree, top: str) -> Iterator[tuple[str, OnDisk]]:
    try:
        entry = tree.look(top)
    except RefusedError as error:
        raise refusal([error.cause], 1) from error
    if entry is None:
        raise StatusError(404, f"there is no {paths.shown(top)} in the workspace")
    yield top, entry


def _below(tree: Tree, top: str, ignore: sync_ignore.Ignore, waiting: Callable[[], None]) -> Iterator[tuple[str, OnDisk]]:
    """``top`` and what is below it. Calls ``waiting`` for each entry that is looked at, left out or not."""
    for path, entry in _alone(tree, top) if top else ():
        yield path, entry
        if entry.kind != "directory":
            return
    everything = _ignored(top, ignore)
    for path, entry in tree.walk(top, lambda path, _: everything or ignore.reason(path, directory=True) is None):
        waiting()
        if everything or ignore.reason(path, directory=entry.kind == "directory") is None:
            yield path, entry


class ChangedError(Exception):
    """A file of which the head was sent already cannot be sent to its end."""


def archive(workspace: Workspace, selection: Selection) -> Iterator[bytes]:
    """The archive in pieces of at most 256 KiB. Blocks between them, as long as the disk needs. Raises ChangedError amid it."""
    left = workspace.limits.total_bytes
    with workspace.open_tree() as tree:
        for path, entry in selection.entries:
            name = os.fsencode(path)
            try:
                if entry.kind == "symlink":
                    piece = tar_writer.header(name, entry, os.fsencode(tree.read_link(path)))
                elif entry.kind == "directory":
                    piece = tar_writer.header(name, entry)
                else:
                    fd = tree.open_file(path)
            except (OSError, RefusedError):
                continue  # removed or made unreadable since; nothing of it was sent yet
            if entry.kind != "file":
                yield piece
                continue
            with os.fdopen(fd, "rb", buffering=0) as file:
                found = on_disk(os.fstat(fd))
                left -= found.size
                if left < 0:
                    raise ChangedError(
                        f"{paths.shown(path)} grew, and with it the files are over {workspace.limits.total_bytes} bytes"
                    )
                yield tar_writer.header(name, found)
                yield from _content(file, path, found.size)
    yield tar_writer.END


def _content(file: IO[bytes], path: str, size: int) -> Iterator[bytes]:
    left = size
    while left:
        try:
            chunk = file.read(min(left, _CHUNK))
        except OSError as error:
            raise ChangedError(f"{paths.shown(path)} cannot be read to its end: {error.strerror}") from error
        if not chunk:
            raise ChangedError(f"{paths.shown(path)} became shorter while it was sent")
        left -= len(chunk)
        yield chunk
    yield tar_writer.padding(size)


def batches(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about 256 KiB: each costs a change of threads."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= _CHUNK:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def zstd_compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Level 3 with bounded memory (about 4 MB)."""
    zstd = zstd_module()
    compressor = zstd.ZstdCompressor(level=3)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
