"""Does the app answer: an HTTP status line on its port, whatever the status. An open socket alone proves nothing.

That is asked until it was answered once, as a request shows in the app's log and may make it work. From then on it is enough
that something still accepts connections: nothing is sent, so nothing is logged, and an app that computes for long is not
taken for one that is gone.

An app that binds ``localhost`` may be found on ::1 alone: that is what the name means first to Node since 17.
"""

from __future__ import annotations

import asyncio

ANSWER_SECONDS = 5.0
"""Frameworks compile a page when it is first asked for; a request that is given up is made again, and compiled again."""
ACCEPT_SECONDS = 1.0
HOSTS = ("127.0.0.1", "::1")


async def answering_host(port: int) -> str | None:
    """The first of HOSTS where the app answers. Never raises; takes at most ANSWER_SECONDS a host, and no time where nobody
    listens."""
    for host in HOSTS:
        if await _answers(host, port):
            return host
    return None


async def accepts(host: str, port: int) -> bool:
    """Whether something listens there. Never raises; the connection is ended in order, a reset would be an error to some apps."""
    try:
        async with asyncio.timeout(ACCEPT_SECONDS):
            _, writer = await asyncio.open_connection(host, port, limit=4096)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _answers(host: str, port: int) -> bool:
    writer: asyncio.StreamWriter | None = None
    request = (
        f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: sandbox-readiness\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=4096)
            writer.write(request.encode())
            line = await reader.read(12)
            return line.startswith(b"HTTP/1.")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
