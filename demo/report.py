"""What the demo prints: a line with its time for each step, and everything that helps when a step fails."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from devcluster.kubectl import KubectlError, kubectl
from devcluster.settings import State
from sandbox_client import Sandbox, SandboxError
from sandbox_client.waiting import conditions
from sandbox_protocol.refs import Refs

Explain = Callable[[Sandbox], Awaitable[None]]

_LOG_LINES = 30
_EVENT_LINES = 15


def line(text: str) -> None:
    print(text, flush=True)


@contextmanager
def step(what: str) -> Iterator[list[str]]:
    """Prints ``what`` with its seconds when the block ends well; what is appended to the list goes behind it."""
    begin = time.monotonic()
    notes: list[str] = []
    yield notes
    line(f"  {time.monotonic() - begin:6.2f} s  {what}{': ' + ', '.join(notes) if notes else ''}")


async def explain(state: State, sandbox: Sandbox) -> None:
    """Conditions, pods, events and the last log lines of one runner."""
    line(f"\n{sandbox.namespace}/{sandbox.name} as the cluster sees it:")
    try:
        runner = await sandbox.refresh()
    except SandboxError as error:
        line(f"  {error}")
        return
    for item in conditions(runner):
        line(f"  {item.type:<13}{item.status:<8}{item.reason:<22}{item.message}")
    namespace = Refs(runner["metadata"]["uid"]).namespace
    for title, arguments in {
        "pods": ("get", "pods", "--namespace", namespace, "--no-headers", "-o", "wide"),
        "events of the runner": ("get", "events", "--namespace", sandbox.namespace, "--sort-by=.lastTimestamp", "--no-headers"),
        "events of the runtime": ("get", "events", "--namespace", namespace, "--sort-by=.lastTimestamp", "--no-headers"),
        "log of the agent": ("logs", "--namespace", namespace, "deployment/runner", "--container=agent", "--tail=200"),
    }.items():
        try:
            found = kubectl(state, *arguments).strip().splitlines()
        except KubectlError as error:
            found = [str(error)]
        line(f"  {title}:")
        told = [text for text in found if '"access"' not in text]  # probes, mostly
        for text in told[-_EVENT_LINES:] or ["none"]:
            line(f"    {text}")
    line("  log of the app:")
    try:
        async for text in sandbox.logs(tail_lines=_LOG_LINES):
            line(f"    {text}")
    except SandboxError as error:
        line(f"    {error}")
