"""A commit done to the tree, undone, and done again, entry by entry.

A file that another stands for is written over where it is (:mod:`runner_agent.in_place`): done and undone by bringing the path to
one content or the other, as often as it takes. Everything else goes by rename, from and to the staging folder. Each such entry
stands complete there, in its *slot*; what it replaces is first linked there as the slot's *backup* (name + ``~``). So at every
moment the names in the staging folder say what has been done:

==========  ==========  =====================================================
slot        backup      meaning
==========  ==========  =====================================================
there       no          not done yet
there       there       the rename is about to happen (or was just undone)
gone        there       done, and the old entry can come back
gone        no          done, there was nothing before
==========  ==========  =====================================================

That holds as long as the page cache lives (see :mod:`runner_agent.journal`), so an agent that was killed goes on where it
stopped, in either direction. After the node went down names and content may be lost one by one; then
:mod:`runner_agent.workspace_recovery` compares instead.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from runner_agent import paths
from runner_agent.in_place import Kept, is_text, overwrite
from runner_agent.journal import Commit, Put
from runner_agent.paths import RefusedError
from runner_agent.plain_file import write_all
from runner_agent.workspace_tree import OnDisk, Tree, make_movable
from sandbox_protocol.wire import ManifestEntry

Step = Callable[[str], None]
"""Called before each change of the disk with a few words on it; tests raise from it to play a crash."""


def no_step(_: str) -> None:
    """Nothing."""


def _content_is(fd: int, entry: ManifestEntry) -> bool:
    digest, left = hashlib.sha256(), entry.size + 1  # one more than there should be, so that a small file takes one call
    while left:
        wanted = min(left, 1 << 18)
        chunk = os.read(fd, wanted)
        digest.update(chunk)
        left -= len(chunk)
        if len(chunk) < wanted:
            break
    return left == 1 and digest.hexdigest() == entry.sha256


def holds(tree: Tree, entry: ManifestEntry) -> bool:
    """Whether the disk has exactly this file or link at its path, content included."""
    there = tree.look(entry.path)
    return there is not None and there.kind == entry.type and is_held(tree, entry, there)


def is_held(tree: Tree, entry: ManifestEntry, there: OnDisk) -> bool:
    """The same of what was found ``there``, of the same type."""
    if entry.type == "symlink":
        try:
            return hashlib.sha256(os.fsencode(tree.read_link(entry.path))).hexdigest() == entry.sha256
        except OSError:
            return False
    if there.size != entry.size or there.mode != entry.mode:
        return False
    try:
        fd = tree.open_file(entry.path)
    except OSError:
        return False
    try:
        return _content_is(fd, entry)
    finally:
        os.close(fd)


def fill_slot(staging: int, slot: str, entry: ManifestEntry, content: bytes, *, replacing: bool = False) -> int:
    """Makes the slot of a link, or of a file whose content is at hand; replaces one that is there. Returns the file's
    modification time in ns, which a rename leaves as it is; 0 of a link. ``replacing``: it will be renamed over another file."""
    if entry.type == "symlink":
        try:
            os.symlink(content, slot, dir_fd=staging)
        except FileExistsError:
            os.unlink(slot, dir_fd=staging)
            os.symlink(content, slot, dir_fd=staging)
        return 0
    fd = os.open(slot, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, entry.mode, dir_fd=staging)
    try:
        if replacing and content:
            # ext4 (auto_da_alloc) begins to write a file out in the very rename that replaces another by it, unless its blocks
            # are allocated: 500 of 10 kB take 30 ms then, not 10. The journal has the content, so nothing depends on it
            with contextlib.suppress(OSError):
                os.posix_fallocate(fd, 0, len(content))
        write_all(fd, content)
        info = os.fstat(fd)
        if stat.S_IMODE(info.st_mode) != entry.mode:  # what the umask took away; a look costs a fifth of a change
            os.fchmod(fd, entry.mode)
        return info.st_mtime_ns
    finally:
        os.close(fd)


def exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Over:
    """The files of a commit that are written over: what they were, and where their new contents are read."""

    old: Kept
    new: Callable[[Put], bytes]


def _nothing(_: Put) -> bytes:
    raise AssertionError("nothing is written over")


@dataclass(frozen=True, slots=True)
class Work:
    """One commit, and how far it may have come. ``again``: some of it may have been done before a crash, so look first."""

    commit: Commit
    over: Over = Over(Kept(), _nothing)
    again: bool = False


class Applier:
    """Does one commit, and undoes it."""

    def __init__(self, tree: Tree, staging: int, work: Work, step: Step = no_step) -> None:
        self.replaced: list[str] = []
        """Paths where something was that another took the place of."""
        self.modified: dict[str, int] = {}
        """Modification times (ns) of the files that were written over."""
        self._tree = tree
        self._staging = staging
        self._commit, self._over, self._again = work.commit, work.over, work.again
        self._step = step
        self._begun: set[str] = set()
        """Paths that are being, or were, written over."""

    def forward(self) -> None:
        """All of it, or RefusedError / OSError in the middle; then :meth:`undo`."""
        commit = self._commit
        for index, path in enumerate(commit.remove):
            if not (self._again and exists(self._staging, commit.backup(index))):
                self.set_aside(path, commit.backup(index))
        for path, _ in commit.prune:
            self.prune(path)
        for path, mode in commit.make:
            self.make(path, mode)
        for path, mode, _ in commit.chmod:
            self._step(f"chmod {path}")
            os.fchmod(self._tree.directory(path), mode)
        for put in commit.put:
            if put.entry.path in self._over.old.files:
                if not (self._again and holds(self._tree, put.entry)):
                    self.write_over(put)
            elif not (self._again and not exists(self._staging, put.slot)):
                self.put(put)

    def _at(self, path: str) -> tuple[int, str]:
        parent, name = paths.split(path)
        return self._tree.directory(parent), name

    def set_aside(self, path: str, backup: str) -> None:
        try:
            parent, name = self._at(path)
            self._step(f"remove {path}")
            try:
                os.rename(name, backup, src_dir_fd=parent, dst_dir_fd=self._staging)
            except PermissionError:
                make_movable(parent, name)
                os.rename(name, backup, src_dir_fd=parent, dst_dir_fd=self._staging)
        except FileNotFoundError:
            return  # the app was quicker
        self._tree.forget()  # handles below would now lead into the staging folder

    def prune(self, path: str) -> None:
        try:
            parent, name = self._at(path)
            self._step(f"prune {path}")
            os.rmdir(name, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError, RefusedError):
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
            return
        self._tree.forget()

    def make(self, path: str, mode: int, what: str = "make") -> None:
        parent, name = self._at(path)
        self._step(f"{what} {path}")
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            if not self._again:
                self._tree.directory(path)  # the app made it meanwhile: good if it is a directory, refused if not
                return
        os.fchmod(self._tree.directory(path), mode)  # whatever the umask took away

    def write_over(self, put: Put) -> None:
        path = put.entry.path
        self._begun.add(path)
        self._step(f"write {path}")
        self.modified[path] = self._bring(put, self._over.new(put), put.entry.mode)

    def _bring(self, put: Put, content: bytes, mode: int) -> int:
        """One content or the other to the path of ``put``; returns the file's modification time in ns."""
        path = put.entry.path
        parent, name = self._at(path)
        if self._over.old.files[path].over and is_text(content):
            modified = overwrite(parent, name, content, mode)
            if modified is not None:
                return modified
        modified = fill_slot(self._staging, put.slot, ManifestEntry(path, "file", mode=mode), content, replacing=True)
        self._step(f"put {path}")
        self._rename_to(parent, name, put)
        self.replaced.append(path)
        return modified

    def put(self, put: Put) -> None:
        parent, name = self._at(put.entry.path)
        self._step(f"link {put.entry.path}")
        try:
            os.link(name, put.slot + "~", src_dir_fd=parent, dst_dir_fd=self._staging, follow_symlinks=False)
            self.replaced.append(put.entry.path)
        except (FileNotFoundError, FileExistsError):
            pass  # nothing to keep, or kept before the crash
        except OSError as error:
            self._keep_by_rename(parent, name, put, error)
        self._step(f"put {put.entry.path}")
        self._rename_to(parent, name, put)

    def _rename_to(self, parent: int, name: str, put: Put) -> None:
        try:
            os.rename(put.slot, name, src_dir_fd=self._staging, dst_dir_fd=parent)
        except (IsADirectoryError, FileExistsError) as error:
            raise _in_the_way(put.entry.path) from error

    def _keep_by_rename(self, parent: int, name: str, put: Put, error: OSError) -> None:
        """A directory cannot be linked, and some filesystems know no links: there the path is missing for a moment."""
        there = self._tree.look(put.entry.path)
        if there is not None and there.kind == "directory":
            raise _in_the_way(put.entry.path) from error
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise error
        os.rename(name, put.slot + "~", src_dir_fd=parent, dst_dir_fd=self._staging)

    def undo(self) -> list[str]:
        """The tree as it was before. Paths that the app does not let us put back are returned; the others are."""
        commit, lost = self._commit, []
        self._tree.forget()
        for put in reversed(commit.put):
            try:
                self._unput(put)
            except (RefusedError, OSError):
                lost.append(put.entry.path)
        for path, _, old in commit.chmod:
            try:
                os.fchmod(self._tree.directory(path), old)
            except (RefusedError, OSError):
                lost.append(path)
        for path, _ in reversed(commit.make):
            self.prune(path)
        for path, old in reversed(commit.prune):
            try:
                self.make(path, old, "make again")
            except (RefusedError, OSError):
                lost.append(path)
        for index, path in reversed(list(enumerate(commit.remove))):
            if exists(self._staging, commit.backup(index)):
                try:
                    parent, name = self._at(path)
                    self._step(f"restore {path}")
                    os.rename(commit.backup(index), name, src_dir_fd=self._staging, dst_dir_fd=parent)
                except (RefusedError, OSError):
                    lost.append(path)
        return lost

    def _unput(self, put: Put) -> None:
        path = put.entry.path
        if (old := self._over.old.files.get(path)) is not None:
            if self._again or path in self._begun:
                content = self._over.old.content(path)
                entry = ManifestEntry(path, "file", old.size, old.mode, hashlib.sha256(content).hexdigest())
                if not holds(self._tree, entry):
                    self._step(f"restore {path}")
                    self._bring(put, content, old.mode)
            return
        backup = put.slot + "~"
        done, kept = not exists(self._staging, put.slot), exists(self._staging, backup)
        if not done and not kept:
            return
        parent, name = self._at(put.entry.path)
        if done:
            self._step(f"unput {put.entry.path}")
            try:
                os.rename(name, put.slot, src_dir_fd=parent, dst_dir_fd=self._staging)
            except FileNotFoundError:
                # the app removed it; the mark keeps a second undo from taking the restored entry for ours
                os.close(os.open(put.slot, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self._staging))
        if kept:
            self._step(f"restore {put.entry.path}")
            os.rename(backup, name, src_dir_fd=self._staging, dst_dir_fd=parent)


def _in_the_way(path: str) -> RefusedError:
    return RefusedError(path, "IsADirectory", "is a directory in the workspace; delete it in the same sync")
