"""Names of workspace entries as a caller sends them, judged by text alone; nothing here touches a disk.

What is on the disk is judged where it is opened (:mod:`runner_agent.workspace_tree`): the app can change it at any time, so
a text that was found good says nothing about what it will meet there.
"""

from __future__ import annotations

import functools

from sandbox_protocol import entry_names
from sandbox_protocol.entry_names import shown as shown  # noqa: PLC0414 - part of this module as well
from sandbox_protocol.errors import Cause
from sandbox_protocol.limits import NAME_BYTES, PATH_BYTES


class RefusedError(Exception):
    """One entry cannot be accepted. The sync it belongs to is refused as a whole; ``cause`` names the entry."""

    def __init__(self, path: str, reason: str, message: str) -> None:
        self.cause = Cause(shown(path), reason, message)
        super().__init__(f"{self.cause.field}: {message}")


def parse(raw: str) -> str:
    """The relative path that ``raw`` means; ``""`` for the root itself (``.``, ``./``), or RefusedError.

    Accepted spellings beside ``a/b``: a leading ``./`` and a trailing ``/``, because ``tar -C dir .`` writes them.
    """
    if "\0" in raw:
        raise RefusedError(raw, "InvalidPath", "the path holds a NUL character")
    if not raw:
        raise RefusedError(raw, "InvalidPath", "the path is empty")
    if raw.startswith("/"):
        raise RefusedError(raw, "InvalidPath", "the path is absolute; name entries relative to the workspace")
    path = raw.rstrip("/")
    while path.startswith("./"):
        path = path[2:]
    if path in ("", "."):
        return ""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        raise RefusedError(raw, "InvalidPath", "the path is not UTF-8") from None
    if len(encoded) > PATH_BYTES:
        raise RefusedError(raw, "PathTooLong", f"the path has {len(encoded)} bytes; {PATH_BYTES} are allowed")
    parts = path.split("/")
    for part in parts:
        if part == "..":
            raise RefusedError(raw, "InvalidPath", "the path holds '..'; name entries below the workspace directly")
        if part in ("", "."):
            raise RefusedError(raw, "InvalidPath", "the path holds an empty or '.' component")
        if len(part) > NAME_BYTES // 4 and (size := len(part.encode())) > NAME_BYTES:
            raise RefusedError(raw, "PathTooLong", f"a component has {size} bytes; {NAME_BYTES} are allowed")
    return path


def check_link(path: str, target: str) -> None:
    """RefusedError unless the symbolic link ``path`` can only ever lead to something below the workspace."""
    if fault := entry_names.link_fault(path, target):
        raise RefusedError(path, "InvalidLink", fault)


def ancestors(path: str) -> tuple[str, ...]:
    """The directories above ``path``, nearest last; without the root."""
    return _lineage(path.rpartition("/")[0])


@functools.lru_cache(maxsize=4)  # entries come sorted, so neighbours share theirs; one of 500 levels takes 300 kB
def _lineage(directory: str) -> tuple[str, ...]:
    found, cut = [], directory.find("/")
    while cut != -1:
        found.append(directory[:cut])
        cut = directory.find("/", cut + 1)
    return (*found, directory) if directory else ()


def split(path: str) -> tuple[str, str]:
    """Parent directory (``""`` is the root) and last component."""
    parent, _, name = path.rpartition("/")
    return parent, name
