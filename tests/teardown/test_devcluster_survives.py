"""`up` brings back whatever was killed, and leaves alone what lives."""

import os
import select
import signal
import subprocess
import sys
import time

import pytest

from devcluster import cgroups, daemons
from devcluster.drivers import local
from devcluster.kubectl import kubectl
from devcluster.settings import CGROUP, State

NAMESPACE = "devcluster-survives"

POD = f"""\
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: disk, namespace: {NAMESPACE}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 16Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: pod, namespace: {NAMESPACE}}}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000}}
  containers:
  - {{name: c, image: "localhost/busybox:dev", imagePullPolicy: Never, command: [sleep, "1000000"],
     volumeMounts: [{{name: disk, mountPath: /data}}]}}
  volumes: [{{name: disk, persistentVolumeClaim: {{claimName: disk}}}}]
"""

DAEMONS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("containerd", "kubelet", "kube-proxy", "cilium", "provisioner", "internet", "preview-forward"),
)


def running() -> dict[str, daemons.Identity]:
    return {name: identity for name in daemons.names() if (identity := daemons.running(name))}


def kill(identity: daemons.Identity) -> None:
    """SIGKILL, and wait until the kernel has really ended it (which takes a moment for a large process)."""
    handle = os.pidfd_open(identity.pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [])
    os.close(handle)


@pytest.fixture(scope="module", autouse=True)
def pod(state: State) -> None:
    local.up(state)
    kubectl(state, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    kubectl(state, "apply", "-f", "-", stdin=POD)
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/pod", "--timeout=120s")
    kubectl(state, "-n", NAMESPACE, "exec", "pod", "--", "sh", "-c", "echo kept > /data/file")


def use(state: State) -> None:
    """The pod from before answers, its data is there, and a new pod gets an address and DNS."""
    assert kubectl(state, "-n", NAMESPACE, "exec", "pod", "--", "cat", "/data/file") == "kept\n"
    run = ["run", "new", "--image=localhost/netprobe:dev", "--image-pull-policy=Never", "--restart=Never"]
    kubectl(state, "-n", NAMESPACE, *run, "--", "get", "http://public.example.test/")
    kubectl(state, "-n", NAMESPACE, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/new", "--timeout=120s")
    kubectl(state, "-n", NAMESPACE, "delete", "pod/new", "--timeout=60s")


def test_up_on_a_healthy_cluster_starts_nothing(state: State) -> None:
    before = running()
    local.up(state)
    assert running() == before
    assert set(DAEMONS) <= set(before)


@pytest.mark.parametrize("name", DAEMONS)
def test_up_replaces_a_killed_daemon_and_no_other(state: State, name: str) -> None:
    before = running()
    kill(before[name])
    local.up(state)
    after = running()
    assert after[name] != before[name]
    assert {n: i for n, i in after.items() if n != name} == {n: i for n, i in before.items() if n != name}
    use(state)


def test_up_after_all_daemons_were_killed_at_once(state: State) -> None:
    for identity in running().values():
        kill(identity)
    local.up(state)
    use(state)


def test_up_after_daemons_shims_and_pods_were_killed_at_once(state: State) -> None:
    (cgroups.unified() / CGROUP / "cgroup.kill").write_text("1")
    local.up(state)
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/pod", "--timeout=120s")
    use(state)


def test_up_after_a_network_namespace_was_deleted_builds_anew(state: State) -> None:
    subprocess.run(["ip", "link", "del", "devcluster0"], check=True)
    local.up(state)
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/pod", "--timeout=120s")
    use(state)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.5, 5.0, 9.0])
def test_up_after_an_up_that_was_killed_half_way(state: State, seconds: float) -> None:
    local.down(state)
    first = subprocess.Popen([sys.executable, "-m", "devcluster", "up"], stderr=subprocess.DEVNULL)
    time.sleep(seconds)  # not a wait for something: the moment at which it dies
    first.kill()
    first.wait()
    local.up(state)
    kubectl(state, "-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/pod", "--timeout=120s")
    use(state)


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_the_daemon(state: State) -> None:
    identity = daemons.running("internet")
    assert identity is not None
    assert daemons.alive(identity)
    assert not daemons.alive(daemons.Identity(identity.pid, identity.started - 1))
