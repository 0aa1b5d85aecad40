"""The log verb: lines as text, or records that go on after whatever broke.

A follower is cut off by every roll-out on the way, and by the end of its pod. With a cursor nothing is lost or seen twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, fields, replace
from datetime import datetime

from aiohttp import StreamReader

from sandbox_client.api import Api, Request
from sandbox_client.errors import Busy, Unavailable, Unreachable
from sandbox_client.records import LogRecord
from sandbox_protocol.log_query import NDJSON, TEXT
from sandbox_protocol.wire import Stream

LINE_BYTES = 1024 * 1024
"""A longer line is handed out in pieces: the app must not be able to fill our memory by never ending one. Records are shorter."""
PATIENCE_SECONDS = 120.0
"""For a runner that does not answer any more: a node that is drained takes a minute."""
_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Query:
    """Names as in the query, in Python's spelling; None and False are left out."""

    follow: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: datetime | None = None
    timestamps: bool = False
    limit_bytes: int | None = None
    previous: bool = False
    stream: Stream | None = None
    process: str | None = None
    cursor: str | None = None

    def parameters(self) -> list[tuple[str, str]]:
        found = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value is not False:
                first, *rest = item.name.split("_")
                name = first + "".join(word.capitalize() for word in rest)
                text = value.isoformat() if isinstance(value, datetime) else "true" if value is True else str(value)
                found.append((name, text))
        return found

    def after(self, cursor: str) -> Query:
        """What remains to be asked once the line at ``cursor`` was seen."""
        return replace(self, cursor=cursor, tail_lines=None, since_seconds=None, since_time=None)


async def lines(api: Api, path: str, query: Query) -> AsyncGenerator[str, None]:
    """Text, as pods/log has it."""
    request = Request("GET", path, query.parameters(), {"Accept": f"{TEXT}, application/json"})
    async with api.open(request, stream=True) as answer:
        async for line in _split(answer.content):
            yield line.decode(errors="replace")


async def records(api: Api, path: str, query: Query) -> AsyncGenerator[LogRecord, None]:
    """With ``follow`` until the caller stops, whatever breaks meanwhile."""
    loop = asyncio.get_running_loop()
    connected, delay, heard = False, _FIRST_DELAY, 0.0
    while True:
        request = Request("GET", path, query.parameters(), {"Accept": f"{NDJSON}, application/json"})
        try:
            async with api.open(request, stream=True) as answer:
                connected, heard = True, loop.time()
                async for line in _split(answer.content):
                    record = _record(line)
                    if record is None:  # cut in two by what broke; it comes again
                        break
                    delay, heard = _FIRST_DELAY, loop.time()
                    query = query.after(record.cursor)
                    yield record
        except (Unreachable, Unavailable, Busy):
            if not query.follow or not connected or loop.time() - heard > PATIENCE_SECONDS:
                raise
        if not query.follow or query.previous or query.limit_bytes is not None:
            return
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY)


async def _split(content: StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in content.iter_any():
        *found, rest = (rest + chunk).split(b"\n")
        while len(rest) > LINE_BYTES:
            found.append(rest[:LINE_BYTES])
            rest = rest[LINE_BYTES:]
        for line in found:
            yield line
    if rest:
        yield rest


def _record(line: bytes) -> LogRecord | None:
    try:
        return LogRecord.from_json(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None
