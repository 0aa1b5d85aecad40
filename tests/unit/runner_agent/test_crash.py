"""A real process, really killed in the middle of its syncs."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runner_agent.harness import Harness

_SYNCS = """
import sys, pathlib
from tests.unit.runner_agent.harness import Harness
workspace = Harness(pathlib.Path(sys.argv[1]))
n = int((workspace.tree / "f0").read_text().split()[0]) if (workspace.tree / "f0").exists() else 0
while True:
    n += 1
    files = {f"f{i}": f"{n} " * (1 + i * 40) for i in range(30)} | {f"d{n}/x": f"{n} "}
    workspace.sync(files, mode="mirror")
    print(n, flush=True)
    if n % 3 == 0:
        workspace.ws.checkpoint_begin()
        workspace.ws.flush_to_disk()
        workspace.ws.checkpoint_end()
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_agent_comes_back_with_a_whole_revision(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged = 0
    for _ in range(2):
        command = [sys.executable, "-c", _SYNCS, str(tmp_path / "data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 5)):
                acknowledged = int(process.stdout.readline())
            # somewhere in the next sync: reading on until a random number of bytes came would only find its end
            for _ in range(chance.randint(0, 40_000)):
                pass
            process.kill()
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        workspace = Harness(tmp_path / "data")
        contents = workspace.contents()
        number = int(contents["f0"].split()[0])
        assert number in (acknowledged, acknowledged + 1)
        assert contents == {f"f{i}": f"{number} " * (1 + i * 40) for i in range(30)} | {f"d{number}/x": f"{number} "}
        assert workspace.ws.revision is not None
        assert workspace.ws.revision.startswith(f"{number}-")
        assert workspace.staged() == []
        workspace.ws.close()
