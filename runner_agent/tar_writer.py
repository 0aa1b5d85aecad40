"""Tar headers: ustar, with a pax header before it where ustar's fields are too short or a name is not ASCII."""

from __future__ import annotations

from runner_agent.workspace_tree import OnDisk

BLOCK = 512
END = bytes(2 * BLOCK)
_TYPES = {"file": b"0", "symlink": b"2", "directory": b"5"}
_SIZE_MAX = 0o77777777777


def header(path: bytes, entry: OnDisk, target: bytes = b"") -> bytes:
    """``path`` without a trailing slash; ``target`` of a symbolic link."""
    size = entry.size if entry.kind == "file" else 0
    mtime = max(0, entry.fingerprint[2] // 1_000_000_000)
    name = path + b"/" if entry.kind == "directory" else path
    records = b""
    if len(name) > 100 or not name.isascii():
        records += _record(b"path", name)
    if len(target) > 100 or not target.isascii():
        records += _record(b"linkpath", target)
    if size > _SIZE_MAX:
        records += _record(b"size", b"%d" % size)
    before = b""
    if records:
        before = _block(b"pax", 0o644, len(records), mtime, b"x", b"") + records + padding(len(records))
    return before + _block(name[:100], entry.mode, min(size, _SIZE_MAX), mtime, _TYPES[entry.kind], target[:100])


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """A pax record counts its own length, digits included."""
    size = len(key) + len(value) + 3
    total = size + len(str(size))
    total = size + len(str(total))
    return b"%d %s=%s\n" % (total, key, value)


def _block(name: bytes, mode: int, size: int, mtime: int, kind: bytes, target: bytes) -> bytes:  # noqa: PLR0913, PLR0917 - the fields
    fields = (
        name.ljust(100, b"\0")
        + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 1000, 1000, size, mtime & _SIZE_MAX)
        + b" " * 8
        + kind
        + target.ljust(100, b"\0")
        + b"ustar\x0000"
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]
