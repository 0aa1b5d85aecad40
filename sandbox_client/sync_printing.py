"""A folder's sync for people: a line of counts, and what they should know beside it, short however large the folder is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sandbox_client.leaving_out import Kind
from sandbox_client.syncing import TOLD, FolderSync
from sandbox_protocol.entry_names import shown

LISTED = 50
"""Paths of one sort that ``--dry-run`` names."""
NAMED = 5
"""Paths of one sort that a sync names."""

_WORDS: dict[Kind, str] = {
    "dependencies": "dependencies or history",
    "cache": "made by tools",
    "ignored": "ignored",
    "secret": "with secrets",
    "link": "links that lead out",
    "unreadable": "unreadable",
    "special": "sockets or pipes",
    "name": "with names that cannot travel",
}


def summary(done: FolderSync) -> Iterator[str]:
    result = done.result
    if result is None:
        yield from _dry(done)
        return
    restarted = ", app restarted" if result.restarted else ""
    yield (
        f"revision {result.revision}: {result.written} written ({printed_bytes(result.bytes)}), {result.deleted} deleted, "
        f"{result.unchanged} unchanged{restarted}"
    )


def notes(done: FolderSync, name: str) -> Iterator[str]:
    """What stayed out, by reason; what the agent skipped; what the pod has otherwise."""
    changes, result = done.changes, done.result
    if done.left_out:
        counts = Counter(item.kind for item in done.left_out)
        yield "left out: " + ", ".join(f"{count} {_WORDS[kind]}" for kind, count in counts.items())
    if result is not None:
        secrets = [item.path for item in done.left_out if item.kind == "secret"]
        if secrets:
            yield f"  {_named(secrets)}: may hold secrets; --include-env sends them"
        known = {item.path for item in done.left_out}
        told = [(item.path, item.reason) for item in done.left_out if item.kind in TOLD - {"secret"}]
        told += [(item.path, item.reason) for item in result.skipped if item.path not in known]
        yield from (f"  skipped {shown(path)}: {reason}" for path, reason in told[:NAMED])
        if len(told) > NAMED:
            yield f"  … and {len(told) - NAMED} more; --dry-run lists them"
        if result.unapplied:
            yield f"nothing has read {_named(result.unapplied)} since: if the app stays as it was, kubectl sandbox restart {name}"
    if changes.drifted:
        yield f"changed in the pod and kept: {_named(changes.drifted)}"
        yield f"  --drift overwrite sends yours (not lock files); `kubectl sandbox export {name} DIR PATH` brings the pod's here"
    if changes.overwritten:
        words = "would be overwritten" if result is None else "overwritten"
        yield f"changed in the pod and {words}: {_named(changes.overwritten)}"


def _dry(done: FolderSync) -> Iterator[str]:
    changes = done.changes
    yield from _listed("send", [item.path for item in changes.write])
    yield from _listed("delete", changes.delete)
    yield from _listed("keep the pod's", changes.drifted)
    yield from _listed("leave out", [f"{item.path}: {item.reason}" for item in done.left_out])
    size = printed_bytes(sum(item.size for item in changes.write))
    counts = f"{len(changes.write)} to write ({size}), {len(changes.delete)} to delete, {changes.unchanged} unchanged"
    yield f"nothing was sent: {counts}"


def _listed(word: str, texts: Sequence[str]) -> Iterator[str]:
    yield from (f"{word}  {shown(text)}" for text in texts[:LISTED])
    if len(texts) > LISTED:
        yield f"{word}  … and {len(texts) - LISTED} more"


def _named(paths: Sequence[str]) -> str:
    rest = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(shown, paths[:NAMED])) + rest


def printed_bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
