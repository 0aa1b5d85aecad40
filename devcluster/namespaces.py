"""Command lines that run inside the node or the pretend internet."""

from collections.abc import Sequence
from pathlib import Path

from devcluster.settings import INTERNET_NETNS, MOUNT_NAMESPACE, NODE_NETNS

NETNS_FOLDER = Path("/run/netns")  # iproute2's; a name here is what `ip netns` lists


def in_node_argv(argv: Sequence[str | Path]) -> list[str]:
    """`argv` in the node's mount and network namespaces (paths on disk are the same there)."""
    return ["nsenter", f"--mount={MOUNT_NAMESPACE}", f"--net={NETNS_FOLDER / NODE_NETNS}", "--", *map(str, argv)]


def in_internet_argv(argv: Sequence[str | Path]) -> list[str]:
    """`argv` in the pretend internet's network namespace; files and mounts are this machine's."""
    return ["nsenter", f"--net={NETNS_FOLDER / INTERNET_NETNS}", "--", *map(str, argv)]
