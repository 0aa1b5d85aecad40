"""What a sandbox might want to reach, each by name: where the packets of one attack go."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from devcluster import net
from devcluster.namespaces import in_node_argv
from devcluster.settings import MIRROR_ADDRESS, PUBLIC_ADDRESS6, PUBLIC_ADDRESSES, state_from_environment
from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.walls.internet import FORBIDDEN, FORBIDDEN_V6, UDP_PORT
from tests.walls.places import Pod, addresses
from tests.walls.probing import Target

Targets = dict[str, list[Target]]

IPV6 = state_from_environment().ipv6
"""Whether pods of this cluster have it, and a way by it to the pretend internet."""

# 80 and 443 are what the profile public opens: only the address can be in the way. UDP is open nowhere.
OUTSIDE: Targets = {
    f"{name}: TCP 80, TCP 443, UDP 53": [Target("tcp", host, 80), Target("tcp", host, 443), Target("udp", host, UDP_PORT)]
    for name, host in FORBIDDEN.items()
}
# No router passes these on, so nothing stands where the wall is not.
NOWHERE: Targets = {
    "multicast 224.0.0.0/4: TCP 80, UDP 53": [Target("tcp", "224.0.0.251", 80), Target("udp", "239.1.2.3", UDP_PORT)],
    "broadcast 255.255.255.255: TCP 80, UDP 53": [
        Target("tcp", "255.255.255.255", 80),
        Target("udp", "255.255.255.255", UDP_PORT),
    ],
}
MAPPED = {"cloud metadata by its IPv4-mapped IPv6 address: TCP 80": [Target("tcp", "::ffff:169.254.169.254", 80)]}
V6: Targets = {f"{name}: TCP 80": [Target("tcp", host, 80)] for name, host in FORBIDDEN_V6.items()}
NOWHERE_V6: Targets = {
    "link-local fe80::/10: TCP 80": [Target("tcp", "fe80::1", 80)],
    "multicast ff00::/8: TCP 80": [Target("tcp", "ff02::1", 80)],
}
_INTERNET = [PUBLIC_ADDRESSES[0], *([PUBLIC_ADDRESS6] if IPV6 else [])]
WEB: Targets = {f"the Internet: TCP {port}": [Target("tcp", host, port) for host in _INTERNET] for port in (80, 443)}
BLOCKED: Targets = {
    f"an address of the Internet that a template may block: TCP {port}": [Target("tcp", PUBLIC_ADDRESSES[1], port)]
    for port in (80, 443)
}
REST_OF_THE_INTERNET: Targets = {
    "the Internet: another port": [Target("tcp", host, 8443) for host in _INTERNET],
    "a resolver in the Internet: UDP 53": [Target("udp", PUBLIC_ADDRESSES[0], UDP_PORT)],
}
MIRROR: Targets = {"the package mirror: TCP 4873": [Target("tcp", MIRROR_ADDRESS, 4873)]}
OTHER_PORT_OF_THE_MIRROR: Targets = {"the package mirror: a port not listed": [Target("tcp", MIRROR_ADDRESS, 3141)]}
RESOLVER = "the cluster's resolver, which may pass bytes on in names: UDP 53, TCP 53"
PORTS = {"control port 7070": names.CONTROL_PORT, "preview port 7080": names.PREVIEW_PORT, "the app's port 3000": 3000}


@dataclass(frozen=True)
class InCluster:
    """Addresses of this cluster. ``server`` is a pod without a wall that listens on `PORTS`."""

    cluster: Cluster
    server: Pod

    def resolver(self) -> Targets:
        hosts = [self._service("kube-system", "kube-dns"), *self._pods("kube-system", "k8s-app=kube-dns")]
        return {RESOLVER: [Target(protocol, host, 53) for host in hosts for protocol in ("udp", "tcp")]}

    def everything_else(self) -> Targets:
        system, node = names.SYSTEM_NAMESPACE, self._node()
        return {
            "the API server by its Service: TCP 443": [Target("tcp", self._service("default", "kubernetes"), 443)],
            "the API server by its node's address: TCP": self._api_server(),
            "the kubelet on every address of the node: TCP 10250": [Target("tcp", host, 10250) for host in node],
            "every address of the node: TCP 22, 80, 443, UDP 53": [
                Target(protocol, host, port)
                for host in node
                for protocol, port in (("tcp", 22), ("tcp", 80), ("tcp", 443), ("udp", 53))
            ],
            "pods of our API server, and their Service: TCP": [
                Target("tcp", self._service(system, "sandbox-apiserver"), 443),
                *(Target("tcp", host, 8443) for host in self._pods(system, "app.kubernetes.io/name=sandbox-apiserver")),
            ],
            "pods of the gateway: TCP 8080": [
                Target("tcp", host, 8080) for host in self._pods(system, "app.kubernetes.io/name=sandbox-preview")
            ],
            "pods of the controller: TCP 8081": [
                Target("tcp", host, 8081) for host in self._pods(system, "app.kubernetes.io/name=sandbox-controller")
            ],
            "pods of the resolver, their other ports: TCP 8080, 8181": [
                Target("tcp", host, port) for host in self._pods("kube-system", "k8s-app=kube-dns") for port in (8080, 8181)
            ],
            "a pod of another namespace: TCP, UDP 3000": self.listening(self.server.addresses, [3000]),
        }

    def runner(self, sandbox: blocking.Sandbox) -> dict[str, list[Target]]:
        """Its ports, TCP and UDP, at its pod, and at the Service where there is one."""
        namespace = self.cluster.refs(sandbox).namespace
        pod = addresses(self.cluster.get("pod", self.cluster.pod(sandbox), f"--namespace={namespace}"))
        found = {name: self.listening(pod, [port]) for name, port in PORTS.items()}
        for name, service in (("control port 7070", "control"), ("preview port 7080", "preview")):
            found[name].append(Target("tcp", self._service(namespace, service), PORTS[name]))
        return found

    def unwalled(self) -> dict[str, list[Target]]:
        """The same ports, of `server`."""
        return {name: self.listening(self.server.addresses, [port]) for name, port in PORTS.items()}

    @staticmethod
    def listening(hosts: Iterable[str], ports: Iterable[int]) -> list[Target]:
        return [Target(protocol, host, port) for host in hosts for port in ports for protocol in ("tcp", "udp")]

    def _service(self, namespace: str, name: str) -> str:
        return str(self.cluster.get("service", name, f"--namespace={namespace}")["spec"]["clusterIP"])

    def _pods(self, namespace: str, selector: str) -> list[str]:
        pods = self.cluster.get("pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
        found = [address for pod in pods if "deletionTimestamp" not in pod["metadata"] for address in addresses(pod)]
        assert found, selector
        return found

    def _api_server(self) -> list[Target]:
        slices = self.cluster.get("endpointslices", "--namespace=default", "--selector=kubernetes.io/service-name=kubernetes")
        return [
            Target("tcp", address, slice_["ports"][0]["port"])
            for slice_ in slices["items"]
            for endpoint in slice_["endpoints"]
            for address in endpoint["addresses"]
        ]

    def _node(self) -> list[str]:
        """What it tells the API, and, where this machine can look, every address of its interfaces."""
        nodes = self.cluster.get("nodes")["items"]
        told = {entry["address"] for node in nodes for entry in node["status"]["addresses"] if entry["type"] != "Hostname"}
        if net.complete():
            shown = subprocess.run(in_node_argv(["ip", "-json", "addr"]), check=True, capture_output=True, text=True)
            for entry in (entry for link in json.loads(shown.stdout) for entry in link["addr_info"]):
                if entry["family"] == "inet" or (IPV6 and entry["scope"] == "global"):
                    told.add(entry["local"])
            told.discard("127.0.0.1")
        return sorted(told)
