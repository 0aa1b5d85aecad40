"""`python -m tests.bench.idle`: what 500 idle WebSockets of an app cost gateway and agent, against the app that holds them.

The app is a bare asyncio server that answers the handshake and waits: less than that nobody can spend on a connection in Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from sandbox_client import blocking
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.preview import Visitor, browserlike
from tests.harness.processes import agent_pid, pids, program_pids, usage

CONNECTIONS = 500
RUNNERS = 2
"""One runner may have 256 exchanges open at each replica of the gateway."""
SETTLE_SECONDS = 3
WARM_UP = 50
"""Opened and closed before: what a first connection costs once is not what each costs."""

_APP = Path(__file__).with_name("idle_app.py").read_text()


def measure(on: Stage) -> list[Figure]:
    sandboxes = [_started(on, f"idle-{number}") for number in range(RUNNERS)]
    agents = [pid for sandbox in sandboxes if (pid := agent_pid(on.cluster, sandbox)) is not None]
    if not agents:
        print("idle WebSockets: the node's processes are not on this machine, nothing measured")
        return []
    apps = [pid for sandbox in sandboxes for pid in pids(on.cluster.pod_uid(sandbox), b"python3\0idle_app.py")]
    parts = {"gateway": program_pids(on.cluster, "preview"), "agent": agents, "app": apps}
    grown = asyncio.run(_grown([Visitor(sandbox.preview().url) for sandbox in sandboxes], parts))
    against = Series("the bare app's own", (grown["app"],), "MiB")
    return [
        Figure(f"{CONNECTIONS} idle WebSockets, memory of the {name}", Series(name, (grown[name],), "MiB"), against)
        for name in ("gateway", "agent")
    ]


def _started(on: Stage, name: str) -> blocking.Sandbox:
    sandbox = on.client.apply(name, {"command": ["python3", "idle_app.py"]})
    sandbox.wait_ready()
    sandbox.sync({"idle_app.py": _APP})
    sandbox.wait_app()
    return sandbox


async def _grown(visitors: Sequence[Visitor], parts: dict[str, list[int]]) -> dict[str, float]:
    """MiB of unshared memory that each part has more while the connections are open."""

    def now() -> dict[str, float]:
        return {name: sum(usage(pid).private for pid in found) for name, found in parts.items()}

    async with browserlike() as http:
        for visitor in visitors:
            answer, body = await visitor.enter(http)
            if answer.status != 302:
                raise RuntimeError(f"the preview answered {answer.status}: {body!r}")
        await _hold(http, visitors, WARM_UP, now)
        before = now()
        during = await _hold(http, visitors, CONNECTIONS, now)
    return {name: during[name] - before[name] for name in parts}


async def _hold(
    http: aiohttp.ClientSession, visitors: Sequence[Visitor], connections: int, look: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """What ``look`` sees when that many are open, spread evenly, and at rest; they are closed afterwards."""
    async with AsyncExitStack() as stack:
        for number in range(connections):
            visitor = visitors[number % len(visitors)]
            await stack.enter_async_context(http.ws_connect(visitor.origin / "socket", headers=visitor.headers))
        await asyncio.sleep(SETTLE_SECONDS)
        seen = look()
    await asyncio.sleep(SETTLE_SECONDS)
    return seen


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
