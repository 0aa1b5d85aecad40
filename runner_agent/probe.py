"""Does the app answer: an HTTP status line on its port, whatever the status. An open socket alone proves nothing.

An app that binds ``localhost`` may be found on ::1 alone: that is what the name means first to Node since 17.
"""

from __future__ import annotations

import asyncio

SECONDS = 1.0
HOSTS = ("127.0.0.1", "::1")


async def answering_host(port: int) -> str | None:
    """The first of HOSTS where the app answers. Never raises; takes at most SECONDS a host, and no time where nobody listens."""
    for host in HOSTS:
        if await _answers(host, port):
            return host
    return None


async def _answers(host: str, port: int) -> bool:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=4096)
            writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
            line = await reader.read(12)
            return line.startswith(b"HTTP/1.")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
