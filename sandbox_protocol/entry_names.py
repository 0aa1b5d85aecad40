"""Which names and links a workspace can hold, judged by text alone. Who sends a folder leaves out what the agent would refuse."""

from __future__ import annotations

from sandbox_protocol.limits import PATH_BYTES


def shown(path: str) -> str:
    """A name as it may stand in an answer or a log: control characters escaped, at most 200 characters."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in path[:201])
    return text if len(text) <= 200 else text[:199] + "…"


def path_fault(path: str) -> str:
    """Why a local file of this relative path cannot be an entry; empty when it can."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return f"its path has {size} bytes; {PATH_BYTES} are allowed" if size > PATH_BYTES else ""


def link_fault(path: str, target: str) -> str:
    """Why the symbolic link ``path`` is not accepted; empty when it can only ever lead to something below the workspace.

    ``..`` is accepted at the start of the target alone. The link's own directory is real (every write is by directory
    handle), so those climb real parents and their count decides; what follows only descends, through links that were held
    to the same rule. With ``..`` in the middle (``link/..``) the real parent of what ``link`` points to would count, and
    that cannot be known from text.
    """
    if not target or "\0" in target:
        return "the link's target is empty or holds a NUL character"
    if target.startswith("/"):
        return f"the link's target {shown(target)!r} is absolute; make it relative"
    try:
        size = len(target.encode())
    except UnicodeEncodeError:
        return "the link's target is not UTF-8"
    if size > PATH_BYTES:
        return f"the link's target has {size} bytes; {PATH_BYTES} are allowed"
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    if climbs > path.count("/"):
        return f"the link's target {shown(target)!r} leaves the workspace"
    return "'..' may stand only at the start of a link's target" if ".." in parts[climbs:] else ""
