"""DNS, the StorageClass, gVisor's RuntimeClass, and somebody to answer in the pretend internet."""

from devcluster import daemons
from devcluster.daemons import Daemon
from devcluster.kubectl import kubectl
from devcluster.namespaces import in_internet_argv
from devcluster.render import MANIFESTS
from devcluster.settings import State


def start(state: State) -> None:
    """Returns when cluster DNS answers."""
    # On every address out there, so that a test can tell a fence from an absent host.
    listen = [":80", ":443", ":8443"]
    daemons.ensure(state, Daemon("internet", in_internet_argv([(state.bin / "netprobe").resolve(), "serve", *listen])))
    files = [MANIFESTS / "coredns.yaml", MANIFESTS / "storage.yaml"]
    if (state.bin / "runsc").exists():
        files.append(MANIFESTS / "gvisor.yaml")
    kubectl(state, "apply", "--server-side", "--force-conflicts", *(f"--filename={file}" for file in files))
    kubectl(state, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")
