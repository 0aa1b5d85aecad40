"""``GET sync?file=``: one file of the workspace as it is now, whether a sync or the app wrote it; by ETag and by range.

Links that the tree holds are followed as long as they stay inside it. They are resolved here, component by component, and what
comes out is opened by directory handle without following anything: a link that the app plants meanwhile ends in an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from dataclasses import dataclass, replace

from aiohttp import web

from runner_agent import paths
from runner_agent.conditional import UnsatisfiableError, byte_range, none_match
from runner_agent.paths import RefusedError
from runner_agent.sync_stage import over, refusal
from runner_agent.workspace import Workspace
from runner_agent.workspace_disk import RACY_NS
from runner_agent.workspace_tree import OnDisk, Tree, on_disk
from sandbox_protocol.errors import StatusError

_WHOLE = 256 * 1024
"""Bytes up to which a file is read at once: what is hashed is then what is sent, whatever the app does meanwhile."""
_LINKS = 40
"""As many as the kernel follows in one path (path_resolution(7))."""
_REMEMBERED = 32
"""Hashes of large files: a player that fetches a film by ranges would have it hashed for each."""
_WRITE_SECONDS = 60
"""For a reader to take 256 KiB."""

Fingerprint = tuple[int, int, int, int]


@dataclass(slots=True)
class _Opened:
    """A file and its version. ``content`` None: it is read from ``fd``, which whoever has this closes."""

    fd: int
    found: OnDisk
    sha256: str = ""
    content: bytes | None = None


class Files:
    """Serves files of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._hashes: dict[str, tuple[Fingerprint, str]] = {}

    async def get(self, request: web.Request) -> web.StreamResponse:
        """StatusError: 404 no such file, 413 too large to be served, 416, 422 a directory, or a link that leaves the tree."""
        opened = await asyncio.to_thread(self._open, request.query["file"])
        try:
            return await self._answer(request, opened)
        finally:
            os.close(opened.fd)

    async def _answer(self, request: web.Request, opened: _Opened) -> web.StreamResponse:
        size = opened.found.size
        headers = {"ETag": f'"{opened.sha256}"', "Accept-Ranges": "bytes", "Cache-Control": "no-store"}
        if none_match(request.headers.get("If-None-Match"), opened.sha256):
            return web.Response(status=304, headers=headers)
        try:
            wanted = byte_range(request.headers.get("Range"), request.headers.get("If-Range"), opened.sha256, size)
        except UnsatisfiableError:
            message = f"the range begins behind the end of the file, which has {size} bytes"
            raise StatusError(416, message, headers={"Content-Range": f"bytes */{size}"}) from None
        first, last = wanted or (0, size - 1)
        if wanted is not None:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        status = 200 if wanted is None else 206
        headers["Content-Type"] = "application/octet-stream"
        if opened.content is not None:
            return web.Response(status=status, headers=headers, body=opened.content[first : last + 1])
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = last + 1 - first
        await response.prepare(request)
        try:
            await self._copy(response, opened, first, last + 1)
        except BaseException:
            # a part of another version must not look like the end of this one
            if request.transport is not None:
                request.transport.abort()
            raise
        await response.write_eof()
        return response

    async def _copy(self, response: web.StreamResponse, opened: _Opened, at: int, end: int) -> None:
        while at < end:
            piece = await asyncio.to_thread(os.pread, opened.fd, min(_WHOLE, end - at), at)
            at += len(piece)
            if not piece or (at >= end and on_disk(os.fstat(opened.fd)).fingerprint != opened.found.fingerprint):
                raise ConnectionError("the app changed the file while it was sent")
            async with asyncio.timeout(_WRITE_SECONDS):
                await response.write(piece)

    def _open(self, raw: str) -> _Opened:
        allowed = self._workspace.limits.total_bytes
        try:
            path = paths.parse(raw)
            with self._workspace.open_tree() as tree:
                path, found = resolve(tree, path)
                if found.size > allowed:
                    raise over("total_bytes", f"{paths.shown(path)} has {found.size} bytes", allowed)
                opened = _Opened(tree.open_file(path), found)
        except RefusedError as error:
            raise refusal([error.cause], 1) from error
        except OSError as error:  # moved away, replaced or closed to us since
            raise StatusError(404, f"{paths.shown(raw)} cannot be opened: {os.strerror(error.errno or 0)}") from error
        try:
            self._identify(path, opened)
        except BaseException:
            os.close(opened.fd)
            raise
        return opened

    def _identify(self, path: str, opened: _Opened) -> None:
        opened.found = on_disk(os.fstat(opened.fd))
        if opened.found.size <= _WHOLE:
            opened.content = _read(opened.fd)
            opened.found = replace(opened.found, size=len(opened.content))
            opened.sha256 = hashlib.sha256(opened.content).hexdigest()
            return
        fingerprint, known = self._hashes.get(path, ((0, 0, 0, 0), ""))
        if fingerprint == opened.found.fingerprint:
            opened.sha256 = known
            return
        opened.sha256 = _hash(opened.fd)
        if time.time_ns() - max(opened.found.fingerprint[2:]) > RACY_NS:
            self._hashes.pop(path, None)
            while len(self._hashes) >= _REMEMBERED:
                del self._hashes[next(iter(self._hashes))]
            self._hashes[path] = opened.found.fingerprint, opened.sha256


def resolve(tree: Tree, path: str) -> tuple[str, OnDisk]:
    """The regular file that ``path`` leads to, free of links, and what stands there. StatusError 404, RefusedError."""
    done: list[str] = []
    left = path.split("/")[::-1]
    links = 0
    there: OnDisk | None = None
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                raise RefusedError(path, "SymbolicLink", "leads through a symbolic link out of the workspace")
            done.pop()
            continue
        here = "/".join([*done, part])
        there = _look(tree, here, path)
        if there.kind != "symlink":
            done.append(part)
            continue
        links += 1
        target = tree.read_link(here)
        if links > _LINKS:
            raise RefusedError(path, "SymbolicLink", f"leads through more than {_LINKS} symbolic links")
        if target.startswith("/"):
            raise RefusedError(path, "SymbolicLink", "leads through an absolute symbolic link, which is not followed")
        left += target.split("/")[::-1]
    found = "/".join(done)
    there = _look(tree, found, path) if found else None
    if there is None or there.kind == "directory":
        raise RefusedError(path, "IsADirectory", "is a directory; ask for it with ?path= and Accept: application/x-tar")
    if there.kind != "file":
        raise RefusedError(path, "NotAFile", "is a pipe, a socket or a device")
    return found, there


def _look(tree: Tree, here: str, path: str) -> OnDisk:
    try:
        there = tree.look(here)
    except RefusedError as error:
        if error.cause.reason != "NotADirectory":
            raise
        there = None
    if there is None:
        raise StatusError(404, f"there is no {paths.shown(path)} in the workspace")
    return there


def _read(fd: int) -> bytes:
    """At most a little more than ``_WHOLE``, also of a file that grows."""
    content = bytearray()
    while len(content) <= _WHOLE and (piece := os.read(fd, _WHOLE)):
        content += piece
    return bytes(content)


def _hash(fd: int) -> str:
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(fd, 1 << 20, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()
