"""RunnerStatus: what a person or the controller sees of a runner from inside its pod."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from runner_agent import ports
from runner_agent.activity import Activity
from runner_agent.process import Supervisor


class Workspace(Protocol):
    @property
    def revision(self) -> str | None: ...

    def usage(self) -> dict[str, int]: ...


async def runner_status(supervisor: Supervisor, workspace: Workspace, activity: Activity) -> dict[str, Any]:
    """The JSON of ``GET /v1/status`` (docs/architecture.md)."""
    memory, tables, usage = await asyncio.gather(
        supervisor.link.memory_bytes(), asyncio.to_thread(ports.read_tables), asyncio.to_thread(workspace.usage)
    )
    return {
        "kind": "RunnerStatus",
        "revision": workspace.revision,
        "process": supervisor.process_json(),
        "listening": [listener.to_json() for listener in ports.listening(tables)],
        "usage": {**usage, "memoryBytes": memory},
        "lastActivity": activity.to_json(),
        "conditions": [supervisor.condition()],
    }
