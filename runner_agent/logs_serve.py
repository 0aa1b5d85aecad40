"""``GET /v1/log``: a reader's lines, rendered, at the pace of whoever reads them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web

from runner_agent.logs import LogBook
from runner_agent.logs_block import Record
from runner_agent.logs_read import Gap, Reader, open_reader
from runner_agent.logs_render import Ndjson, Renderer, Text
from sandbox_protocol import log_query
from sandbox_protocol.log_query import NDJSON, TEXT, LogQuery

PIECE_BYTES = 64 * 1024
"""Written to a reader at once; between two pieces other requests get their turn."""
IDLE_SECONDS = 5.0
"""Between two looks whether a silent follower is still there."""
PAUSE_SECONDS = 0.01
"""Between two answers to the same follower: what comes in that time travels together."""


class LogServer:
    """Answers requests for one LogBook."""

    def __init__(self, book: LogBook, clock: Callable[[], int] = time.time_ns) -> None:
        self._book = book
        self._clock = clock

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """StatusError 400 for a bad query, 410 for a cursor of another log. How many read is bounded with all other
        streams (:mod:`runner_agent.in_flight`): a bound below what the API server lets one user have would be that user's."""
        query = log_query.parse(request.query, self._clock())
        ndjson = log_query.wants_ndjson(request.headers.get("Accept", ""))
        with self._book.watched() as changed:
            reader = await open_reader(self._book, query)
            response = web.StreamResponse(headers={"Content-Type": NDJSON if ndjson else TEXT, "Cache-Control": "no-store"})
            try:
                await response.prepare(request)
                await self._send(request, response, reader, self._renderer(query, ndjson), changed)
                await response.write_eof()
            except ConnectionError:  # the reader went away: nobody is left to tell
                pass
        return response

    async def read(self, query: LogQuery, *, ndjson: bool = False) -> bytes:
        """All that is there now, at once."""
        reader, renderer = await open_reader(self._book, query), self._renderer(query, ndjson)
        found: list[bytes] = []
        while not renderer.done and (items := await reader.read()):
            found += self._pieces(items, renderer)
        return b"".join(found)

    def _renderer(self, query: LogQuery, ndjson: bool) -> Renderer:
        if ndjson:
            return Ndjson(self._book.identity, limit=query.limit)
        return Text(timestamps=query.timestamps, limit=query.limit)

    async def _send(
        self, request: web.Request, response: web.StreamResponse, reader: Reader, renderer: Renderer, changed: asyncio.Event
    ) -> None:
        while not renderer.done:
            changed.clear()
            ending = self._book.closed
            while items := await reader.read():
                for piece in self._pieces(items, renderer):
                    await response.write(piece)
                    await asyncio.sleep(0)
                if renderer.done:
                    return
            if ending or reader.over or reader.end is not None or _gone(request):
                return
            await asyncio.sleep(PAUSE_SECONDS)
            await _wait(changed)

    def _pieces(self, items: Sequence[Record | Gap], renderer: Renderer) -> Iterator[bytes]:
        piece = bytearray()
        for item in items:
            piece += renderer.lost(item.before, item.count, self._clock()) if isinstance(item, Gap) else renderer.render(item)
            if renderer.done:
                break
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            await changed.wait()
    except TimeoutError:
        pass
