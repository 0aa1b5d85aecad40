"""JSON records that cross a border, as frozen dataclasses, with their one encoding. Field names on the wire are camelCase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SyncMode = Literal["merge", "mirror"]
RestartMode = Literal["auto", "always", "never"]
DriftMode = Literal["keep", "overwrite"]
"""Of a file that something in the pod changed since it was synced, and that the caller's sync does not change."""
EntryState = Literal["", "missing", "changed"]
Stream = Literal["stdout", "stderr", "system"]

TAR = "application/x-tar"
JSON = "application/json"
MANIFEST_KIND = "SyncManifest"


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry that a sync was asked to write or delete and did not, without failing: it is ignored or reserved."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Answer to a sync: counts of entries, bytes of file content written, and whether the app was restarted.

    ``drifted`` are paths that something in the pod changed since they were synced, and that were left so."""

    revision: str
    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    bytes: int = 0
    restarted: bool = False
    skipped: tuple[Skipped, ...] = ()
    unapplied: tuple[str, ...] = ()
    """Changed sources that nothing has restarted for, reloaded or opened: what runs is probably still the old code."""
    drifted: tuple[str, ...] = ()

    def to_json(self, api_version: str) -> dict[str, Any]:
        return {
            "kind": "SyncResult",
            "apiVersion": api_version,
            "revision": self.revision,
            "written": self.written,
            "deleted": self.deleted,
            "unchanged": self.unchanged,
            "bytes": self.bytes,
            "restarted": self.restarted,
            "skipped": [{"path": s.path, "reason": s.reason} for s in self.skipped],
            "unapplied": list(self.unapplied),
            "drifted": list(self.drifted),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SyncResult:
        """KeyError, TypeError or ValueError when ``body`` is no SyncResult."""
        return cls(
            revision=str(body["revision"]),
            written=int(body.get("written", 0)),
            deleted=int(body.get("deleted", 0)),
            unchanged=int(body.get("unchanged", 0)),
            bytes=int(body.get("bytes", 0)),
            restarted=bool(body.get("restarted", False)),
            skipped=tuple(Skipped(str(s["path"]), str(s.get("reason", ""))) for s in body.get("skipped") or ()),
            unapplied=tuple(str(path) for path in body.get("unapplied") or ()),
            drifted=tuple(map(str, body.get("drifted") or ())),
        )


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One entry of the workspace: ``sha256`` of a file's content or of a link's target; size in bytes; mode bits 0o777.

    ``state`` says what became of it in the pod: ``missing``, ``changed`` (by content, kind or executable bit), or nothing.
    ``blocked_by`` is what must be deleted before it can be written again: a folder in its place, or a file or link above it."""

    path: str
    type: Literal["file", "symlink", "directory"]
    size: int = 0
    mode: int = 0o644
    sha256: str = ""
    state: EntryState = ""
    blocked_by: str = ""

    def to_json(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "path": self.path,
            "type": self.type,
            "size": self.size,
            "mode": f"{self.mode:04o}",
            "sha256": self.sha256,
        }
        if self.state:
            known["state"] = self.state
        if self.blocked_by:
            known["blockedBy"] = self.blocked_by
        return known

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ManifestEntry:
        """KeyError, TypeError or ValueError when ``body`` is no entry of a manifest."""
        return cls(
            path=str(body["path"]),
            type=body["type"],
            size=int(body.get("size", 0)),
            mode=int(str(body.get("mode", "0644")), 8),
            sha256=str(body.get("sha256", "")),
            state=state if (state := body.get("state")) in ("missing", "changed") else "",
            blocked_by=str(body.get("blockedBy", "")),
        )
