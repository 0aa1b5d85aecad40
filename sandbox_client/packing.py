"""The body of one sync request: JSON for a few small files, a compressed tar for everything else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import importlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from sandbox_client import archive
from sandbox_client.api import Query
from sandbox_client.archive import Source
from sandbox_client.changes import Changes, fits_url
from sandbox_client.errors import LocalFileError
from sandbox_protocol.wire import JSON, TAR, RestartMode, SyncMode

JSON_BYTES = 256 * 1024
"""Up to here JSON costs less than a tar: no temporary file, no compressor to load, and people can read it on the way."""
SPOOL_BYTES = 8 * 1024 * 1024
"""A body larger than this waits on disk, not in memory."""
CHUNK_BYTES = 1024 * 1024
SAFE_RATIO = 100
"""Files that compress better than this (zeros, mostly) travel as they are: the agent takes a ratio of 200 for a bomb."""


_Compressor = Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Body:
    """What to POST; ``open`` begins it anew for each attempt, ``close`` frees what it holds."""

    headers: Mapping[str, str]
    query: Query
    open: Callable[[], bytes | AsyncIterator[bytes]]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Form:
    """How the sync is to act."""

    mode: SyncMode = "merge"
    restart: RestartMode = "auto"


def pack(changes: Changes, source: Source, form: Form) -> Body:
    """Blocking. Raises LocalFileError. :func:`sandbox_client.changes.batches` cuts so that one of the two forms can carry it."""
    small = sum(entry.size for entry in changes.write) <= JSON_BYTES
    if (small or not fits_url(changes.delete)) and not _has_links(changes):
        return by_json(changes, source, form)
    return by_tar(changes, source, form)


def by_json(changes: Changes, source: Source, form: Form) -> Body:
    files = [{"path": item.path, "mode": f"{item.mode:04o}", **_text(_content(source, item.path))} for item in changes.write]
    document = {"files": files, "delete": list(changes.delete), "mode": form.mode, "restart": form.restart}
    data = json.dumps(document).encode()
    return Body({"Content-Type": JSON}, (), lambda: data)


def by_tar(changes: Changes, source: Source, form: Form) -> Body:
    query = [("mode", form.mode), ("restart", form.restart), *(("delete", path) for path in changes.delete)]
    encoding, spool = _archive(changes, source, _compressor())
    size = spool.tell()
    if size * SAFE_RATIO < sum(entry.size for entry in changes.write):
        spool.close()
        encoding, spool = _archive(changes, source, ("identity", contextlib.nullcontext))
        size = spool.tell()

    async def chunks() -> AsyncIterator[bytes]:
        spool.seek(0)
        while chunk := await asyncio.to_thread(spool.read, CHUNK_BYTES):
            yield chunk

    headers = {"Content-Type": TAR, "Content-Encoding": encoding, "Content-Length": str(size)}
    return Body(headers, query, chunks, spool.close)


def _archive(changes: Changes, source: Source, compressor: tuple[str, _Compressor]) -> tuple[str, IO[bytes]]:
    """The name of its encoding, and the archive, positioned at its end."""
    name, compress = compressor
    spool = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 - closed by Body.close
    try:
        with compress(spool) as out:
            archive.write(changes.write, source, out)
    except BaseException:
        spool.close()
        raise
    return name, spool


def _has_links(changes: Changes) -> bool:
    """JSON knows no symbolic links."""
    return any(entry.type == "symlink" for entry in changes.write)


def _text(data: bytes) -> dict[str, str]:
    try:
        return {"content": data.decode()}
    except UnicodeDecodeError:
        return {"contentBase64": base64.b64encode(data).decode()}


def _content(source: Source, path: str) -> bytes:
    if not isinstance(source, Path):
        return source[path]
    try:
        return (source / path).read_bytes()
    except OSError as error:
        raise LocalFileError(f"cannot read {source / path}: {error.strerror}") from error


def _compressor() -> tuple[str, _Compressor]:
    """zstd where Python has it (3.14, or backports.zstd), else gzip at its quickest level."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return "zstd", partial(_zstd, importlib.import_module(name))
    return "gzip", lambda out: cast("IO[bytes]", gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0))


def _zstd(module: Any, out: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return cast("AbstractContextManager[IO[bytes]]", module.ZstdFile(out, "w"))
