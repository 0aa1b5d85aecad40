"""Does the app answer: an HTTP status line on its port, whatever the status. An open socket alone proves nothing."""

from __future__ import annotations

import asyncio

SECONDS = 1.0


async def answers(port: int) -> bool:
    """Asks ``GET /`` on loopback. Never raises; takes at most SECONDS."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
            writer.write(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
            line = await reader.read(12)
            return line.startswith(b"HTTP/1.")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
