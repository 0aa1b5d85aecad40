"""The controller's process: wait for the Lease, read what there is, then work until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any

from sandbox_operator import settings
from sandbox_operator.controller import health
from sandbox_operator.controller.leader import Leader
from sandbox_operator.errors import OperatorError
from sandbox_operator.kube import config
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.lease import Lease
from sandbox_protocol import json_log

_LOG = logging.getLogger(__name__)

LEASE = "sandbox-controller"


def main() -> int:
    """Exit status: 0 after a signal, 1 when the Lease was lost or anything broke; Kubernetes then starts us again."""
    json_log.configure(os.environ.get("LOG_LEVEL", "INFO"))
    # kopf logs every event that it passes on
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        return asyncio.run(_run(settings.load()))
    except (OperatorError, config.ConfigError) as error:
        _LOG.error("%s", error)
        return 1


async def _run(loaded: settings.Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Kube.connect() as kube:
        counters = health.Counters()
        leader = Leader(kube, loaded, counters, stop)
        server = await health.serve(
            health.application(counters, lambda: len(leader.runners), lambda: len(leader.queue)),
            int(os.environ.get("HEALTH_PORT", health.PORT)),
        )
        lease = Lease(kube, loaded.namespace, LEASE, loaded.identity)
        try:
            if not await _until(stop, lease.acquire()):
                return 0
            counters.leader = True
            return 1 if await _until(stop, _lead(leader, lease)) else 0
        finally:
            if counters.leader:
                await lease.release()
            await server.cleanup()


async def _lead(leader: Leader, lease: Lease) -> None:
    """Both never end by themselves; the first that fails ends the other."""
    async with asyncio.TaskGroup() as group:
        group.create_task(lease.hold(), name="lease")
        group.create_task(leader.run(), name="leader")


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether ``work`` ended, rather than being told to stop; its failure is logged and counts as an end."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        if (error := task.exception()) is not None:
            _LOG.error("ended: %s", error, exc_info=error)
        return True
    finally:
        for unfinished in (task, waiting):
            unfinished.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
