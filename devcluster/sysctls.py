"""Kernel settings of the whole machine that the kubelet changes: remembered before, put back by `down`."""

import json
from pathlib import Path

from devcluster.settings import RUN

NAMES = (
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SAVED = RUN / "sysctls.json"


def save() -> None:
    """Once per life of the cluster, before the first kubelet."""
    if not _SAVED.exists():
        part = _SAVED.with_suffix(".part")
        part.write_text(json.dumps(read()))
        part.rename(_SAVED)


def read() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text().strip() for name in NAMES}


def restore() -> None:
    """Put the remembered values back, if any were remembered."""
    if not _SAVED.exists():
        return
    for name, value in json.loads(_SAVED.read_text()).items():
        Path("/proc/sys", name).write_text(value)
    _SAVED.unlink()
