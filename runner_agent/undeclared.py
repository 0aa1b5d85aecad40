"""Where ports are served that no process declares, such as the second server of a script; found when somebody asks for one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from runner_agent import probe
from runner_agent.ports import Listener
from runner_agent.whereabouts import Seen, Where

FRESH_SECONDS = 1.0
"""Until the table of sockets is read again for the same port. A page asks for a hundred files."""
PATIENCE_SECONDS = 2.0
"""For the answer that shows whether a port speaks TLS. What takes longer is asked without."""
_KEPT = 32


class Undeclared:
    def __init__(self, listeners: Callable[[], Awaitable[Sequence[Listener]]]) -> None:
        self._listeners = listeners
        self._known: OrderedDict[int, tuple[float, Listener | None, Where | None]] = OrderedDict()
        self._looking: dict[int, asyncio.Task[None]] = {}

    def where(self, port: int) -> Where | None:
        """As last looked for."""
        known = self._known.get(port)
        return known[2] if known is not None else None

    async def look(self, port: int) -> None:
        known = self._known.get(port)
        if known is not None and time.monotonic() - known[0] < FRESH_SECONDS:
            return
        if port not in self._looking:
            task = self._looking[port] = asyncio.create_task(self._look(port), name=f"look for port {port}")
            task.add_done_callback(lambda _: self._looking.pop(port, None))
        await asyncio.shield(self._looking[port])

    async def _look(self, port: int) -> None:
        found = next((one for one in await self._listeners() if one.port == port), None)
        _, before, where = self._known.get(port, (0.0, None, None))
        if found is None:
            where = None
        elif found != before or where is None:
            where = await self._ask(found)
        self._known[port] = time.monotonic(), found, where
        self._known.move_to_end(port)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    async def _ask(self, listener: Listener) -> Where | None:
        hosts = listener.hosts()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await probe.ask(hosts, listener.port)
                return None if answer is None else Seen(listener, 0.0, host=answer[0], said=answer[1]).where
        return Where(hosts[0], listener.port) if hosts else None
