"""The workspace after a crash: from the snapshot and the journal back to one revision, before anything is served.

The result is the old or the new revision of the sync that was running, and never less than the last one acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from runner_agent import paths
from runner_agent.in_place import load
from runner_agent.journal import Commit, Log, Put
from runner_agent.manifest import Manifest
from runner_agent.paths import RefusedError
from runner_agent.workspace_apply import Applier, Over, Step, Work, exists, fill_slot, holds, no_step
from runner_agent.workspace_tree import Tree, remove


@dataclass(frozen=True, slots=True)
class Recovered:
    manifest: Manifest
    rolled_back: bool
    """The last commit could not be finished (the app stood in the way) and was undone; it was never acknowledged."""
    lost: tuple[str, ...]
    """Paths that differ from the manifest now, because the app did not let them be written."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What was found on the volume: the snapshot, the journal after it, and which boot of the kernel this is."""

    manifest: Manifest
    logs: tuple[Log, ...]
    boot: str


def recover(tree: Tree, staging: int, remains: Remains, step: Step = no_step) -> Recovered:
    """May itself be killed and started again at any point."""
    manifest, boot = remains.manifest, remains.boot
    lost: list[str] = []
    rolled_back = False
    commits = [(log, commit) for log in remains.logs for commit in log.commits]
    future = _Future([commit for _, commit in commits])
    for at, (log, commit) in enumerate(commits):
        last = at == len(commits) - 1
        if not (boot and log.boot == boot):
            lost += _redo(tree, staging, commit, _Later(future, at), step)
        elif last and not log.finished:
            with load(staging, commit.kept) as kept:
                over = Over(kept, partial(_content, staging, commit))
                applier = Applier(tree, staging, Work(commit, over, again=True), step)
                try:
                    applier.forward()
                except (RefusedError, OSError):
                    lost += applier.undo()
                    rolled_back = True
                    break
        manifest = manifest.changed(commit.managed(), commit.drop, commit.number)
    return Recovered(manifest, rolled_back, tuple(lost))


class _Future:
    """Which commit is the last to write, or to take away, each path."""

    def __init__(self, commits: Sequence[Commit]) -> None:
        self.put = {put.entry.path: at for at, commit in enumerate(commits) for put in commit.put}
        self.removed = {path: at for at, commit in enumerate(commits) for path in commit.remove}
        self.above = {
            each: at for at, commit in enumerate(commits) for put in commit.put for each in paths.ancestors(put.entry.path)
        }
        """Which commit is the last to write below a directory."""


@dataclass(frozen=True, slots=True)
class _Later:
    """What the commits after the ``at``-th do. Their large files may stand in the tree already, and were renamed there: nothing
    that is done again for an earlier commit may take them away, for there is no second copy."""

    future: _Future
    at: int

    def supersedes(self, path: str) -> bool:
        removed = self.future.removed
        return self.writes(path) or any(removed.get(each, -1) > self.at for each in (path, *paths.ancestors(path)))

    def writes(self, path: str) -> bool:
        return self.future.put.get(path, -1) > self.at

    def written_below(self, path: str) -> list[str]:
        if self.future.above.get(path, -1) <= self.at:
            return []
        return [each for each, at in self.future.put.items() if at > self.at and each.startswith(f"{path}/")]


def _redo(tree: Tree, staging: int, commit: Commit, later: _Later, step: Step) -> list[str]:
    """Does a commit again where the disk does not hold what it says, and returns the paths that could not be written. What later
    commits do anyway is left to them.

    The revision was (but for the very last) acknowledged, so one entry that the app stands in the way of does not stop
    the others.
    """
    lost: list[str] = []
    applier = Applier(tree, staging, Work(commit, again=True), step)
    # a commit takes away before it writes: its own entries come later than its deletions
    written_after = _Later(later.future, later.at - 1)
    for index, path in enumerate(commit.remove):
        try:
            for each, backup in _still_there(tree, path, commit.backup(index), written_after):
                if exists(staging, backup):
                    remove(staging, backup)
                applier.set_aside(each, backup)
        except (RefusedError, OSError):
            lost.append(path)
    for path, _ in commit.prune:
        applier.prune(path)
    for path, mode in (each for each in commit.make if not later.supersedes(each[0])):
        try:
            applier.make(path, mode)
        except (RefusedError, OSError):
            lost.append(path)
    for path, mode, _ in (each for each in commit.chmod if not later.supersedes(each[0])):
        try:
            os.fchmod(tree.directory(path), mode)
        except (RefusedError, OSError):
            lost.append(path)
    for put in (each for each in commit.put if not later.supersedes(each.entry.path)):
        try:
            _redo_put(tree, staging, applier, commit, put)
        except (RefusedError, OSError):
            lost.append(put.entry.path)
    return lost


def _still_there(tree: Tree, path: str, backup: str, later: _Later) -> list[tuple[str, str]]:
    """What of a removed path is to be taken away, and under which names: all of it, but for what later commits put there."""
    found = tree.look(path)
    if found is None or (later.writes(path) and found.kind != "directory"):
        return []
    kept = set(later.written_below(path))
    if found.kind != "directory" or not kept:
        return [(path, backup)]
    above = {each for below in kept for each in paths.ancestors(below)}
    taken: list[tuple[str, str]] = []
    for below, there in tree.walk(path, lambda below, _: below in above):
        directory = there.kind == "directory"
        entered = directory and below in above
        if not entered and (directory or below not in kept):
            taken.append((below, f"{backup}.{len(taken)}"))
    return taken


def _redo_put(tree: Tree, staging: int, applier: Applier, commit: Commit, put: Put) -> None:
    if holds(tree, put.entry):
        return
    if put.source != "slot":
        fill_slot(staging, put.slot, put.entry, _content(staging, commit, put))
    elif not exists(staging, put.slot):
        return  # it was flushed and renamed in one journal of the filesystem: what differs now, the app wrote later
    if exists(staging, put.slot + "~"):
        os.unlink(put.slot + "~", dir_fd=staging)
    applier.put(put)


def _content(staging: int, commit: Commit, put: Put) -> bytes:
    if put.source == "inline":
        return commit.blob[put.offset : put.offset + put.entry.size]
    fd = os.open(commit.pack, os.O_RDONLY | os.O_CLOEXEC, dir_fd=staging)
    try:
        return os.pread(fd, put.entry.size, put.offset)
    finally:
        os.close(fd)


def clear(staging: int, keep: Sequence[str] = ()) -> None:
    """Empties the staging folder but for ``keep``; what the app keeps alive (see ``remove``) waits for the next start."""
    with os.scandir(staging) as found:
        names = [entry.name for entry in found if entry.name not in keep]
    for name in names:
        try:
            remove(staging, name)
        except OSError:
            continue
