"""From what was sent and what is there to what is to be done. Decides only: the disk is asked through :class:`Disk`.

Rules, in the order they count:

* Deletions come first, so that one sync can turn a directory into a file. An explicit deletion takes whatever is there, with
  all below it; a mirror takes only what sync itself wrote, and the directories that become empty by it.
* An entry that is on the disk exactly as sent is left alone. One that is gone is written. One that the app changed is told as
  drifted and kept, if ``drift`` is ``keep`` and what was sent is what the last sync sent already; else it is overwritten.
* A directory in the place of a file to be written, or the reverse, is refused unless the same sync takes it away.
* Ignored entries (:mod:`sandbox_protocol.ignore`) are neither written nor deleted, in either mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner_agent import paths
from runner_agent.manifest import Manifest
from runner_agent.paths import RefusedError
from runner_agent.sync_stage import Sent
from runner_agent.workspace_tree import OnDisk
from sandbox_protocol.errors import Cause
from sandbox_protocol.ignore import Ignore
from sandbox_protocol.wire import DriftMode, ManifestEntry, SyncMode

IMPLIED_MODE = 0o755
"""Of a directory that no entry names but a path needs."""


class Disk(Protocol):
    """The workspace as it stands. Both raise RefusedError when a component above ``path`` is a link or no directory."""

    def look(self, path: str) -> OnDisk | None: ...

    def holds(self, entry: ManifestEntry, there: OnDisk) -> bool:
        """Whether content and mode of the file or link ``there`` are those of ``entry``."""
        ...


@dataclass(slots=True)
class Plan:
    """What to do (see :class:`runner_agent.journal.Commit`), and what to tell."""

    remove: list[str] = field(default_factory=list)
    prune: list[tuple[str, int]] = field(default_factory=list)
    make: dict[str, int] = field(default_factory=dict)
    chmod: list[tuple[str, int, int]] = field(default_factory=list)
    put: list[Sent] = field(default_factory=list)
    over: set[str] = field(default_factory=set)
    """Paths of ``put`` where a file stands that another is written over."""
    adopt: list[ManifestEntry] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    written: int = 0
    deleted: int = 0
    unchanged: int = 0
    bytes: int = 0
    changed: list[str] = field(default_factory=list)
    """Paths written or deleted, for whoever decides about a restart."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    refused: list[Cause] = field(default_factory=list)
    drifted: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Neither the tree nor the manifest changes."""
        return not (self.remove or self.prune or self.make or self.chmod or self.put or self.adopt or self.drop)


@dataclass(frozen=True, slots=True)
class Wish:
    """What one sync asks for."""

    entries: Mapping[str, Sent]
    deletes: tuple[str, ...] = ()
    mode: SyncMode = "merge"
    drift: DriftMode = "overwrite"


def plan(wish: Wish, manifest: Manifest, ignore: Ignore, disk: Disk) -> Plan:
    planner = _Planner(manifest, disk, wish.drift)
    wanted = planner.taking_part(wish.entries, ignore)
    planner.delete(planner.not_ignored(wish.deletes, ignore))
    if wish.mode == "mirror":
        planner.mirror(wanted, ignore)
    for path in sorted(wanted):
        try:
            planner.want(wanted[path])
        except RefusedError as error:
            if planner.keeps(wanted[path].entry):
                planner.plan.drifted.append(path)
            else:
                planner.plan.refused.append(error.cause)
    return planner.plan


class _Planner:
    def __init__(self, manifest: Manifest, disk: Disk, drift: DriftMode) -> None:
        self.plan = Plan()
        self._drift = drift
        self._manifest = manifest
        self._disk = disk
        self._gone: set[str] = set()
        """Taken away with all below."""
        self._removed: set[str] = set()
        """Single files and links taken away by a mirror."""
        self._prunable: dict[str, int] = {}
        self._directories: set[str] = {""}
        """Known to be there, or to be made."""

    def taking_part(self, entries: Mapping[str, Sent], ignore: Ignore) -> dict[str, Sent]:
        if not ignore.patterns.lines:
            return dict(entries)
        kept: dict[str, Sent] = {}
        for path, sent in entries.items():
            if why := ignore.reason(path, directory=sent.entry.type == "directory"):
                self.plan.skipped.append(why)
            else:
                kept[path] = sent
        return kept

    def not_ignored(self, deletes: Iterable[str], ignore: Ignore) -> list[str]:
        kept = []
        for path in sorted(set(deletes)):
            if why := ignore.reason(path, directory=True):
                self.plan.skipped.append(why)
            else:
                kept.append(path)
        return kept

    # -- taking away ----------------------------------------------------------------------------------------------------

    def delete(self, sorted_paths: Sequence[str]) -> None:
        for path in sorted_paths:
            if self._is_gone(path):
                continue
            try:
                there = self._on_disk(path)
            except RefusedError as error:
                if error.cause.reason != "NotADirectory":
                    self.plan.refused.append(error.cause)
                    continue
                there = None  # below a file there is nothing to delete
            self._gone.add(path)
            if there is not None:
                self.plan.remove.append(path)
                self.plan.changed.append(path)
        if not self._gone:
            return
        counted: set[str] = set()
        for path in self._manifest.paths():
            if self._is_gone(path):
                self.plan.drop.append(path)
                counted.update(paths.ancestors(path))
                if path not in self._gone:
                    self.plan.changed.append(path)
        # what holds managed entries is counted by them, anything else is one
        self.plan.deleted += len(self.plan.drop)
        self.plan.deleted += sum(path not in counted and path not in self._manifest for path in self.plan.remove)

    def _is_gone(self, path: str) -> bool:
        return bool(self._gone) and (path in self._gone or any(above in self._gone for above in paths.ancestors(path)))

    def mirror(self, wanted: Mapping[str, Sent], ignore: Ignore) -> None:
        needed = {above for path in wanted for above in paths.ancestors(path)}
        needed.update(path for path, sent in wanted.items() if sent.entry.type == "directory")
        emptied: set[str] = set()
        kept: set[str] = set()
        for entry in self._manifest:
            path = entry.path
            if self._is_gone(path):
                emptied.update(paths.ancestors(path))
                continue
            if path in wanted:
                continue
            if ignore.reason(path, directory=entry.type == "directory"):
                kept.update(paths.ancestors(path))
                continue
            self.plan.drop.append(path)
            self.plan.deleted += 1
            self.plan.changed.append(path)
            if entry.type == "directory":
                emptied.add(path)
            elif self._take(path):
                self.plan.remove.append(path)
                self._removed.add(path)
            emptied.update(paths.ancestors(path))
        for path in sorted(emptied - needed - kept, reverse=True):
            try:
                there = self._look(path)
            except RefusedError:
                continue
            if there is not None and there.kind == "directory":
                self._prunable[path] = there.mode
        self.plan.prune += self._prunable.items()

    def _take(self, path: str) -> bool:
        """Whether there is still something of ours; a directory or pipe that the app put there is not."""
        try:
            there = self._disk.look(path)
        except RefusedError:
            return False  # what we wrote is gone: a parent is something else now
        return there is not None and there.kind in ("file", "symlink")

    # -- writing --------------------------------------------------------------------------------------------------------

    def want(self, sent: Sent) -> None:
        entry = sent.entry
        there = self._parents(entry.path) and self._look(entry.path)
        if entry.type == "directory":
            self._want_directory(entry, there or None)
            return
        if there and there.kind == "directory" and entry.path not in self._prunable:
            raise RefusedError(entry.path, "IsADirectory", "is a directory in the workspace; delete it in the same sync")
        if there and there.kind == entry.type and self._disk.holds(entry, there):
            self._unchanged(entry)
            return
        if there and self.keeps(entry):
            self.plan.drifted.append(entry.path)
            return
        self.plan.put.append(sent)
        if there and there.kind == entry.type == "file":
            self.plan.over.add(entry.path)
        self._written(entry.path)
        if entry.type == "file":
            self.plan.bytes += entry.size

    def keeps(self, entry: ManifestEntry) -> bool:
        """Whether something else in the place of ``entry`` stays: the caller has nothing new to say about it."""
        return self._drift == "keep" and self._manifest.same(entry)

    def _want_directory(self, entry: ManifestEntry, there: OnDisk | None) -> None:
        if there and there.kind != "directory":
            raise RefusedError(entry.path, "NotADirectory", f"is a {there.kind} in the workspace; delete it in the same sync")
        self._directories.add(entry.path)
        if there and there.mode == entry.mode:
            self._unchanged(entry)
            return
        if there:
            self.plan.chmod.append((entry.path, entry.mode, there.mode))
        else:
            self.plan.make[entry.path] = entry.mode
        self.plan.adopt.append(entry)
        self._written(entry.path)

    def _unchanged(self, entry: ManifestEntry) -> None:
        self.plan.unchanged += 1
        if not self._manifest.same(entry):
            self.plan.adopt.append(entry)

    def _written(self, path: str) -> None:
        self.plan.written += 1
        self.plan.changed.append(path)

    def _look(self, path: str) -> OnDisk | None:
        if path in self._removed or self._is_gone(path):
            return None
        return self._on_disk(path)

    def _on_disk(self, path: str) -> OnDisk | None:
        """As ``look``; a refusal names the entry that the caller sent, and in its message what stands above it."""
        try:
            return self._disk.look(path)
        except RefusedError as error:
            if error.cause.field == paths.shown(path):
                raise
            raise RefusedError(path, error.cause.reason, f"{error.cause.field} {error.cause.message}") from error

    def _parents(self, path: str) -> bool:
        """Has the directories above made that are missing; True when all were there, so that ``path`` may be too."""
        parent, _ = paths.split(path)
        if parent in self.plan.make:
            return False
        if parent in self._directories:
            return True
        all_there = True
        for above in paths.ancestors(path):
            if above in self.plan.make:
                all_there = False
            elif above not in self._directories:
                there = self._look(above) if all_there else None
                if there is None:
                    self.plan.make[above] = IMPLIED_MODE
                    all_there = False
                elif there.kind == "symlink":
                    message = f"{paths.shown(above)} is a symbolic link in the workspace; no sync writes through links"
                    raise RefusedError(path, "SymbolicLink", message)
                elif there.kind != "directory":
                    message = f"{paths.shown(above)} is a {there.kind} in the workspace; delete it in the same sync"
                    raise RefusedError(path, "NotADirectory", message)
                else:
                    self._directories.add(above)
        return all_there
