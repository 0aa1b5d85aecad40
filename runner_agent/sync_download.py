"""The workspace, or parts of it, as a tar archive: what is on the disk now, written by sync or by the app.

Left out are the entries that a sync would ignore too (unless the asked path lies in one of them), pipes, sockets, devices, and
files that the app made unreadable. The app may write meanwhile. A file is sent as long as it is when it is opened, so one that
grows is cut; one that shrinks after that ends the archive as an error, since what was there cannot be sent any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from runner_agent import paths, tar_writer
from runner_agent.paths import RefusedError
from runner_agent.sync_request import zstd_module
from runner_agent.sync_stage import over, refusal
from runner_agent.workspace import Workspace
from runner_agent.workspace_tree import OnDisk, Tree, ignore_rules, on_disk
from sandbox_protocol import ignore as sync_ignore
from sandbox_protocol.errors import StatusError

_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """Entries to send, parents first, as they were when it was made."""

    entries: tuple[tuple[str, OnDisk], ...]
    bytes: int


def select(workspace: Workspace, asked: Sequence[str]) -> Selection:
    """StatusError: 404 names a path that is not there, 413 when more than a sync may carry would have to be sent. Blocks."""
    limits = workspace.limits
    found: dict[str, OnDisk] = {}
    total = 0
    with workspace.open_tree() as tree:
        ignore = ignore_rules(tree)
        for raw in asked or ("",):
            for path, entry in _below(tree, raw, ignore):
                if entry.kind == "other" or path in found:
                    continue
                found[path] = entry
                total += entry.size if entry.kind == "file" else 0
                if len(found) > limits.tree_entries:
                    raise over("tree_entries", f"there are more than {limits.tree_entries} entries", limits.tree_entries)
                if total > limits.total_bytes:
                    raise over("total_bytes", f"the files have more than {limits.total_bytes} bytes", limits.total_bytes)
    return Selection(tuple(found.items()), total)


def _below(tree: Tree, raw: str, ignore: sync_ignore.Ignore) -> Iterator[tuple[str, OnDisk]]:
    try:
        top = paths.parse(raw or ".")
        entry = tree.look(top) if top else None
    except RefusedError as error:
        raise refusal([error.cause], 1) from error
    if top and entry is None:
        raise StatusError(404, f"there is no {paths.shown(top)} in the workspace")
    if entry is not None:
        yield top, entry
        if entry.kind != "directory":
            return
    everything = bool(top) and ignore.reason(top, directory=True) is not None

    def taken(path: str, below: OnDisk) -> bool:
        return everything or ignore.reason(path, directory=below.kind == "directory") is None

    yield from (found for found in tree.walk(top, taken) if taken(*found))


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
