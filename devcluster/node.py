"""What makes the node a node: containerd, volumes, kubelet, kube-proxy."""

import os
import subprocess
from pathlib import Path

from devcluster import cgroups, daemons, node_images, sysctls
from devcluster.containerd import ctr_argv
from devcluster.daemons import Daemon
from devcluster.namespaces import in_node_argv
from devcluster.settings import NODE, State


def start(state: State) -> None:
    """Start everything but the network plugin; the node becomes Ready with that (`cilium.start`)."""
    sysctls.save()
    cgroups.make_pod_groups()
    for folder in ("cni", "cdi", "volume-plugins", "containerd-opt", "volumes"):
        (state.root / folder).mkdir(exist_ok=True)
    daemons.ensure(state, _containerd(state))
    daemons.wait_until(state, "containerd", lambda: _works(ctr_argv(state, "version")), ["containerd"], 30)
    node_images.ensure(state)
    # Before the kubelet: it would bind an empty folder into a pod whose volume is not mounted yet.
    subprocess.run(in_node_argv([*_provisioner_argv(state), "--mount-only"]), check=True)
    daemons.ensure(state, Daemon("provisioner", in_node_argv(_provisioner_argv(state))))
    daemons.ensure(state, _kubelet(state))
    daemons.ensure(state, _kube_proxy(state))


def _containerd(state: State) -> Daemon:
    config = state.config / "containerd.toml"
    # It looks for shims and runsc in PATH.
    return Daemon(
        "containerd",
        in_node_argv([(state.bin / "containerd").resolve(), "-c", config]),
        config=[config],
        environment={"PATH": f"{state.bin}:{os.environ['PATH']}"},
    )


def _provisioner_argv(state: State) -> list[str | Path]:
    kubeconfig = state.pki / "admin.kubeconfig"
    program = (state.bin / "provisioner").resolve()
    return [program, f"--kubeconfig={kubeconfig}", f"--dir={state.root / 'volumes'}", f"--node={NODE}"]


def _kubelet(state: State) -> Daemon:
    config = state.config / "kubelet.yaml"
    argv: list[str | Path] = [
        (state.bin / "kubelet").resolve(),
        f"--config={config}",
        f"--kubeconfig={state.pki / 'kubelet.kubeconfig'}",
        f"--hostname-override={NODE}",
        f"--node-ip={','.join(state.node_addresses)}",
        f"--root-dir={state.root / 'kubelet'}",
        f"--cert-dir={state.root / 'kubelet-pki'}",
        "--v=2",
    ]
    return Daemon("kubelet", in_node_argv(argv), config=[config])


def _kube_proxy(state: State) -> Daemon:
    config = state.config / "kube-proxy.yaml"
    return Daemon("kube-proxy", in_node_argv([(state.bin / "kube-proxy").resolve(), f"--config={config}"]), config=[config])


def _works(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
