"""How many requests the control port answers at once: the last bound, behind those that each replica of the API server keeps.

The API server's replicas count for themselves, so their number multiplies what they let through; the agent's memory does not grow
with them. Bodies that are being received have a tighter bound of their own (:mod:`runner_agent.sync`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from sandbox_protocol.errors import StatusError

SHORT = 128
"""What two replicas let through to one runner. The controller's own questions fit in what users leave, as theirs end quickly."""
STREAMS = 256
"""Followed logs and watches, about 0.4 MB each with their TLS connection."""
_ENDLESS = ("follow", "watch")


class InFlight:
    def __init__(self, short: int = SHORT, streams: int = STREAMS) -> None:
        self._allowed = {"requests": short, "long-running requests": streams}
        self._counts = dict.fromkeys(self._allowed, 0)

    @contextmanager
    def entered(self, request: web.BaseRequest) -> Iterator[None]:
        """Counts ``request`` while the block runs; StatusError 429 with the numbers before it where there is no place."""
        kind = "long-running requests" if any(name in request.query for name in _ENDLESS) else "requests"
        if self._counts[kind] >= self._allowed[kind]:
            both = f"{self._counts[kind]} {kind}, {self._allowed[kind]} are allowed"
            raise StatusError(429, f"the runner's agent is answering {both}; let some end first", retry_after=1)
        self._counts[kind] += 1
        try:
            yield
        finally:
            self._counts[kind] -= 1
