"""From the app of a runner outwards, by egress profile: TCP and UDP packets to everything that it must not reach."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from devcluster import net
from devcluster.namespaces import in_node_argv
from sandbox_client import blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import WEB_SERVER
from tests.walls import internet, places, targets
from tests.walls.frame import Outcome, Walls, stopped, through
from tests.walls.places import EGRESS
from tests.walls.probing import Target, all_of, any_of, probe
from tests.walls.targets import InCluster, Targets

pytestmark = pytest.mark.skipif(not net.complete(), reason="the addresses that must not be reached are the local driver's")

WALL = "NetworkPolicy `isolation`"
IN_CLUSTER = (
    "the API server by its Service: TCP 443",
    "the API server by its node's address: TCP",
    "the kubelet on every address of the node: TCP 10250",
    "every address of the node: TCP 22, 80, 443, UDP 53",
    "pods of our API server, and their Service: TCP",
    "pods of the gateway: TCP 8080",
    "pods of the controller: TCP 8081",
    "pods of the resolver, their other ports: TCP 8080, 8181",
    "a pod of another namespace: TCP, UDP 3000",
)
BY_PROFILE = {
    **targets.WEB,
    **targets.BLOCKED,
    **targets.REST_OF_THE_INTERNET,
    **targets.MIRROR,
    **targets.OTHER_PORT_OF_THE_MIRROR,
}
NAMES = [*BY_PROFILE, targets.RESOLVER]
ALLOWED = {
    "none": [],
    "mirror": [*targets.MIRROR],
    "mirror with DNS": [*targets.MIRROR, targets.RESOLVER],
    "public": [*targets.WEB, *targets.BLOCKED, targets.RESOLVER],
    "public with blocks": [*targets.WEB, targets.RESOLVER],
}
REFUSED = {profile: [name for name in NAMES if name not in allowed] for profile, allowed in ALLOWED.items()}


@dataclass(frozen=True)
class Answers:
    """To every packet of every attack: ``by`` profile, and ``free`` to a pod without a wall."""

    targets: Targets
    by: dict[str, dict[Target, Outcome]]
    free: dict[Target, Outcome]

    def inside(self, attack: str, profile: str | None = None) -> Outcome:
        """Of one profile, or of all of them."""
        asked = self.by if profile is None else {profile: self.by[profile]}
        return any_of(found[target] for found in asked.values() for target in self.targets[attack])

    def outside(self, attack: str) -> Outcome:
        return all_of(self.free[target] for target in self.targets[attack])


def cases(table: dict[str, list[str]]) -> list[Any]:
    return [(profile, name) for profile, listed in table.items() for name in listed]


@pytest.fixture(scope="module")
def runners(cluster: Cluster, client: blocking.Client) -> Iterator[dict[str, blocking.Sandbox]]:
    """One of each profile."""
    with contextlib.ExitStack() as stack:
        made = {}
        for profile, egress in EGRESS.items():
            name = stack.enter_context(places.template(cluster, egress=dict(egress)))
            made[profile] = client.apply(
                profile.lower().replace(" ", "-"), {"command": WEB_SERVER, "templateRef": {"name": name}}
            )
        for sandbox in made.values():
            sandbox.wait_ready()
        yield made


@pytest.fixture(scope="module")
def answers(cluster: Cluster, namespace: str, runners: dict[str, blocking.Sandbox]) -> Iterator[Answers]:
    with (
        internet.answering_internet(),
        places.plain_pod(cluster, namespace) as free,
        places.plain_pod(cluster, namespace, ports=(3000,)) as server,
    ):
        inside = InCluster(cluster, server)
        asked = {
            **targets.OUTSIDE,
            **targets.MAPPED,
            **targets.NOWHERE,
            **targets.V6,
            **targets.NOWHERE_V6,
            **BY_PROFILE,
            **inside.resolver(),
            **inside.everything_else(),
        }
        packets = [target for listed in asked.values() for target in listed]
        yield Answers(
            asked,
            {
                profile: probe(lambda *command, r=runner: cluster.exec(r, *command), packets)
                for profile, runner in runners.items()
            },
            probe(free.exec, packets),
        )


@pytest.mark.parametrize("attack", [*targets.OUTSIDE, *targets.MAPPED])
def test_the_app_reaches_no_address_that_is_not_public(walls: Walls, answers: Answers, attack: str) -> None:
    walls.refuse(attack, wall=WALL, inside=lambda: answers.inside(attack), outside=lambda: answers.outside(attack))


@pytest.mark.parametrize("attack", targets.NOWHERE)
def test_the_app_speaks_to_no_group_of_hosts(walls: Walls, answers: Answers, attack: str) -> None:
    why = "no router of this cluster passes them on; `test_public_keeps_everything_private_shut` tries the rules"
    walls.refuse(attack, wall=WALL, inside=lambda: answers.inside(attack), outside=why)


@pytest.mark.parametrize("attack", targets.V6)
def test_the_app_reaches_no_such_address_of_ipv6(walls: Walls, answers: Answers, attack: str) -> None:
    why = "a cluster of IPv4 alone; `test_public_keeps_everything_private_shut` tries the rules"
    outside = (lambda: answers.outside(attack)) if targets.IPV6 else why
    walls.refuse(attack, wall=WALL, inside=lambda: answers.inside(attack), outside=outside)


@pytest.mark.parametrize("attack", targets.NOWHERE_V6)
def test_the_app_reaches_no_neighbour_by_ipv6(walls: Walls, answers: Answers, attack: str) -> None:
    why = "no router passes them on; `test_public_keeps_everything_private_shut` tries the rules"
    walls.refuse(attack, wall=WALL, inside=lambda: answers.inside(attack), outside=why)


@pytest.mark.parametrize("attack", IN_CLUSTER)
def test_the_app_reaches_nothing_of_the_cluster(walls: Walls, answers: Answers, attack: str) -> None:
    walls.refuse(attack, wall=WALL, inside=lambda: answers.inside(attack), outside=lambda: answers.outside(attack))


@pytest.mark.parametrize(("profile", "attack"), cases(REFUSED))
def test_the_app_does_not_reach(walls: Walls, answers: Answers, profile: str, attack: str) -> None:
    walls.refuse(
        attack,
        wall=WALL,
        profile=f"egress {profile}",
        inside=lambda: answers.inside(attack, profile),
        outside=lambda: answers.outside(attack),
    )


@pytest.mark.parametrize(("profile", "use"), cases(ALLOWED))
def test_the_app_reaches(walls: Walls, answers: Answers, profile: str, use: str) -> None:
    found = answers.by[profile]
    walls.allow(
        use, wall=WALL, profile=f"egress {profile}", inside=lambda: all_of(found[target] for target in answers.targets[use])
    )


def test_the_app_reaches_no_loopback_but_its_own(walls: Walls, cluster: Cluster, runners: dict[str, blocking.Sandbox]) -> None:
    """The kubelet's health port listens on the node's 127.0.0.1 alone."""
    target = Target("tcp", "127.0.0.1", 10248)

    def inside() -> Outcome:
        found = probe(lambda *command: cluster.exec(runners["public"], *command), [target])[target]
        # a refusal is that of the pod's own kernel: no packet leaves it for this address
        return stopped("its own loopback, where nobody listens") if found.saw == "refused by the target" else found

    def outside() -> Outcome:
        argv = in_node_argv([cluster.state.bin / "netprobe", "try", "127.0.0.1:10248"])
        return through("open") if subprocess.run(argv, capture_output=True, check=False).returncode == 0 else stopped("shut")

    walls.refuse("the node's services on 127.0.0.1", wall="network namespace", inside=inside, outside=outside)


@pytest.mark.parametrize("profile", ["none", "mirror"])
def test_a_look_up_fails_at_once_where_there_is_no_dns(
    cluster: Cluster, runners: dict[str, blocking.Sandbox], profile: str
) -> None:
    code = (
        "import socket, time\n"
        "began = time.monotonic()\n"
        "try:\n"
        "    socket.getaddrinfo('public.example.test', 80)\n"
        "except OSError:\n"
        "    print(time.monotonic() - began)\n"
    )
    assert float(cluster.exec(runners[profile], "python3", "-c", code)) < 1, "seconds; waiting for two time-outs takes ten"
