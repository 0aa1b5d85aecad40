"""Processes and memory that gVisor's kernel lets an app take until the pod's own limit is met, which takes the agent with it.

That kernel keeps no RLIMIT_NPROC, and its memory is one for all containers of a pod. So the launcher looks, by one system call
that tells both, and ends all that runs in its container before the pod is ended, as cgroup v2 does (memory.oom.group). This is
no wall: what takes faster than it is looked at, and a fork bomb, for which that kernel leaves us no turn, meet the pod's limit.

Standard library, Python 3.8 and later, no import of our own packages: the gate puts this file beside the launcher, in whatever
image the app has.
"""

# ruff: noqa: PTH123  (importing pathlib costs 10 ms of every start)
from __future__ import annotations

import contextlib
import ctypes

TYPE_CHECKING = False  # importing typing costs 5 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable

RESERVE_BYTES = 256 << 20
"""What is kept for the agent at work, for gVisor itself (up to 80 MiB), and for what is taken between two looks. In the shipped
template the agent's own limit is 384 MiB, so an app has all that was promised to it."""
RESERVE_SHARE = 3
"""Of a small pod no more than this part of its limit is kept."""
PROCESS_BYTES = 512 << 10
"""What gVisor and the node need for a process or thread beside its memory: 350 kB as seen from the node when it rests."""
BYTES_A_SECOND = 2 << 30
PROCESSES_A_SECOND = 1000
"""What an app may take on two processors: about twice what was seen."""
PAUSE_SECONDS = (0.01, 0.25)
"""Between two looks: shorter the less is left. A look takes 15 µs, one that also asks for the memory of files 150."""


class Sysinfo(ctypes.Structure):
    """Of sysinfo(2), where ``long`` has 64 bits. In gVisor ``procs`` counts the threads of all containers of the pod, and
    ``totalram`` is the pod's limit."""

    _fields_ = [
        ("uptime", ctypes.c_long),
        ("loads", ctypes.c_ulong * 3),
        ("totalram", ctypes.c_ulong),
        ("freeram", ctypes.c_ulong),
        ("sharedram", ctypes.c_ulong),
        ("bufferram", ctypes.c_ulong),
        ("totalswap", ctypes.c_ulong),
        ("freeswap", ctypes.c_ulong),
        ("procs", ctypes.c_ushort),
        ("pad", ctypes.c_ushort),
        ("totalhigh", ctypes.c_ulong),
        ("freehigh", ctypes.c_ulong),
        ("unit", ctypes.c_uint),
        ("rest", ctypes.c_char * 64),
    ]


class Watch:
    """``processes``: how many, threads included, the pod may have; 0: any number. Anything that cannot be read is no overrun."""

    def __init__(
        self, processes: int, take: Callable[[], Sysinfo] | None = None, file_bytes: Callable[[], int] | None = None
    ) -> None:
        self._processes = processes
        self._take = take or sysinfo
        self._file_bytes = file_bytes or mapped_bytes
        self.pause = PAUSE_SECONDS[1]
        """Seconds until the next look."""

    def look(self) -> tuple[str, bool]:
        """Why all that runs has to end, or ``""``, and whether it is for memory."""
        taken = self._take()
        total, free = taken.totalram * taken.unit, taken.freeram * taken.unit
        left = free - min(RESERVE_BYTES, total // RESERVE_SHARE) - taken.procs * PROCESS_BYTES
        places = self._processes - taken.procs if self._processes else float("inf")
        if total and left < 0:
            left += self._file_bytes()  # the node takes that back when it needs it
        due = min(left / BYTES_A_SECOND, places / PROCESSES_A_SECOND) / 2
        self.pause = min(max(due, PAUSE_SECONDS[0]), PAUSE_SECONDS[1])
        if places < 0:
            return f"more than {self._processes} processes and threads", False
        if total and left < 0:
            return f"out of memory: the limit of the pod is {total >> 20} MiB, and of that some is kept for its agent", True
        return "", False


def sysinfo() -> Sysinfo:
    found = Sysinfo()
    ctypes.CDLL(None).sysinfo(ctypes.byref(found))
    return found


def mapped_bytes(meminfo: str = "/proc/meminfo") -> int:
    """Memory that holds what files hold."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(meminfo) as file:
        for line in file:
            if line.startswith("Mapped:"):
                return int(line.split()[1]) * 1024
    return 0
