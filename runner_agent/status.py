"""RunnerStatus: what a person or the controller sees of a runner from inside its pod."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, Protocol

from runner_agent import isolation, ports
from runner_agent.activity import Activity
from runner_agent.supervisor import Supervisor
from runner_agent.volume import Volume


class Workspace(Protocol):
    @property
    def revision(self) -> str | None: ...


async def runner_status(supervisor: Supervisor, workspace: Workspace, volume: Volume, activity: Activity) -> dict[str, Any]:
    """The JSON of ``GET /v1/status`` (docs/architecture.md)."""
    memory, tables, usage, isolated = await asyncio.gather(
        supervisor.link.memory_bytes(),
        asyncio.to_thread(ports.read_tables),
        asyncio.to_thread(volume.usage),
        asyncio.to_thread(_own_isolation),
    )
    return {
        "kind": "RunnerStatus",
        "revision": workspace.revision,
        "process": supervisor.web.to_json(),
        "processes": [process.to_json() for process in supervisor.processes],
        "install": supervisor.install_json(),
        "listening": [listener.to_json() for listener in ports.listening(tables)],
        "usage": {**usage, "memoryBytes": memory},
        "lastActivity": activity.to_json(),
        "isolation": {"agent": isolated, "app": supervisor.link.isolation},
        "conditions": [supervisor.condition()],
    }


@cache
def _own_isolation() -> dict[str, Any]:
    """Nothing of it changes while a process lives."""
    return isolation.measure()
