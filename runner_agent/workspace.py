"""The workspace on its volume: one revision after another, each there as a whole or not at all.

``tree/`` is what the app sees. ``.agent/`` beside it holds ``staging/`` (what is being received and applied), ``journal.*``
and ``manifest`` (the last checkpoint's snapshot). How a revision becomes durable: :mod:`runner_agent.journal`; how it gets
into the tree: :mod:`runner_agent.workspace_apply`.

All methods block and belong to one thread, but for ``flush_to_disk`` (any thread) and the attributes ``revision`` and ``tree``.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from runner_agent import drift as drifting
from runner_agent import journal, paths
from runner_agent.drift import Drift, Suspects
from runner_agent.in_place import Kept, keep
from runner_agent.journal import FULL, Commit, Journal, Put
from runner_agent.manifest import Manifest
from runner_agent.paths import RefusedError
from runner_agent.sync_plan import Plan, Wish, plan
from runner_agent.sync_stage import Stage, Surroundings, over, refusal
from runner_agent.workspace_apply import Applier, Over, Step, Work, fill_slot, no_step
from runner_agent.workspace_disk import Disk, Fingerprints, Written
from runner_agent.workspace_recovery import Remains, clear, recover
from runner_agent.workspace_tree import Room, Tree, ignore_rules, remove, room, syncfs
from sandbox_protocol import ignore as sync_ignore
from sandbox_protocol.errors import StatusError
from sandbox_protocol.ignore import Ignore
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import DriftMode, SyncMode, SyncResult

FAILED = frozenset({errno.EROFS, errno.EIO})

_MOVED = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.ESTALE})
"""What a rename or mkdir says when the app moved something away, or into the way, since the plan was made."""


@dataclass(frozen=True, slots=True)
class Outcome:
    result: SyncResult
    changed: tuple[str, ...]
    first: bool
    """The first revision of this workspace: the app may start."""
    unsure: tuple[str, ...] = ()
    """Of ``changed``: what not every watcher has been told of. Where one file took the place of another, chokidar may be deaf for
    the moment; what came together with its directory was there before anybody could watch that."""


Announce = Callable[[SyncResult], None]
"""Called with what a sync will have done when everything is ready and nothing is; OSError from it ends the sync."""


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told before a sync changes anything. ``expect``: of the paths that it will change."""

    announce: Announce | None = None
    expect: Callable[[Tree, Sequence[str]], None] | None = None


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """On its way: the snapshot to be written once everything it speaks of is on the disk."""

    generation: int
    snapshot: bytes
    packs: tuple[str, ...]


class Workspace:
    """Opens (and recovers) the workspace below ``data``. OSError when the volume cannot be used at all."""

    def __init__(self, data: Path, limits: SyncLimits | None = None, *, step: Step = no_step, boot: str | None = None) -> None:
        self.tree = data / "tree"
        self.uploads = data / ".agent" / "uploads"
        """The folder for what arrives in parts (:mod:`runner_agent.upload_store`); made when it is needed."""
        self.limits = limits or SyncLimits()
        self.recovery_notes: list[str] = []
        """What recovery could not put in order, for the log."""
        self._step = step
        self._boot = journal.boot_id() if boot is None else boot
        private = data / ".agent"
        # the tree belongs to the app; what is beside it is nobody else's business
        self.tree.mkdir(mode=0o755, parents=True, exist_ok=True)
        (private / "staging").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = os.open(self.tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._private = os.open(private, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._staging = os.open(private / "staging", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._fingerprints: Fingerprints = {}
        self._written: Written = {}
        self._packs: list[str] = []
        """Pack files that commits of the current journal file refer to."""
        self._checkpoint: _Checkpoint | None = None
        self._garbage: list[str] = []
        self._stages = 0
        self._broken = ""
        self._flusher = ThreadPoolExecutor(1, "flush")  # its thread begins with the first large sync
        self._manifest, self._journal = self._open()
        self.revision: str | None = self._manifest.revision

    # -- start and end --------------------------------------------------------------------------------------------------

    def _open(self) -> tuple[Manifest, Journal]:
        manifest, generation = self._snapshot()
        logs, free = journal.read(self._private, generation)
        if any(log.commits for log in logs):
            with Tree(self._root) as tree:
                found = recover(tree, self._staging, Remains(manifest, tuple(logs), self._boot), self._step)
            manifest = found.manifest
            if found.rolled_back:
                self.recovery_notes.append("the sync that was running when the agent died was undone")
            self.recovery_notes += [f"could not be brought to its revision: {paths.shown(path)}" for path in found.lost]
            syncfs(self._private)
            self._step("snapshot")
            self._write_snapshot(manifest.dump(free))
        elif free > generation:
            self._write_snapshot(manifest.dump(free))
        self._forget_generations(free)
        clear(self._staging)
        return manifest, Journal(self._private, free, self._boot)

    def _snapshot(self) -> tuple[Manifest, int]:
        try:
            fd = os.open("manifest", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._private)
        except FileNotFoundError:
            return Manifest(), 1
        with os.fdopen(fd, "rb") as file:
            return Manifest.load(file.read())

    def _write_snapshot(self, content: bytes) -> None:
        fd = os.open("manifest.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self._private)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        os.rename("manifest.new", "manifest", src_dir_fd=self._private, dst_dir_fd=self._private)
        os.fsync(self._private)

    def _forget_generations(self, below: int) -> None:
        with os.scandir(self._private) as found:
            names = [entry.name for entry in found if entry.name.startswith("journal.")]
        for name in names:
            if name < journal.file_name(below):
                os.unlink(name, dir_fd=self._private)

    def close(self) -> None:
        """Checkpoints, so that the next start has nothing to recover."""
        if not self._broken and (self._checkpoint is not None or not self._journal.empty):
            self.checkpoint_begin()
            self.flush_to_disk()
            self.checkpoint_end()
        self._flusher.shutdown()
        self._journal.close()
        for fd in (self._root, self._private, self._staging):
            os.close(fd)

    @property
    def broken(self) -> str:
        """Why the volume can no longer be trusted until the agent starts again; empty when it can."""
        return self._broken

    # -- checkpoint -----------------------------------------------------------------------------------------------------

    @property
    def checkpoint_due(self) -> bool:
        return not self._journal.empty

    def checkpoint_begin(self) -> None:
        """Switches to a new journal file. Syncs may go on until the checkpoint ends."""
        new = Journal(self._private, self._journal.generation + 1, self._boot)
        self._journal.close()
        self._journal = new
        unfinished = self._checkpoint.packs if self._checkpoint else ()
        self._checkpoint = _Checkpoint(new.generation, self._manifest.dump(new.generation), (*unfinished, *self._packs))
        self._packs = []

    def flush_to_disk(self) -> None:
        """May take as long as everybody's unwritten data on this filesystem needs; off the request path for that reason."""
        syncfs(self._private)

    def checkpoint_end(self) -> None:
        """What the snapshot speaks of is on the disk."""
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        self._step("snapshot")
        self._write_snapshot(checkpoint.snapshot)
        self._step("forget")
        self._forget_generations(checkpoint.generation)
        for pack in checkpoint.packs:
            remove(self._staging, pack)
        self._checkpoint = None

    # -- sync -----------------------------------------------------------------------------------------------------------

    def stage(self) -> Stage:
        self._stages += 1
        identity = f"{secrets.token_hex(4)}-{self._stages}"
        return Stage(identity, Surroundings(self._staging, self.limits, self._flusher, self._manifest))

    def require(self, revision: str | None) -> None:
        """412 with both revisions unless ``revision`` is the current one; None requires nothing."""
        if revision is not None and revision != self.revision:
            current = f"it is {self.revision}" if self.revision else "nothing was synced yet"
            raise StatusError(
                412,
                f"the workspace is not at revision {paths.shown(revision)}: {current}. Read the manifest and sync again.",
            )

    def commit(
        self,
        stage: Stage,
        mode: SyncMode,
        revision: str | None = None,
        told: Told = Told(),
        drift: DriftMode = "overwrite",
    ) -> Outcome:
        """Makes what was staged the next revision; durable when this returns.

        StatusError: 409 the app was in the way, 412 stale ``revision``, 413 the tree grows too large, 422 entries refused,
        503 the volume failed before;
        OSError (ENOSPC, EDQUOT) when the volume is full. After any of them the tree is what it was.
        """
        if self._broken:
            raise StatusError(503, f"the workspace's volume failed: {self._broken}. The agent must restart.", retry_after=5)
        self.require(revision)
        stage.check()
        self._collect_garbage()
        with Tree(self._root) as tree:
            ignore = self._ignore(stage, tree)
            wish = Wish(stage.entries, tuple(stage.deletes), mode, drift)
            todo = plan(wish, self._manifest, ignore, self._disk(tree))
            for path, reason in todo.skipped:
                stage.skip(path, reason)
            if todo.refused:
                raise refusal(todo.refused, len(todo.refused))
            first = self._manifest.number == 0
            result = SyncResult(
                self.revision or "",
                todo.written,
                todo.deleted,
                todo.unchanged,
                todo.bytes,
                skipped=stage.skipped,
                drifted=tuple(todo.drifted),
            )
            if told.expect is not None:
                told.expect(tree, todo.changed)
            if first or not todo.empty:
                return self._do(tree, stage, todo, result, told.announce)
            if told.announce is not None:
                told.announce(result)
            return Outcome(result, tuple(todo.changed), first)

    def _ignore(self, stage: Stage, tree: Tree) -> Ignore:
        sent = stage.entries.get(sync_ignore.FILE)
        if sent is not None and sent.entry.type == "file" and sent.offset is not None:
            return sync_ignore.parse(stage.content(sent))
        return ignore_rules(tree)

    def _do(self, tree: Tree, stage: Stage, todo: Plan, result: SyncResult, announce: Announce | None) -> Outcome:
        first, commit = self._manifest.number == 0, self._prepare(stage, todo)
        after = self._manifest.changed(commit.managed(), commit.drop, commit.number)
        if len(after) > self.limits.tree_entries:
            raise over("tree_entries", f"the workspace would have {len(after)} entries", self.limits.tree_entries)
        self._step("flush")
        with ExitStack() as life:
            with self._flushed(stage, [put.slot for put in commit.put if put.source == "slot"]):
                old = life.enter_context(self._make_ready(tree, stage, commit, todo))
            result = replace(result, revision=after.revision or "")
            if announce is not None:
                self._step("announce")
                announce(result)
            self._step("commit")
            begin = self._append(commit)
            sent = {each.entry.path: each for each in todo.put}
            written_over = Over(old, lambda put: stage.content(sent[put.entry.path]))
            applier = Applier(tree, self._staging, Work(commit, written_over), self._step)
            self._apply(applier, commit, begin)
        self._step("done")
        self._journal.done()
        self._manifest = after
        self.revision = after.revision
        self._written |= applier.modified
        for path in commit.drop:
            self._fingerprints.pop(path, None)
            self._written.pop(path, None)
        if any(put.source == "pack" for put in commit.put):
            self._packs.append(commit.pack)
            stage.keep_pack = True
        made = {path for path, _ in commit.make}
        with_folder = [put.entry.path for put in commit.put if paths.split(put.entry.path)[0] in made]
        return Outcome(result, tuple(todo.changed), first, (*applier.replaced, *with_folder))

    def _make_ready(self, tree: Tree, stage: Stage, commit: Commit, todo: Plan) -> Kept:
        """All that the change of the tree will need: the old contents of what is written over, the slots of the rest."""
        self._garbage.append(commit.kept)
        over = [put for put in commit.put if put.source != "slot" and put.entry.path in todo.over]
        kept = keep(tree, self._staging, commit.kept, [(put.entry.path, put.entry.size) for put in over])
        for put, sent in zip(commit.put, todo.put, strict=True):
            modified = sent.modified
            if not sent.slot:  # of a small sync, or not expected to be needed
                self._garbage.append(put.slot)
                if put.entry.path in kept.files:
                    continue
                modified = fill_slot(self._staging, put.slot, put.entry, stage.content(sent))
            self._written[put.entry.path] = modified
        return kept

    def _apply(self, applier: Applier, commit: Commit, begin: int) -> None:
        self._garbage += [commit.backup(index) for index in range(len(commit.remove))]
        self._garbage += [put.slot + "~" for put in commit.put]
        try:
            applier.forward()
        except Exception as error:
            self._roll_back(applier, begin)
            if isinstance(error, RefusedError):
                raise refusal([error.cause], 1) from error
            if isinstance(error, OSError) and error.errno in _MOVED:
                # the kernel names our staged file; a person knows the entry it was to become
                entries = {put.slot: put.entry.path for put in commit.put}
                moved = paths.shown(entries.get(str(error.filename), str(error.filename)))
                message = f"the app changed {moved} while it was written. Nothing was changed; try again."
                raise StatusError(409, message, retry_after=1) from error
            raise

    @contextmanager
    def _flushed(self, stage: Stage, slots: list[str]) -> Iterator[None]:
        """What arrived is on the disk at the end of the context: the disk writes it while the context works."""
        if not stage.needs_flush(slots):
            yield
            return
        flushing = self._flusher.submit(stage.flush, slots)
        try:
            yield
        finally:
            wait((flushing,))  # whatever happened: the stage closes what is being flushed
        flushing.result()

    def _append(self, commit: Commit) -> int:
        try:
            return self._journal.commit(commit)
        except OSError as error:
            if error.errno not in FULL:
                # after a failed flush the kernel may have dropped what it could not write, so nothing here is certain any more
                self._broken = os.strerror(error.errno or errno.EIO)
            raise

    def _prepare(self, stage: Stage, todo: Plan) -> Commit:
        puts = []
        blob = bytearray()
        for index, sent in enumerate(todo.put):
            slot = sent.slot or f"{stage.identity}.{index}"
            if sent.offset is None:
                puts.append(Put(sent.entry, slot, "slot"))
            elif stage.inline:
                puts.append(Put(sent.entry, slot, "inline", len(blob)))
                blob += stage.content(sent)
            else:
                puts.append(Put(sent.entry, slot, "pack", sent.offset))
        return Commit(
            stage.identity,
            self._manifest.number + 1,
            tuple(todo.remove),
            tuple(todo.prune),
            tuple(todo.make.items()),
            tuple(todo.chmod),
            tuple(puts),
            tuple(todo.adopt),
            tuple(todo.drop),
            bytes(blob),
        )

    def _roll_back(self, applier: Applier, begin: int) -> None:
        lost = applier.undo()
        self.recovery_notes += [f"could not be put back: {paths.shown(path)}" for path in lost]
        try:
            # first what was undone, then the record that says it is to be done: the other way round a power cut between
            # the two would leave half a sync that no journal knows
            syncfs(self._private)
            self._journal.cut(begin)
        except OSError as error:
            self._broken = os.strerror(error.errno or errno.EIO)
            raise

    def discard(self, stage: Stage) -> None:
        """After the answer, whatever it was: removes what was received, and what the sync replaced."""
        stage.discard()
        self._collect_garbage()

    def _collect_garbage(self) -> None:
        garbage, self._garbage = self._garbage, []
        for name in garbage:
            try:
                remove(self._staging, name)
            except OSError:
                continue  # the app keeps filling it; the next start takes it away

    # -- looking --------------------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest:
        return self._manifest

    def suspects(self) -> tuple[Manifest, Suspects]:
        """The manifest, and which of its entries are not in the tree as they were written, or may be not."""
        with Tree(self._root) as tree:
            return self._manifest, drifting.suspects(self._manifest, self._disk(tree))

    def judge(self, suspects: Suspects) -> dict[str, Drift]:
        """Reads those that may be as written. For any thread: what was remembered of a file is true of it at any time."""
        with Tree(self._root) as tree:
            return drifting.judge(suspects, self._disk(tree))

    def _disk(self, tree: Tree) -> Disk:
        return Disk(tree, self._manifest, self._fingerprints, self._written)

    def open_tree(self) -> Tree:
        """A view of its own for reading, for any thread."""
        return Tree(self._root)

    def room(self) -> Room:
        return room(self._root)
