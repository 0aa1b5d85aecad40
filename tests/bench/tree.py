"""`python -m tests.bench.tree`: 2,000 files, 20 MB, against `tar | zstd | kubectl exec` into the same volume."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from devcluster.kubectl import kubectl_argv
from sandbox_client import blocking
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.trees import make_tree

ROUNDS = 5
FILES, BYTES = 2000, 20_000_000

# The image has no zstd program; the agent's own module reads the stream and hands it to tar.
_UNPACK = """
import sys, tarfile
sys.path.insert(0, "/opt/runner")
from backports import zstd
with zstd.open(sys.stdin.buffer) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
    tar.extractall("/data/tree/by-exec")
"""


def measure(on: Stage) -> list[Figure]:
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
    return [
        Figure(
            "first sync of 2,000 files, 20 MB (durable)",
            Series("sync", tuple(ours), "s"),
            Series("tar | zstd | kubectl exec", tuple(by_exec), "s"),
            goal=1.0,
        )
    ]


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
