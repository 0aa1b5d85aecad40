"""The body of a sync, as it travels: decoded, held to its limits, and handed to the stage. No disk, no event loop."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runner_agent import paths
from runner_agent.sync_stage import Stage, over
from runner_agent.tar_reader import TarReader
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import JSON, TAR, DriftMode, RestartMode, SyncMode

_PIECE = 256 * 1024
"""Bytes that come out of a decompressor at once."""
_RATIO_FROM = 1024 * 1024
"""Bytes that must have come out before the ratio is looked at: a short text of one letter is no bomb."""
_ZSTD_WINDOW_LOG = 23
"""8 MiB, what zstd uses up to level 19; more (``--ultra``, ``--long``) would be taken from the agent's memory."""


@dataclass(frozen=True, slots=True)
class Options:
    mode: SyncMode = "merge"
    restart: RestartMode = "auto"
    drift: DriftMode = "keep"


_DEFAULTS = {"mode": "merge", "restart": "auto", "drift": "keep"}


def options(mode: Any, restart: Any, drift: Any) -> Options:
    """StatusError 400 names the field and its values."""
    if mode not in ("merge", "mirror"):
        raise bad("mode", f"must be merge or mirror, not {paths.shown(str(mode))}")
    if restart not in ("auto", "always", "never"):
        raise bad("restart", f"must be auto, always or never, not {paths.shown(str(restart))}")
    if drift not in ("keep", "overwrite"):
        raise bad("drift", f"must be keep or overwrite, not {paths.shown(str(drift))}")
    return Options(mode, restart, drift)


def bad(field: str, message: str) -> StatusError:
    return StatusError(400, f"{field} {message}", causes=[Cause(field, "Invalid", message)])


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
            self._body = _JsonBody(stage, limits)
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
        chosen = (query.get(name, (default,))[0] for name, default in _DEFAULTS.items())
        self._options = options(*chosen)
        for path in query.get("delete", ()):
            stage.delete(path)
        self._reader = TarReader(stage)

    def feed(self, piece: bytes) -> None:
        self._reader.feed(piece)

    def finish(self) -> Options:
        self._reader.close()
        return self._options


class _JsonBody:
    def __init__(self, stage: Stage, limits: SyncLimits) -> None:
        self._stage, self._allowed = stage, limits.json_body_bytes
        self._bytes = bytearray()

    def feed(self, piece: bytes) -> None:
        self._bytes += piece
        if len(self._bytes) > self._allowed:
            raise over("json_body_bytes", f"the JSON has more than {self._allowed} bytes", self._allowed)

    def finish(self) -> Options:
        received, self._bytes = self._bytes, bytearray()
        try:
            # one copy at a time: bytes, text and parsed strings together would be three times the body
            text = received.decode()
            received.clear()
            body = json.loads(text, object_pairs_hook=_unique)
            del text
        except (ValueError, RecursionError) as error:
            raise StatusError(400, f"the body is not JSON: {str(error)[:200]}") from error
        return stage_json(body, self._stage)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers of JSON do not agree which of two equal names counts (RFC 8259 §4), so there must not be two."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise bad(paths.shown(twice), "is given twice in one object")
    return found


def stage_json(body: Any, stage: Stage) -> Options:
    """``{"files":[{"path","content"|"contentBase64","mode"?}],"delete":[paths],"mode","restart","drift"}``; 400 names a field."""
    _only(body, "the body", {"files", "delete", *_DEFAULTS, "kind", "apiVersion"})
    files, deletes = _list(body, "files"), _list(body, "delete")
    chosen = options(*(body.get(name, default) for name, default in _DEFAULTS.items()))
    for index, path in enumerate(deletes):
        if not isinstance(path, str):
            raise bad(f"delete[{index}]", "must be a string")
        stage.delete(path)
    for index, file in enumerate(files):
        field = f"files[{index}]"
        _only(file, field, {"path", "content", "contentBase64", "mode"})
        path = file.get("path")
        if not isinstance(path, str):
            raise bad(f"{field}.path", "must be a string")
        content = _content(file, field)
        if path.endswith("/"):
            stage.refuse(Cause(paths.shown(path), "InvalidPath", "a file's path cannot end with '/'"))
            continue
        files[index] = None  # its text is not needed any more
        stage.file(path, _mode(file.get("mode"), f"{field}.mode"), len(content))
        stage.data(content)
        stage.end_file()
    return chosen


def _list(body: Mapping[str, Any], field: str) -> list[Any]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad(field, "must be a list")
    return value


def _only(value: Any, name: str, known: set[str]) -> None:
    if not isinstance(value, dict):
        raise bad(name, "must be an object")
    if unknown := sorted(value.keys() - known):
        prefix = "" if name == "the body" else f"{name}."
        raise bad(f"{prefix}{paths.shown(unknown[0])}", f"is not a field here; {', '.join(sorted(known))} are")


def _content(file: Mapping[str, Any], field: str) -> bytes:
    text, encoded = file.get("content"), file.get("contentBase64")
    if (text is None) == (encoded is None):
        raise bad(field, "needs either content or contentBase64")
    if text is not None:
        if not isinstance(text, str):
            raise bad(f"{field}.content", "must be a string")
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise bad(f"{field}.content", "holds half a surrogate pair; send contentBase64") from None
    if not isinstance(encoded, str):
        raise bad(f"{field}.contentBase64", "must be a string")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"{field}.contentBase64", "is not base64") from None


def _mode(value: object, field: str) -> int:
    """An octal string, or a number as Kubernetes writes modes in JSON (420 is 0644); setuid and the like are dropped."""
    if value is None:
        return 0o644
    if isinstance(value, str) and (digits := value.removeprefix("0o")) and len(digits) <= 6 and not digits.strip("01234567"):
        return int(digits, 8) & 0o777
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise bad(field, 'must be an octal string such as "0644", or a number up to 511 (420 is 0644)')


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
