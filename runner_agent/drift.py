"""What became of synced entries in the pod: an app, an install or somebody's ``exec`` may have changed or removed them.

Most are told from their metadata (:meth:`runner_agent.workspace_disk.Disk.untouched`), 2,000 in some 15 ms. The rest is read,
once for each time that it was changed; after a start of the agent that is every file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from runner_agent import paths
from runner_agent.manifest import Manifest
from runner_agent.paths import RefusedError
from runner_agent.workspace_disk import Disk
from runner_agent.workspace_tree import OnDisk
from sandbox_protocol.wire import EntryState, ManifestEntry


@dataclass(frozen=True, slots=True)
class Drift:
    """Of an entry that is not as it was written; fields as in :class:`sandbox_protocol.wire.ManifestEntry`."""

    state: EntryState
    blocked_by: str = ""


@dataclass(frozen=True, slots=True)
class Suspects:
    """``certain`` have drifted, by path; ``unread`` must be read to tell."""

    certain: dict[str, Drift]
    unread: list[tuple[ManifestEntry, OnDisk]]


def suspects(manifest: Manifest, disk: Disk) -> Suspects:
    found = Suspects({}, [])
    for entry in manifest:
        try:
            there = disk.look(entry.path)
        except RefusedError as error:
            above = (path for path in paths.ancestors(entry.path) if paths.shown(path) == error.cause.field)
            found.certain[entry.path] = Drift("changed", next(above, ""))
            continue
        if there is None:
            found.certain[entry.path] = Drift("missing")
        elif there.kind != entry.type:
            found.certain[entry.path] = Drift("changed", entry.path if "directory" in (there.kind, entry.type) else "")
        elif entry.type == "file" and (there.mode ^ entry.mode) & 0o100:
            found.certain[entry.path] = Drift("changed")
        elif entry.type != "directory" and not disk.untouched(entry, there):
            # other bits of the mode are the app's business
            found.unread.append((replace(entry, mode=there.mode), there))
    return found


def judge(suspects: Suspects, disk: Disk) -> dict[str, Drift]:
    """All that have drifted, by path. Blocks while it reads."""
    drifts = dict(suspects.certain)
    for entry, there in suspects.unread:
        try:
            same = disk.holds(entry, there)
        except (RefusedError, OSError):
            same = False
        if not same:
            drifts[entry.path] = Drift("changed")
    return drifts


def told(manifest: Manifest, drifts: Mapping[str, Drift]) -> Iterator[ManifestEntry]:
    """The manifest's entries, each with what became of it."""
    for entry in manifest:
        drift = drifts.get(entry.path)
        yield replace(entry, state=drift.state, blocked_by=drift.blocked_by) if drift else entry


def tag(drifts: Mapping[str, Drift]) -> str:
    """What an entity tag says beside the revision, as a manifest with other states is another answer; nothing without drift."""
    if not drifts:
        return ""
    words = repr(sorted((path, drift.state, drift.blocked_by) for path, drift in drifts.items()))
    return ";" + hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()[:8]
