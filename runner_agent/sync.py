"""The sync verb: HTTP on one side, the workspace on the other, and the order in which things may happen between them.

Bodies are received side by side (at most four), commits happen one at a time, in one thread that owns the workspace. A small
body takes one trip to that thread for everything; a trip costs 0.1 ms, which a one-file sync would notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from aiohttp import web

from runner_agent import memory, sync_download
from runner_agent.sync_request import Options, Receiver
from runner_agent.sync_stage import Stage, over
from runner_agent.workspace import FULL, Outcome, Workspace
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import MANIFEST_KIND, TAR, RestartMode

API_VERSION = f"{names.SUBRESOURCE_GROUP}/{names.VERSION}"

_SMALL = 256 * 1024
"""Bytes of a body that are gathered before they are handed on; also the size of a handful that goes to the thread at once."""
_BODY_SECONDS = 60
"""For a whole body to arrive, the API server's own limit for a request."""
_WRITE_SECONDS = 60
"""For a reader of the archive to take 256 KiB."""
_RECEIVING = 4
"""Bodies at a time. Each may hold ``total_bytes`` of the volume while it is received."""
_CHECKPOINT_AFTER = 5.0
"""Seconds from a sync to the checkpoint that takes its content out of the journal."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Restarter(Protocol):
    """What the sync tells about; :class:`runner_agent.process.Supervisor` is one."""

    async def on_synced(self, changed: Sequence[str], restart: RestartMode, first: bool) -> bool: ...


class SyncService:
    """Owns the workspace's thread. ``start`` and ``close`` frame its life."""

    def __init__(self, workspace: Workspace, restarter: Restarter) -> None:
        self._workspace = workspace
        self._restarter = restarter
        self._lock = asyncio.Lock()
        self._receiving = 0
        self._thread = ThreadPoolExecutor(1, "workspace")
        self._checkpoint: asyncio.Task[None] | None = None

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        """After the sync that is being applied and a last checkpoint. Bodies still arriving must have been ended before."""
        if self._checkpoint is not None:
            self._checkpoint.cancel()
            await asyncio.wait([self._checkpoint])
        async with self._lock:
            await self._run(self._workspace.close)
        self._thread.shutdown(wait=False)  # it has nothing left to do: closing was the last

    # -- POST -----------------------------------------------------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        revision = precondition(request.headers.get("If-Match"))
        self._workspace.require(revision)
        async with self._stage() as stage:
            try:
                outcome = await self._receive(request, stage, revision)
            except OSError as error:
                if error.errno in FULL:
                    raise await self._full() from error
                raise
        result = outcome.result
        return web.json_response(result.to_json(API_VERSION), headers={"ETag": f'"{result.revision}"'})

    @asynccontextmanager
    async def _stage(self) -> AsyncIterator[Stage]:
        if self._receiving >= _RECEIVING:
            raise StatusError(429, f"{_RECEIVING} syncs are being received; try again in a second", retry_after=1)
        self._receiving += 1
        stage = self._workspace.stage()
        try:
            yield stage
        finally:
            self._receiving -= 1
            # not awaited: the answer does not wait for what is removed, and the thread does it before any later work
            self._thread.submit(self._workspace.discard, stage)

    async def _receive(self, request: web.Request, stage: Stage, revision: str | None) -> Outcome:
        query = {key: request.query.getall(key) for key in request.query}
        receiver = Receiver(stage, request.content_type, request.headers.get("Content-Encoding", "").lower(), query)
        allowed = self._workspace.limits.body_bytes
        if request.content_length is not None and request.content_length > allowed:
            raise over("body_bytes", f"the body has {request.content_length} bytes", allowed)
        gathered: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    gathered.append(chunk)
                    size += len(chunk)
                    if size > _SMALL:
                        await self._run(receiver.feed, b"".join(gathered))
                        gathered, size = [], 0
        except TimeoutError as error:
            message = f"the body did not arrive within {_BODY_SECONDS} s. Nothing was changed; send less at once."
            raise StatusError(408, message, reason="Timeout") from error
        return await self._commit(receiver, b"".join(gathered), stage, revision)

    async def _commit(self, receiver: Receiver, rest: bytes, stage: Stage, revision: str | None) -> Outcome:
        async with self._lock:
            # shielded: the thread finishes whatever becomes of the connection, and until then nobody else may begin
            options, outcome = await _finished(self._run(self._finish, receiver, rest, stage, revision))
            self._schedule_checkpoint()
            try:
                restarted = await self._restarter.on_synced(outcome.changed, options.restart, outcome.first)
            except Exception:
                # the revision is on the disk: an answer that says otherwise would make the caller send it again
                log.exception("the app could not be told about revision %s", outcome.result.revision)
                restarted = False
        return replace(outcome, result=replace(outcome.result, restarted=restarted))

    def _finish(self, receiver: Receiver, rest: bytes, stage: Stage, revision: str | None) -> tuple[Options, Outcome]:
        receiver.feed(rest)
        options = receiver.finish()
        return options, self._workspace.commit(stage, options.mode, revision)

    async def _full(self) -> StatusError:
        usage = await asyncio.to_thread(self._workspace.usage)
        used, free = usage["workspaceBytes"], usage["workspaceFreeBytes"]
        message = f"the workspace's volume is full: {used} bytes used, {free} free. Nothing was changed; delete something or"
        return StatusError(507, f"{message} raise spec.storage.size.", reason="InsufficientStorage")

    # -- checkpoint -----------------------------------------------------------------------------------------------------

    def _schedule_checkpoint(self) -> None:
        if self._workspace.checkpoint_due and (self._checkpoint is None or self._checkpoint.done()):
            self._checkpoint = asyncio.create_task(self._checkpoints(), name="checkpoint")

    async def _checkpoints(self) -> None:
        while self._workspace.checkpoint_due:
            await asyncio.sleep(_CHECKPOINT_AFTER)
            try:
                await _finished(self._run(self._workspace.checkpoint_begin))
                await _finished(asyncio.to_thread(self._workspace.flush_to_disk))
                await _finished(self._run(self._workspace.checkpoint_end))
                await asyncio.to_thread(memory.give_back)  # what the syncs since the last one needed
            except OSError as error:
                log.warning("no checkpoint, the journal stays and grows: %s", error)
                return

    # -- GET ------------------------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.StreamResponse:
        if unknown := sorted(request.query.keys() - {"path"}):
            raise StatusError(400, f"{unknown[0]} is not a query parameter here; path is")
        if TAR in request.headers.get("Accept", ""):
            return await self._archive(request)
        if request.query:
            raise StatusError(400, f"path selects parts of an archive; ask for one with Accept: {TAR}")
        manifest = self._workspace.manifest()

        def body() -> dict[str, Any]:
            entries = [entry.to_json() for entry in manifest]
            return {"kind": MANIFEST_KIND, "apiVersion": API_VERSION, "revision": manifest.revision, "entries": entries}

        return web.json_response(await asyncio.to_thread(body), headers=_etag(manifest.revision))

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        workspace = self._workspace
        headers = {"Content-Type": TAR, "Cache-Control": "no-store", **_etag(workspace.revision)}
        selection = await asyncio.to_thread(sync_download.select, workspace, request.query.getall("path", []))
        pieces: Iterator[bytes] = sync_download.batches(sync_download.archive(workspace, selection))
        if "zstd" in request.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "zstd"
            pieces = sync_download.zstd_compressed(pieces)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                async with asyncio.timeout(_WRITE_SECONDS):
                    await response.write(piece)
            await response.write_eof()
        except BaseException:
            # without its end mark the archive must not look complete
            if request.transport is not None:
                request.transport.abort()
            raise
        return response


async def _finished(work: Awaitable[T]) -> T:
    """Waits until ``work`` is done even when the waiting task is cancelled, then lets the cancellation through."""
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            await asyncio.wait([future])
        raise


def precondition(header: str | None) -> str | None:
    """The revision that ``If-Match`` names; StatusError 400 for what is no single strong entity tag."""
    if header is None:
        return None
    value = header.strip()
    if len(value) < 3 or not (value.startswith('"') and value.endswith('"')) or '"' in value[1:-1]:
        raise StatusError(400, 'If-Match must be one revision in quotes: If-Match: "7-0123456789abcdef"')
    return value[1:-1]


def _etag(revision: str | None) -> dict[str, str]:
    return {"ETag": f'"{revision}"'} if revision else {}
