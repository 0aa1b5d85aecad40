"""Requests that have no end of their own (followed logs, upgraded connections), and how they end when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class LongRunning:
    """Ends every block inside :meth:`until_shutdown` once :meth:`end` was called, as if the block had come to its end."""

    def __init__(self) -> None:
        self._scopes: set[asyncio.Timeout] = set()
        self._ended = False

    def __len__(self) -> int:
        return len(self._scopes)

    @asynccontextmanager
    async def until_shutdown(self) -> AsyncIterator[None]:
        scope = asyncio.timeout(0 if self._ended else None)
        self._scopes.add(scope)
        try:
            async with scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scopes.discard(scope)

    def end(self) -> None:
        self._ended = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)
