"""``sync?upload=<id>``: a body that comes in parts and survives broken connections, after the IETF's resumable uploads.

A part says where it begins (``Upload-Offset``) and whether it is the last one (``Upload-Complete``). Whatever arrived of a part
is kept, also when its connection breaks or its 60 s are over; who comes back asks for the offset and continues there. The last
part is answered when the whole body was processed as one sync, and repeated it gets the same answer.

One part at a time: a new request for an upload ends one that is still being read. The old connection is most likely dead,
which only its client can know. Terms: draft-ietf-httpbis-resumable-upload.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aiohttp import web

from runner_agent.journal import FULL
from runner_agent.sync_request import precondition
from runner_agent.sync_stage import over
from runner_agent.upload_store import Answer, Head, Store, Upload
from sandbox_protocol.errors import StatusError
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import SyncResult

_IDENTITY = re.compile(r"[A-Za-z0-9_-]{8,64}")
_GATHERED = 256 * 1024
_BODY_SECONDS = 60
"""For a part to arrive, the API server's own limit for a request. What came until then is kept."""
_RESERVE = 4 * 1024 * 1024
"""Bytes of the volume that uploads leave free: the app should not be the one to find it full."""
_PASSING = frozenset({409, 429, 500, 503})
"""Refusals that are not about the body: the last part may come again, and the sync is tried again."""

log = logging.getLogger(__name__)
T = TypeVar("T")


class Syncs(Protocol):
    """What processes a whole body; :class:`runner_agent.sync.SyncService` is one."""

    def require(self, revision: str | None) -> None: ...
    def free_bytes(self) -> int: ...
    async def full(self) -> StatusError: ...
    async def apply(self, upload: Upload, store: Store, answered: Callable[[SyncResult], None]) -> SyncResult: ...
    def answer(self, result: SyncResult) -> dict[str, Any]: ...


@dataclass(slots=True)
class _Doing:
    """What is going on with one upload at this moment."""

    reading: asyncio.Task[None] | None = None
    finishing: asyncio.Task[Answer] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def finished(self, task: asyncio.Task[Answer]) -> None:
        self.finishing = None
        if not task.cancelled():
            task.exception()  # told to whoever waits; without anybody it is no mistake either


class Uploads:
    """Owns the folder of uploads and a thread for it, from the first upload on."""

    def __init__(self, folder: Path, syncs: Syncs, limits: SyncLimits, committed: int) -> None:
        self._syncs = syncs
        self._limits = limits
        self._store = Store(folder, limits.total_bytes, committed)
        self._thread = ThreadPoolExecutor(1, "uploads")
        self._doing: dict[str, _Doing] = {}
        self._expiry: asyncio.TimerHandle | None = None

    def _run(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def close(self) -> None:
        """Keeps what has arrived. A body that is being processed is waited for."""
        if self._expiry is not None:
            self._expiry.cancel()
        for doing in list(self._doing.values()):
            await _ended(doing.reading)
            if doing.finishing is not None:
                await asyncio.wait([doing.finishing])
        self._thread.shutdown(wait=False)

    # -- POST -----------------------------------------------------------------------------------------------------------

    async def part(self, request: web.Request) -> web.Response:
        """204 with the new offset, or after the last part the sync's answer."""
        identity, at, last = _identity(request), _offset(request), _complete(request)
        length = request.content_length
        if length is not None and length > self._limits.body_bytes:
            raise over("body_bytes", f"the part has {length} bytes", self._limits.body_bytes)
        doing = self._doing.setdefault(identity, _Doing())
        try:
            async with doing.lock:
                await _ended(doing.reading)
                upload = await self._upload(identity, at, _head(request))
                if upload.answer is None and doing.finishing is None:
                    if at != upload.size:
                        raise _wrong(upload, f"the part begins at {at}")
                    await self._room(upload, length or 0)
                    doing.reading = asyncio.create_task(self._read(request, upload))
                reading = doing.reading
            if upload.answer is not None or doing.finishing is not None:
                return await self._repeated(request, upload, doing, at, last)
            assert reading is not None
            await self._arrived(upload, reading)
            if not last:
                return web.Response(status=204, headers=_offset_header(upload))
            return _response(await self._finished(upload, doing))
        finally:
            self._forget(identity)

    async def _upload(self, identity: str, at: int, head: Head) -> Upload:
        upload = await self._run(self._store.get, identity)
        if upload is not None:
            if upload.answer is None and upload.head != head:
                raise StatusError(400, "a part must repeat the first one's query, Content-Type, Content-Encoding and If-Match")
            return upload
        if at != 0:
            message = "there is no such upload here: it expired, or its answer was given too long ago. Begin again at 0."
            raise StatusError(404, message)
        self._syncs.require(head.revision)
        try:
            return await self._run(self._store.begin, identity, head)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise await self._syncs.full() from error

    async def _room(self, upload: Upload, length: int) -> None:
        await self._run(self._store.check, upload, length)
        if length + _RESERVE > (free := await asyncio.to_thread(self._syncs.free_bytes)):
            await self._run(self._store.drop, upload)
            message = f"the part has {length} bytes and the workspace's volume {free} free, of which {_RESERVE} are kept free"
            raise StatusError(
                507, f"{message}. The upload was given up, nothing was changed; delete something or raise spec.storage.size."
            )

    async def _read(self, request: web.Request, upload: Upload) -> None:
        gathered: list[bytes] = []
        size = received = 0
        at = upload.size
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    gathered.append(chunk)
                    size += len(chunk)
                    received += len(chunk)
                    if received > self._limits.body_bytes:
                        raise over(
                            "body_bytes", f"the part has more than {self._limits.body_bytes} bytes", self._limits.body_bytes
                        )
                    if size > _GATHERED:
                        taken, gathered, size = b"".join(gathered), [], 0
                        appended = self._run(self._store.append, upload, at, taken)
                        at += len(taken)
                        await asyncio.shield(appended)  # begun, it must not be taken back by a cancellation
        finally:
            # also while this task is being cancelled: what has come in counts
            await asyncio.shield(self._run(self._keep, upload, at, b"".join(gathered)))

    def _keep(self, upload: Upload, at: int, rest: bytes) -> None:
        if self._store.known(upload.identity):
            self._store.append(upload, at, rest)
            self._store.flush(upload)

    async def _arrived(self, upload: Upload, reading: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            await _ended(reading)
            raise
        try:
            reading.result()
        except asyncio.CancelledError:
            raise _wrong(upload, "another request for this upload came in between") from None
        except TimeoutError as error:
            message = f"the part did not arrive within {_BODY_SECONDS} s; the first {upload.size} bytes of the upload are kept"
            raise StatusError(408, message, reason="Timeout", headers=_offset_header(upload)) from error
        except OSError as error:
            if error.errno not in FULL:
                raise
            await self._run(self._store.drop, upload)
            raise await self._syncs.full() from error

    async def _repeated(self, request: web.Request, upload: Upload, doing: _Doing, at: int, last: bool) -> web.Response:
        """A part of an upload that is complete: only its last one may come again."""
        received = 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
            if received > self._limits.body_bytes:
                break
        whole = upload.answer.size if upload.answer else upload.size
        if not last or at + received != whole:
            raise _wrong(upload, f"the upload is complete with {whole} bytes, and this part ends at {at + received}")
        return _response(await self._finished(upload, doing))

    # -- the whole body -------------------------------------------------------------------------------------------------

    async def _finished(self, upload: Upload, doing: _Doing) -> Answer:
        if upload.answer is not None:
            return upload.answer
        if doing.finishing is None:
            doing.finishing = asyncio.create_task(self._process(upload), name="upload")
            doing.finishing.add_done_callback(doing.finished)
        # shielded: whoever asks for the answer may go away and come back
        return await asyncio.shield(doing.finishing)

    async def _process(self, upload: Upload) -> Answer:
        """The answer, noted before it is given. StatusError for a refusal that may pass."""

        def answer(result: SyncResult) -> Answer:
            number = int(result.revision.partition("-")[0])
            return Answer(200, self._syncs.answer(result), upload.size, number)

        try:
            result = await self._syncs.apply(upload, self._store, lambda early: self._store.answered(upload, answer(early)))
        except BaseException as error:
            await self._run(self._store.withdraw, upload)
            if not isinstance(error, StatusError) or error.code in _PASSING:
                raise
            told = Answer(error.code, error.body(), upload.size)
            if error.code != 507:  # on a full volume nothing more is written
                await self._run(self._store.answered, upload, told)
        else:
            told = answer(result)
            if result.restarted:  # known only now; if this does not reach the disk, an older answer says less
                await self._run(self._store.answered, upload, told)
        await self._run(self._store.end, upload, told)
        return told

    # -- GET ------------------------------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.Response:
        """Where to continue. Ends a part that is still being read: its bytes would make the answer untrue."""
        identity = _identity(request)
        if (doing := self._doing.get(identity)) is not None:
            async with doing.lock:
                await _ended(doing.reading)
        upload = await self._run(self._store.get, identity)
        if upload is None:
            raise StatusError(404, "there is no such upload here; begin it at 0")
        body = {
            "kind": "SyncUpload",
            "offset": upload.answer.size if upload.answer else upload.size,
            "complete": upload.answer is not None,
            "expirationTimestamp": datetime.fromtimestamp(upload.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return web.json_response(body, headers=_offset_header(upload))

    # -- expiry ---------------------------------------------------------------------------------------------------------

    def schedule(self) -> None:
        """Sees to it that what nobody comes back for is forgotten."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if (seconds := self._store.next_expiry) is not None:
            self._expiry = asyncio.get_running_loop().call_later(seconds + 1, self._expire)

    def _expire(self) -> None:
        self._run(self._store.expire).add_done_callback(lambda _: self._forget(*self._doing))

    def _forget(self, *identities: str) -> None:
        for identity in identities:
            doing = self._doing.get(identity)
            if doing is not None and not self._store.known(identity) and not doing.lock.locked():
                del self._doing[identity]
        self.schedule()


def _response(answer: Answer) -> web.Response:
    headers = {"Upload-Offset": str(answer.size)}
    if answer.code == 200:
        headers["ETag"] = f'"{answer.body["revision"]}"'
    return web.json_response(answer.body, status=answer.code, headers=headers)


def _offset_header(upload: Upload) -> dict[str, str]:
    return {"Upload-Offset": str(upload.answer.size if upload.answer else upload.size)}


def _wrong(upload: Upload, what: str) -> StatusError:
    headers = _offset_header(upload)
    return StatusError(409, f"{what}; continue at {headers['Upload-Offset']} (Upload-Offset)", headers=headers)


async def _ended(task: asyncio.Task[Any] | None) -> None:
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task])


# -- what a part says ---------------------------------------------------------------------------------------------------------


def _identity(request: web.Request) -> str:
    values = request.query.getall("upload")
    if len(values) != 1 or not _IDENTITY.fullmatch(values[0]):
        raise StatusError(400, "upload must be one name of 8 to 64 letters, digits, - and _; take a random one")
    return values[0]


def _offset(request: web.Request) -> int:
    value = request.headers.get("Upload-Offset", "")
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise StatusError(400, "Upload-Offset must be the number of bytes that were sent before this part")
    return int(value)


def _complete(request: web.Request) -> bool:
    value = request.headers.get("Upload-Complete", "").strip()
    if value not in ("?0", "?1"):
        raise StatusError(400, "Upload-Complete must be ?1 with the last part and ?0 with any other")
    return value == "?1"


def _head(request: web.Request) -> Head:
    query = tuple((name, value) for name, value in request.query.items() if name != "upload")
    revision = precondition(request.headers.get("If-Match"))
    return Head(request.content_type, request.headers.get("Content-Encoding", "").lower(), query, revision)
