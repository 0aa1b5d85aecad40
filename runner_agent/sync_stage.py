"""What one sync brings, on its way to the workspace: checked as it arrives, kept beside the tree, bound by limits.

Small files go one after another into a *pack* (:mod:`runner_agent.sync_pack`), which makes them durable; large ones go to a
staging file, from which they are later renamed into the tree. Small new ones need a staging file as well by then. Where the sync
is no small one it is made at once, while the rest is still on its way; not for files that are managed, as they are written over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass

from runner_agent import paths
from runner_agent.manifest import Manifest
from runner_agent.paths import RefusedError
from runner_agent.plain_file import write_all
from runner_agent.sync_pack import Pack
from runner_agent.workspace_apply import fill_slot
from sandbox_protocol import ignore as sync_ignore
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import ManifestEntry, Skipped

PACKED_FILE_BYTES = 1024 * 1024
"""A larger file is staged by itself: from here on copying it twice costs more than flushing it once."""
PACK_BYTES = 64 * 1024 * 1024
"""A pack stays on the volume until the next checkpoint, so its size is bounded; what follows is staged file by file."""
MAX_CAUSES = 20
"""Refused entries that are named in one answer."""
MAX_SKIPPED = 1000


@dataclass(frozen=True, slots=True)
class Sent:
    """An entry as it was sent. ``offset`` says where its content is in the pack, None that only its staging file has it;
    ``slot`` names that one when it was made already, with its time of modification in ns."""

    entry: ManifestEntry
    offset: int | None = None
    slot: str = ""
    modified: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stage uses of the workspace, and leaves as it is: the staging folder's handle, a thread for flushes, and what syncs
    have written."""

    folder: int
    limits: SyncLimits
    flusher: Executor
    manifest: Manifest


class Stage:
    """One sync being received; one thread at a time."""

    def __init__(self, identity: str, around: Surroundings) -> None:
        self.identity = identity
        self.entries: dict[str, Sent] = {}
        self.deletes: list[str] = []
        self.keep_pack = False
        """A commit refers to the pack file, which therefore stays until the checkpoint."""
        self.limits = around.limits
        self._folder = around.folder
        self._flusher = around.flusher
        self._manifest = around.manifest
        self._causes: list[Cause] = []
        self._refused = 0
        self._skipped: dict[str, str] = {}
        self._always = sync_ignore.Ignore()
        self._total = 0
        self._count = 0
        self._pack = Pack(around.folder, f"{identity}.pack")
        self._packed: list[str] = []
        """Files of the pack, since staging files were made last."""
        self._flushes: list[Future[None]] = []
        self._slots: list[str] = []
        self._file: _File | None = None

    # -- what arrives ---------------------------------------------------------------------------------------------------

    def file(self, raw: str, mode: int, size: int) -> None:
        """A file begins; ``size`` bytes follow by :meth:`data`, then :meth:`end_file`."""
        if size > self.limits.file_bytes:
            raise over("file_bytes", f"{paths.shown(raw)} has {size} bytes", self.limits.file_bytes)
        self._total += size
        if self._total > self.limits.total_bytes:
            raise over("total_bytes", f"the files have more than {self._total - 1} bytes", self.limits.total_bytes)
        path = self._accepted(raw)
        self._file = None
        if path is None or self._refused:
            return  # its data is read and dropped
        self._file = _File(path, mode & 0o777, size)
        if size <= PACKED_FILE_BYTES and self._pack.size + size <= PACK_BYTES:
            self._file.offset = self._pack.size
        else:
            self._file.slot = self._new_slot()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file.fd = os.open(self._file.slot, flags, 0o600, dir_fd=self._folder)

    def data(self, chunk: bytes | memoryview) -> None:
        file = self._file
        if file is None:
            return
        file.digest.update(chunk)
        if file.fd >= 0:
            write_all(file.fd, chunk)
        else:
            self._pack.append(chunk)

    def end_file(self) -> None:
        file = self._file
        self._file = None
        if file is None:
            return
        if file.fd >= 0:
            os.fchmod(file.fd, file.mode)
            os.close(file.fd)
        entry = ManifestEntry(file.path, "file", file.size, file.mode, file.digest.hexdigest())
        self.entries[file.path] = Sent(entry, file.offset, file.slot)
        if file.fd < 0:
            self._packed.append(file.path)
            if self._pack.full:
                self._make_slots()
                self._flush_ahead()

    def link(self, raw: str, target: str) -> None:
        path = self._accepted(raw)
        if path is None:
            return
        try:
            paths.check_link(path, target)
        except RefusedError as error:
            self.refuse(error.cause)
            return
        content = target.encode()
        entry = ManifestEntry(path, "symlink", len(content), 0o777, hashlib.sha256(content).hexdigest())
        self.entries[path] = Sent(entry, self._pack.size)
        self._pack.append(content)

    def directory(self, raw: str, mode: int) -> None:
        """Its owner keeps all rights whatever ``mode`` says: without them the next sync could not enter it."""
        path = self._accepted(raw, directory=True)
        if path is not None:
            self.entries[path] = Sent(ManifestEntry(path, "directory", 0, mode & 0o777 | 0o700))

    def delete(self, raw: str) -> None:
        try:
            path = paths.parse(raw)
            if not path:
                raise RefusedError(raw, "InvalidPath", "the workspace itself cannot be deleted; use mode=mirror to empty it")
        except RefusedError as error:
            self.refuse(error.cause)
            return
        self._counted()
        self.deletes.append(path)

    def refuse(self, cause: Cause) -> None:
        """The sync will be refused at the end; what follows is still read, to name more than the first cause."""
        self._refused += 1
        if len(self._causes) < MAX_CAUSES:
            self._causes.append(cause)

    def skip(self, path: str, reason: str) -> None:
        if len(self._skipped) < MAX_SKIPPED:
            self._skipped.setdefault(path, reason)

    # -- what comes of it -----------------------------------------------------------------------------------------------

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(Skipped(path, reason) for path, reason in sorted(self._skipped.items()))

    def check(self) -> None:
        """All has arrived. StatusError 422 that names every refused entry, up to 20."""
        self._pack.write()
        for path in self.entries:
            for above in paths.ancestors(path):
                sent = self.entries.get(above)
                if sent is not None and sent.entry.type != "directory":
                    message = f"cannot lie below {paths.shown(above)}, which the same sync sends as a {sent.entry.type}"
                    self.refuse(Cause(paths.shown(path), "Conflict", message))
                    break
        if self._causes:
            raise refusal(self._causes, self._refused)

    def content(self, sent: Sent) -> bytes:
        """Of an entry in the pack."""
        assert sent.offset is not None
        return self._pack.content(sent.offset, sent.entry.size)

    @property
    def inline(self) -> bool:
        """Whether the whole pack is small enough for the journal."""
        return self._pack.inline

    def needs_flush(self, used: Sequence[str]) -> bool:
        """Whether :meth:`flush` has anything to do: what is inline is flushed with the journal."""
        return bool(used) or not self._pack.inline

    def flush(self, used: Sequence[str]) -> None:
        """The pack file and the staging files ``used`` are on the disk when this returns. In the flusher's thread, while another
        reads :meth:`content`."""
        for ahead in self._flushes:
            ahead.result()  # the kernel tells a failure once, to the flush that met it
        self._pack.flush()
        for slot in used:
            fd = os.open(slot, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
            try:
                os.fsync(fd)  # with its inode: the mode was set after it was made
            finally:
                os.close(fd)
        if used:
            os.fsync(self._folder)

    def discard(self) -> None:
        """Removes what is left."""
        if self._file is not None and self._file.fd >= 0:
            os.close(self._file.fd)
            self._file = None
        wait(self._flushes)
        leftover = list(self._slots)
        if self._pack.close() and not self.keep_pack:
            leftover.append(self._pack.name)
        self._slots.clear()
        for name in leftover:
            try:
                os.unlink(name, dir_fd=self._folder)
            except FileNotFoundError:
                continue  # renamed into the tree

    # -- inside ---------------------------------------------------------------------------------------------------------

    def _accepted(self, raw: str, *, directory: bool = False) -> str | None:
        """The path, if the entry takes part in the sync; else it is noted why not. The root is there already, as a directory."""
        try:
            path = paths.parse(raw)
            if not path and not directory:
                raise RefusedError(raw, "InvalidPath", "this is the workspace itself, which is a directory")
            if not path:
                return None
            if path in self.entries:
                raise RefusedError(raw, "Duplicate", "the same sync sends this path twice")
        except RefusedError as error:
            self.refuse(error.cause)
            return None
        if ignored := self._always.reason(path, directory=True):
            self.skip(*ignored)
            return None
        self._counted()
        return path

    def _counted(self) -> None:
        self._count += 1
        if self._count > self.limits.files:
            raise over("files", f"the sync has more than {self._count - 1} entries", self.limits.files)

    def _new_slot(self) -> str:
        slot = f"{self.identity}.s{len(self._slots)}"
        self._slots.append(slot)
        return slot

    def _make_slots(self) -> None:
        """Of many files together, which takes two thirds of the time that each between two others would."""
        for path in self._packed:
            sent = self.entries[path]
            if path not in self._manifest:
                slot = self._new_slot()
                modified = fill_slot(self._folder, slot, sent.entry, self.content(sent))
                self.entries[path] = Sent(sent.entry, sent.offset, slot, modified)
        self._packed.clear()

    def _flush_ahead(self) -> None:
        """So that the last flush, which the answer waits for, finds little left to do."""
        self._pack.write()
        if all(ahead.done() for ahead in self._flushes):
            self._flushes.append(self._flusher.submit(self._pack.flush))


class _File:
    """The file that is arriving."""

    __slots__ = ("digest", "fd", "mode", "offset", "path", "size", "slot")

    def __init__(self, path: str, mode: int, size: int) -> None:
        self.path, self.mode, self.size = path, mode, size
        self.digest = hashlib.sha256()
        self.offset: int | None = None
        self.slot = ""
        self.fd = -1


def over(limit: str, what: str, allowed: int) -> StatusError:
    """413 with both numbers."""
    message = f"{what}; {allowed} are allowed ({limit}). Send less at once, or raise the limit in the template."
    return StatusError(413, message, causes=[Cause(limit, "LimitExceeded", message)])


def refusal(causes: list[Cause], count: int) -> StatusError:
    entries = "1 entry was" if count == 1 else f"{count} entries were"
    first = causes[0]
    message = f"{entries} refused, nothing was changed: {first.field or 'an entry without a name'}: {first.message}"
    return StatusError(422, message, causes=causes)
