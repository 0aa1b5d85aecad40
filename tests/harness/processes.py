"""Processes of a pod, seen from this machine: with the local driver the node's processes are here."""

from __future__ import annotations

from pathlib import Path

from sandbox_client import blocking
from tests.harness.cluster import Cluster


def agent_pid(cluster: Cluster, sandbox: blocking.Sandbox) -> int | None:
    """The process in the agent container's cgroup that runs the agent; None when the node's processes are elsewhere."""
    status = cluster.get("pod", cluster.pod(sandbox), "--namespace", cluster.refs(sandbox).namespace)["status"]
    agent = next(item for item in status["initContainerStatuses"] if item["name"] == "agent")
    container = agent["containerID"].rpartition("//")[2]
    for entry in Path("/proc").iterdir():
        try:
            if container in (entry / "cgroup").read_text() and b"runner_agent" in (entry / "cmdline").read_bytes():
                return int(entry.name)
        except (OSError, ValueError):  # not a process, or gone meanwhile
            continue
    return None
