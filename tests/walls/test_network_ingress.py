"""Towards a runner: who reaches its control port, its preview port and its app past the front door."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from devcluster import net
from devcluster.namespaces import in_node_argv
from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import WEB_SERVER, RunnerFactory
from tests.walls import places
from tests.walls.frame import Outcome, Walls
from tests.walls.probing import Exec, Target, all_of, any_of, probe
from tests.walls.targets import PORTS, InCluster

WALL = "NetworkPolicy `isolation`"
_LABEL = "app.kubernetes.io/name"
OPEN = {
    "a pod of the gateway": ["preview port 7080"],
    "a pod of our API server": ["control port 7070", "preview port 7080"],
    "a pod of the controller": ["control port 7070"],
}
LET_OUT = "another namespace's sandbox, let out by its template"
ATTACKERS = [
    "another sandbox",
    LET_OUT,
    "a pod of another namespace",
    "a pod of another namespace, labelled like our API server",
    "a pod of sandbox-system with another label",
    *OPEN,
]

# which is in the way to every pod: what a stranger's pod reaches stands for what they would
BEHIND_A_WALL_OF_THEIR_OWN = {"another sandbox", "a pod of the gateway"}


@dataclass(frozen=True)
class Answers:
    """By attacker: of the runner's ports, and of the same ports of a pod without a wall."""

    walled: dict[str, dict[str, list[Outcome]]]
    unwalled: dict[str, dict[str, list[Outcome]]]
    accepted: dict[str, dict[str, list[Outcome]]]
    """TCP alone, of the runner."""


@pytest.fixture(scope="module")
def answers(cluster: Cluster, namespace: str, runner: blocking.Sandbox, make_runner: RunnerFactory) -> Iterator[Answers]:
    other = make_runner("other")
    runner.sync({"index.html": "here"})
    runner.wait_app()
    system = names.SYSTEM_NAMESPACE
    with ExitStack() as stack:
        server = stack.enter_context(places.plain_pod(cluster, namespace, ports=tuple(PORTS.values())))
        targets = InCluster(cluster, server)
        walled, unwalled = targets.runner(runner), targets.unwalled()
        let_out = stack.enter_context(elsewhere(cluster))

        def pod(where: str, labels: dict[str, str]) -> Exec:
            return stack.enter_context(places.plain_pod(cluster, where, labels)).exec

        def ours(program: str) -> Exec:
            where = [f"deployment/sandbox-{program}", f"--namespace={system}"]
            return lambda *command: cluster.kubectl("exec", *where, "--", *command)

        run: dict[str, Callable[..., str]] = {
            "another sandbox": lambda *command: cluster.exec(other, *command),
            LET_OUT: lambda *command: cluster.exec(let_out, *command),
            "a pod of another namespace": pod(namespace, {"app": "stranger"}),
            "a pod of another namespace, labelled like our API server": pod(namespace, {_LABEL: "sandbox-apiserver"}),
            "a pod of sandbox-system with another label": pod(system, {_LABEL: "stranger"}),
            "a pod of the gateway": ours("preview"),
            "a pod of our API server": ours("apiserver"),
            "a pod of the controller": ours("controller"),
        }
        packets = [target for table in (walled, unwalled) for listed in table.values() for target in listed]
        found = {attacker: probe(execute, packets) for attacker, execute in run.items()}

        def of(table: dict[str, list[Target]], protocols: set[str]) -> dict[str, dict[str, list[Outcome]]]:
            return {
                attacker: {
                    name: [got[target] for target in listed if target.protocol in (protocols)] for name, listed in table.items()
                }
                for attacker, got in found.items()
            }

        both = {"tcp", "udp"}
        yield Answers(of(walled, both), of(unwalled, both), of(walled, {"tcp"}))


@contextmanager
def elsewhere(cluster: Cluster) -> Iterator[blocking.Sandbox]:
    """A sandbox of another namespace whose own wall lets it out to every pod: what is left is the wall of the other."""
    namespace = f"let-out-{secrets.token_hex(3)}"
    resources = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["resources"]
    isolation = next(entry for entry in resources if entry["id"] == "isolation")["template"]
    isolation["spec"]["egress"] = [{"to": [{"namespaceSelector": {}}]}]
    cluster.kubectl("create", "namespace", namespace)
    try:
        with (
            places.template(cluster, resources=resources) as name,
            blocking.Client(cluster.user(namespace, "user", "edit")) as client,
        ):
            sandbox = client.apply("let-out", {"command": WEB_SERVER, "templateRef": {"name": name}})
            sandbox.wait_ready()
            yield sandbox
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--timeout=120s")


@pytest.mark.parametrize(
    ("attacker", "port"), [(who, port) for who in ATTACKERS for port in PORTS if port not in OPEN.get(who, [])]
)
def test_nobody_comes_in_by_a_side_door(walls: Walls, answers: Answers, attacker: str, port: str) -> None:
    unwalled = answers.unwalled["a pod of another namespace" if attacker in BEHIND_A_WALL_OF_THEIR_OWN else attacker][port]
    walls.refuse(
        f"{attacker}: {port}",
        wall=WALL,
        inside=lambda: any_of(answers.walled[attacker][port]),
        outside=lambda: all_of(unwalled),
    )


@pytest.mark.parametrize(("who", "port"), [(who, port) for who, ports in OPEN.items() for port in ports])
def test_our_own_programs_come_in(walls: Walls, answers: Answers, who: str, port: str) -> None:
    walls.allow(f"{who}: {port}, TCP", wall=WALL, inside=lambda: all_of(answers.accepted[who][port]))


@pytest.mark.skipif(not net.complete(), reason="the node is not on this machine")
@pytest.mark.parametrize("port", PORTS)
def test_the_node_comes_in_for_its_probes(walls: Walls, cluster: Cluster, runner: blocking.Sandbox, port: str) -> None:
    """NetworkPolicy cannot shut a pod's own node out, or no probe would pass."""
    namespace = cluster.refs(runner).namespace
    address = cluster.get("pod", cluster.pod(runner), f"--namespace={namespace}")["status"]["podIP"]

    def on_the_node(*command: str) -> str:
        argv = in_node_argv([sys.executable, *command[1:]])
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    target = Target("tcp", address, PORTS[port])
    walls.allow(f"the node: {port}, TCP", wall=WALL, inside=lambda: probe(on_the_node, [target])[target])
