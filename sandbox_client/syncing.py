"""The two ways of a sync: files held in memory, and a local folder compared with the manifest of the workspace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox_client import changes, packing, tree, uploading
from sandbox_client.api import Api, Request
from sandbox_client.archive import Source
from sandbox_client.errors import Stale
from sandbox_client.records import Manifest
from sandbox_protocol.wire import ManifestEntry, RestartMode, SyncMode, SyncResult

ATTEMPTS = 3
"""How often a folder is compared anew when another sync came in between."""


@dataclass(frozen=True, slots=True)
class Options:
    mode: SyncMode = "merge"
    restart: RestartMode = "auto"
    delete: tuple[str, ...] = ()
    if_match: str | None = None


async def manifest(api: Api, url_path: str) -> Manifest:
    return Manifest.from_json(await api.json(Request("GET", url_path)))


async def files(api: Api, url_path: str, contents: Mapping[str, str | bytes], options: Options) -> SyncResult:
    """One request, no comparison: what is there already with the same content, the agent leaves alone."""
    data = {path: content.encode() if isinstance(content, str) else content for path, content in contents.items()}
    # no hash: nothing is compared here, and the agent makes its own
    entries = tuple(ManifestEntry(path, "file", len(content), tree.PLAIN) for path, content in sorted(data.items()))
    return await _send(api, url_path, changes.Changes(entries, options.delete, 0), data, options)


async def directory(api: Api, url_path: str, root: Path, options: Options) -> SyncResult:
    """Compares by hash and sends the difference; deletions are named one by one, so the agent never deletes on its own."""
    local = await asyncio.to_thread(tree.scan, root)
    for attempt in range(1, ATTEMPTS + 1):
        remote = await manifest(api, url_path)
        difference = changes.compare(local, remote.entries, options.mode)
        if options.delete:
            difference = replace(difference, delete=tuple(sorted({*difference.delete, *options.delete})))
        revision = options.if_match or remote.revision
        try:
            return await _send_all(api, url_path, difference, root, replace(options, mode="merge", delete=(), if_match=revision))
        except Stale:
            if options.if_match is not None or attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


async def _send_all(api: Api, url_path: str, difference: changes.Changes, root: Path, options: Options) -> SyncResult:
    total: SyncResult | None = None
    parts = changes.batches(difference)
    for part in parts:
        # only the last one restarts the app: before it the tree is a mixture
        mine = replace(options, restart=options.restart if part is parts[-1] else "never")
        result = await _send(api, url_path, part, root, replace(mine, if_match=total.revision if total else options.if_match))
        total = result if total is None else _sum(total, result)
    assert total is not None
    return replace(total, unchanged=difference.unchanged)


async def _send(api: Api, url_path: str, wanted: changes.Changes, source: Source, options: Options) -> SyncResult:
    body = await asyncio.to_thread(packing.pack, wanted, source, packing.Form(options.mode, options.restart))
    try:
        headers = dict(body.headers)
        if options.if_match is not None:
            headers["If-Match"] = f'"{options.if_match}"'
        request = Request("POST", url_path, body.query, headers, body.open)
        if body.parts is not None and body.parts.size > uploading.PART_BYTES:
            return SyncResult.from_json(await uploading.send(api, request, body.parts))
        return SyncResult.from_json(await api.json(request))
    finally:
        body.close()


def _sum(first: SyncResult, second: SyncResult) -> SyncResult:
    return replace(
        second,
        written=first.written + second.written,
        deleted=first.deleted + second.deleted,
        bytes=first.bytes + second.bytes,
        restarted=first.restarted or second.restarted,
        skipped=first.skipped + second.skipped,
        unapplied=tuple(dict.fromkeys((*first.unapplied, *second.unapplied))),
    )
