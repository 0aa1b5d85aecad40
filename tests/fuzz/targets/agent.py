"""What an agent reads: bodies of syncs, frames of its launcher, and its own files after a crash."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tarfile
import zlib
from typing import Any

from aiohttp.test_utils import make_mocked_request

from runner_agent import frames, journal, logs_block, paths, sync_request, sync_upload
from runner_agent.manifest import Manifest
from runner_agent.sync_request import Receiver
from runner_agent.tar_reader import TarReader
from sandbox_protocol import ignore
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.limits import SyncLimits
from sandbox_protocol.wire import JSON, TAR, ManifestEntry
from tests.fuzz.target import cuts, target

LIMITS = SyncLimits()


class Recorder:
    """A stage that keeps what it was told, and no more than it was promised."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.entries: list[tuple[Any, ...]] = []
        self.refused: list[Cause] = []
        self._size, self._content = -1, b""
        self._name: tuple[str, int] = ("", 0)

    def file(self, raw: str, mode: int, size: int) -> None:
        assert self._size < 0
        assert size >= 0
        if size > LIMITS.file_bytes:
            raise StatusError(413, "too large")
        self._name, self._size, self._content = (raw, mode), size, b""

    def data(self, chunk: bytes | memoryview) -> None:
        self._content += chunk
        assert len(self._content) <= self._size

    def end_file(self) -> None:
        assert len(self._content) == self._size
        self.entries.append(("file", *self._name, self._content))
        self._size = -1

    def link(self, raw: str, target: str) -> None:
        self.entries.append(("link", raw, target))

    def directory(self, raw: str, mode: int) -> None:
        self.entries.append(("directory", raw, mode))

    def delete(self, path: str) -> None:
        self.entries.append(("delete", path))

    def refuse(self, cause: Cause) -> None:
        told(cause)
        self.refused.append(cause)


def told(what: StatusError | Cause) -> None:
    """A refusal can be written as JSON in UTF-8 and shown on a terminal."""
    text = json.dumps(what.body() if isinstance(what, StatusError) else [what.field, what.message], ensure_ascii=False)
    text.encode()
    assert len(text) < 64 * 1024


def _tar(pieces: list[bytes]) -> Recorder | str:
    sink = Recorder()
    reader = TarReader(sink)
    try:
        for piece in pieces:
            reader.feed(piece)
            assert len(reader._pending) <= 64 * 1024 + 512
        reader.close()
    except StatusError as error:
        assert error.code in {400, 413}
        told(error)
        return error.message
    return sink


@target
def tar(data: bytes) -> None:
    """StatusError 400 only (413 from the stage), in bounded memory, the same in whatever pieces. The standard library sees the
    same files in what is accepted."""
    data += bytes(-len(data) % 512 + 1024)
    whole = _tar([data])
    pieces = _tar(list(cuts(data)))
    if isinstance(whole, str) or isinstance(pieces, str):
        assert isinstance(whole, str) == isinstance(pieces, str)
        return
    assert whole.entries == pieces.entries
    assert len(whole.refused) == len(pieces.refused)
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as other:
            files = [(member.name, other.extractfile(member)) for member in other if member.isreg() and not member.issparse()]
            seen = {name: file.read() for name, file in files if file is not None}
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError):
        return
    ours = {entry[1].rstrip("/"): entry[3] for entry in whole.entries if entry[0] == "file" and not whole.refused}
    for name, content in ours.items():
        if name in seen and "\0" not in name:
            assert seen[name] == content


@target
def sync_json(data: bytes) -> None:
    """StatusError 400 or 413 only, the same in whatever pieces; a refusal is legible."""
    results: list[object] = []
    for pieces in ([data], list(cuts(data))):
        stage: Any = Recorder()
        try:
            receiver = Receiver(stage, JSON, "", {})
            for piece in pieces:
                receiver.feed(piece)
            results.append((receiver.finish(), stage.entries))
        except StatusError as error:
            assert error.code in {400, 413}
            told(error)
            results.append((error.code, error.message))
    assert results[0] == results[1]


@target
def sync_compressed(data: bytes) -> None:
    """The first byte chooses gzip or zstd. StatusError 400, 413 or 415 only; no piece is larger than a quarter of a MiB."""
    encoding = "zstd" if data[:1] == b"z" else "gzip"
    decoder = sync_request._decoder(encoding, LIMITS)
    total = 0
    try:
        for piece in cuts(data[1:]):
            for out in decoder.decode(piece):
                assert 0 < len(out) <= 256 * 1024
                total += len(out)
        decoder.close()
    except StatusError as error:
        assert error.code in {400, 413}
        told(error)
    assert total <= 1024 * 1024 + 256 * 1024 + len(data) * LIMITS.ratio


@target
def sync_query(data: bytes) -> None:
    """Lines: media type, encoding, If-Match, then parameters as name=value. StatusError 400 or 415 only, and legible."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    lines += [""] * (3 - len(lines))
    query: dict[str, list[str]] = {}
    for line in lines[3:]:
        name, _, value = line.partition("=")
        query.setdefault(name, []).append(value)
    stage: Any = Recorder()
    try:
        Receiver(stage, lines[0] or TAR, lines[1], query)
        revision = sync_request.precondition(lines[2])
        assert revision
        assert '"' not in revision
    except StatusError as error:
        assert error.code in {400, 415}
        told(error)


@target
def upload_headers(data: bytes) -> None:
    """Lines: query, Upload-Offset, Upload-Complete, Content-Type, Content-Encoding, If-Match. StatusError 400 only; the name of
    an upload can be the name of a file, its offset is a natural number."""
    lines = data.decode("latin-1").translate({0: None, 13: None}).split("\n")
    lines += [""] * (6 - len(lines))
    names = ("Upload-Offset", "Upload-Complete", "Content-Type", "Content-Encoding", "If-Match")
    with contextlib.suppress(ValueError):  # not even a URL: aiohttp refuses it before us
        request = make_mocked_request("POST", "/sync?" + "".join(lines[0].split()), dict(zip(names, lines[1:], strict=False)))
        _ = request.query
        try:
            identity = sync_upload._identity(request) if "upload" in request.query else "none-was-asked"
            offset, _last = sync_upload._offset(request), sync_upload._complete(request)
            sync_upload._head(request)
        except StatusError as error:
            assert error.code == 400
            told(error)
            return
        assert set(identity) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        assert 0 <= offset < 10**15


@target
def path(data: bytes) -> None:
    """Two lines, a path and the target of a link at it. RefusedError only; what is accepted is relative, normal, and stays below
    the root."""
    raw, _, link = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        parsed = paths.parse(raw)
    except paths.RefusedError as error:
        told(error.cause)
        return
    parsed.encode()
    assert not parsed.startswith("/")
    assert not {"", ".", ".."} & set(parsed.split("/")) or not parsed
    assert paths.parse(parsed or ".") == parsed
    if not parsed:
        return
    try:
        paths.check_link(parsed, link)
    except paths.RefusedError as error:
        told(error.cause)
        return
    depth = parsed.count("/")
    for part in link.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        assert depth >= 0


@target
def sandboxignore(data: bytes) -> None:
    """No exception; the first line is a path, the rest the patterns."""
    name, _, patterns = data.partition(b"\n")
    found = ignore.parse(patterns)
    text = name.decode("utf-8", "replace")
    assert found.ignores(text) == ignore.parse(patterns).ignores(text)


@target
def launcher_frames(data: bytes) -> None:
    """FrameError only, the same frames in whatever pieces, and never more kept than one frame."""
    results = []
    for pieces in ([data], list(cuts(data))):
        decoder, found = frames.Decoder(), []
        try:
            for piece in pieces:
                for kind, payload in decoder.feed(piece):
                    found.append((kind, payload))
                    _understood(kind, payload)
                assert len(decoder._buffer) <= frames.MAX_FRAME + 5
            results.append((found, ""))
        except frames.FrameError as error:
            str(error).encode()
            results.append((found, "refused"))
    assert results[0] == results[1]


def _understood(kind: frames.Kind, payload: bytes) -> None:
    if kind is not frames.Kind.CONTROL:
        run, text = frames.output(payload)
        assert 0 <= run <= frames.MAX_RUN_ID
        assert len(text) == len(payload) - 4
        return
    with contextlib.suppress(frames.FrameError):
        match frames.parse(payload):
            case frames.Hello(pid=pid, running=running):
                assert pid >= 0
                assert len(running) <= frames.MAX_RUNS
                assert all(len(run.label) <= frames.MAX_LABEL for run in running)
            case frames.Exited(error=said):
                assert len(said) <= 1000


@target
def manifest(data: bytes) -> None:
    """ValueError only; what is accepted is written again byte for byte, its head apart, and reads the same."""
    try:
        found, generation = Manifest.load(data)
    except ValueError:
        return
    again = found.dump(generation)
    assert again.partition(b"\n")[2] == data.partition(b"\n")[2]
    assert Manifest.load(again)[0].revision == found.revision


def _commit(data: bytes, number: int) -> journal.Commit:
    text = data.decode("utf-8", "replace")
    entry = ManifestEntry(text or "x", "file", len(data), 0o644, "ab" * 32)
    return journal.Commit(f"s{number}", number, remove=(text,), put=(journal.Put(entry, f"s{number}.0", "inline"),), blob=data)


@target
def journal_crash(data: bytes) -> None:
    """A crash leaves a prefix, or one with a tail of other bytes. The first two bytes say where it is cut, the next whether
    garbage follows, the rest is content and garbage: no exception; the whole commits that were written are found, and nothing
    else."""
    cut, garbage, content = int.from_bytes(data[:2], "big"), data[2:3], data[3:]
    commits = [_commit(part, number) for number, part in enumerate(content.split(b"\n")[:5], 1)]
    head = json.dumps({"format": 1, "generation": 3, "boot": "b"}).encode()
    whole = journal._frame(b"H", head)
    for commit in commits:
        whole += journal._frame(b"C", journal.encode(commit)) + journal._frame(b"D", b"")
    left = whole[: cut % (len(whole) + 1)]
    log = journal.scan(left + (content if garbage and garbage[0] & 1 else b""))
    if log is None:
        assert len(left) < len(journal._frame(b"H", head))
    else:
        assert log.commits == tuple(commits[: len(log.commits)])
        # more only if the garbage is what was cut off
        assert len(log.commits) >= sum(at <= len(left) for at in _ends(commits, len(journal._frame(b"H", head))))


def _ends(commits: list[journal.Commit], at: int) -> list[int]:
    ends = []
    for commit in commits:
        at += len(journal._frame(b"C", journal.encode(commit)))
        ends.append(at)
        at += len(journal._frame(b"D", b""))
    return ends


@target
def log_blocks(data: bytes) -> None:
    """Bytes of a segment, and the same as the content of a block whose sum is right. No exception while blocks are looked for;
    ValueError only from their records, and each record is what its block says."""
    for block in logs_block.read_blocks(io.BytesIO(data), 0):
        _records(block)
    if len(data) >= 4:
        _records(logs_block.Block(1 << 40, int.from_bytes(data[:2], "big"), data[2:]))
    rest = struct.pack("<IIQQ", len(data), 3, 5, 7)
    forged = b"alb1" + struct.pack("<I", zlib.crc32(data, zlib.crc32(rest))) + rest + data
    found = list(logs_block.read_blocks(io.BytesIO(forged), 0))
    assert [bytes(block.data) for block in found] == [data]


def _records(block: logs_block.Block) -> None:
    size = 0
    with contextlib.suppress(ValueError):
        for record in block.records():
            assert record.stream in ("stdout", "stderr", "system")
            size += len(record.text)
            assert size <= len(block.data)
