"""`python -m tests.bench.tree`: 2,000 files for the first time and 500 that changed, against the least each could cost."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

from devcluster.kubectl import kubectl_argv
from runner_agent.repeats import WITHIN_SECONDS
from sandbox_client import blocking
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.trees import make_tree

ROUNDS = 5
FILES, BYTES = 2000, 20_000_000
EDITS, EDITED, EDITED_BYTES = 20, 500, 10_000

# The image has no zstd program; the agent's own module reads the stream and hands it to tar.
_UNPACK = """
import sys, tarfile
sys.path.insert(0, "/opt/runner")
from backports import zstd
with zstd.open(sys.stdin.buffer) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
    tar.extractall("/data/tree/by-exec")
"""

_NAMES = [
    f"{verb}{noun}" for verb in ("get", "set", "use", "render", "on") for noun in ("User", "Item", "State", "List", "Event")
]

# The least that a durable change of as many files can cost where they lie: no network, no check, no atomicity.
_COPY = f"""
import ctypes, json, os, time
os.makedirs("/data/.agent/bench", exist_ok=True)
began = time.perf_counter()
for number in range({EDITED}):
    with open(f"/data/.agent/bench/{{number}}", "wb") as file:
        file.write(b"x" * {EDITED_BYTES})
fd = os.open("/data/.agent/bench", os.O_RDONLY)
ctypes.CDLL(None).syncfs(fd)
print(json.dumps((time.perf_counter() - began) * 1000))
"""


def measure(on: Stage) -> list[Figure]:
    return [_first_sync(on), *_edits(on)]


def _edits(on: Stage) -> list[Figure]:
    """All of a small app changes at once (another branch, a formatter), or is new: one POST of what the SDK packs, durable when
    answered."""
    sandbox = on.runner("edit")
    changed, new, copied = [], [], []
    sandbox.sync(_files("src", EDITS), restart="never")
    for number in range(EDITS):
        changed.append(_synced(sandbox, _files("src", number)))
        new.append(_synced(sandbox, _files(f"new{number}", number)))
        copied.append(json.loads(on.cluster.exec(sandbox, "python3", "-c", _COPY, container="agent")))
        sandbox.sync({}, delete=[f"new{number}"], restart="never")
        time.sleep(WITHIN_SECONDS)  # or the next round would be edits in quick succession, which are told to the app twice
    least = Series("500 files of 10 kB written one by one into the same volume, one syncfs", tuple(copied), "ms")
    return [
        Figure("sync of 500 changed files of 10 kB (durable)", Series("sync", tuple(changed), "ms"), least),
        Figure("sync of 500 new files of 10 kB (durable)", Series("sync", tuple(new), "ms"), least),
    ]


def _files(folder: str, number: int) -> dict[str, str]:
    return {f"{folder}/{each % 25}/{each}.js": source(random.Random(number * EDITED + each)) for each in range(EDITED)}


def _synced(sandbox: blocking.Sandbox, files: dict[str, str]) -> float:
    began = time.perf_counter()
    assert sandbox.sync(files, restart="never").written == EDITED
    return (time.perf_counter() - began) * 1000


def source(choose: random.Random) -> str:
    """10 kB that compress to a fifth, as source code does."""
    lines: list[str] = []
    while sum(map(len, lines)) < EDITED_BYTES:
        call = f"{choose.choice(_NAMES)}({choose.choice(_NAMES)}.{choose.choice(_NAMES)}, {{ key: {choose.randrange(9999)} }})"
        lines.append(f"  const {choose.choice(_NAMES)}{choose.randrange(99)} = {call}\n")
    return "".join(lines)[:EDITED_BYTES]


def _first_sync(on: Stage) -> Figure:
    sandbox = on.runner("tree")
    sandbox.sync({"index.html": "so that the app runs"})
    ours, by_exec = [], []
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), FILES, BYTES)
        for number in range(ROUNDS):
            # each round into an empty place: nothing is there to be compared equal
            on.cluster.exec(sandbox, "rm", "-rf", "/data/tree/by-exec", container="agent")
            on.cluster.exec(sandbox, "mkdir", "/data/tree/by-exec", container="agent")
            began = time.perf_counter()
            _by_exec(on, sandbox, Path(folder))
            by_exec.append(time.perf_counter() - began)
            fresh = on.runner(f"tree-{number}")
            began = time.perf_counter()
            assert fresh.sync(directory=folder).written == FILES
            ours.append(time.perf_counter() - began)
            fresh.delete()
    return Figure(
        "first sync of 2,000 files, 20 MB (durable)",
        Series("sync", tuple(ours), "s"),
        Series("tar | zstd | kubectl exec", tuple(by_exec), "s"),
        goal=1.0,
    )


def _by_exec(on: Stage, sandbox: blocking.Sandbox, folder: Path) -> None:
    namespace = on.cluster.refs(sandbox).namespace
    pod = on.cluster.pod(sandbox)
    unpack = kubectl_argv(
        on.cluster.state, "exec", "-i", "--namespace", namespace, pod, "--container=agent", "--", "python3", "-c", _UNPACK
    )
    with (
        subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar,
        subprocess.Popen(["zstd", "-q", "-3", "-c"], stdin=tar.stdout, stdout=subprocess.PIPE) as zstd,
    ):
        subprocess.run(unpack, stdin=zstd.stdout, check=True)


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
