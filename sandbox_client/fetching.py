"""Files out of a workspace: one by its name, many as an archive unpacked into a folder, and what changes among them."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import IO, cast

from sandbox_client import pauses, unpacking
from sandbox_client.api import Api, Request
from sandbox_client.errors import ApiError, Busy, Unavailable, Unreachable
from sandbox_client.records import FileChange, FileContent
from sandbox_protocol.wire import TAR

ATTEMPTS = 8
"""Of a watch or a file, in a row without progress."""
SPOOL_BYTES = 8 * 1024 * 1024

_EVENTS = "application/x-ndjson"


async def file(api: Api, url_path: str, path: str, start: int = 0, end: int | None = None) -> FileContent:
    """Continues where a connection broke, as long as it is the same version; another one begins anew."""
    content, tag, failures = bytearray(), "", 0
    while True:
        headers = {"Accept": "application/octet-stream, application/json"}
        at = start + len(content)
        if at or end is not None:
            headers["Range"] = f"bytes={at}-{'' if end is None else end - 1}"
        if tag:
            headers["If-Range"] = f'"{tag}"'
        before = len(content)
        try:
            async with api.open(Request("GET", url_path, [("file", path)], headers), stream=True) as answer:
                found = answer.headers.get("ETag", "").strip('"')
                if tag and found != tag:
                    content.clear()
                    tag = ""
                    continue
                tag = found
                async for chunk in answer.content.iter_any():
                    content += chunk
                return FileContent(path, bytes(content), tag)
        except (Unreachable, Unavailable, Busy) as error:
            failures = failures + 1 if len(content) == before else 1
            await _pause(error, failures)


async def export(api: Api, url_path: str, paths: Sequence[str], target: Path) -> list[str]:
    """The unpacked files and links, below ``target``, which is made. Raises LocalFileError."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        query = [("path", path) for path in paths]
        async with api.open(Request("GET", url_path, query, {"Accept": f"{TAR}, application/json"}), stream=True) as answer:
            async for chunk in answer.content.iter_chunked(1024 * 1024):
                await asyncio.to_thread(spool.write, chunk)
        spool.seek(0)
        return await asyncio.to_thread(unpacking.unpack, cast("IO[bytes]", spool), target)


async def changes(api: Api, url_path: str, cursor: str) -> AsyncGenerator[FileChange, None]:
    """Endless. Without a cursor it begins with RESYNC once the watch stands: what is read from then on is not behind."""
    begun, failures = bool(cursor), 0
    while True:
        query = [("watch", "true"), *([("cursor", cursor)] if cursor else [])]
        try:
            async with api.open(
                Request("GET", url_path, query, {"Accept": f"{_EVENTS}, application/json"}), stream=True
            ) as answer:
                buffered = b""
                async for chunk in answer.content.iter_any():
                    *lines, buffered = (buffered + chunk).split(b"\n")
                    for line in filter(None, lines):
                        change = FileChange.from_json(json.loads(line))
                        cursor, failures = change.cursor or cursor, 0
                        if not begun:
                            begun = True
                            yield FileChange("RESYNC", cursor=cursor)
                        if change.type != "BOOKMARK":
                            yield change
        except (Unreachable, Unavailable, Busy) as error:
            failures += 1
            await _pause(error, failures)


async def _pause(error: Unreachable | ApiError, failures: int) -> None:
    if failures >= ATTEMPTS:
        raise error
    await asyncio.sleep(pauses.after(error, failures))
