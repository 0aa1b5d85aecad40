"""`python -m tests.bench.one_file`: one edited file through the Kubernetes API, against a bare aggregated no-op."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from sandbox_client.api import Api, Request, json_request, path
from sandbox_protocol import names
from tests.bench import noop
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage

ROUNDS = 400
WARM_UP = 40
BYTES = 1000

_DISK = f"""
import json, os, time
fd = os.open("/data/.agent/bench", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
took = []
for _ in range({ROUNDS}):
    began = time.perf_counter()
    os.write(fd, b"x" * {BYTES})
    os.fdatasync(fd)
    took.append((time.perf_counter() - began) * 1000)
os.unlink("/data/.agent/bench")
print(json.dumps(took))
"""


def measure(on: Stage) -> list[Figure]:
    sandbox = on.runner("one-file")
    sandbox.sync({"src/App.jsx": "first"})
    verb = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", on.namespace, names.PLURAL, "one-file", "sync")

    def body(number: int) -> dict[str, object]:
        content = f"{number:08d}".ljust(BYTES, "x")  # another content each time: every sync writes, and is on disk when answered
        return {"files": [{"path": "src/App.jsx", "content": content}], "restart": "never"}

    async def alternate() -> tuple[list[float], list[float]]:
        async with Api(on.user) as api:
            await api.json(json_request("POST", noop.path(on.namespace), body(0)))
            ours, bare = [], []
            for number in range(ROUNDS + WARM_UP):
                ours.append(await _timed(api.json, json_request("POST", verb, body(number))))
                bare.append(await _timed(api.json, json_request("POST", noop.path(on.namespace), body(number))))
            return ours[WARM_UP:], bare[WARM_UP:]

    with noop.installed(on):
        ours, bare = asyncio.run(alternate())
    disk = json.loads(on.cluster.exec(sandbox, "python3", "-c", _DISK, container="agent"))
    sync = Series("sync", tuple(ours), "ms")
    least = Series("no-op and one fdatasync on the same volume", tuple(a + b for a, b in zip(bare, disk, strict=True)), "ms")
    return [
        # 4 ms against the 2.1 ms that the no-op took where the goal was set
        Figure("one-file sync", sync, Series("aggregated no-op", tuple(bare), "ms"), goal=4 / 2.1),
        Figure("one-file sync, against the least a durable answer costs", sync, least),
    ]


async def _timed(call: Callable[[Request], Awaitable[object]], request: Request) -> float:
    began = time.perf_counter()
    await call(request)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
