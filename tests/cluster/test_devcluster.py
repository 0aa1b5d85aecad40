"""The development cluster itself: does it give a sandbox what a production cluster would?"""

import re
import socket
import subprocess
from collections.abc import Iterator
from textwrap import dedent

import pytest

from devcluster import net
from devcluster.kubectl import KubectlError, kubectl
from devcluster.namespaces import in_node_argv
from devcluster.settings import MACHINE_ADDRESS, state_from_environment

STATE = state_from_environment()
NAMESPACE = "devcluster-smoke"

pytestmark = pytest.mark.skipif(not net.complete(), reason="these are about the local driver, and its cluster is not up")

# Everything the "restricted" Pod Security Standard asks for, a user namespace, and a volume.
OBJECTS = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: disk, namespace: {NAMESPACE}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 64Mi}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: pod, namespace: {NAMESPACE}}}
spec: {{selector: {{app: pod}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: pod, namespace: {NAMESPACE}, labels: {{app: pod}}}}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: c
    image: localhost/netprobe:dev
    imagePullPolicy: Never
    args: [serve, ":8080"]
    readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
    resources: {{limits: {{cpu: "1", memory: 512Mi}}, requests: {{cpu: 10m, memory: 16Mi}}}}
    securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
    volumeMounts: [{{name: disk, mountPath: /data}}]
  volumes: [{{name: disk, persistentVolumeClaim: {{claimName: disk}}}}]
"""


@pytest.fixture(scope="module", autouse=True)
def pod() -> Iterator[None]:
    kubectl(STATE, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    kubectl(STATE, "apply", "-f", "-", stdin=OBJECTS)
    kubectl(STATE, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    yield
    kubectl(STATE, "delete", "namespace", NAMESPACE, "--timeout=120s")


def run(*argv: str, pod: str = "pod") -> str:
    return kubectl(STATE, "-n", NAMESPACE, "exec", pod, "--", *argv)


def test_a_pods_root_is_nobody_on_the_node() -> None:
    inside, outside, length = (int(n) for n in run("cat", "/proc/self/uid_map").split())
    assert inside == 0
    assert outside >= 65536
    assert length == 65536


def test_a_pod_is_confined_by_seccomp() -> None:
    assert re.search(r"^Seccomp:\s*2$", run("cat", "/proc/self/status"), re.M)


def test_a_volume_has_exactly_the_size_asked_for() -> None:
    assert run("sh", "-c", "echo x > /data/a && cat /data/a") == "x\n"
    with pytest.raises(KubectlError, match="No space left on device"):
        run("dd", "if=/dev/zero", "of=/data/b", "bs=1M", "count=100")


def test_a_service_is_found_by_name_and_answers() -> None:
    assert ":8080 from" in run("/netprobe", "get", f"http://pod.{NAMESPACE}.svc.cluster.local/")


def test_the_node_reaches_a_service() -> None:
    address = kubectl(STATE, "-n", NAMESPACE, "get", "service", "pod", "-o", "jsonpath={.spec.clusterIP}")
    subprocess.run(in_node_argv([STATE.bin / "netprobe", "try", f"{address}:80"]), check=True, capture_output=True)


def test_the_pretend_internet_has_names_and_nothing_else_has() -> None:
    assert "203.0.113.10:80 from" in run("/netprobe", "get", "http://public.example.test/")
    assert "203.0.113.20:80 from" in run("/netprobe", "get", "http://mirror.devcluster.test/")
    with pytest.raises(KubectlError, match="no such host"):
        run("/netprobe", "get", "http://example.com/")


def test_no_pod_reaches_this_machine() -> None:
    with socket.create_server((MACHINE_ADDRESS, 0)) as listening:  # somebody is there: silence comes from the fence
        address = f"{MACHINE_ADDRESS}:{listening.getsockname()[1]}"
        assert f"{address} timeout" in run("sh", "-c", f"/netprobe try {address} || true")


def test_the_memory_limit_and_the_process_limit_hold() -> None:
    with pytest.raises(KubectlError, match=r"137|killed"):
        run("dd", "if=/dev/zero", "of=/dev/null", "bs=600M", "count=1")
    with pytest.raises(KubectlError, match=r"can't fork|Resource temporarily"):
        # the kubelet's podPidsLimit is 2048; so many sleeping processes take about half of the memory limit
        run("sh", "-c", "i=0; while [ $i -lt 2500 ]; do sleep 30 & i=$((i+1)); done")


def test_aggregation_is_configured() -> None:
    config = kubectl(STATE, "-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "yaml")
    assert "requestheader-client-ca-file" in config
    assert '["front-proxy"]' in config


def test_what_was_done_is_in_the_audit_log() -> None:
    log = (STATE.logs / "audit.log").read_text()
    assert f'"namespace":"{NAMESPACE}"' in log
    assert '"requestObject"' not in log  # metadata only: contents of Secrets would be in there


@pytest.mark.skipif(not (STATE.bin / "runsc").exists(), reason="gVisor is not built: `python -m devcluster up --with gvisor`")
def test_gvisor_runs_a_pod_under_its_own_kernel() -> None:
    kubectl(
        STATE,
        "apply",
        "-f",
        "-",
        stdin=dedent(f"""\
            apiVersion: v1
            kind: Pod
            metadata: {{name: gvisor, namespace: {NAMESPACE}}}
            spec:
              runtimeClassName: gvisor
              terminationGracePeriodSeconds: 1
              securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
              containers:
              - name: c
                image: localhost/netprobe:dev
                imagePullPolicy: Never
                args: [serve, ":8080"]
                resources: {{limits: {{cpu: "1", memory: 256Mi}}}}
                securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
            """),
    )
    kubectl(STATE, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/gvisor", "--timeout=120s")
    assert "Starting gVisor" in run("dmesg", pod="gvisor")
    assert "timeout" not in run("/netprobe", "get", f"http://pod.{NAMESPACE}.svc.cluster.local/", pod="gvisor")
