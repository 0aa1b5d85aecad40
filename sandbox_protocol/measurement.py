"""What isolates a container, as measured in it (:mod:`runner_agent.isolation`): launcher to agent to controller.

Each of the three trusts the one before it less, so each takes only what is well formed. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_WORD = re.compile(r"[ -~]{0,64}")
_SECCOMP = ("Disabled", "Strict", "Filter")
_KERNELS = ("Linux", "gVisor")
_FLAGS = ("userNamespace", "noNewPrivileges", "readOnlyRoot")
_LIMITS = ("memoryBytes", "pids", "cpuMillis", "processes", "openFiles", "coreBytes")
_NO_CAPABILITY = "0"
UNCONFINED = "unconfined"
"""What a kernel with AppArmor says of a process without a profile, by apparmor(7)."""


def checked(said: object) -> dict[str, Any] | None:
    """The well-formed fields of a measurement; None when there is none of them."""
    if not isinstance(said, Mapping):
        return None
    found: dict[str, Any] = {name: said[name] for name in _FLAGS if isinstance(said.get(name), bool)}
    if said.get("kernel") in _KERNELS:
        found["kernel"] = said["kernel"]
    if said.get("seccomp") in _SECCOMP:
        found["seccomp"] = said["seccomp"]
    for name in ("kernelRelease", "capabilities", "appArmor"):
        if isinstance(said.get(name), str) and _WORD.fullmatch(said[name]):
            found[name] = said[name]
    if _is_number(said.get("landlock")) and said["landlock"] < 1000:
        found["landlock"] = said["landlock"]
    limits = said.get("limits")
    if isinstance(limits, Mapping):
        found["limits"] = {name: limits[name] for name in _LIMITS if _is_number(limits.get(name))}
    return found or None


def weaknesses(measured: Mapping[str, Any]) -> list[str]:
    """What of the isolation that every sandbox should have is missing, or was not told, in words; empty when it is all there.

    gVisor stands for a user namespace and a seccomp filter: system calls do not reach the node's kernel at all, and its own
    processes on the node run in both.
    """
    gvisor = measured.get("kernel") == "gVisor"
    faults = {
        "no user namespace": not gvisor and measured.get("userNamespace") is not True,
        "no seccomp filter": not gvisor and measured.get("seccomp") not in ("Filter", "Strict"),
        "privileges can be gained": measured.get("noNewPrivileges") is not True,
        f"capabilities {measured.get('capabilities', 'unknown')}": measured.get("capabilities") != _NO_CAPABILITY,
        "the root file system can be written": measured.get("readOnlyRoot") is not True,
        # a node without AppArmor says nothing; one that has it gives each container its runtime's profile
        "AppArmor confines nothing": measured.get("appArmor") == UNCONFINED,
    }
    return [words for words, holds in faults.items() if holds]


def processes_without_bound(measured: Mapping[str, Any]) -> bool:
    """Whether neither a limit of the user's processes nor of the container's holds; a pod's own is not seen from inside it."""
    limits = measured.get("limits", {})
    return not limits.get("processes") and not limits.get("pids")


def described(measured: Mapping[str, Any]) -> str:
    """Kernel, and what only some nodes have."""
    landlock = measured.get("landlock", 0)
    parts = [
        f"kernel {measured.get('kernel', 'unknown')} {measured.get('kernelRelease', '')}".rstrip(),
        "user namespace" if measured.get("userNamespace") else "",
        f"seccomp {measured['seccomp']}" if measured.get("seccomp") not in (None, "Disabled") else "",
        f"Landlock {landlock}" if landlock else "no Landlock",
        f"AppArmor {measured['appArmor']}" if measured.get("appArmor") else "no AppArmor",
    ]
    return ", ".join(part for part in parts if part)


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53
