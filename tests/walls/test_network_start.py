"""The first moments of a pod: no packet gets out before the wall stands, and where it never stands, nothing starts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.settings import API_SERVICE_ADDRESS, NODE_ADDRESS
from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory
from tests.walls import places
from tests.walls.frame import Outcome, Walls, stopped, through

ROUNDS = 3
# From its first instruction on, as fast as it can; a dial that is neither taken nor refused in 50 ms is left behind.
HASTE = """
import json, os, pathlib, socket, sys, time
targets = json.loads(sys.argv[1])
began, tried, got = time.monotonic(), 0, []
book = pathlib.Path(sys.argv[2])
while time.monotonic() - began < 3:
    for host, port in targets:
        one = socket.socket()
        one.settimeout(0.05)
        tried += 1
        try:
            one.connect((host, port))
            got.append(round(time.monotonic() - began, 2))
        except ConnectionRefusedError:
            got.append(round(time.monotonic() - began, 2))
        except OSError:
            pass
        one.close()
book.write_text(json.dumps({"tried": tried, "got": got[:20]}))
time.sleep(3600)
"""
SHOW = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); print(p.read_text() if p.exists() else '')"


@pytest.fixture(scope="module")
def server(cluster: Cluster, namespace: str) -> Iterator[places.Pod]:
    with places.plain_pod(cluster, namespace, ports=(3000,)) as pod:
        yield pod


def forbidden(server: places.Pod) -> str:
    return json.dumps([(API_SERVICE_ADDRESS, 443), (NODE_ADDRESS, 6443), (server.address, 3000)])


def book(run: Any, path: str) -> dict[str, Any]:
    for _ in range(100):
        if text := run("python3", "-c", SHOW, path).strip():
            return dict(json.loads(text))
        time.sleep(0.2)
    raise AssertionError("the app never wrote what it found")


def test_no_packet_gets_out_before_the_wall_stands(
    walls: Walls, cluster: Cluster, namespace: str, server: places.Pod, make_runner: RunnerFactory
) -> None:
    """A resumed runner has its files already: its app begins as soon as the container does."""
    sandbox = make_runner("hasty", {"command": ["python3", "-u", "haste.py", forbidden(server), "/tmp/found.json"]})
    sandbox.sync({"haste.py": HASTE})

    def inside() -> Outcome:
        for _ in range(ROUNDS):
            sandbox.suspend()
            sandbox.wait_ready(condition="Suspended")
            resume(sandbox)
            found = book(lambda *command: cluster.exec(sandbox, *command), "/tmp/found.json")
            assert found["tried"] > 20
            if found["got"]:
                return through(f"after {found['got'][0]} s")
        return stopped("nothing got out of any of three new pods")

    def outside() -> Outcome:
        with places.plain_pod(cluster, namespace) as pod:
            code = HASTE.replace("time.sleep(3600)", "print(book.read_text())")
            found = json.loads(pod.exec("python3", "-c", code, forbidden(server), "/tmp/found.json"))
            return through("at once") if found["got"] else stopped("nothing")

    walls.refuse(
        "dial API server, node and another pod from the app's first instruction on",
        wall="gate, and a policy before the pod",
        inside=inside,
        outside=outside,
    )


def resume(sandbox: blocking.Sandbox) -> None:
    sandbox.resume()
    sandbox.wait_ready()


def test_where_no_policy_is_enforced_nothing_starts(walls: Walls, cluster: Cluster, namespace: str, server: places.Pod) -> None:
    """As on a cluster whose network plugin knows no policies: the gate of a runner, in a namespace without one."""
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["agentImage"]

    def started(*, gate: bool) -> Outcome:
        name = f"start-{secrets.token_hex(3)}"
        body = places.pod_object(image, name, {"app": "start"})
        (container,) = body["spec"]["containers"]
        environment = {
            "SANDBOX_GATE_TARGETS": f"{API_SERVICE_ADDRESS}:443",
            "SANDBOX_GATE_SECONDS": "2",
            "SANDBOX_LAUNCHER_DIR": "/tmp",
        }
        first = {
            **container,
            "name": "gate",
            "command": ["python3", "-m", "runner_agent", "gate"],
            "env": [{"name": key, "value": value} for key, value in environment.items()],
        }
        body["spec"] |= {"restartPolicy": "Never", "initContainers": [first] if gate else []}
        where = f"--namespace={namespace}"
        cluster.kubectl("create", "-f", "-", where, stdin=json.dumps(body))
        try:
            for _ in range(150):
                status = cluster.get("pod", name, where)["status"]
                if status["phase"] == "Running":
                    return through("the app runs")
                if status["phase"] == "Failed":
                    code = status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"]
                    assert code == names.GATE_NOT_FENCED, status
                    return stopped("the gate ends the pod, and names what answered")
                time.sleep(0.2)
            raise AssertionError(status)
        finally:
            cluster.kubectl("delete", "pod", name, where, "--wait=false")

    walls.refuse(
        "start in a cluster that does not enforce network policies",
        wall="gate",
        inside=lambda: started(gate=True),
        outside=lambda: started(gate=False),
    )
