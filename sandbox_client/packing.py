"""The body of one sync request: JSON for a few small files, a compressed tar for everything else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import importlib
import json
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote_plus

from sandbox_client.api import Query
from sandbox_client.changes import Changes
from sandbox_client.errors import LocalFileError
from sandbox_protocol.wire import JSON, TAR, RestartMode

JSON_BYTES = 256 * 1024
"""Up to here JSON costs less than a tar: no temporary file, no compressor to load, and people can read it on the way."""
URL_BYTES = 6000
"""What deletions may add to the URL of a tar: servers commonly end a request line at 8190 bytes. More travels as JSON."""
SPOOL_BYTES = 8 * 1024 * 1024
"""A body larger than this waits on disk, not in memory."""
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """What to POST; ``open`` begins it anew for each attempt, ``close`` frees what it holds."""

    headers: Mapping[str, str]
    query: Query
    open: Callable[[], bytes | AsyncIterator[bytes]]
    close: Callable[[], None] = lambda: None


def by_json(changes: Changes, contents: Mapping[str, bytes], restart: RestartMode) -> Body:
    """``contents`` holds every file of ``changes.write``."""
    document = {
        "files": [{"path": entry.path, "mode": f"{entry.mode:04o}", **_content(contents[entry.path])} for entry in changes.write],
        "delete": list(changes.delete),
        "mode": "merge",
        "restart": restart,
    }
    data = json.dumps(document).encode()
    return Body({"Content-Type": JSON}, (), lambda: data)


def by_tar(changes: Changes, root: Path, restart: RestartMode) -> Body:
    """Reads the files of ``changes.write`` below ``root``. Blocking. Raises LocalFileError."""
    query = [("mode", "merge"), ("restart", restart), *(("delete", path) for path in changes.delete)]
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - closed by Body.close
    name, compressor = _compressor()
    with (
        compressor(cast("IO[bytes]", spool)) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in changes.write:
            info = tarfile.TarInfo(entry.path)
            info.mode = entry.mode
            if entry.type == "symlink":
                info.type, info.linkname = tarfile.SYMTYPE, str((root / entry.path).readlink())
                tar.addfile(info)
            else:
                _add_file(tar, info, root / entry.path)
    size = spool.tell()

    async def chunks() -> AsyncIterator[bytes]:
        spool.seek(0)
        while chunk := await asyncio.to_thread(spool.read, CHUNK_BYTES):
            yield chunk

    headers = {"Content-Type": TAR, "Content-Encoding": name, "Content-Length": str(size)}
    return Body(headers, query, chunks, spool.close)


def fits_json(changes: Changes) -> bool:
    """JSON knows no symbolic links; deletions too long for a URL must go this way whatever the size."""
    if any(entry.type == "symlink" for entry in changes.write):
        return False
    return sum(entry.size for entry in changes.write) <= JSON_BYTES


def fits_url(delete: tuple[str, ...]) -> bool:
    return sum(len(quote_plus(path)) + len("&delete=") for path in delete) <= URL_BYTES


def _content(data: bytes) -> dict[str, str]:
    try:
        return {"content": data.decode()}
    except UnicodeDecodeError:
        return {"contentBase64": base64.b64encode(data).decode()}


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, file: Path) -> None:
    """The size is read from the open file: a file that shrinks while it is read must not shift what follows it."""
    try:
        with file.open("rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            tar.addfile(info, content)
    except OSError as error:
        raise LocalFileError(f"cannot read {file}: {error.strerror or 'it changed while it was read'}; sync again") from error


def _compressor() -> tuple[str, Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]]]:
    """zstd where Python has it (3.14, or backports.zstd), else gzip at its quickest level."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return "zstd", partial(_zstd, importlib.import_module(name))
    return "gzip", lambda out: cast("IO[bytes]", gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0))


def _zstd(module: Any, out: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return cast("AbstractContextManager[IO[bytes]]", module.ZstdFile(out, "w"))
