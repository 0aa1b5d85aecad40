"""What must travel so that the workspace matches a local tree: compared by hash, cut into requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote_plus

from sandbox_client.tree import Tree
from sandbox_protocol.wire import DriftMode, ManifestEntry, SyncMode

BATCH_BYTES = 128 * 1024 * 1024
"""File bytes in one sync, which is as much of a change as is atomic. While it is applied its bytes are on the volume up to three
times (as they were sent, unpacked, and what they replace), and the smallest volumes have 1 GiB."""
BATCH_ENTRIES = 10_000
"""Half of what one sync may touch by default."""
URL_BYTES = 6000
"""What deletions may add to a URL: servers commonly end a request line at 8190 bytes."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Entries to write and paths to delete, sorted; ``unchanged`` counts what is there already.

    Something in the pod changed ``drifted``, which stay so, and ``overwritten``, which are among ``write``."""

    write: tuple[ManifestEntry, ...]
    delete: tuple[str, ...]
    unchanged: int
    drifted: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.write or self.delete)


LOCK_FILES = frozenset(
    {
        *("package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb", "deno.lock"),
        *("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "pixi.lock"),
        *("Gemfile.lock", "composer.lock", "Cargo.lock", "go.sum", "mix.lock", "packages.lock.json", "pubspec.lock"),
    }
)
"""An install in the pod rewrites them. ``overwrite`` leaves those alone, since the next install would rewrite them again."""


def compare(local: Tree, remote: Iterable[ManifestEntry], mode: SyncMode, drift: DriftMode = "keep") -> Changes:
    """``merge`` keeps what only the workspace has; ``mirror`` deletes it, but for what the local rules ignore.

    What was changed locally since the last sync is written, whatever the pod made of it. What was not, is written where it is
    gone; where the pod changed it, only with ``drift`` ``overwrite``. A file takes the place of a folder, and the reverse.
    """
    there = {entry.path: entry for entry in remote if entry.type != "directory"}
    write: dict[str, ManifestEntry] = {}
    drifted: list[str] = []
    for path, entry in local.entries.items():
        known = there.get(path)
        if known is None or not _same(entry, known) or known.state == "missing":
            write[path] = entry
        elif known.state == "changed":
            if drift == "overwrite" and path.rpartition("/")[2] not in LOCK_FILES:
                write[path] = entry
            else:
                drifted.append(path)
    delete = set() if mode == "merge" else {path for path in there.keys() - local.entries.keys() if not local.rules.ignores(path)}
    blocked = _in_the_way(write, there)
    if blocked:
        # with what stands in the way goes all below it; what belongs there is written anew
        for path, entry in local.entries.items():
            if blocked & {path, *_above(path)}:
                write[path] = entry
        delete = {path for path in delete if blocked.isdisjoint(_above(path))} | blocked
    overwritten = tuple(path for path in sorted(write) if path in there and there[path].state == "changed")
    kept = tuple(path for path in drifted if path not in write)
    unchanged = len(local.entries) - len(write) - len(kept)
    return Changes(tuple(write[path] for path in sorted(write)), tuple(sorted(delete)), unchanged, kept, overwritten)


def _in_the_way(write: Iterable[str], there: dict[str, ManifestEntry]) -> set[str]:
    """Paths whose deletion makes room for ``write``: synced folders, files and links, and what the pod put in their place."""
    folders = {above for path in there for above in _above(path)}
    blockers = {entry.blocked_by for entry in there.values() if entry.blocked_by}
    found: set[str] = set()
    for path in write:
        if path in folders and path not in there:
            found.add(path)
        found.update(above for above in _above(path) if above in there)
        found.update(blockers.intersection((path, *_above(path))))
    return found


def _above(path: str) -> list[str]:
    return [path[:at] for at, character in enumerate(path) if character == "/"]


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
    result.append(replace(changes, write=tuple(write), delete=tuple(delete)))
    return result


def _same(local: ManifestEntry, remote: ManifestEntry | None) -> bool:
    """Of modes only the executable bit counts: it is the one that is carried over from the developer's machine."""
    if remote is None or local.type != remote.type or local.sha256 != remote.sha256:
        return False
    return local.type == "symlink" or (local.mode & 0o100) == (remote.mode & 0o100)


def fits_url(delete: Sequence[str]) -> bool:
    return sum(len(quote_plus(path)) + len("&delete=") for path in delete) <= URL_BYTES
