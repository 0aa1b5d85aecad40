"""Cilium's agent as the only network plugin and NetworkPolicy engine; kube-proxy keeps doing Services.

A pod's first packet already meets its policy: the plugin answers only when the endpoint's policy is compiled and attached, and
while the agent is down no pod starts. Cilium's operator is not run: its part here is to install the CRDs, which we do.
"""

import os

from devcluster import cgroups, daemons
from devcluster.daemons import Daemon
from devcluster.kubectl import kubectl, succeeds
from devcluster.namespaces import in_node_argv
from devcluster.settings import CONTEXT, NODE, POD_CIDR, POD_CIDR6, State

_CONFLIST = "05-cilium.conflist"


def start(state: State) -> None:
    """Returns when the node is Ready."""
    sources = (state.bin / "cilium-share").resolve()
    home = state.root / "cilium"
    for folder in (home / "lib", home / "bin", state.root / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    _link(home / "bin" / "clang", "/usr/bin/clang-19")  # the agent compiles its BPF programs with "clang" from PATH
    _link(home / "lib" / "bpf", str(sources / "bpf"))
    written, read = home / _CONFLIST, state.root / "cni" / _CONFLIST
    agent = _agent(state)
    if not daemons.as_described(agent):
        kubectl(state, "apply", "--server-side", "--force-conflicts", "-f", sources / "crds")
        kubectl(state, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        written.unlink(missing_ok=True)
        daemons.ensure(state, agent)
    daemons.wait_until(state, "Cilium", lambda: written.exists() and written.stat().st_size > 0, [agent.name], 120)
    # Written in place, which is a WRITE event: containerd ignores the CREATE that an atomic rename by the agent would be, and
    # the node would stay NotReady.
    if not read.exists() or read.read_text() != written.read_text():
        read.write_text(written.read_text())
    ready = ["wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=3s"]
    daemons.wait_until(state, "the node to be Ready", lambda: succeeds(state, *ready), [agent.name, "kubelet", "containerd"])


def _agent(state: State) -> Daemon:
    home = state.root / "cilium"
    flags = {
        "k8s-kubeconfig-path": state.pki / "admin.kubeconfig",
        "lib-dir": home / "lib",
        "cluster-name": CONTEXT,
        "identity-allocation-mode": "crd",
        "ipam": "kubernetes",
        "enable-ipv6": str(state.ipv6).lower(),
        "routing-mode": "native",
        "ipv4-native-routing-cidr": POD_CIDR,
        **({"ipv6-native-routing-cidr": POD_CIDR6, "enable-ipv6-masquerade": "false"} if state.ipv6 else {}),
        "auto-direct-node-routes": "false",
        "enable-ipv4-masquerade": "false",  # the pretend internet knows the way back, and tests see who came
        # Without its iptables rules, traffic of the node (probes, webhooks) would arrive at pods as "world" and be denied.
        "install-iptables-rules": "true",
        "enable-l7-proxy": "false",
        "enable-envoy-config": "false",
        "kube-proxy-replacement": "false",
        "devices": "eth0",
        "direct-routing-device": "eth0",
        "enable-host-legacy-routing": "true",
        "enable-endpoint-routes": "false",
        "enable-local-redirect-policy": "false",
        "cgroup-root": cgroups.unified(),
        "bpf-root": "/sys/fs/bpf",
        "enable-health-checking": "false",
        "enable-endpoint-health-checking": "false",
        "enable-hubble": "false",
        "enable-gops": "false",
        "enable-bgp-control-plane": "false",
        "policy-cidr-match-mode": "nodes",  # an ipBlock may select the node, as with other implementations
        "preallocate-bpf-maps": "false",
        "cni-exclusive": "false",
        "cni-log-file": state.logs / "cilium-cni.log",
        "write-cni-conf-when-ready": home / _CONFLIST,
    }
    program = (state.bin / "cilium-agent").resolve()
    environment = {
        "K8S_NODE_NAME": NODE,
        "CILIUM_K8S_NAMESPACE": "kube-system",
        "PATH": f"{home / 'bin'}:/usr/sbin:{os.environ['PATH']}",
    }
    return Daemon("cilium", in_node_argv([program, *(f"--{k}={v}" for k, v in flags.items())]), environment=environment)


def _link(path: os.PathLike[str], target: str) -> None:
    part = f"{os.fspath(path)}.part"
    if os.path.lexists(part):
        os.unlink(part)  # noqa: PTH108
    os.symlink(target, part)  # noqa: PTH211
    os.replace(part, path)  # noqa: PTH105
