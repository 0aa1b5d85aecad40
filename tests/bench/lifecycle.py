"""`python -m tests.bench.lifecycle`: apply → Ready, resume and deletion, against the same objects applied without the operator.

Both sides start with a real kubectl process and end when a watch shows the agent ready, or the namespace gone.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devcluster.kubectl import kubectl_argv
from sandbox_client.api import Api, Request, path
from sandbox_client.errors import NotFound
from sandbox_client.waiting import Ready, judge
from sandbox_protocol import names
from tests.bench import plain
from tests.bench.figures import Figure, Series
from tests.bench.stage import Stage, stage

ROUNDS = 7

Object = dict[str, Any]


def measure(on: Stage) -> list[Figure]:
    sandbox = on.runner("original")
    sandbox.wait_ready()
    ours: dict[str, list[float]] = {"ready": [], "resume": [], "delete": []}
    bare: dict[str, list[float]] = {"ready": [], "resume": [], "delete": []}
    for number in range(ROUNDS):
        namespace = f"{on.namespace}-plain-{number}"
        for name, seconds in _plain_round(on, plain.objects(on, sandbox, namespace), namespace).items():
            bare[name].append(seconds)
        for name, seconds in _our_round(on, f"round-{number}").items():
            ours[name].append(seconds)
    goals = {"ready": 1.15, "resume": None, "delete": None}
    titles = {"ready": "apply → Ready", "resume": "resume → Ready", "delete": "delete → namespace gone"}
    return [
        Figure(title, Series("runner", tuple(ours[name]), "s"), Series("plain objects", tuple(bare[name]), "s"), goals[name])
        for name, title in titles.items()
    ]


def _our_round(on: Stage, name: str) -> dict[str, float]:
    manifest = {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": on.namespace},
        "spec": {"command": ["sleep", "infinity"]},
    }
    runners = path("apis", names.GROUP, names.VERSION, "namespaces", on.namespace, names.PLURAL)
    took = {
        "ready": _timed(on, lambda: _kubectl(on, "apply", "-f", "-", stdin=json.dumps(manifest)), runners, name, _runner_ready)
    }
    sandbox = on.client.get(name)
    runtime = on.cluster.refs(sandbox).namespace
    sandbox.suspend()
    sandbox.wait_ready(condition="Suspended")
    took["resume"] = _timed(on, sandbox.resume, runners, name, _runner_ready)
    took["delete"] = _timed(
        on,
        lambda: _kubectl(on, "delete", "sandboxrunner", name, "--namespace", on.namespace, "--wait=false"),
        path("api", "v1", "namespaces"),
        runtime,
        lambda item: item is None,
    )
    return took


def _plain_round(on: Stage, objects: str, namespace: str) -> dict[str, float]:
    pods = path("api", "v1", "namespaces", namespace, "pods")
    took = {"ready": _timed(on, lambda: _kubectl(on, "apply", "-f", "-", stdin=objects), pods, None, _agent_ready)}
    _kubectl(on, "scale", "deployment/runner", "--namespace", namespace, "--replicas=0")
    _kubectl(on, "wait", "pod", "--all", "--for=delete", "--namespace", namespace, "--timeout=60s")
    scale = ("scale", "deployment/runner", "--namespace", namespace, "--replicas=1")
    took["resume"] = _timed(on, lambda: _kubectl(on, *scale), pods, None, _agent_ready)
    took["delete"] = _timed(
        on,
        lambda: _kubectl(on, "delete", "namespace", namespace, "--wait=false"),
        path("api", "v1", "namespaces"),
        namespace,
        lambda item: item is None,
    )
    return took


def _runner_ready(item: Object | None) -> bool:
    return item is not None and isinstance(judge(item), Ready)


def _agent_ready(item: Object | None) -> bool:
    statuses = ((item or {}).get("status") or {}).get("initContainerStatuses") or ()
    return any(status["name"] == "agent" and status["ready"] for status in statuses)


def _kubectl(on: Stage, *arguments: str | Path, stdin: str | None = None) -> None:
    subprocess.run(kubectl_argv(on.cluster.state, *arguments), input=stdin, check=True, capture_output=True, text=True)


def _timed(
    on: Stage, begin: Callable[[], object], collection: str, name: str | None, done: Callable[[Object | None], bool]
) -> float:
    """Seconds from the call of ``begin`` until a watch of ``collection`` shows an object that is ``done``."""

    async def run() -> float:
        async with Api(on.cluster.admin) as api:
            query = [("fieldSelector", f"metadata.name={name}")] if name else []
            listing = await api.json(Request("GET", collection, query))
            version = listing["metadata"]["resourceVersion"]
            began = time.perf_counter()
            starting = asyncio.get_running_loop().run_in_executor(None, begin)
            async for event, item in api.watch(collection, query=query, resource_version=version):
                if done(None if event == "DELETED" else item):
                    took = time.perf_counter() - began
                    await starting
                    return took
            raise NotFound(404, f"the watch of {collection} ended too early")

    return asyncio.run(run())


if __name__ == "__main__":
    with stage() as here:
        print(*measure(here), sep="\n")
