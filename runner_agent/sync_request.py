"""The body of a sync, as it travels: decoded, held to its limits, and handed to the stage. No disk, no event loop."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from runner_agent import paths
from runner_agent.sync_json import JsonBody
from runner_agent.sync_options import DEFAULTS, Options, bad, options
from runner_agent.sync_stage import Stage, over
from runner_agent.tar_reader import TarReader
from sandbox_protocol.errors import StatusError
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import JSON, TAR

_PIECE = 256 * 1024
"""Bytes that come out of a decompressor at once."""
_RATIO_FROM = 1024 * 1024
"""Bytes that must have come out before the ratio is looked at: a short text of one letter is no bomb."""
_ZSTD_WINDOW_LOG = 23
"""8 MiB, what zstd uses up to level 19; more (``--ultra``, ``--long``) would be taken from the agent's memory."""


def precondition(header: str | None) -> str | None:
    """The revision that ``If-Match`` names; StatusError 400 for what is no single strong entity tag.

    A tag of the manifest may say after a semicolon what had drifted (:func:`runner_agent.drift.tag`); the revision counts."""
    if header is None:
        return None
    value = header.strip()
    if len(value) < 3 or not (value.startswith('"') and value.endswith('"')) or '"' in value[1:-1]:
        raise StatusError(400, 'If-Match must be one revision in quotes: If-Match: "7-0123456789abcdef"')
    return value[1:-1].partition(";")[0]


class Receiver:
    """One body of at most ``allowed`` bytes (``body_bytes`` of the limits unless told): :meth:`feed` its bytes, then
    :meth:`finish`. StatusError: 400, 413, 415; refused entries wait in the stage."""

    def __init__(
        self, stage: Stage, media_type: str, encoding: str, query: Mapping[str, Sequence[str]], *, allowed: int | None = None
    ) -> None:
        limits = stage.limits
        self.stage = stage
        self._allowed = allowed or limits.body_bytes
        if unknown := sorted(query.keys() - {"mode", "restart", "drift", "delete"}):
            raise bad(unknown[0], "is not a query parameter of a sync; mode, restart, drift and delete are")
        self._body: _Body
        if media_type == TAR:
            self._body = _TarBody(stage, query)
        elif media_type == JSON:
            if query:
                raise bad(min(query), "belongs in the body of a JSON sync")
            self._body = JsonBody(stage, limits)
        else:
            raise StatusError(415, f"the body must be {JSON} or {TAR}, not {paths.shown(media_type) or 'unnamed'}")
        self._received = 0
        self._decoder = _decoder(encoding, limits)

    def feed(self, chunk: bytes) -> None:
        self._received += len(chunk)
        if self._received > self._allowed:
            raise over("body_bytes", f"the body has more than {self._allowed} bytes", self._allowed)
        for piece in self._decoder.decode(chunk):
            self._body.feed(piece)

    def finish(self) -> Options:
        self._decoder.close()
        return self._body.finish()


class _Body(Protocol):
    def feed(self, piece: bytes) -> None: ...
    def finish(self) -> Options: ...


class _TarBody:
    def __init__(self, stage: Stage, query: Mapping[str, Sequence[str]]) -> None:
        for name in ("mode", "restart", "drift"):
            if len(query.get(name, ())) > 1:
                raise bad(name, "may be given once")
        chosen = (query.get(name, (default,))[0] for name, default in DEFAULTS.items())
        self._options = options(*chosen)
        for path in query.get("delete", ()):
            stage.delete(path)
        self._reader = TarReader(stage)

    def feed(self, piece: bytes) -> None:
        self._reader.feed(piece)

    def finish(self) -> Options:
        self._reader.close()
        return self._options


# -- content encodings ------------------------------------------------------------------------------------------------------


class _Decoder(Protocol):
    def decode(self, chunk: bytes) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class _Decompressor(Protocol):
    errors: tuple[type[Exception], ...]

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...

    def pieces(self, chunk: bytes) -> Iterator[bytes]: ...


def _decoder(encoding: str, limits: SyncLimits) -> _Decoder:
    if encoding in ("", "identity"):
        return _Identity()
    if encoding in ("gzip", "zstd"):
        return _Compressed(encoding, limits)
    raise StatusError(415, f"Content-Encoding must be zstd, gzip or absent, not {paths.shown(encoding)}")


class _Identity:
    def decode(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def close(self) -> None:
        """Nothing can be missing that the body itself does not notice."""


class _Compressed:
    """Frames one after another, as both formats allow, never more than a piece in memory, and no bombs."""

    def __init__(self, encoding: str, limits: SyncLimits) -> None:
        self._encoding, self._limits = encoding, limits
        self._current: _Decompressor | None = None
        self._came_in = self._came_out = 0

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        self._came_in += len(chunk)
        while chunk:
            current = self._current or (_Gzip() if self._encoding == "gzip" else _Zstd())
            self._current = current
            for piece in self._guarded(current, chunk):
                self._came_out += len(piece)
                self._check_ratio()
                yield piece
            if not current.eof:
                return
            chunk = current.unused_data
            self._current = None

    def _guarded(self, decompressor: _Decompressor, chunk: bytes) -> Iterator[bytes]:
        pieces = decompressor.pieces(chunk)
        while True:
            try:
                piece = next(pieces, None)
            except decompressor.errors as error:
                message = f"the body is not {self._encoding}: {error}. zstd is read up to level 19, without --long."
                raise StatusError(400, message) from error
            if piece is None:
                return
            yield piece

    def _check_ratio(self) -> None:
        if self._came_out > _RATIO_FROM and self._came_out > self._came_in * self._limits.ratio:
            what = f"{self._came_in} compressed bytes became more than {self._came_in * self._limits.ratio}"
            raise over("ratio", what, self._limits.ratio)

    def close(self) -> None:
        if self._current is not None or not self._came_in:
            raise StatusError(400, f"the body ends in the middle of its {self._encoding} stream. Nothing was changed.")


class _Gzip:
    errors: tuple[type[Exception], ...] = (zlib.error,)

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while piece := self._stream.decompress(chunk, _PIECE):
            yield piece
            chunk = self._stream.unconsumed_tail


def zstd_module() -> Any:
    """Imported when the first zstd body comes."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - see the docstring
    except ImportError:
        from backports import zstd  # noqa: PLC0415
    return zstd


class _Zstd:
    def __init__(self) -> None:
        zstd = zstd_module()
        self.errors: tuple[type[Exception], ...] = (zstd.ZstdError,)
        self._stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(chunk, _PIECE)
            if piece:
                yield piece
            if self._stream.eof or self._stream.needs_input:
                return
            chunk = b""
