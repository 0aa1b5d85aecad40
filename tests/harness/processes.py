"""Processes of a pod, seen from this machine: with the local driver the node's processes are here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sandbox_client import blocking
from sandbox_protocol import names
from tests.harness.cluster import Cluster

AGENT = b"runner_agent\0agent"
"""What only the agent's command line holds (arguments end with NUL)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one or more processes together. Memory in MiB."""

    rss: float
    private: float
    descriptors: int
    threads: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.rss + other.rss,
            self.private + other.private,
            self.descriptors + other.descriptors,
            self.threads + other.threads,
        )


def usage(pid: int) -> Usage:
    """OSError when it has ended."""
    process = Path(f"/proc/{pid}")
    rss, private = memory((process / "smaps_rollup").read_text())
    descriptors = sum(1 for _ in (process / "fd").iterdir())
    return Usage(rss, private, descriptors, sum(1 for _ in (process / "task").iterdir()))


def memory(rollup: str) -> tuple[float, float]:
    """Resident and unshared memory, MiB, from the text of /proc/<pid>/smaps_rollup."""
    found = {name: int(kib) / 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.MULTILINE)}
    return found["Rss"], found["Private_Clean"] + found["Private_Dirty"]


def program_pids(cluster: Cluster, program: str) -> list[int]:
    """``controller``, ``apiserver`` or ``preview``: one process a replica; none when the node's processes are elsewhere."""
    selector = f"--selector=app.kubernetes.io/name=sandbox-{program}"
    pods = cluster.get("pods", selector, f"--namespace={names.SYSTEM_NAMESPACE}")["items"]
    command = f"sandbox_operator\0{program}".encode()
    return [pid for pod in pods if "deletionTimestamp" not in pod["metadata"] for pid in pids(pod["metadata"]["uid"], command)]


def agent_pid(cluster: Cluster, sandbox: blocking.Sandbox) -> int | None:
    """The runner's agent; None when the node's processes are elsewhere."""
    return next(iter(pids(cluster.pod_uid(sandbox), AGENT)), None)


def pids(pod_uid: str, running: bytes) -> list[int]:
    """Processes in the pod's cgroups whose command line has ``running`` in it."""
    spellings = (f"pod{pod_uid}", f"pod{pod_uid.replace('-', '_')}")  # of the cgroupfs and the systemd driver
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if running in (entry / "cmdline").read_bytes():
                cgroup = (entry / "cgroup").read_text()
                if any(spelling in cgroup for spelling in spellings):
                    found.append(int(entry.name))
        except (OSError, ValueError):  # not a process, or gone meanwhile
            continue
    return found
