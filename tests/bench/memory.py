"""`python -m tests.bench.memory`: the agent's memory, against a bare Python with aiohttp.web imported, in the same image."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.processes import agent_pid, memory, usage
from tests.harness.trees import make_tree

IDLE_SECONDS = 5

_BARE = "import sys; sys.path.insert(0, '/opt/runner'); import aiohttp.web; print(open('/proc/self/smaps_rollup').read())"


def measure(on: Stage) -> list[Figure]:
    sandbox = on.runner("memory")
    pid = agent_pid(on.cluster, sandbox)
    if pid is None:
        print("agent memory: the node's processes are not on this machine, nothing measured")
        return []
    time.sleep(IDLE_SECONDS)
    idle = usage(pid)
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), 2000, 20_000_000)
        sandbox.sync(directory=folder)
    time.sleep(IDLE_SECONDS)
    worked = usage(pid)
    bare_rss, bare_private = memory(on.cluster.exec(sandbox, "python3", "-c", _BARE, container="agent"))
    against = Series("bare aiohttp.web", (bare_rss,), "MiB")
    return [
        Figure("agent RSS, idle", Series("agent", (idle.rss,), "MiB"), against, goal=40 / bare_rss),
        Figure("agent RSS after 2,000 files", Series("agent", (worked.rss,), "MiB"), against),
        Figure(
            "agent unshared memory, idle",
            Series("agent", (idle.private,), "MiB"),
            Series("bare aiohttp.web", (bare_private,), "MiB"),
            goal=26 / bare_private,
        ),
    ]


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
