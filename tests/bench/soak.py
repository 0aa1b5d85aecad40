"""`python -m tests.bench.soak`: an hour of editing compressed: 20,000 syncs and 500 restarts of one runner, with previews,
logs and status in between. Memory, descriptors and threads of every process on the way must stay flat: the last third of the
run against the first.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from sandbox_client import Busy, Client, Sandbox
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage
from tests.harness.fixtures import WEB_SERVER
from tests.harness.preview import Visitor, browserlike
from tests.harness.processes import Usage, agent_pid, pids, program_pids, usage

SYNCS = 20_000
RESTARTS = 500
WRITERS = 3
"""At once: an agent receives four bodies at a time, and one place stays free."""
SAMPLES = 60
FILES = 50
"""That many files are written in turns, a few kB each, so that the tree stays of one size."""
WARM_UP_SHARE = 0.1
"""Of the samples, left out: caches and arenas fill, and the collector finds its rhythm."""
GOAL = 1.05
"""Last third to first: an hour's leak of more than a twentieth would be an out-of-memory kill within a day or two."""

GOAL_OF_COUNTS = 1.25
"""Idle connections come and go by a few of forty; one lost with each restart would be 500."""


@dataclass(frozen=True, slots=True)
class Sample:
    """``done`` syncs had been answered."""

    done: int
    parts: Mapping[str, Usage]


def measure(on: Stage, syncs: int = SYNCS, restarts: int = RESTARTS) -> list[Figure]:
    sandbox = on.client.apply("soak", {"command": WEB_SERVER})
    sandbox.wait_ready()
    sandbox.sync({"index.html": "the soak"})
    sandbox.wait_app()
    agent = agent_pid(on.cluster, sandbox)
    if agent is None:
        print("soak: the node's processes are not on this machine, nothing measured")
        return []
    pod = on.cluster.pod_uid(sandbox)
    watched = {
        "agent": [agent],
        "launcher": pids(pod, b"/opt/sandbox/launcher\0serve")[:1],
        "apiserver": program_pids(on.cluster, "apiserver"),
        "controller": program_pids(on.cluster, "controller"),
        "gateway": program_pids(on.cluster, "preview"),
    }
    began = time.monotonic()
    samples = asyncio.run(_Soak(on, sandbox.name, watched, syncs, restarts).run())
    print(f"soak: {syncs} syncs and {restarts} restarts in {time.monotonic() - began:.0f} s")
    return [figure for part in watched for figure in figures(part, samples)]


class _Soak:
    """One run. The processes that are watched must be the same ones at its end."""

    def __init__(self, on: Stage, name: str, watched: Mapping[str, Sequence[int]], syncs: int, restarts: int) -> None:
        self._on = on
        self._name = name
        self._watched = watched
        self._syncs = syncs
        self._per_restart = max(1, syncs // restarts)
        self._per_sample = max(1, syncs // SAMPLES)
        self._numbers = iter(range(syncs))
        self._done = 0
        self._samples: list[Sample] = []

    async def run(self) -> list[Sample]:
        async with Client(self._on.user) as client, browserlike() as http:
            sandbox = client.sandbox(self._name)
            visitor = Visitor((await sandbox.preview(expiration_seconds=24 * 3600)).url)
            await visitor.enter(http)
            async with asyncio.TaskGroup() as group:
                for _ in range(WRITERS):
                    group.create_task(self._write(sandbox, http, visitor))
        return self._samples

    async def _write(self, sandbox: Sandbox, http: aiohttp.ClientSession, visitor: Visitor) -> None:
        for number in self._numbers:
            content = f"// edit {number}\n" * 200
            await _patiently(sandbox, f"src/module-{number % FILES}.js", content)
            self._done += 1
            if number % self._per_sample == 0:
                self._samples.append(Sample(self._done, {name: _sum(found) for name, found in self._watched.items()}))
            if number % self._per_restart == 0:
                await self._restart(sandbox, http, visitor)

    async def _restart(self, sandbox: Sandbox, http: aiohttp.ClientSession, visitor: Visitor) -> None:
        """And what a person does around it: sees the page, looks at status and log."""
        await sandbox.restart(grace_period_seconds=1)
        async with http.get(visitor.origin, headers=visitor.headers) as answer:
            await answer.read()
        await sandbox.status()
        async for _ in sandbox.logs(tail_lines=20):
            pass
        await sandbox.manifest()


async def _patiently(sandbox: Sandbox, path: str, content: str) -> None:
    while True:
        try:
            await sandbox.sync({path: content}, restart="never")
        except Busy as error:  # as a client shall
            await asyncio.sleep(error.retry_after or 1)
        else:
            return


def _sum(found: Sequence[int]) -> Usage:
    total = Usage(0, 0, 0, 0)
    for pid in found:
        total += usage(pid)
    return total


def figures(part: str, samples: Sequence[Sample]) -> list[Figure]:
    """Of one part of the watched ones. At least ten samples are needed."""
    kept = samples[int(len(samples) * WARM_UP_SHARE) :]
    third = len(kept) // 3
    first, last = ([sample.parts[part] for sample in some] for some in (kept[:third], kept[-third:]))
    thousands, kib = [sample.done / 1000 for sample in kept], [sample.parts[part].rss * 1024 for sample in kept]
    slope = statistics.linear_regression(thousands, kib).slope
    kinds = (
        ("rss", f"RSS ({slope:+.0f} kB per 1,000 syncs)", "MiB", GOAL),
        ("descriptors", "file descriptors", "", GOAL_OF_COUNTS),
        ("threads", "threads", "", GOAL_OF_COUNTS),
    )
    return [
        Figure(
            f"soak, {part}, {words}",
            Series("last third", _of(last, name), unit),
            Series("first third", _of(first, name), unit),
            goal,
        )
        for name, words, unit, goal in kinds
    ]


def _of(usages: Sequence[Usage], name: str) -> tuple[float, ...]:
    return tuple(float(getattr(item, name)) for item in usages)


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here, *map(int, sys.argv[1:3])), sep="\n")
