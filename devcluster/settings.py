"""Where the development cluster lives: addresses, names and folders. Everything here is fixed or derived; nothing is measured.

The addresses are the same in every checkout, so one machine runs one cluster (`devcluster.machine_lock` says so in words).
Deriving them per checkout was weighed and dropped: tests, policies and the mirrors' address would all have to be templates,
and two clusters do not fit the memory of the machines this is for.
"""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

NODE = "n1"
NODE_ADDRESS = "10.99.0.2"  # on the link to the pretend internet; pods and daemons know the API server by it
INTERNET_GATEWAY = "10.99.0.1"
MACHINE_ADDRESS = "10.98.0.1"  # this machine's end of the private link to the node
MACHINE_LINK_ADDRESS = "10.98.0.2"  # the node's end of it: where kubectl on this machine connects
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443

PUBLIC_ADDRESSES = ("203.0.113.10", "203.0.113.11")  # TEST-NET-3: stands for any host out there
# Of a cluster that was made `--with ipv6`: pods, node and internet have these as well.
NODE_ADDRESS6 = "fd00:99::2"
INTERNET_GATEWAY6 = "fd00:99::1"
POD_CIDR6 = "fd00:244::/56"  # a /64 of it for the node
PUBLIC_ADDRESS6 = "2a00:dead::10"  # stands for any host out there, as documentation's own range is none of them

FORBIDDEN_ADDRESSES = ("169.254.169.254", "192.168.7.7", "100.64.0.9")  # cloud metadata, a LAN, carrier-grade NAT
MIRROR_ADDRESS = "203.0.113.20"  # package mirrors, `mirror.devcluster.test` inside the cluster

PREVIEW_NODE_PORT = 30090  # Service `preview` of the operator
PREVIEW_LISTEN = ("127.0.0.1", 8090)  # where browsers on this machine find it

CONTEXT = "devcluster"  # name of context, cluster and user in the kubeconfig
CGROUP = "devcluster"
# What is worth nothing after a reboot: identities of daemons, sockets, the mount namespace. Not in the state folder, so that
# `down` finds everything even if that was deleted.
RUN = Path("/run/appstudio-devcluster")
MOUNT_NAMESPACE = RUN / "ns" / "mnt"
CONTAINERD_SOCKET = RUN / "containerd" / "containerd.sock"  # a path of at most 107 bytes, however deep the checkout
NODE_NETNS = "devcluster-node"
INTERNET_NETNS = "devcluster-internet"


@dataclass(frozen=True)
class State:
    """Folders of one cluster, below `root`, on a real disk: containerd stacks its own overlay and volumes are files here."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """For programs on this machine: the contract's path."""
        return self.root / "kubeconfig"

    @property
    def bin(self) -> Path:
        """One link per program into the content cache; `cni/` holds the network plugins."""
        return self.root / "bin"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def ipv6_mark(self) -> Path:
        return self.root / "ipv6"

    @property
    def ipv6(self) -> bool:
        """Whether the cluster was made to have IPv6 beside IPv4."""
        return self.ipv6_mark.exists()

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        return (POD_CIDR, POD_CIDR6) if self.ipv6 else (POD_CIDR,)

    @property
    def node_addresses(self) -> tuple[str, ...]:
        """On the link to the pretend internet."""
        return (NODE_ADDRESS, NODE_ADDRESS6) if self.ipv6 else (NODE_ADDRESS,)

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.root / "etc"


def state_from_environment() -> State:
    """`DEVCLUSTER_STATE`, else `.devcluster/` in the work tree."""
    return State(Path(os.environ.get("DEVCLUSTER_STATE") or REPOSITORY / ".devcluster").resolve())


def cache_root() -> Path:
    """Built programs, by content, shared by all checkouts of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "appstudio-devcluster"
