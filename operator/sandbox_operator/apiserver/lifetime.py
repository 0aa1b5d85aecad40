"""How long a request may last: short ones to a deadline, streams until their caller, their body or the server ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from sandbox_protocol.errors import StatusError

SHORT_SECONDS = 59.0
"""Of a short request, from its head to the end of its answer: one less than the API server's own limit, so that we say why."""
IDLE_SECONDS = 60.0
"""In which a request's body must go on, where the request has no deadline."""
# Whose end nobody can foresee, as the API server has it too: what is behind them belongs to the app, and a log may be long, its
# reader slow.
_ENDLESS_VERBS = frozenset({"exec", "log", "proxy"})
# As Kubernetes reads a boolean of a query: a bare ``?watch`` is true.
_FALSE = frozenset({"0", "false"})


def endless(verb: str, query: Mapping[str, str], *, upgrade: bool) -> bool:
    """Whether a request may go on for as long as its caller likes."""
    return upgrade or verb in _ENDLESS_VERBS or query.get("watch", "0").lower() not in _FALSE


@asynccontextmanager
async def deadline(body: aiohttp.StreamReader, seconds: float = SHORT_SECONDS) -> AsyncIterator[None]:
    """StatusError when the block takes longer: 408 while the request's body is still to come, 504 otherwise."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        if not body.is_eof():
            raise StatusError(408, f"the request's body did not come within {seconds:.0f} s; send less at once") from error
        raise StatusError(504, f"no answer within {seconds:.0f} s; ask for the runner's status before you repeat") from error


@asynccontextmanager
async def arriving(body: aiohttp.StreamReader, seconds: float = IDLE_SECONDS) -> AsyncIterator[None]:
    """StatusError 408 when nothing of the request's body comes for ``seconds`` while the block runs and the body has not ended.

    A reader behind us that takes nothing looks the same: what it costs is the same, too.
    """
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)
    seen, check = -1, None

    def look() -> None:
        nonlocal seen, check
        if body.is_eof():
            return
        if body.total_bytes == seen:
            scope.reschedule(loop.time())
            return
        seen = body.total_bytes
        check = loop.call_later(seconds, look)

    try:
        async with scope:
            look()
            yield
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise StatusError(408, f"nothing of the request's body came for {seconds:.0f} s") from error
    finally:
        if check is not None:
            check.cancel()


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
