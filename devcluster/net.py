"""The two network namespaces and the node's mount namespace.

    this machine ──10.98.0.0/30── node ──10.99.0.0/24── pretend internet
       (kubectl, browsers)      (daemons, pods)       (public and forbidden addresses, package mirrors)

Nothing leads from a pod to this machine: the node neither forwards to the private link nor opens a connection over it.
"""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devcluster.namespaces import NETNS_FOLDER, in_internet_argv
from devcluster.settings import (
    FORBIDDEN_ADDRESSES,
    INTERNET_GATEWAY,
    INTERNET_GATEWAY6,
    INTERNET_NETNS,
    MACHINE_ADDRESS,
    MACHINE_LINK_ADDRESS,
    MIRROR_ADDRESS,
    MOUNT_NAMESPACE,
    NODE_ADDRESS,
    NODE_ADDRESS6,
    NODE_NETNS,
    POD_CIDR,
    POD_CIDR6,
    PUBLIC_ADDRESS6,
    PUBLIC_ADDRESSES,
    RUN,
)

MACHINE_LINK = "devcluster0"  # on this machine
_COMPLETE = RUN / "network-complete"  # written last: a set-up that was killed half-way is torn down and made anew

_FENCE = """
table inet devcluster_fence {
  chain forward { type filter hook forward priority -300; policy accept;
    oifname "machine0" drop
    iifname "machine0" drop
  }
  chain output { type filter hook output priority -300; policy accept;
    oifname "machine0" ct state new drop
  }
}
"""

# The node sees its own interfaces in sysfs and has its own BPF file system; cgroup mounts are carried over. All of it is gone
# with the namespace.
_MOUNTS = """
set -eu
run=$1; shift
mount --rbind /sys/fs/cgroup "$run/cgroup"
umount -R -l /sys; mount -t sysfs sysfs /sys; mount --rbind "$run/cgroup" /sys/fs/cgroup; umount -R -l "$run/cgroup"
mount -t bpf bpf /sys/fs/bpf
for folder; do mount -t tmpfs -o mode=0755 tmpfs "$folder"; done
mount --make-rshared /
"""
# Paths that runc, the shims, the kubelet and CNI plugins write to whatever they are told. Private to the node, in memory.
PRIVATE_FOLDERS = (
    "/run/containerd",
    "/run/cilium",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/containers",
    "/var/log/pods",
    "/usr/libexec/kubernetes",
)
_NETNS_FOLDER_MADE = RUN / "made-netns-folder"
_MADE = RUN / "made-folders"  # mount points that were not there: removed by `down`, innermost first


class NetworkError(Exception):
    """The kernel refused a part of the set-up; the message is the tool's."""


def complete() -> bool:
    """True when both namespaces stand as `up` made them."""
    if not _COMPLETE.exists():
        return False
    entered = subprocess.run(
        ["nsenter", f"--mount={MOUNT_NAMESPACE}", f"--net={NETNS_FOLDER / NODE_NETNS}", "--", "ip", "link", "show", "machine0"],
        capture_output=True,
        check=False,
    )
    internet = subprocess.run(in_internet_argv(["true"]), capture_output=True, check=False)
    machine = subprocess.run(["ip", "link", "show", MACHINE_LINK], capture_output=True, check=False)
    return entered.returncode == internet.returncode == machine.returncode == 0


def up(ipv6: bool = False) -> None:
    """Make everything. Call `down` first unless nothing of it exists."""
    node, internet = ["ip", "-n", NODE_NETNS], ["ip", "-n", INTERNET_NETNS]
    if not NETNS_FOLDER.is_mount():  # `ip netns add` makes it one
        _NETNS_FOLDER_MADE.touch()
    for name in (NODE_NETNS, INTERNET_NETNS):
        _run(["ip", "netns", "add", name])
    _run(["ip", "link", "add", "eth0", "netns", NODE_NETNS, "type", "veth", "peer", "name", "node0", "netns", INTERNET_NETNS])
    _run([*node, "link", "set", "lo", "up"])
    _run([*node, "addr", "add", f"{NODE_ADDRESS}/24", "dev", "eth0"])
    _run([*node, "link", "set", "eth0", "up"])
    _run([*node, "route", "add", "default", "via", INTERNET_GATEWAY])

    _run([*internet, "link", "set", "lo", "up"])
    _run([*internet, "addr", "add", f"{INTERNET_GATEWAY}/24", "dev", "node0"])
    _run([*internet, "link", "set", "node0", "up"])
    for address in (*PUBLIC_ADDRESSES, *FORBIDDEN_ADDRESSES, MIRROR_ADDRESS):
        _run([*internet, "addr", "add", f"{address}/32", "dev", "lo"])
    # Pods keep their own address out there, so that a test can tell who came; hence the way back.
    _run([*internet, "route", "add", POD_CIDR, "via", NODE_ADDRESS])

    _run(["ip", "link", "add", MACHINE_LINK, "type", "veth", "peer", "name", "machine0", "netns", NODE_NETNS])
    _run(["ip", "addr", "add", f"{MACHINE_ADDRESS}/30", "dev", MACHINE_LINK])
    _run(["ip", "link", "set", MACHINE_LINK, "up"])
    _run([*node, "addr", "add", f"{MACHINE_LINK_ADDRESS}/30", "dev", "machine0"])
    _run([*node, "link", "set", "machine0", "up"])
    enter = ["nsenter", f"--net={NETNS_FOLDER / NODE_NETNS}", "--"]
    _run([*enter, "nft", "-f", "-"], _FENCE)
    _run([*enter, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    if ipv6:
        _add_ipv6(node, internet, enter)
    _make_mount_namespace(enter)
    _COMPLETE.touch()


def down() -> None:
    """Remove everything, whatever of it exists. Mounts made in the node go with its mount namespace."""
    _COMPLETE.unlink(missing_ok=True)
    for target in (MOUNT_NAMESPACE, MOUNT_NAMESPACE.parent):
        while subprocess.run(["umount", target], capture_output=True, check=False).returncode == 0:
            pass
    subprocess.run(["ip", "link", "del", MACHINE_LINK], capture_output=True, check=False)
    for name in (NODE_NETNS, INTERNET_NETNS):
        if (NETNS_FOLDER / name).exists():
            _run(["ip", "netns", "del", name])
    if _NETNS_FOLDER_MADE.exists() and not any(NETNS_FOLDER.iterdir()):
        subprocess.run(["umount", NETNS_FOLDER], capture_output=True, check=False)
        NETNS_FOLDER.rmdir()
    _NETNS_FOLDER_MADE.unlink(missing_ok=True)
    if _MADE.exists():
        for folder in reversed(_MADE.read_text().splitlines()):
            with contextlib.suppress(OSError):  # somebody else uses it by now
                Path(folder).rmdir()
        _MADE.unlink()


def _add_ipv6(node: Sequence[str], internet: Sequence[str], enter: Sequence[str]) -> None:
    """On the link between the two, and in the pretend internet; the private link to this machine has none."""
    _run([*enter, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    _run([*node, "addr", "add", f"{NODE_ADDRESS6}/64", "dev", "eth0", "nodad"])
    _run([*internet, "addr", "add", f"{INTERNET_GATEWAY6}/64", "dev", "node0", "nodad"])
    _run([*node, "route", "add", "default", "via", INTERNET_GATEWAY6])
    _run([*internet, "addr", "add", f"{PUBLIC_ADDRESS6}/128", "dev", "lo"])
    _run([*internet, "route", "add", POD_CIDR6, "via", NODE_ADDRESS6])


def _make_mount_namespace(enter: Sequence[str]) -> None:
    folder = MOUNT_NAMESPACE.parent
    folder.mkdir(parents=True, exist_ok=True)
    # A namespace is kept by a bind mount of its file, and that is refused unless the mount it lies on is private.
    _run(["mount", "--bind", folder, folder])
    _run(["mount", "--make-private", folder])
    MOUNT_NAMESPACE.touch()
    (RUN / "cgroup").mkdir(exist_ok=True)
    for private in map(Path, PRIVATE_FOLDERS):
        for missing in [p for p in reversed([private, *private.parents]) if not p.exists()]:
            with _MADE.open("a") as made:
                made.write(f"{missing}\n")
            missing.mkdir()
    unshare = ["unshare", f"--mount={MOUNT_NAMESPACE}", "--propagation", "private"]
    _run([*enter, *unshare, "sh", "-c", _MOUNTS, "node-mounts", RUN, *PRIVATE_FOLDERS])


def _run(argv: Sequence[object], stdin: str | None = None) -> None:
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(words)}: {done.stderr.strip()}")
