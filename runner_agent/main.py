"""The agent's life: opens the workspace, serves until it is told to end, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from runner_agent import doorkeeper, isolation, memory, server
from runner_agent.activity import Activity
from runner_agent.auth import Credentials
from runner_agent.logs import LogBook
from runner_agent.logs_serve import LogServer
from runner_agent.logs_store import Store
from runner_agent.page_reloads import PageReloads
from runner_agent.preview import Preview, start_preview
from runner_agent.settings import Settings, SettingsError
from runner_agent.status import runner_status
from runner_agent.supervisor import Supervisor
from runner_agent.sync import SyncService
from runner_agent.volume import Volume
from runner_agent.workspace import Workspace
from sandbox_protocol import json_log

_SHUTDOWN_SECONDS = 1
"""For requests that are being answered. The kubelet ends us after the app container, with 2 s at least: what is left of them is
for the log and the workspace, whose sync that is being applied is always finished."""
_PLACES = doorkeeper.Places(own_pod=16)
"""At the control port."""
_OPEN_FILES = 16384
"""What all places of all ports need at most, several times."""

log = logging.getLogger(__name__)


async def serve(settings: Settings, workspace: Workspace, credentials: Credentials, stop: asyncio.Event) -> None:
    """Until ``stop`` is set; then requests are finished, the app ends, and the workspace is closed with nothing to recover."""
    async with contextlib.AsyncExitStack() as life:
        activity, volume = Activity(), await asyncio.to_thread(Volume, settings.data)
        logbook = LogBook(store=await asyncio.to_thread(_open_log, settings))
        life.push_async_callback(logbook.flush)  # last of all: everybody else may still have something to say

        async def touch(paths: Sequence[str]) -> None:
            await sync.touch(paths)  # each of the two tells the other: of a sync, and of what an app may not have seen of it

        gvisor = await asyncio.to_thread(isolation.is_gvisor)
        # there a watcher hears only of what its own container writes
        shown_below = "/workspace" if gvisor else None
        supervisor = Supervisor(settings, workspace, logbook, touch, shown_below=shown_below)
        reloads = PageReloads(supervisor, workspace, logbook)
        life.push_async_callback(reloads.close)
        sync = SyncService(workspace, supervisor)
        life.push_async_callback(sync.close)
        await sync.start()
        await supervisor.start()
        life.push_async_callback(supervisor.close)
        router = Preview(settings, supervisor, logbook, activity, reloads)
        preview = await start_preview(router, settings.preview_port, by_name=gvisor)
        life.push_async_callback(preview.close)

        async def status() -> dict[str, Any]:
            return await runner_status(supervisor, workspace, volume, activity)

        services = server.Services(workspace, sync, supervisor, LogServer(logbook).serve, status, activity)
        runner = await _listen(settings, server.build(services, credentials), credentials, by_name=gvisor)
        life.push_async_callback(runner.cleanup)
        life.callback(sync.end_streams)
        life.callback(logbook.close)  # first of all: a follower of the log would hold up the end of the server
        watch = asyncio.create_task(credentials.watch(), name="credentials")
        life.callback(watch.cancel)
        memory.settle()
        log.info("serving revision %s on port %d", workspace.revision, settings.control_port)
        await stop.wait()
        log.info("ending")


def _open_log(settings: Settings) -> Store | None:
    """None when the volume has no place for it: an app whose log is in memory only is better than none."""
    try:
        return Store(settings.private / "log", settings.log_bytes, time.time_ns())
    except OSError as error:
        log.warning("the log is kept in memory only: %s", error)
        return None


async def _listen(settings: Settings, app: web.Application, credentials: Credentials, *, by_name: bool) -> web.AppRunner:
    # bodies are decompressed by the sync itself, which bounds what comes out; keep-alive spans the pauses of someone who edits
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, keepalive_timeout=300, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    for listening in doorkeeper.listen(settings.control_port, _PLACES, by_name=by_name):
        await web.SockSite(runner, listening, ssl_context=credentials.tls, backlog=doorkeeper.BACKLOG).start()
    return runner


async def _run(settings: Settings, workspace: Workspace, credentials: Credentials) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, workspace, credentials, stop)


def main() -> int:
    """Ends with 2 when the environment makes no sense, so that a typo is told apart from a crash."""
    json_log.configure()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(_OPEN_FILES, hard)), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # our memory holds the token
    try:
        settings = Settings.from_environment(os.environ)
        credentials = Credentials(settings.control_dir)
    except (SettingsError, OSError) as error:
        log.error("cannot start: %s", error)
        return 2
    workspace = Workspace(settings.data, settings.limits)
    for note in workspace.recovery_notes:
        log.warning("recovery: %s", note)
    asyncio.run(_run(settings, workspace, credentials))
    return 0
