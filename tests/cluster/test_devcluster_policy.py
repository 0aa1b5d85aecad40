"""NetworkPolicy is really enforced, in both directions, and from a pod's first packet on."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from devcluster import net
from devcluster.kubectl import kubectl, succeeds
from devcluster.namespaces import in_node_argv
from devcluster.settings import state_from_environment

STATE = state_from_environment()
NAMESPACE = "devcluster-policy"

pytestmark = pytest.mark.skipif(not net.complete(), reason="these are about the local driver, and its cluster is not up")

FORBIDDEN = ("169.254.169.254:80", "192.168.7.7:80", "100.64.0.9:80", "10.99.0.2:6443", "10.96.0.1:443", "203.0.113.10:8443")
PUBLIC = "203.0.113.10:443"


def pod(name: str, arguments: str, labels: str = "app: client") -> str:
    return f"""\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{{labels}}}}}
spec:
  restartPolicy: Never
  hostUsers: false
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: c
    image: localhost/netprobe:dev
    imagePullPolicy: Never
    {arguments}
    resources: {{limits: {{cpu: 200m, memory: 64Mi}}, requests: {{cpu: 1m, memory: 8Mi}}}}
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
---
"""


def policy(name: str, spec: str) -> str:
    return f"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec: {spec}
---
"""


DENY_ALL = policy("deny-all", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
ALLOW_PUBLIC = policy(
    "allow-public",
    """
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]}}]
    ports: [{protocol: TCP, port: 443}, {protocol: TCP, port: 80}]""",
)


@pytest.fixture(scope="module", autouse=True)
def namespace() -> Iterator[None]:
    kubectl(STATE, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    kubectl(STATE, "create", "namespace", NAMESPACE)
    objects = pod("server", 'args: [serve, ":8080"]', "app: server") + pod("client", 'command: [sleep, "1000000"]')
    kubectl(STATE, "apply", "-f", "-", stdin=objects)
    kubectl(STATE, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    yield
    kubectl(STATE, "delete", "namespace", NAMESPACE, "--timeout=120s")


@pytest.fixture
def deny_all() -> Iterator[None]:
    kubectl(STATE, "apply", "-f", "-", stdin=DENY_ALL)
    yield
    kubectl(STATE, "-n", NAMESPACE, "delete", "networkpolicy", "--all")


def becomes(want: bool, *addresses: str) -> None:
    """A policy takes effect on running pods soon, not at once: watch each address until it is open (or shut), 10 s at most."""
    for address in addresses:
        probe = ["-n", NAMESPACE, "exec", "client", "--", "/netprobe", "try", address]
        assert any(succeeds(STATE, *probe) is want for _ in range(30)), f"{address} is {'shut' if want else 'open'}"


def server_address() -> str:
    return kubectl(STATE, "-n", NAMESPACE, "get", "pod", "server", "-o", "jsonpath={.status.podIP}") + ":8080"


def test_without_a_policy_everything_is_open() -> None:
    becomes(True, server_address(), PUBLIC, *FORBIDDEN)


def test_default_deny_shuts_everything_but_the_nodes_probes(deny_all: None) -> None:
    becomes(False, server_address(), PUBLIC, *FORBIDDEN, "10.96.0.10:53")
    subprocess.run(in_node_argv([STATE.bin / "netprobe", "try", server_address()]), check=True, capture_output=True)


def test_an_ip_block_opens_the_internet_and_nothing_private(deny_all: None) -> None:
    becomes(False, *FORBIDDEN)
    kubectl(STATE, "apply", "-f", "-", stdin=ALLOW_PUBLIC)
    becomes(True, PUBLIC, "203.0.113.10:80")
    becomes(False, server_address(), *FORBIDDEN, "10.98.0.1:22")


def test_a_new_pod_is_fenced_from_its_first_packet_on(deny_all: None) -> None:
    kubectl(STATE, "apply", "-f", "-", stdin=ALLOW_PUBLIC)
    names = [f"window-{n}" for n in range(6)]
    arguments = f'args: [watch, 2s, "{FORBIDDEN[0]}", "10.99.0.2:6443", "{PUBLIC}"]'
    # Labels nobody had before: a fresh identity, so nothing about it can be cached.
    kubectl(STATE, "apply", "-f", "-", stdin="".join(pod(name, arguments, f"app: window, only: {name}") for name in names))
    for name in names:
        kubectl(STATE, "-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=120s")
        log = kubectl(STATE, "-n", NAMESPACE, "logs", name)
        through = {a: int(n) for a, n in re.findall(r"^total (\S+): \d+ attempts, (\d+) got through", log, re.M)}
        assert through[FORBIDDEN[0]] == 0, log
        assert through["10.99.0.2:6443"] == 0, log
        assert through[PUBLIC] > 0, log
