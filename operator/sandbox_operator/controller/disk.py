"""The condition ``DiskPressure``: whether a runner's volume has room left, in numbers. Named as the one of a Node. Pure.

It decides nothing: the volume itself refuses what does not fit, where it is a file system of its own. Where it is a directory of
a larger one nobody does, and this says so once the runner holds more than it asked for.

The agent is asked again and again; numbers are rounded so that a runner with room to spare makes no work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MIB = 1 << 20
# Below this part of the whole a volume counts as nearly full.
_LOW = 0.05
# Of what a runner holds on a shared volume.
_STEP = 64 * _MIB


@dataclass(frozen=True, slots=True)
class Disk:
    """What the agent says of its volume, rounded; ``free`` and ``free_files`` are None while there is plenty, ``held`` is bytes
    up to the next 64 MiB on a volume that is shared, else None."""

    size: int
    free: int | None
    files: int | None
    free_files: int | None
    held: int | None


def parse(said: Any) -> Disk | None:
    """From the ``usage`` of an agent's status; None when it does not make sense."""
    if not isinstance(said, dict):
        return None
    numbers = {name: value for name, value in said.items() if type(value) is int and 0 <= value < 1 << 62}
    used, free, files, free_files = (
        numbers.get(name) for name in ("workspaceBytes", "workspaceFreeBytes", "workspaceFiles", "workspaceFreeFiles")
    )
    if free is None:
        return None
    if said.get("volumeShared") is True:
        held = None if used is None else -(-used // _STEP) * _STEP
        return Disk(0, None, None, None, held)
    if used is None:
        return None
    all_files = low_files = None
    if files is not None and free_files is not None:
        all_files = files + free_files
        low_files = free_files if free_files < _LOW * all_files else None
    return Disk(
        size=(used + free) // _MIB * _MIB,
        free=free // _MIB * _MIB if free < _LOW * (used + free) else None,
        files=all_files,
        free_files=low_files,
        held=None,
    )


def verdict(disk: Disk | None, size: int | None) -> tuple[str, str, str]:
    """(status, reason, message); ``size`` is what the runner's volume should have, in bytes, None when that is not known."""
    if disk is None or (disk.size == 0 and disk.held is None):
        return "Unknown", "NotMeasured", "The agent has not told yet what the volume holds."
    if disk.held is not None:
        return _shared(disk.held, size)
    whole = f"{_mib(disk.size)}" + ("" if disk.files is None else f" and {disk.files} files")
    low = [] if disk.free is None else [f"{_mib(disk.free)} are free"]
    low += [] if disk.free_files is None else [f"{disk.free_files} files are free"]
    if not low:
        return "False", "RoomLeft", f"The volume of workspace, HOME and /tmp takes {whole}."
    reason = "FewBytesLeft" if disk.free is not None else "FewFilesLeft"
    mend = "delete something in the workspace, HOME or /tmp, or raise storage.size"
    return "True", reason, f"{' and '.join(low)} of {whole}: {mend}."


def _shared(held: int, size: int | None) -> tuple[str, str, str]:
    where = "Its StorageClass does not bound it: the volume is a directory of a larger file system."
    if size is None or held <= size + _STEP:
        return "False", "NotBounded", f"The runner holds up to {_mib(held)}. {where}"
    return "True", "OverSize", f"The runner holds {_mib(held)}, storage.size is {_mib(size)}: delete something. {where}"


def _mib(amount: int) -> str:
    return f"{amount // _MIB} MiB"
