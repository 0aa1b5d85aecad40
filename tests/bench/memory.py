"""`python -m tests.bench.memory`: the agent's memory, against a bare Python with aiohttp.web imported, in the same image."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.processes import agent_pid
from tests.harness.trees import make_tree

IDLE_SECONDS = 5

_BARE = "import sys; sys.path.insert(0, '/opt/runner'); import aiohttp.web; print(open('/proc/self/smaps_rollup').read())"


def measure(on: Stage, folder: Path) -> list[Figure]:
    sandbox = on.runner("memory")
    pid = agent_pid(on.cluster, sandbox)
    if pid is None:
        print("agent memory: the node's processes are not on this machine, nothing measured")
        return []
    time.sleep(IDLE_SECONDS)
    idle = _mib(Path(f"/proc/{pid}/smaps_rollup").read_text())
    make_tree(folder, 2000, 20_000_000)
    sandbox.sync(directory=folder)
    time.sleep(IDLE_SECONDS)
    worked = _mib(Path(f"/proc/{pid}/smaps_rollup").read_text())
    bare = _mib(on.cluster.exec(sandbox, "python3", "-c", _BARE, container="agent"))
    against = Series("bare aiohttp.web", (bare["Rss"],), "MiB")
    return [
        Figure("agent RSS, idle", Series("agent", (idle["Rss"],), "MiB"), against, goal=40 / bare["Rss"]),
        Figure("agent RSS after 2,000 files", Series("agent", (worked["Rss"],), "MiB"), against),
        Figure(
            "agent unshared memory, idle",
            Series("agent", (idle["Private"],), "MiB"),
            Series("bare aiohttp.web", (bare["Private"],), "MiB"),
            goal=26 / bare["Private"],
        ),
    ]


def _mib(rollup: str) -> dict[str, float]:
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.MULTILINE)}
    return {"Rss": found["Rss"], "Private": found["Private_Clean"] + found["Private_Dirty"]}


if __name__ == "__main__":
    import tempfile

    with stage() as here, tempfile.TemporaryDirectory() as files:
        print(*measure(here, Path(files)), sep="\n")
