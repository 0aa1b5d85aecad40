"""DNS, the StorageClass, gVisor's RuntimeClass, and somebody to answer in the pretend internet."""

import subprocess

from devcluster import daemons
from devcluster.daemons import Daemon
from devcluster.kubectl import kubectl
from devcluster.namespaces import in_internet_argv, in_node_argv
from devcluster.node_images import BUSYBOX
from devcluster.render import MANIFESTS
from devcluster.settings import DNS_ADDRESS, State


def start(state: State) -> None:
    """Returns when cluster DNS answers."""
    # On every address out there, so that a test can tell a fence from an absent host.
    listen = [":80", ":443", ":8443"]
    daemons.ensure(state, Daemon("internet", in_internet_argv([(state.bin / "netprobe").resolve(), "serve", *listen])))
    files = [MANIFESTS / "coredns.yaml", MANIFESTS / "storage.yaml"]
    if (state.bin / "runsc").exists():
        files.append(MANIFESTS / "gvisor.yaml")
    kubectl(state, "apply", "--server-side", "--force-conflicts", *(f"--filename={file}" for file in files))
    # Asked, not inferred: after a restart of the node the Deployment's status is still that of before.
    daemons.wait_until(state, "cluster DNS", _dns_answers, ["kubelet", "containerd", "cilium"], 90)


def _dns_answers() -> bool:
    lookup = in_node_argv([BUSYBOX, "nslookup", "kubernetes.default.svc.cluster.local", DNS_ADDRESS])
    return subprocess.run(lookup, capture_output=True, check=False).returncode == 0
