"""The sync verb: HTTP on one side, the workspace on the other, and the order in which things may happen between them.

Bodies are received side by side (at most four), commits happen one at a time, in one thread that owns the workspace. A large body
is unpacked and staged there while it arrives; a small one takes one trip for everything, as a one-file sync would notice two.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiohttp import web

from runner_agent import drift as drifted
from runner_agent import memory, paths, sync_download
from runner_agent.conditional import none_match
from runner_agent.journal import FULL
from runner_agent.reading import Effect, Reading
from runner_agent.sync_feeding import Feeding
from runner_agent.sync_file import Files
from runner_agent.sync_options import Options
from runner_agent.sync_request import Receiver, precondition
from runner_agent.sync_stage import Stage, over
from runner_agent.touch import touch
from runner_agent.workspace import FAILED, Announce, Outcome, Told, Workspace
from sandbox_protocol import names
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import MANIFEST_KIND, TAR, RestartMode, SyncResult

if TYPE_CHECKING:
    from runner_agent.sync_upload import Uploads
    from runner_agent.sync_watch import Watching
    from runner_agent.upload_store import Store, Upload

API_VERSION = f"{names.SUBRESOURCE_GROUP}/{names.VERSION}"

_BODY_SECONDS = 60
"""For a whole body to arrive, the API server's own limit for a request."""
_WRITE_SECONDS = 60
"""For a reader of the archive to take 256 KiB."""
_RECEIVING = 4
"""Bodies at a time. Each may hold ``total_bytes`` of the volume while it is received, and its small files (64 MiB) twice."""
_CHECKPOINT_AFTER = 5.0
"""Seconds from a sync to the checkpoint that takes its content out of the journal."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Restarter(Protocol):
    """What the sync tells about; :class:`runner_agent.supervisor.Supervisor` is one."""

    @property
    def may_miss(self) -> bool:
        """Whether what runs may go on with the old sources after a sync, and the kernel would tell."""
        ...

    async def on_synced(
        self, changed: Sequence[str], restart: RestartMode, first: bool, unsure: Sequence[str] = ()
    ) -> Effect: ...


class SyncService:
    """Owns the workspace's thread. ``start`` and ``close`` frame its life."""

    def __init__(self, workspace: Workspace, restarter: Restarter) -> None:
        self._workspace = workspace
        self._restarter = restarter
        self._lock = asyncio.Lock()
        self._receiving = 0
        self._thread = ThreadPoolExecutor(1, "workspace")
        self._checkpoint: asyncio.Task[None] | None = None
        self._files = Files(workspace)
        self._uploads: Uploads | None = None
        self._opening = asyncio.Lock()
        self._watching: Watching | None = None

    async def start(self) -> None:
        """Before the first request: looks what uploads are left. The code for them is loaded by whoever has any."""
        if await asyncio.to_thread(self._workspace.uploads.exists):
            await self._open_uploads()

    async def _open_uploads(self) -> Uploads:
        async with self._opening:  # a second look at the folder would take what the first has just begun for remains
            if self._uploads is None:
                from runner_agent.sync_upload import Uploads  # noqa: PLC0415 - most agents never see one: 0.2 MB

                number = self._workspace.manifest().number
                self._uploads = await asyncio.to_thread(Uploads, self._workspace.uploads, self, self._workspace.limits, number)
                self._uploads.schedule()
            return self._uploads

    def _open_watching(self) -> Watching:
        if self._watching is None:
            from runner_agent.sync_watch import Watching  # noqa: PLC0415 - as above

            self._watching = Watching(self._workspace.open_tree, self._run)
        return self._watching

    def end_streams(self) -> None:
        """Before the server ends, which waits for what is being answered."""
        if self._watching is not None:
            self._watching.end()

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        """After the sync that is being applied and a last checkpoint. Bodies still arriving must have been ended before."""
        if self._checkpoint is not None:
            self._checkpoint.cancel()
            await asyncio.wait([self._checkpoint])
        if self._uploads is not None:
            await self._uploads.close()
        if self._watching is not None:
            await self._watching.close()
        async with self._lock:
            await self._run(self._workspace.close)
        self._thread.shutdown(wait=False)  # it has nothing left to do: closing was the last

    # -- POST -----------------------------------------------------------------------------------------------------------

    async def post(self, request: web.Request) -> web.Response:
        if "upload" in request.query:
            return await (await self._open_uploads()).part(request)
        revision = precondition(request.headers.get("If-Match"))
        self._workspace.require(revision)
        async with self._stage() as stage, self._fullness():
            outcome = await self._receive(request, stage, revision)
        return web.json_response(self.answer(outcome.result), headers={"ETag": f'"{outcome.result.revision}"'})

    @asynccontextmanager
    async def _fullness(self) -> AsyncIterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise await self.full() from error
            if error.errno in FAILED:
                message = f"the workspace's volume cannot be written: {os.strerror(error.errno)}. Nothing was changed; "
                raise StatusError(503, f"{message}its node or storage needs a look.", retry_after=30) from error
            raise

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
        feeding = Feeding(lambda handful: self._run(receiver.feed, handful))
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    await feeding.add(chunk)
                rest = await feeding.rest()
        except TimeoutError as error:
            message = f"the body did not arrive within {_BODY_SECONDS} s. Nothing was changed; send less at once."
            raise StatusError(408, message, reason="Timeout") from error
        finally:
            feeding.abandon()
        return await self._commit(receiver, rest, revision)

    async def _commit(self, receiver: Receiver, rest: bytes, revision: str | None, announce: Announce | None = None) -> Outcome:
        reading = Reading() if self._restarter.may_miss else None
        try:
            outcome, effect = await self._done(receiver, rest, revision, Told(announce, reading.expect if reading else None))
            unapplied = await reading.unread(effect.unapplied) if reading is not None and effect.unapplied else ()
        finally:
            if reading is not None:
                asyncio.get_running_loop().run_in_executor(None, reading.close)  # nobody waits for it
        return replace(outcome, result=replace(outcome.result, restarted=effect.restarted, unapplied=unapplied))

    async def _done(self, receiver: Receiver, rest: bytes, revision: str | None, told: Told) -> tuple[Outcome, Effect]:
        async with self._lock:
            # shielded: the thread finishes whatever becomes of the connection, and until then nobody else may begin
            options, outcome = await _finished(self._run(self._finish, receiver, rest, revision, told))
            if self._watching is not None:
                self._watching.told()
            self._schedule_checkpoint()
            try:
                effect = await self._restarter.on_synced(outcome.changed, options.restart, outcome.first, outcome.unsure)
            except Exception:
                # the revision is on the disk: an answer that says otherwise would make the caller send it again
                log.exception("the app could not be told about revision %s", outcome.result.revision)
                effect = Effect(restarted=False)
        return outcome, effect

    def _finish(self, receiver: Receiver, rest: bytes, revision: str | None, told: Told) -> tuple[Options, Outcome]:
        receiver.feed(rest)
        options = receiver.finish()
        watching = self._watching
        if watching is None:
            return options, self._workspace.commit(receiver.stage, options.mode, revision, told, options.drift)
        watching.before_sync()
        outcome = self._workspace.commit(receiver.stage, options.mode, revision, told, options.drift)
        watching.after_sync(outcome.changed)
        return options, outcome

    async def touch(self, paths: Sequence[str]) -> None:
        """Gives synced files a new modification time; whoever watches the tree is told of it as of a sync."""
        async with self._lock:
            await _finished(self._run(self._touch, paths))
            if self._watching is not None:
                self._watching.told()

    def _touch(self, paths: Sequence[str]) -> None:
        watching = self._watching
        if watching is not None:
            watching.before_sync()
        with self._workspace.open_tree() as tree:
            touch(tree, paths)
        if watching is not None:
            watching.after_sync(paths)

    # -- for uploads ----------------------------------------------------------------------------------------------------

    def require(self, revision: str | None) -> None:
        """StatusError 412 unless the workspace is at ``revision``; None requires nothing."""
        self._workspace.require(revision)

    def free_bytes(self) -> int:
        return self._workspace.room().free

    def answer(self, result: SyncResult) -> dict[str, Any]:
        return result.to_json(API_VERSION)

    async def apply(self, upload: Upload, store: Store, announce: Announce) -> SyncResult:
        """A body that has arrived, as one sync. ``announce`` is called with its result before the result is durable."""
        head = upload.head
        async with self._stage() as stage, self._fullness():
            allowed = self._workspace.limits.total_bytes
            receiver = Receiver(stage, head.content_type, head.encoding, head.parameters(), allowed=allowed)
            body = store.body(upload)
            while piece := await asyncio.to_thread(next, body, b""):
                await self._run(receiver.feed, piece)
            return (await self._commit(receiver, b"", head.revision, announce)).result

    async def full(self) -> StatusError:
        room = await asyncio.to_thread(self._workspace.room)
        used = f"{room.used} bytes and {room.files - room.files_free} files are used"
        free = f"{room.free} bytes and {room.files_free} files free"
        mend = "delete something in the workspace, HOME or /tmp, or raise spec.storage.size"
        message = f"the workspace's volume is full: {used}, {free}. Nothing was changed; {mend}."
        return StatusError(507, message, reason="InsufficientStorage")

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
        asked = set(request.query)
        if unknown := sorted(asked - {"path", "file", "upload", "watch", "cursor"}):
            message = f"{paths.shown(unknown[0])} is not a query parameter here; path, file, upload, watch and cursor are"
            raise StatusError(400, message)
        if asked != {"path"} and (len(asked - {"cursor"}) > 1 or len(request.query) > len(asked)):
            raise StatusError(400, f"{' and '.join(sorted(asked))} ask for different things; give one, and once")
        if asked >= {"cursor"} and "watch" not in asked:
            raise StatusError(400, "cursor goes with watch")
        if "watch" in asked:
            return await self._open_watching().get(request)
        if "upload" in asked:
            return await (await self._open_uploads()).get(request)
        if "file" in asked:
            return await self._files.get(request)
        if TAR in request.headers.get("Accept", ""):
            return await self._archive(request)
        if asked:
            raise StatusError(400, f"path selects parts of an archive; ask for one with Accept: {TAR}")
        return await self._listing(request)

    async def _listing(self, request: web.Request) -> web.Response:
        manifest, suspects = await self._run(self._workspace.suspects)
        drift = await asyncio.to_thread(self._workspace.judge, suspects)
        tag = manifest.revision and manifest.revision + drifted.tag(drift)
        headers = _etag(tag)
        if none_match(request.headers.get("If-None-Match"), tag):
            return web.Response(status=304, headers=headers)

        def body() -> dict[str, Any]:
            entries = [entry.to_json() for entry in drifted.told(manifest, drift)]
            return {"kind": MANIFEST_KIND, "apiVersion": API_VERSION, "revision": manifest.revision, "entries": entries}

        return web.json_response(await asyncio.to_thread(body), headers=headers)

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        workspace = self._workspace
        headers = {"Content-Type": TAR, "Cache-Control": "no-store", **_etag(workspace.revision)}

        def gone() -> bool:
            return request.transport is None or request.transport.is_closing()

        selection = await asyncio.to_thread(sync_download.select, workspace, request.query.getall("path", []), gone)
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


def _etag(revision: str | None) -> dict[str, str]:
    return {"ETag": f'"{revision}"'} if revision else {}
