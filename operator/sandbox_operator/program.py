"""The life of a program that serves users: settings, log, loop and signals at its start, background work while it lives."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import uvloop

from sandbox_operator.errors import SettingsError
from sandbox_operator.kube.client import Kube
from sandbox_operator.kube.config import ConfigError
from sandbox_protocol import json_log

Serve = Callable[[Kube, asyncio.Event], Awaitable[None]]
"""Serves until the event is set."""


def run(name: str, load: Callable[[], Serve]) -> int:
    """The exit status: 1, with a sentence, when ``load`` or the way to the cluster finds its settings wrong."""
    try:
        json_log.configure(os.environ.get("LOG_LEVEL", "INFO").upper())
        uvloop.run(_main(name, load()))
    except (SettingsError, ConfigError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


async def _main(name: str, serve: Serve) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with await Kube.connect(user_agent=f"appstudio-sandbox-{name}") as kube:
        await serve(kube, stop)


async def until(awaited: asyncio.Event, background: Sequence[asyncio.Task[Any]]) -> None:
    """Until ``awaited`` is set. A background task that ends before is an error, its own or RuntimeError: a copy that nobody keeps
    would answer wrongly."""
    waiting = asyncio.ensure_future(awaited.wait())
    try:
        done, _ = await asyncio.wait([waiting, *background], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in done:
        if task is not waiting:
            task.result()
            raise RuntimeError(f"background task {task.get_name()} ended by itself")


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
