"""What isolates this container, as its own kernel tells it: measured, not what the pod's spec asked for.

Nothing here raises: what cannot be read is None, or empty. launcher/isolation.go is its twin in the app's container.

What a measurement can know: user namespace, kernel, seccomp and the network are the pod's, so the agent's own view of them holds
for the app as well. Capabilities, read-only root, Landlock and limits are each container's, and the app's are the launcher's
word: it runs our code, but beside the app.
"""

# ruff: noqa: PTH123  (importing pathlib costs 10 ms of every start)
from __future__ import annotations

import contextlib
import ctypes
import os
import resource

TYPE_CHECKING = False  # importing typing costs 5 ms of every start
if TYPE_CHECKING:
    from typing import Any

PR_GET_NO_NEW_PRIVS = 39
_SECCOMP = {"0": "Disabled", "1": "Strict", "2": "Filter"}
_WHOLE_RANGE = ["0", "0", "4294967295"]
"""The only line of uid_map where no user namespace is between here and the node."""
_UNLIMITED = 1 << 60
"""cgroup v1 says "no limit" as the largest number of pages."""


def measure(landlock: int = 0, processes: int = 0) -> dict[str, Any]:
    """``landlock`` is the version that commands of this container are confined by, 0 for none; ``processes`` is a limit that they
    have and this process has not."""
    status = _status()
    return {
        "kernel": "gVisor" if is_gvisor() else "Linux",
        "kernelRelease": os.uname().release[:64],
        "userNamespace": user_namespace(_read("/proc/self/uid_map")),
        "seccomp": _SECCOMP.get(status.get("Seccomp", ""), ""),
        "noNewPrivileges": _no_new_privileges(),
        "capabilities": status.get("CapEff", "").lstrip("0") or ("0" if "CapEff" in status else ""),
        "appArmor": (_read("/proc/self/attr/apparmor/current") or _read("/proc/self/attr/current")).strip("\0\n ")[:64],
        "readOnlyRoot": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "landlock": landlock,
        "limits": {**_limits(), **({"processes": processes} if processes else {})},
    }


def is_gvisor() -> bool:
    """By the name of its kernel, or by the first line that its system log always has (syslog is refused to us on Linux)."""
    return "gvisor" in os.uname().release.lower() or "gvisor" in _read("/proc/version").lower() or _boot_log_is_gvisors()


def user_namespace(uid_map: str) -> bool | None:
    """Whether user ids here are others than on the node; None where that is not told."""
    lines = [line.split() for line in uid_map.splitlines()]
    return lines != [_WHOLE_RANGE] if lines else None


def _boot_log_is_gvisors() -> bool:
    buffer = ctypes.create_string_buffer(8192)
    ctypes.CDLL(None).klogctl(3, buffer, len(buffer) - 1)
    return b"] Starting gVisor..." in buffer.value.partition(b"\n")[0]


def _no_new_privileges() -> bool | None:
    answer = ctypes.CDLL(None).prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
    return None if answer < 0 else bool(answer)


def _limits() -> dict[str, int]:
    """What is bounded, in bytes, thousandths of a processor, and numbers. What has no bound is absent."""
    quota, period = _cpu()
    found = {
        "memoryBytes": _number("/sys/fs/cgroup/memory.max") or _number("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        "pids": _number("/sys/fs/cgroup/pids.max") or _number("/sys/fs/cgroup/pids/pids.max"),
        "cpuMillis": quota * 1000 // period if quota and period else None,
        "processes": _rlimit(resource.RLIMIT_NPROC),
        "openFiles": _rlimit(resource.RLIMIT_NOFILE),
        "coreBytes": _rlimit(resource.RLIMIT_CORE),
    }
    return {name: value for name, value in found.items() if value is not None}


def _cpu() -> tuple[int | None, int | None]:
    words = _read("/sys/fs/cgroup/cpu.max").split()
    if len(words) == 2:
        return (int(words[0]) if words[0].isdigit() else None), int(words[1])
    return _number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), _number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def _number(path: str) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _rlimit(kind: int) -> int | None:
    hard = resource.getrlimit(kind)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def _status() -> dict[str, str]:
    lines = (line.partition(":") for line in _read("/proc/self/status").splitlines())
    return {name: value.strip() for name, _, value in lines}


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, errors="replace") as file:
        return file.read(8192)
    return ""
