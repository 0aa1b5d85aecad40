"""A large body sent in parts, so that a broken connection costs a part of a part, and the API server's 60 s a part.

The server keeps what arrived, and tells where to continue. The last part may be repeated: it is processed once, and its answer
is kept for a while.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from sandbox_client import pauses
from sandbox_client.api import Api, Request
from sandbox_client.errors import ApiError, Busy, Conflict, NotFound, SandboxError, Unavailable, Unreachable
from sandbox_client.packing import Parts

PART_BYTES = 8 * 1024 * 1024
"""Arrives within 60 s at 1.2 Mbit/s; below that, what arrived of it is kept all the same."""
ATTEMPTS = 8
"""In a row without a byte of progress. With the pauses between them, 20 s: an agent that is started anew is back after 3."""

_RESUMABLE = frozenset({408, 500})


async def send(api: Api, whole: Request, parts: Parts) -> Any:
    """The answer that the request with the ``whole`` body would have got. Raises as that would, and Unreachable or Unavailable
    when nothing goes on any more."""
    upload = _Upload(api, whole, parts)
    failures = 0
    while True:
        try:
            before = upload.at
            if (answer := await upload.part()) is not None:
                return answer
        except SandboxError as error:
            failures = await _again(upload, error, failures if upload.at == before else 0)
        else:
            failures = 0


async def _again(upload: _Upload, error: SandboxError, failures: int) -> int:
    """Finds out where to continue, or gives up by raising ``error``; the number of failures without progress."""
    while True:
        if failures >= ATTEMPTS or not _may_pass(error):
            raise error
        failures += 1
        await asyncio.sleep(pauses.after(error, failures))
        if isinstance(error, Busy):
            return failures
        try:
            return 0 if await upload.resume() else failures
        except SandboxError as next_error:
            error = next_error


def _may_pass(error: SandboxError) -> bool:
    if isinstance(error, ApiError) and error.code in _RESUMABLE:
        return True
    return isinstance(error, Unreachable | Unavailable | Busy | Conflict)


class _Upload:
    def __init__(self, api: Api, whole: Request, parts: Parts) -> None:
        self.at = 0
        self._api = api
        self._whole = whole
        self._parts = parts
        self._query = [*whole.query, ("upload", secrets.token_urlsafe(16))]

    async def part(self) -> Any:
        """None until the last part was answered."""
        length = min(PART_BYTES, self._parts.size - self.at)
        last = self.at + length == self._parts.size
        content = await asyncio.to_thread(self._parts.read, self.at, length)
        headers = {
            **self._whole.headers,
            "Content-Length": str(length),
            "Upload-Offset": str(self.at),
            "Upload-Complete": "?1" if last else "?0",
        }
        answer = await self._api.json(Request("POST", self._whole.path, self._query, headers, content))
        if last:
            return answer
        self.at += length
        return None

    async def resume(self) -> bool:
        """Whether more has arrived than was known. An upload that the server forgot begins again."""
        before = self.at
        try:
            state = await self._api.json(Request("GET", self._whole.path, self._query[-1:]))
            self.at = min(int(state["offset"]), self._parts.size)
        except NotFound:
            self.at = 0
        return self.at > before
