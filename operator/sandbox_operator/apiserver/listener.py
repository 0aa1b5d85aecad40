"""The listening socket: aiohttp's bare server, without its router, which would take our paths apart a second time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sandbox_operator.apiserver.edge import Edge
from sandbox_operator.apiserver.tls import ServingTls

# A sync may take as long as the API server waits for it.
_FINISH_SECONDS = 60.0


@asynccontextmanager
async def listening(edge: Edge, tls: ServingTls, host: str | None, port: int) -> AsyncIterator[list[Any]]:
    """Gives the addresses; leaving it closes the socket first and lets requests that have begun come to their end."""
    # bodies pass undecoded (auto_decompress), and a caller that leaves ends what is done for it (handler_cancellation)
    server = web.Server(edge, handler_cancellation=True, auto_decompress=False, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=_FINISH_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls.context).start()
        yield runner.addresses
    finally:
        await runner.cleanup()
