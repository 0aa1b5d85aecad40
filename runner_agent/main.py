"""The agent's life: opens the workspace, serves until it is told to end, and leaves nothing half done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from runner_agent import memory, server
from runner_agent.activity import Activity
from runner_agent.auth import Credentials
from runner_agent.logs import LogBook
from runner_agent.preview import start_preview
from runner_agent.process import Supervisor
from runner_agent.settings import Settings, SettingsError
from runner_agent.status import runner_status
from runner_agent.sync import SyncService
from runner_agent.workspace import Workspace

_SHUTDOWN_SECONDS = 10
"""For requests that are being answered; the pod's grace period must be longer."""

log = logging.getLogger(__name__)


class _JsonLines(logging.Formatter):
    """One JSON object a line: what log collectors read, and what text from outside cannot break out of."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _configure_logging() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


async def serve(settings: Settings, workspace: Workspace, credentials: Credentials, stop: asyncio.Event) -> None:
    """Until ``stop`` is set; then requests are finished, the app ends, and the workspace is closed with nothing to recover."""
    async with contextlib.AsyncExitStack() as life:
        activity = Activity()
        logbook = LogBook()
        supervisor = Supervisor(settings, workspace, logbook)
        sync = SyncService(workspace, supervisor)
        life.push_async_callback(sync.close)
        await supervisor.start()
        life.push_async_callback(supervisor.close)
        preview = await start_preview(settings, supervisor, logbook, activity)
        life.push_async_callback(preview.close)

        async def status() -> dict[str, Any]:
            return await runner_status(supervisor, workspace, activity)

        services = server.Services(workspace, sync, supervisor, logbook.serve_log, status, activity)
        runner = await _listen(settings, server.build(services, credentials), credentials)
        life.push_async_callback(runner.cleanup)
        life.callback(logbook.close)  # first of all: a follower of the log would hold up the end of the server
        watch = asyncio.create_task(credentials.watch(), name="credentials")
        life.callback(watch.cancel)
        memory.settle()
        log.info("serving revision %s on port %d", workspace.revision, settings.control_port)
        await stop.wait()
        log.info("ending")


async def _listen(settings: Settings, app: web.Application, credentials: Credentials) -> web.AppRunner:
    # bodies are decompressed by the sync itself, which bounds what comes out; keep-alive spans the pauses of someone who edits
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, keepalive_timeout=300, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, port=settings.control_port, ssl_context=credentials.tls, reuse_address=True).start()
    return runner


async def _run(settings: Settings, workspace: Workspace, credentials: Credentials) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, workspace, credentials, stop)


def main() -> int:
    """Ends with 2 when the environment makes no sense, so that a typo is told apart from a crash."""
    _configure_logging()
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
