"""The cluster's control groups: one for pods in every hierarchy (the kubelet's root), one per daemon in the v2 hierarchy.

Both layouts are met in the wild: pure v2 at /sys/fs/cgroup, and v1 hierarchies beside a v2 one at /sys/fs/cgroup/unified.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from devcluster.settings import CGROUP

MOUNT = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """Mount points of all cgroup hierarchies."""
    if (MOUNT / "cgroup.controllers").exists():
        return [MOUNT]
    return sorted(path for path in MOUNT.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink())


def unified() -> Path:
    """Mount point of the v2 hierarchy."""
    for path in hierarchies():
        if (path / "cgroup.controllers").exists():
            return path
    raise FileNotFoundError("no cgroup v2 hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")


def make_pod_groups() -> None:
    """The kubelet wants its root group to exist in every hierarchy before it starts."""
    for hierarchy in hierarchies():
        group = hierarchy / CGROUP
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group, and no process may enter until filled
            if (hierarchy / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((hierarchy / name).read_text())


def daemon_group(name: str) -> Path:
    """The group a daemon runs in, made if need be. Beside the pods' groups, never their ancestor (v2 forbids that)."""
    group = unified() / CGROUP / "daemons" / name
    group.mkdir(parents=True, exist_ok=True)
    return group


def kill_all() -> None:
    """SIGKILL to every process of the cluster, atomically per hierarchy; returns when none is left (20 s at most)."""
    with contextlib.suppress(FileNotFoundError):
        (unified() / CGROUP / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 20
    while (pids := set(_pids())) and time.monotonic() < deadline:
        for pid in pids:  # pods on a v1 hierarchy that left the v2 one; read anew each time, so no pid is stale by more than this
            _kill(pid)
        time.sleep(0.05)


def remove_all() -> None:
    """Remove the (empty) groups, children first. A group can be busy for a moment after its last process is gone."""
    deadline = time.monotonic() + 10
    while roots := [h / CGROUP for h in hierarchies() if (h / CGROUP).exists()]:
        for root in roots:
            for group in sorted((p for p in [root, *root.rglob("*")] if p.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
        if time.monotonic() > deadline:
            raise TimeoutError(f"still busy: {' '.join(map(str, roots))}")
        time.sleep(0.02)


def processes() -> list[int]:
    """Pids of everything in the cluster's groups."""
    return sorted(set(_pids()))


def _pids() -> Iterator[int]:
    for hierarchy in hierarchies():
        for file in [hierarchy / CGROUP / "cgroup.procs", *(hierarchy / CGROUP).rglob("cgroup.procs")]:
            with contextlib.suppress(OSError):
                yield from map(int, file.read_text().split())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
