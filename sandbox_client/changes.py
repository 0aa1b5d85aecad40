"""What must travel so that the workspace matches a local tree: compared by hash, cut into requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus

from sandbox_client.tree import Tree
from sandbox_protocol.wire import ManifestEntry, SyncMode

BATCH_BYTES = 128 * 1024 * 1024
"""File bytes in one sync, which is as much of a change as is atomic. While it is applied its bytes are on the volume up to three
times (as they were sent, unpacked, and what they replace), and the smallest volumes have 1 GiB."""
BATCH_ENTRIES = 10_000
"""Half of what one sync may touch by default."""
URL_BYTES = 6000
"""What deletions may add to a URL: servers commonly end a request line at 8190 bytes."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Entries to write and paths to delete, sorted; ``unchanged`` counts what is there already."""

    write: tuple[ManifestEntry, ...]
    delete: tuple[str, ...]
    unchanged: int

    def __bool__(self) -> bool:
        return bool(self.write or self.delete)


def compare(local: Tree, remote: Iterable[ManifestEntry], mode: SyncMode) -> Changes:
    """``merge`` keeps what only the workspace has; ``mirror`` deletes it, but for what the local rules ignore."""
    there = {entry.path: entry for entry in remote if entry.type != "directory"}
    write = tuple(entry for path, entry in local.entries.items() if not _same(entry, there.get(path)))
    extra = (
        sorted(path for path in there.keys() - local.entries.keys() if not local.ignore.ignores(path)) if mode == "mirror" else ()
    )
    return Changes(write, tuple(extra), len(local.entries) - len(write))


def batches(changes: Changes) -> list[Changes]:
    """At least one. Deletions go first: a file may take the place of a folder, or the other way round. Those that do not fit a
    URL, where they travel beside a tar, get a request of their own."""
    result: list[Changes] = []
    delete = list(changes.delete)
    while len(delete) > BATCH_ENTRIES or (delete and changes.write and not fits_url(delete)):
        result.append(Changes((), tuple(delete[:BATCH_ENTRIES]), 0))
        del delete[:BATCH_ENTRIES]
    write: list[ManifestEntry] = []
    size = 0
    for entry in changes.write:
        if write and (size + entry.size > BATCH_BYTES or len(write) + len(delete) >= BATCH_ENTRIES):
            result.append(Changes(tuple(write), tuple(delete), 0))
            write, delete, size = [], [], 0
        write.append(entry)
        size += entry.size
    result.append(Changes(tuple(write), tuple(delete), changes.unchanged))
    return result


def _same(local: ManifestEntry, remote: ManifestEntry | None) -> bool:
    """Of modes only the executable bit counts: it is the one that is carried over from the developer's machine."""
    if remote is None or local.type != remote.type or local.sha256 != remote.sha256:
        return False
    return local.type == "symlink" or (local.mode & 0o100) == (remote.mode & 0o100)


def fits_url(delete: Sequence[str]) -> bool:
    return sum(len(quote_plus(path)) + len("&delete=") for path in delete) <= URL_BYTES
