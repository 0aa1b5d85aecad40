"""The write-ahead journal that makes a sync durable with one flush.

A sync becomes the workspace's new revision at one moment: when its *commit* record is on the disk. The record says everything
that is to be done to the tree, and holds the content of small syncs itself (larger ones name a pack file, flushed before).
So the tree's own files need no flush: they are written once through the page cache, and whatever a crash takes away is done
again from the journal. One ``fdatasync`` of one short file (0.2 ms on an idle NVMe disk) replaces one or two per written
file, and unlike ``syncfs`` it does not wait for what the app, or on a node's shared disk the neighbours, are writing.

Two kinds of crash are told apart by the kernel's boot id, noted at the head of each journal file:

* *The agent died* (kill -9, out of memory): the page cache lived on, so all that was done is there. Only the last commit can
  be half applied; staged entries that still exist in the staging folder show exactly what is left to do. A *done* record,
  written without a flush, says that nothing is.
* *The node went down*: everything since the last checkpoint may be missing from the tree, in any combination. Each commit is
  done again, entry by entry, where the disk does not hold what it should.

A checkpoint (soon after a sync, off the request path) flushes the filesystem, writes the manifest's snapshot, and begins a
new journal file, the next *generation*; recovery reads the snapshot and every generation from the one it names.

On disk a record is ``type (1 byte), length (4), crc32 of type and payload (4), payload``. Reading stops at the first record
that is cut or wrong: it was never acknowledged. Records are written over zeros that are on the disk already, so that a flush
writes these blocks and nothing else; one that makes the file longer also waits for the filesystem's own journal, and takes
twice to three times as long. Zeros are no record: their crc32 would be another.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox_protocol.wire import ManifestEntry

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FRAME = struct.Struct(">cII")
_HEAD, _COMMIT, _DONE = b"H", b"C", b"D"
_ROOM = 256 * 1024
"""Bytes of zeros that are kept ahead of the records: a hundred syncs of one small file."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file or link to be written. ``slot``: its name in the staging folder, made before the commit.

    ``source`` says where the content is found again after the node went down: ``inline`` in the commit's own blob or ``pack``
    in the pack file, from ``offset`` on; ``slot``: the staged file itself was flushed.
    """

    entry: ManifestEntry
    slot: str
    source: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one sync does, in the order it is done: remove, prune, make, change mode, put."""

    identity: str
    """Prefix of the sync's names in the staging folder."""
    number: int
    remove: tuple[str, ...] = ()
    """Taken away whatever they are, with everything below; kept in the staging folder until the sync is done."""
    prune: tuple[tuple[str, int], ...] = ()
    """Directories taken away if they are empty, deepest first, with the modes they had."""
    make: tuple[tuple[str, int], ...] = ()
    """Directories with their modes, parents first."""
    chmod: tuple[tuple[str, int, int], ...] = ()
    """Directories: path, new mode, old mode."""
    put: tuple[Put, ...] = ()
    adopt: tuple[ManifestEntry, ...] = ()
    """Entries that are managed from now on and needed no :class:`Put`: directories, and files found equal."""
    drop: tuple[str, ...] = ()
    """Paths that are no longer managed."""
    blob: bytes = field(default=b"", repr=False)

    def backup(self, index: int) -> str:
        """Where ``remove[index]`` is kept."""
        return f"{self.identity}.r{index}"

    @property
    def pack(self) -> str:
        return f"{self.identity}.pack"

    @property
    def kept(self) -> str:
        """Where the contents of the files that it writes over are kept, until it is done."""
        return f"{self.identity}.old"

    def managed(self) -> list[ManifestEntry]:
        return [*(put.entry for put in self.put), *self.adopt]


def _entry(entry: ManifestEntry) -> list[Any]:
    return [entry.path, entry.type, entry.size, entry.mode, entry.sha256]


def encode(commit: Commit) -> bytes:
    body = {
        "identity": commit.identity,
        "number": commit.number,
        "remove": commit.remove,
        "prune": commit.prune,
        "make": commit.make,
        "chmod": commit.chmod,
        "put": [[*_entry(put.entry), put.slot, put.source, put.offset] for put in commit.put],
        "adopt": [_entry(entry) for entry in commit.adopt],
        "drop": commit.drop,
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    return len(text).to_bytes(4, "big") + text + commit.blob


def decode(payload: bytes) -> Commit:
    size = int.from_bytes(payload[:4], "big")
    body = json.loads(payload[4 : 4 + size])
    return Commit(
        body["identity"],
        body["number"],
        tuple(body["remove"]),
        tuple((path, mode) for path, mode in body["prune"]),
        tuple((path, mode) for path, mode in body["make"]),
        tuple((path, mode, old) for path, mode, old in body["chmod"]),
        tuple(Put(ManifestEntry(*row[:5]), *row[5:]) for row in body["put"]),
        tuple(ManifestEntry(*row) for row in body["adopt"]),
        tuple(body["drop"]),
        payload[4 + size :],
    )


def _frame(kind: bytes, payload: bytes) -> bytes:
    return _FRAME.pack(kind, len(payload), zlib.crc32(payload, zlib.crc32(kind))) + payload


def _frames(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """``(type, payload, where the record begins)`` up to the first that is cut or wrong."""
    at = 0
    while at + _FRAME.size <= len(data):
        kind, size, crc = _FRAME.unpack_from(data, at)
        payload = data[at + _FRAME.size : at + _FRAME.size + size]
        if len(payload) != size or zlib.crc32(payload, zlib.crc32(kind)) != crc:
            return
        yield kind, payload, at
        at += _FRAME.size + size


@dataclass(frozen=True, slots=True)
class Log:
    """What one journal file holds. ``finished``: a done record follows the last commit."""

    generation: int
    boot: str
    commits: tuple[Commit, ...]
    finished: bool


def scan(data: bytes) -> Log | None:
    """None for a file that ends before its head: it was being made when the crash came, and nothing was written to it."""
    head: dict[str, Any] | None = None
    commits: list[Commit] = []
    finished = True
    for kind, payload, _ in _frames(data):
        if kind == _HEAD:
            head = json.loads(payload)
        elif kind == _COMMIT:
            commits.append(decode(payload))
            finished = False
        elif kind == _DONE:
            finished = True
    return None if head is None else Log(head["generation"], head["boot"], tuple(commits), finished)


def boot_id() -> str:
    """Differs after each start of the kernel; empty where it is not told, which equals no other. Under gVisor the kernel is the
    pod's own, so a new pod is a new start, whatever the node did."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Journal:
    """The file that is appended to. All methods block; one thread at a time."""

    def __init__(self, folder: int, generation: int, boot: str) -> None:
        """Makes the file of ``generation``, flushed with its name; ``folder`` is a handle and stays the caller's."""
        self.generation = generation
        self.name = file_name(generation)
        self._fd = os.open(self.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=folder)
        self.size = self._room = 0
        self._write(_frame(_HEAD, json.dumps({"format": 1, "generation": generation, "boot": boot}).encode()))
        self._make_room()
        os.fdatasync(self._fd)
        os.fsync(folder)
        self.empty = True

    def commit(self, commit: Commit) -> int:
        """Durable when this returns; the result takes it back (:meth:`cut`). After an OSError the record is not there."""
        begin = self.size
        try:
            self._write(_frame(_COMMIT, encode(commit)))
            self._make_room()
            os.fdatasync(self._fd)
        except OSError:
            self.cut(begin)
            raise
        self.empty = False
        return begin

    def done(self) -> None:
        """Not flushed: it matters only as long as the page cache lives. Without it recovery looks, and finds nothing to do."""
        begin = self.size
        try:
            self._write(_frame(_DONE, b""))
        except OSError:
            self._truncate(begin)  # a record cut by a full disk would hide the commits after it

    def cut(self, size: int) -> None:
        """Takes back what follows ``size``; needs no space on the disk."""
        self._truncate(size)
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, data: bytes) -> None:
        self._write_at(self.size, data)
        self.size += len(data)

    def _write_at(self, at: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, at)
            view = view[written:]
            at += written

    def _make_room(self) -> None:
        """When the records have outgrown their zeros, more of them, for the same flush."""
        if self.size <= self._room:
            return
        try:
            self._write_at(self.size, bytes(_ROOM))
        except OSError as error:
            if error.errno not in FULL:
                raise
            return  # a record that fits a nearly full disk must not fail for the sake of the next ones
        self._room = self.size + _ROOM

    def _truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        self.size = self._room = size


def file_name(generation: int) -> str:
    return f"journal.{generation:08d}"


def read(folder: int, generation: int) -> tuple[list[Log], int]:
    """The journal files from ``generation`` on, in order, and the first generation that has no file yet."""
    logs: list[Log] = []
    while True:
        try:
            fd = os.open(file_name(generation), os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            return logs, generation
        with os.fdopen(fd, "rb") as file:
            log = scan(file.read())
        if log is not None:
            logs.append(log)
        generation += 1
