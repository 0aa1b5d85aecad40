"""What the status says while an app comes up: what was detected, what was installed, how long and how often."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Self

from sandbox_client import RunnerStatus, Sandbox, SandboxError
from tests.apps.results import Record

# An install is never shorter than a few of them.
_POLL_SECONDS = 0.3


class Watch:
    """Looks at the status in the background, as ``async with``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._last: RunnerStatus | None = None
        self._installing = 0.0
        self._runs: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        before = time.monotonic()
        while True:
            with contextlib.suppress(SandboxError):
                self._last = await self._sandbox.status()
                now = time.monotonic()
                if self._last.install.state == "Running":
                    self._installing += now - before
                    self._runs.add(self._last.install.since)
                before = now
            await asyncio.sleep(_POLL_SECONDS)

    def tell(self, record: Record) -> None:
        """Into the record; an install that was too short to be seen counts as one of no time."""
        if self._last is None:
            return
        process, install = self._last.process, self._last.install
        record.detected = str(getattr(process, "framework", "")) or " ".join(process.command)
        record.install_command = " ".join(install.command)
        record.install = self._installing if install.command else None
        record.installs = len(self._runs)
        if record.installs > 1:
            record.notes.append(f"installed {record.installs} times")
        ports = sorted({port for _, port in self._last.listening})
        if process.port is not None and ports and process.port not in ports:
            record.notes.append(f"listens on {', '.join(map(str, ports))}")
