"""The listening socket: aiohttp's bare server, without its router, which would take our paths apart a second time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sandbox_operator.apiserver.edge import Edge
from sandbox_operator.apiserver.tls import ServingTls

# Each group of the user is a header of its own, and people of large companies are in hundreds.
_MAX_HEADERS = 2048
# Of one header; names of groups and values of extra are of any length. The API server takes 1 MiB of headers in all.
_MAX_HEADER_BYTES = 64 * 1024
# Of the request line: the command of an exec travels in it.
_MAX_LINE_BYTES = 256 * 1024
# A sync may take as long as the API server waits for it.
_FINISH_SECONDS = 60.0


@asynccontextmanager
async def listening(edge: Edge, tls: ServingTls, host: str | None, port: int) -> AsyncIterator[list[Any]]:
    """Gives the addresses; leaving it closes the socket first and lets requests that have begun come to their end."""
    server = web.Server(
        edge,
        access_log=None,  # the edge writes its own
        auto_decompress=False,  # bodies pass as they are
        handler_cancellation=True,  # a caller that leaves ends what is done for it
        max_line_size=_MAX_LINE_BYTES,
        max_headers=_MAX_HEADERS,
        max_field_size=_MAX_HEADER_BYTES,
    )
    runner = web.ServerRunner(server, shutdown_timeout=_FINISH_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls.context).start()
        yield runner.addresses
    finally:
        await runner.cleanup()
