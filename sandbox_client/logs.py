"""The log verb: lines as text, or records that go on after whatever broke.

A follower is cut off by every roll-out on the way, and by the end of its pod. With a cursor nothing is lost or seen twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, fields, replace
from datetime import datetime

from sandbox_client import batches
from sandbox_client.api import Api, Request
from sandbox_client.batches import Lines
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


async def lines(api: Api, path: str, query: Query) -> AsyncGenerator[list[str], None]:
    """Text, as pods/log has it."""
    request = Request("GET", path, query.parameters(), {"Accept": f"{TEXT}, application/json"})
    async with api.open(request, stream=True) as answer:
        async for found in Lines(answer.content, LINE_BYTES):
            yield batches.texts(found)


async def records(api: Api, path: str, query: Query) -> AsyncGenerator[list[LogRecord], None]:
    """With ``follow`` until the caller stops, whatever breaks meanwhile. Without, Unreachable where the answer breaks or ends in
    a record; so with ``previous`` and a limit, which cannot be continued."""
    loop = asyncio.get_running_loop()
    goes_on = query.follow and not query.previous and query.limit_bytes is None
    connected, delay, heard = False, _FIRST_DELAY, 0.0
    while True:
        request = Request("GET", path, query.parameters(), {"Accept": f"{NDJSON}, application/json"})
        try:
            async with api.open(request, stream=True) as answer:
                connected, heard = True, loop.time()
                async for received in Lines(answer.content, LINE_BYTES):
                    found, whole = batches.records(received)
                    if found:
                        delay, query = _FIRST_DELAY, query.after(found[-1].cursor)
                        yield found
                        heard = loop.time()  # only now: how long the caller took is not the server's silence
                    if not whole:  # followed, it comes again
                        raise Unreachable(f"{api.connection.server} broke off its answer to GET {path} within a record")
        except (Unreachable, Unavailable, Busy):
            if not goes_on or not connected or loop.time() - heard > PATIENCE_SECONDS:
                raise
        if not goes_on:
            return
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LAST_DELAY)
