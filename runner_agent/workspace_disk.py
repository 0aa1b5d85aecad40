"""The tree as the planner sees it: what stands at a path, and whether that is what was sent.

A file whose size and mode are those that were sent would have to be read to tell. Two memories spare that. One is of files that
were read and found equal; it must never be wrong, as what it speaks for is not written. The other is of the modification times
that sync itself gave: a file that still has its own holds what the manifest says, so anything else is news for it. Where an app
has set a time back, that writes what is there already once more, and nothing is lost.
"""

from __future__ import annotations

import hashlib
import time

from runner_agent.manifest import Manifest
from runner_agent.workspace_apply import is_held
from runner_agent.workspace_tree import OnDisk, Tree
from sandbox_protocol.wire import ManifestEntry

RACY_NS = 20_000_000
"""A file changed less than this before it was looked at may change again within the same tick of the filesystem's clock
(4 to 10 ms) and keep its fingerprint; so such a fingerprint is not remembered."""

Fingerprints = dict[str, bytes]
"""Path → digest of what the file looked like when it was hashed and of its sha256; 50 bytes where the parts would take 350."""

Written = dict[str, int]
"""Path → modification time (ns) of the file that the last sync to write it put there."""


def _digest(fingerprint: tuple[int, int, int, int], sha256: str) -> bytes:
    return hashlib.blake2b(repr((fingerprint, sha256)).encode(), digest_size=16).digest()


class Disk:
    """The tree for the planner. Reads a file once for each time that it was changed, and one that sync wrote only if it may be
    what was sent."""

    def __init__(self, tree: Tree, manifest: Manifest, fingerprints: Fingerprints, written: Written) -> None:
        self._tree, self._manifest, self._fingerprints, self._written = tree, manifest, fingerprints, written
        self._now = time.time_ns()

    def look(self, path: str) -> OnDisk | None:
        return self._tree.look(path)

    def untouched(self, entry: ManifestEntry, there: OnDisk) -> bool:
        """Whether the metadata of the file ``there`` alone says that it is as ``entry``; the executable bit is not looked at."""
        if entry.type != "file" or there.size != entry.size:
            return False
        if self._written.get(entry.path) == there.fingerprint[2]:
            return True
        return self._fingerprints.get(entry.path) == _digest(there.fingerprint, entry.sha256)

    def holds(self, entry: ManifestEntry, there: OnDisk) -> bool:
        if entry.type != "file":
            return is_held(self._tree, entry, there)
        if there.size != entry.size or there.mode != entry.mode:
            return False
        if self._written.get(entry.path) == there.fingerprint[2] and not self._manifest.same(entry):
            return False
        known = self._fingerprints.get(entry.path)
        digest = _digest(there.fingerprint, entry.sha256)
        if known == digest:
            return True
        if not is_held(self._tree, entry, there):
            return False
        if self._now - max(there.fingerprint[2:]) > RACY_NS:
            self._fingerprints[entry.path] = digest
        return True
