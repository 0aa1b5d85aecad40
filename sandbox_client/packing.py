"""The body of one sync request: JSON for a few small files, a compressed tar for everything else.

A tar that fits in memory is compressed while it is sent, so that the agent unpacks and writes its beginning meanwhile; a larger
one is made before, on disk, as it may have to be sent in parts.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import itertools
import json
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Protocol, cast

from sandbox_client import archive
from sandbox_client.api import Query
from sandbox_client.archive import Source
from sandbox_client.changes import Changes, fits_url
from sandbox_protocol.wire import JSON, TAR, DriftMode, RestartMode, SyncMode

JSON_BYTES = 256 * 1024
"""Up to here JSON costs less than a tar: no temporary file, no compressor to load, and people can read it on the way."""
SPOOL_BYTES = 8 * 1024 * 1024
"""Files, and a body, larger than this wait on disk, not in memory."""
CHUNK_BYTES = 1024 * 1024
PIECE_BYTES = 48 * 1024
"""Of an archive that is compressed while it is sent: a millisecond's work; a trip to the thread that does it costs a tenth."""
SAFE_RATIO = 100
"""Files that compress better than this (zeros, mostly) travel as they are: the agent takes a ratio of 200 for a bomb."""
_GZIP = 31
"""zlib's window of 32 KiB, and a gzip header."""
ZSTD_LEVEL = 1
"""500 source files of 10 kB: 15 ms and 1.10 MB; zstd's own choice, 3, takes 19 ms for 1.06 MB."""


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """``read`` gives the bytes at an offset, as many as asked for, of ``size`` in all; it blocks."""

    size: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Body:
    """What to POST; ``open`` begins it anew for each attempt, ``close`` frees what it holds. With ``parts`` it may also be
    sent piece by piece."""

    headers: Mapping[str, str]
    query: Query
    open: Callable[[], bytes | AsyncIterator[bytes]]
    parts: Parts | None = None
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Form:
    """How the sync is to act."""

    mode: SyncMode = "merge"
    restart: RestartMode = "auto"
    drift: DriftMode = "keep"


def pack(changes: Changes, source: Source, form: Form) -> Body:
    """Blocking. Raises LocalFileError. :func:`sandbox_client.changes.batches` cuts so that one of the forms can carry it."""
    size = sum(entry.size for entry in changes.write)
    if (size <= JSON_BYTES or not fits_url(changes.delete)) and not _has_links(changes):
        return by_json(changes, source, form)
    return (by_stream if size <= SPOOL_BYTES else by_tar)(changes, source, form)


def by_json(changes: Changes, source: Source, form: Form) -> Body:
    contents = archive.held(changes.write, source)
    present = [item for item in changes.write if item.path in contents]
    files = [{"path": item.path, "mode": f"{item.mode:04o}", **_text(contents[item.path])} for item in present]
    document: dict[str, object] = {"files": files, "delete": list(changes.delete), "mode": form.mode, "restart": form.restart}
    if form.drift != "keep":
        document["drift"] = form.drift
    data = json.dumps(document).encode()
    return Body({"Content-Type": JSON}, (), lambda: data)


def by_stream(changes: Changes, source: Source, form: Form) -> Body:
    """All files are read before anything is sent: then nothing can be missing in the middle."""
    contents = archive.held(changes.write, source)
    changes = replace(changes, write=tuple(item for item in changes.write if item.path in contents))
    size = sum(map(len, contents.values()))
    encoding, compressor = _compressing()

    def pieces() -> Iterator[bytes]:
        # with so much there already, the agent never sees more come out than so many times what came in
        return _gathered(_compressed(archive.blocks(changes.write, contents), compressor()), size // SAFE_RATIO)

    rest = pieces()
    first = next(rest)
    if len(first) * SAFE_RATIO < size:
        data = b"".join(archive.blocks(changes.write, contents))
        return Body(_headers("identity", len(data)), _query(changes, form), lambda: data)
    begun = [itertools.chain((first,), rest)]

    async def chunks() -> AsyncIterator[bytes]:
        sent = begun.pop() if begun else pieces()
        while piece := await asyncio.to_thread(next, sent, b""):
            yield piece

    return Body(_headers(encoding), _query(changes, form), chunks)


def by_tar(changes: Changes, source: Source, form: Form) -> Body:
    encoding, compressor = _compressing()
    spool = _spooled(_compressed(archive.blocks(changes.write, source), compressor()))
    if spool.tell() * SAFE_RATIO < sum(entry.size for entry in changes.write):
        spool.close()
        encoding, spool = "identity", _spooled(archive.blocks(changes.write, source))
    size = spool.tell()

    async def chunks() -> AsyncIterator[bytes]:
        spool.seek(0)
        while chunk := await asyncio.to_thread(spool.read, CHUNK_BYTES):
            yield chunk

    def part(at: int, length: int) -> bytes:
        spool.seek(at)
        return spool.read(length)

    return Body(_headers(encoding, size), _query(changes, form), chunks, Parts(size, part), spool.close)


def _headers(encoding: str, size: int | None = None) -> dict[str, str]:
    length = {} if size is None else {"Content-Length": str(size)}
    return {"Content-Type": TAR, "Content-Encoding": encoding, **length}


def _query(changes: Changes, form: Form) -> Query:
    drift = [] if form.drift == "keep" else [("drift", form.drift)]
    return [("mode", form.mode), ("restart", form.restart), *drift, *(("delete", path) for path in changes.delete)]


def _compressed(blocks: Iterable[bytes], compressor: _Compressor) -> Iterator[bytes]:
    for block in blocks:
        if piece := compressor.compress(block):
            yield piece
    if piece := compressor.flush():
        yield piece


def _gathered(pieces: Iterable[bytes], first: int) -> Iterator[bytes]:
    """Joined to pieces of PIECE_BYTES, the first one of at least ``first`` bytes as well; the last may be shorter."""
    gathered, wanted = bytearray(), max(first, PIECE_BYTES)
    for piece in pieces:
        gathered += piece
        if len(gathered) >= wanted:
            yield bytes(gathered)
            gathered.clear()
            wanted = PIECE_BYTES
    if gathered:
        yield bytes(gathered)


def _spooled(pieces: Iterable[bytes]) -> IO[bytes]:
    """Positioned at its end."""
    spool = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - closed by Body.close
    try:
        spool.writelines(pieces)
    except BaseException:
        spool.close()
        raise
    return spool


def _has_links(changes: Changes) -> bool:
    """JSON knows no symbolic links."""
    return any(entry.type == "symlink" for entry in changes.write)


def _text(data: bytes) -> dict[str, str]:
    try:
        return {"content": data.decode()}
    except UnicodeDecodeError:
        return {"contentBase64": base64.b64encode(data).decode()}


def _compressing() -> tuple[str, Callable[[], _Compressor]]:
    """zstd where Python has it (3.14, or backports.zstd), else gzip at its quickest level."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return "zstd", partial(importlib.import_module(name).ZstdCompressor, level=ZSTD_LEVEL)
    return "gzip", partial(zlib.compressobj, 1, wbits=_GZIP)
