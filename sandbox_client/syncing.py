"""The two ways of a sync: files held in memory, and a local folder compared with the manifest of the workspace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sandbox_client import changes, packing, pauses, tree, uploading
from sandbox_client.api import Api, Request
from sandbox_client.archive import Source
from sandbox_client.errors import Stale, Unavailable
from sandbox_client.leaving_out import LeftOut
from sandbox_client.records import Manifest
from sandbox_protocol.wire import DriftMode, ManifestEntry, RestartMode, Skipped, SyncMode, SyncResult

TOLD = frozenset({"secret", "link", "unreadable", "special", "name"})
"""Kinds of left out entries that a result names one by one: nobody asked for those to stay out."""
COMING_UP_SECONDS = 90.0
"""Timeout for a runner that is coming up. A new one takes some seconds, one whose image is pulled a minute."""
ATTEMPTS = 3
"""How often a folder is compared anew when another sync came in between."""


@dataclass(frozen=True, slots=True)
class Options:
    mode: SyncMode = "merge"
    restart: RestartMode = "auto"
    delete: tuple[str, ...] = ()
    if_match: str | None = None
    drift: DriftMode = "keep"


@dataclass(frozen=True, slots=True)
class FolderSync:
    """What a folder's sync did, or would do: ``result`` is None of one that was only tried.

    ``drifted`` were changed in the pod and stay so; ``overwritten`` were changed there and are now as they are here."""

    changes: changes.Changes
    left_out: tuple[LeftOut, ...]
    result: SyncResult | None = None


async def manifest(api: Api, url_path: str) -> Manifest:
    return Manifest.from_json(await _patiently(api, Request("GET", url_path)))


async def _patiently(api: Api, request: Request) -> Any:
    """A runner that is just made, or made anew, says so by a 503 that names when to ask again: nothing was done then. One that
    cannot come up by itself names no time, and is not waited for."""
    end, failures = time.monotonic() + COMING_UP_SECONDS, 0
    while True:
        try:
            return await api.json(request)
        except Unavailable as error:
            failures += 1
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or error.retry_after is None or time.monotonic() >= end:
                raise
            await asyncio.sleep(pauses.after(error, failures))


async def files(api: Api, url_path: str, contents: Mapping[str, str | bytes], options: Options) -> SyncResult:
    """One request, no comparison: what is there already with the same content, the agent leaves alone."""
    data = {path: content.encode() if isinstance(content, str) else content for path, content in contents.items()}
    # no hash: nothing is compared here, and the agent makes its own
    entries = tuple(ManifestEntry(path, "file", len(content), tree.PLAIN) for path, content in sorted(data.items()))
    return await _send(api, url_path, changes.Changes(entries, options.delete, 0), data, options)


async def directory(  # noqa: PLR0913 - as Sandbox.sync_folder
    api: Api, url_path: str, root: Path, options: Options, *, include_env: bool = False, dry_run: bool = False
) -> FolderSync:
    """Compares by hash and sends the difference; deletions are named one by one, so the agent never deletes on its own."""
    local = await asyncio.to_thread(partial(tree.scan, root, include_env=include_env))
    left_out = tuple(local.left_out)
    told = tuple(Skipped(item.path, item.reason) for item in left_out if item.kind in TOLD)
    for attempt in range(1, ATTEMPTS + 1):
        remote = await manifest(api, url_path)
        difference = changes.compare(local, remote.entries, options.mode, options.drift)
        if options.delete:
            difference = replace(difference, delete=tuple(sorted({*difference.delete, *options.delete})))
        if dry_run:
            return FolderSync(difference, left_out)
        revision = options.if_match or remote.revision
        sent = replace(options, mode="merge", delete=(), if_match=revision, drift="overwrite")  # compared already
        try:
            result = await _send_all(api, url_path, difference, root, sent)
        except Stale:
            if options.if_match is not None or attempt == ATTEMPTS:
                raise
        else:
            result = replace(result, skipped=(*told, *result.skipped), drifted=difference.drifted)
            return FolderSync(difference, left_out, result)
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
    body = await asyncio.to_thread(packing.pack, wanted, source, packing.Form(options.mode, options.restart, options.drift))
    try:
        headers = dict(body.headers)
        if options.if_match is not None:
            headers["If-Match"] = f'"{options.if_match}"'
        request = Request("POST", url_path, body.query, headers, body.open)
        if body.parts is not None and body.parts.size > uploading.PART_BYTES:
            return SyncResult.from_json(await uploading.send(api, request, body.parts))
        return SyncResult.from_json(await _patiently(api, request))
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
