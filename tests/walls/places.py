"""Where attacks are made from and aimed at: runners of each egress profile, and pods that no wall surrounds."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devcluster.settings import MIRROR_ADDRESS, PUBLIC_ADDRESSES
from sandbox_protocol import names
from tests.harness.cluster import Cluster

_MIRROR = {"profile": "mirror", "mirrors": [{"cidr": f"{MIRROR_ADDRESS}/32", "ports": [4873]}]}
EGRESS: Mapping[str, Mapping[str, Any]] = {
    "none": {"profile": "none"},
    "mirror": _MIRROR,
    "mirror with DNS": {**_MIRROR, "dns": "cluster"},
    "public": {"profile": "public"},
    "public with blocks": {"profile": "public", "blocked": [f"{PUBLIC_ADDRESSES[1]}/32"]},
}
"""By profile, as on the page (`frame.PROFILES`)."""


@contextlib.contextmanager
def template(cluster: Cluster, **changes: Any) -> Iterator[str]:
    """Name of a copy of the installed template with other fields of its spec."""
    installed = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)
    name = f"walls-{secrets.token_hex(3)}"
    spec = {**installed["spec"], **changes}
    cluster.apply({**{key: installed[key] for key in ("apiVersion", "kind")}, "metadata": {"name": name}, "spec": spec})
    try:
        yield name
    finally:
        cluster.kubectl("delete", "sandboxtemplate", name, "--wait=false")


@dataclass(frozen=True)
class Pod:
    """One without a wall: no network policy, and nothing of ours but the image."""

    cluster: Cluster
    namespace: str
    name: str

    def exec(self, *command: str) -> str:
        return self.cluster.kubectl("exec", f"--namespace={self.namespace}", self.name, "--", *command)

    @property
    def addresses(self) -> list[str]:
        return addresses(self.cluster.get("pod", self.name, f"--namespace={self.namespace}"))

    @property
    def address(self) -> str:
        """Its first one, of IPv4."""
        return self.addresses[0]


def addresses(pod: Mapping[str, Any]) -> list[str]:
    """All that a pod has, the first family's first."""
    return [str(entry["ip"]) for entry in pod["status"]["podIPs"]]


_LISTEN = """
import socket, sys, threading, time
def echo(one):
    while True:
        data, whence = one.recvfrom(2048)
        one.sendto(data, whence)
dual = socket.has_dualstack_ipv6()
family = socket.AF_INET6 if dual else socket.AF_INET
for port in map(int, sys.argv[1:]):
    tcp = socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    threading.Thread(target=lambda tcp=tcp: [tcp.accept()[0].close() for _ in iter(int, 1)], daemon=True).start()
    udp = socket.socket(family, socket.SOCK_DGRAM)
    if dual:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("", port))
    threading.Thread(target=echo, args=(udp,), daemon=True).start()
time.sleep(3600)
"""


def pod_object(image: str, name: str, labels: Mapping[str, str], ports: tuple[int, ...] = ()) -> dict[str, Any]:
    """Listens on ``ports``, TCP and UDP."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "c",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", _LISTEN, *map(str, ports)],
                    "resources": {"limits": {"memory": "64Mi", "ephemeral-storage": "16Mi"}, "requests": {"cpu": "10m"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


@contextlib.contextmanager
def plain_pod(
    cluster: Cluster, namespace: str, labels: Mapping[str, str] | None = None, ports: tuple[int, ...] = ()
) -> Iterator[Pod]:
    """Running, and gone at the end."""
    image = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)["spec"]["defaults"]["image"]
    name = f"attacker-{secrets.token_hex(3)}"
    body = pod_object(image, name, labels or {"app": "attacker"}, ports)
    cluster.kubectl("create", "-f", "-", f"--namespace={namespace}", stdin=json.dumps(body))
    try:
        cluster.kubectl("wait", f"pod/{name}", f"--namespace={namespace}", "--for=condition=Ready", "--timeout=60s")
        yield Pod(cluster, namespace, name)
    finally:
        cluster.kubectl("delete", "pod", name, f"--namespace={namespace}", "--wait=false")
