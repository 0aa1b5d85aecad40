"""etcd, API server, controller manager, scheduler: processes of the node."""

from devcluster import daemons
from devcluster.daemons import Daemon
from devcluster.kubectl import succeeds
from devcluster.namespaces import in_node_argv
from devcluster.settings import API_PORT, NODE_ADDRESS, SERVICE_CIDR, State

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")


def start(state: State) -> None:
    """Tier `api`: returns when the API server is ready. A killed etcd does not need a new API server, it reconnects."""
    for daemon in (_etcd(state), _apiserver(state)):
        daemons.ensure(state, daemon)
    daemons.wait_until(state, "the API server", lambda: succeeds(state, "get", "--raw", "/readyz"), ["etcd", "kube-apiserver"])
    daemons.ensure(state, _controller_manager(state))


def start_scheduler(state: State) -> None:
    daemons.ensure(state, _scheduler(state))


def _etcd(state: State) -> Daemon:
    # fsync is off (the program's default): what a power cut takes from a development cluster, `up` makes again.
    return Daemon("etcd", in_node_argv([(state.bin / "etcd").resolve(), "--data-dir", state.root / "etcd"]))


def _apiserver(state: State) -> Daemon:
    pki = state.pki
    flags = {
        "etcd-servers": "http://127.0.0.1:2379",
        "advertise-address": NODE_ADDRESS,
        "bind-address": "0.0.0.0",  # noqa: S104 - inside the node's namespace: its two addresses and loopback
        "secure-port": API_PORT,
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "service-account.pub",
        "service-account-signing-key-file": pki / "service-account.key",
        "service-cluster-ip-range": SERVICE_CIDR,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        # Aggregation: aggregated API servers trust X-Remote-* only from this certificate.
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        "audit-policy-file": state.config / "audit-policy.yaml",
        "audit-log-path": state.logs / "audit.log",
        "audit-log-mode": "batch",
        "audit-log-maxsize": 50,
        # 200 MiB in all: a whole test run, which writes about 2 MiB a minute, with a day of ordinary work before it
        "audit-log-maxbackup": 3,
        "allow-privileged": "true",
        "profiling": "false",
    }
    program = (state.bin / "kube-apiserver").resolve()
    return Daemon("kube-apiserver", in_node_argv([program, *_words(flags)]), config=[state.config / "audit-policy.yaml"])


def _controller_manager(state: State) -> Daemon:
    kubeconfig, pki = state.pki / "controller-manager.kubeconfig", state.pki
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "service-account-private-key-file": pki / "service-account.key",
        "root-ca-file": pki / "ca.crt",
        "client-ca-file": pki / "ca.crt",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "allocate-node-cidrs": "true",  # Cilium takes each node's pod range from its Node object
        "cluster-cidr": ",".join(state.pod_cidrs),
        "node-cidr-mask-size-ipv4": 24,
        **({"node-cidr-mask-size-ipv6": 64} if state.ipv6 else {}),
        "service-cluster-ip-range": SERVICE_CIDR,
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
    }
    program = (state.bin / "kube-controller-manager").resolve()
    return Daemon("kube-controller-manager", in_node_argv([program, *_words(flags)]))


def _scheduler(state: State) -> Daemon:
    kubeconfig = state.pki / "scheduler.kubeconfig"
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
    }
    return Daemon("kube-scheduler", in_node_argv([(state.bin / "kube-scheduler").resolve(), *_words(flags)]))


def _words(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
