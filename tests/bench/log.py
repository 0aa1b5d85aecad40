"""`python -m tests.bench log`: lines through the Kubernetes API, against pods/log of a plain pod that printed the same.

One client reads them all, so that it weighs the same everywhere. First, how fast kept lines arrive at a follower, as bytes and as
records of the SDK; then whether it keeps up with an app that prints LIVE_RATE lines a second; then what it costs the agent when
an app prints as much as it can.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing, closing

from sandbox_client import Client, blocking
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage

LINES = 60_000
"""Of 100 bytes: with CRI's prefix 8.4 MB. At 10 MiB the kubelet begins a new file, and pods/log forgets the old."""
ROUNDS = 7
LIVE_RATE, LIVE_SECONDS = 60_000, 5
LAST = b"all printed"
GOAL_RATE = 50_000
ASYNC, BLOCKING = "records of the SDK", "records of the blocking SDK"

_PRINT = f"""
import sys, time
for start in range(0, {LINES}, 600):  # a launcher keeps 1 MiB for an agent that is busy, and drops the rest
    sys.stdout.write("".join(f"{{n:06d}} {{'x' * 92}}\\n" for n in range(start, start + 600)))
    sys.stdout.flush()
    time.sleep(0.01)
print("{LAST.decode()}", flush=True)
time.sleep(3600)
"""
_LIVE = f"""
import sys, time
began = time.monotonic()
for step in range({LIVE_SECONDS * 100}):
    sys.stdout.write("".join(f"{{n:06d}} {{'x' * 92}}\\n" for n in range({LIVE_RATE // 100})))
    sys.stdout.flush()
    time.sleep(max(0, began + (step + 1) / 100 - time.monotonic()))
print("{LAST.decode()}", time.monotonic() - began, flush=True)
time.sleep(3600)
"""
_FLOOD = 'import os\nos.execvp("yes", ["yes", "x" * 99])\n'
FLOOD_SECONDS = 5
_CPU = f"""
import os, time
def spent():
    return sum(map(int, open("/proc/1/stat").read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")
before, began = spent(), time.monotonic()
time.sleep({FLOOD_SECONDS})
print(spent() - before, time.monotonic() - began)
"""


def measure(on: Stage) -> list[Figure]:
    sandbox = on.client.apply("log", {"command": ["python3", "-u", "run.py"]})
    sandbox.wait_ready()
    ours = path("apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", on.namespace, names.PLURAL, "log", "log")
    sandbox.sync({"run.py": _PRINT})
    _wait(sandbox)
    plain_pod = _plain_pod(on, sandbox)
    sources = {
        "NDJSON": (on.user, ours, "application/x-ndjson"),
        "text": (on.user, ours, "text/plain"),
        "pods/log": (on.cluster.admin, plain_pod, "*/*"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*sources, ASYNC, BLOCKING)}
    for _ in range(ROUNDS):
        for name, source in sources.items():
            seconds[name].append(asyncio.run(_follow(*source))[0])
        seconds[ASYNC].append(asyncio.run(_follow_records(on)))
        seconds[BLOCKING].append(_follow_blocking(sandbox))
    kept = {name: Series(f"{name}, per {LINES} lines", tuple(values), "s") for name, values in seconds.items()}
    against = Series("pods/log of a plain pod that printed the same", kept["pods/log"].values, "s")
    raw = Series("the NDJSON of the same, its lines counted", kept["NDJSON"].values, "s")
    least = Series(f"{GOAL_RATE} lines/s, the goal", (LINES / GOAL_RATE,), "s")
    return [
        *(Figure(f"log follow of {LINES} lines, {name}", kept[name], against) for name in ("NDJSON", "text")),
        *(Figure(f"log follow of {LINES} lines, {name}", kept[name], least, goal=1.0) for name in ("NDJSON", "text")),
        *(Figure(f"log follow of {LINES} lines, {name}", kept[name], raw) for name in (ASYNC, BLOCKING)),
        *(Figure(f"log follow of {LINES} lines, {name}", kept[name], least, goal=1.0) for name in (ASYNC, BLOCKING)),
        _live(sandbox, sources["NDJSON"]),
        _flood(on, sandbox),
    ]


def _flood(on: Stage, sandbox: blocking.Sandbox) -> Figure:
    sandbox.sync({"run.py": _FLOOD}, restart="always")
    while sandbox.status().process.state not in ("Running", "Starting"):
        time.sleep(0.2)
    time.sleep(2)  # the burst that is let through is over
    spent, elapsed = map(float, on.cluster.exec(sandbox, "python3", "-c", _CPU, container="agent").split())
    sandbox.sync({"run.py": "import time; time.sleep(3600)"}, restart="always")
    of_a_core = Series("a core, for as long", (elapsed,), "s")
    return Figure("agent's CPU while an app prints without pause", Series("CPU", (spent,), "s"), of_a_core, goal=0.2)


def _live(sandbox: blocking.Sandbox, source: tuple[Connection, str, str]) -> Figure:
    async def both() -> tuple[float, bytes, int]:
        following = asyncio.create_task(_follow(*source, tail=0))
        await asyncio.sleep(1)
        await asyncio.to_thread(sandbox.sync, {"run.py": _LIVE}, restart="always")
        return await following

    took, last, lines = asyncio.run(both())
    printing = float(json.loads(last)["text"].split()[-1])
    wanted = LIVE_RATE * LIVE_SECONDS
    if lines != wanted + 1:
        raise AssertionError(f"{lines} lines of {wanted} and the last one arrived")
    name = f"log follow while {LIVE_RATE} lines/s are printed for {LIVE_SECONDS} s, none lost"
    return Figure(name, Series("until the last line arrived", (took,), "s"), Series("printing", (printing,), "s"))


async def _follow(connection: Connection, url: str, accept: str, *, tail: int | None = None) -> tuple[float, bytes, int]:
    """Seconds until the last line, since the request or (with ``tail``) since the first line; the last line; how many came."""
    query = [("follow", "true"), *([] if tail is None else [("tailLines", str(tail)), ("stream", "stdout")])]
    async with Api(connection) as api:
        began, lines, rest = time.perf_counter(), 0, b""
        async with api.open(Request("GET", url, query, {"Accept": f"{accept}, application/json"}), stream=True) as answer:
            async for chunk in answer.content.iter_any():
                if tail is not None and not lines:
                    began = time.perf_counter()
                lines += chunk.count(b"\n")
                rest = rest[-1000:] + chunk
                if LAST in rest and rest.endswith(b"\n"):
                    return time.perf_counter() - began, rest[rest.rindex(b"\n", 0, -1) + 1 :], lines
    raise AssertionError("the log ended before its last line")


async def _follow_records(on: Stage) -> float:
    """Seconds from the request until the last record."""
    async with Client(on.user, namespace=on.namespace) as client:
        began = time.perf_counter()
        async with aclosing(client.sandbox("log").log_records(follow=True)) as records:
            async for record in records:
                if record.text == LAST.decode():
                    return time.perf_counter() - began
    raise AssertionError("the log ended before its last line")


def _follow_blocking(sandbox: blocking.Sandbox) -> float:
    began = time.perf_counter()
    with closing(sandbox.log_records(follow=True)) as records:
        for record in records:
            if record.text == LAST.decode():
                return time.perf_counter() - began
    raise AssertionError("the log ended before its last line")


def _wait(sandbox: blocking.Sandbox) -> None:
    """Raises when the app has not printed all within a minute."""
    deadline = time.monotonic() + 60
    while LAST.decode() not in list(sandbox.logs(tail_lines=1, stream="stdout")):
        if time.monotonic() > deadline:
            raise TimeoutError("the app has not printed its last line")
        time.sleep(0.2)


def _plain_pod(on: Stage, sandbox: blocking.Sandbox) -> str:
    """The path of pods/log of a pod with the runner's image, and none of its parts."""
    namespace = on.cluster.refs(sandbox).namespace
    pod = on.cluster.get("pod", on.cluster.pod(sandbox), "--namespace", namespace)
    image = next(item["image"] for item in pod["spec"]["containers"] if item["name"] == "app")
    container = {"name": "app", "image": image, "command": ["python3", "-u", "-c", _PRINT]}
    on.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "log-plain", "namespace": on.namespace},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
    )
    on.cluster.kubectl("wait", "--namespace", on.namespace, "pod/log-plain", "--for=condition=Ready", "--timeout=60s")
    while LAST.decode() not in on.cluster.kubectl("logs", "--namespace", on.namespace, "log-plain", "--tail=1"):
        time.sleep(0.2)
    return path("api", "v1", "namespaces", on.namespace, "pods", "log-plain", "log")
