"""`python -m tests.bench.agent_preview_server PORT BACKEND`: the agent's preview port alone, the app being BACKEND."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runner_agent import doorkeeper, memory, preview
from runner_agent.activity import Activity
from runner_agent.logs import LogBook
from runner_agent.page_reloads import PageReloads
from runner_agent.settings import Settings
from runner_agent.supervisor import Supervisor


class _NoWorkspace:
    revision: str | None = None


async def _nothing_to_touch(_: Sequence[str]) -> None:
    pass


async def serve(port: int, backend: int, folder: Path) -> None:
    settings = Settings(data=folder, preview_port=port)
    settings = replace(settings, app=replace(settings.app, port=backend))
    preview._PLACES = doorkeeper.Places(own_pod=512)  # the load comes over loopback here, as only the app does in a pod
    logbook = LogBook()
    supervisor = Supervisor(settings, _NoWorkspace(), logbook, _nothing_to_touch)
    reloads = PageReloads(supervisor, _NoWorkspace(), logbook)
    server = await preview.start_preview(preview.Preview(settings, supervisor, logbook, Activity(), reloads), port)
    memory.settle()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), Path(data)))
