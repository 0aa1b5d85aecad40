"""Uploads on the volume: what has arrived of each body, and what became of it, so that both outlive the agent.

``.agent/uploads/`` holds for each upload ``<id>.head`` (how the body is to be read), ``<id>.body`` (what has arrived) and, once
it was processed, ``<id>.answer`` alone. An answer is written and flushed *before* the commit it speaks of, with the number of
the revision that the commit makes; after a crash it counts only if the workspace came up with that revision. So an answer that
was given is given again, and one whose commit was lost is not.

All methods block; one thread at a time, but for :meth:`Store.answered` (the workspace's thread, in the middle of the commit).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner_agent.plain_file import write_all
from sandbox_protocol.errors import StatusError

OPEN = 4
"""Uploads that have not ended. As many as bodies are received at once."""
ANSWERS = 16
"""Answers that are kept for whoever asks again; 1 to 100 kB each, the oldest goes first."""
SECONDS = 600.0
"""From the last byte, or the answer, until an upload is forgotten."""
_PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Head:
    """What the first part says about the whole body; every further part must say the same."""

    content_type: str = ""
    encoding: str = ""
    query: tuple[tuple[str, str], ...] = ()
    revision: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"type": self.content_type, "encoding": self.encoding, "query": self.query, "revision": self.revision}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Head:
        query = tuple((str(name), str(value)) for name, value in body["query"])
        return cls(body["type"], body["encoding"], query, body["revision"])

    def parameters(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.query:
            found.setdefault(name, []).append(value)
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What a whole upload was answered. ``number`` of the revision it made or found, 0 for a refusal."""

    code: int
    body: Mapping[str, Any]
    size: int
    number: int = 0


@dataclass(slots=True)
class Upload:
    identity: str
    head: Head
    size: int = 0
    """Bytes that have arrived and are on the disk."""
    expires: float = 0.0
    """Unix time."""
    answer: Answer | None = None


class Store:
    """Opens what is left in ``folder``; ``committed`` is the number of the workspace's revision at this moment."""

    def __init__(self, folder: Path, allowed: int, committed: int, now: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._allowed = allowed
        self._now = now
        self._uploads: dict[str, Upload] = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        for file in sorted(folder.iterdir()):
            if file.suffix == ".head":
                self._reopen(file.stem)
            elif file.suffix == ".answer":
                self._remember(file, committed)
        for file in folder.iterdir():
            if file.stem not in self._uploads or file.suffix == ".new":
                file.unlink()
        self.expire()

    def _reopen(self, identity: str) -> None:
        if identity in self._uploads:  # it was answered, and the crash came before its body went
            for suffix in ("head", "body"):
                self._file(identity, suffix).unlink(missing_ok=True)
            return
        try:
            head = Head.from_json(json.loads(self._file(identity, "head").read_bytes()))
            info = self._file(identity, "body").stat()
        except (OSError, ValueError, KeyError, TypeError):
            return  # the crash came while it was begun
        self._uploads[identity] = Upload(identity, head, info.st_size, info.st_mtime + SECONDS)

    def _remember(self, file: Path, committed: int) -> None:
        try:
            kept = json.loads(file.read_bytes())
            answer = Answer(kept["code"], kept["body"], kept["size"], kept["number"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if answer.number > committed:
            file.unlink()  # the commit did not become durable: the body is still there, and its last part may come again
            return
        self._uploads[file.stem] = Upload(file.stem, Head(), answer.size, file.stat().st_mtime + SECONDS, answer)

    # -- looking --------------------------------------------------------------------------------------------------------

    def get(self, identity: str) -> Upload | None:
        self.expire()
        return self._uploads.get(identity)

    def expire(self) -> None:
        now = self._now()
        for upload in [upload for upload in self._uploads.values() if upload.expires <= now]:
            self.drop(upload)

    def known(self, identity: str) -> bool:
        return identity in self._uploads

    @property
    def next_expiry(self) -> float | None:
        """Seconds from now; None when nothing is kept."""
        ends = [upload.expires for upload in self._uploads.values()]
        return max(0.0, min(ends) - self._now()) if ends else None

    def _open(self) -> list[Upload]:
        return [upload for upload in self._uploads.values() if upload.answer is None]

    # -- receiving ------------------------------------------------------------------------------------------------------

    def begin(self, identity: str, head: Head) -> Upload:
        """StatusError 429 names how many are open, and how long until the first of them ends by itself."""
        self.expire()
        if len(opened := self._open()) >= OPEN:
            seconds = int(min(upload.expires for upload in opened) - self._now()) + 1
            message = (
                f"{len(opened)} uploads are open and {OPEN} are allowed; finish one, or wait until one expires in {seconds} s"
            )
            raise StatusError(429, message, retry_after=min(seconds, 30))
        upload = Upload(identity, head, 0, self._now() + SECONDS)
        try:
            _write(self._file(identity, "body"), b"")
            _write(self._file(identity, "head"), json.dumps(head.to_json()).encode())
            _flush_folder(self._folder)
        except OSError:
            self.drop(upload)
            raise
        self._uploads[identity] = upload
        return upload

    def check(self, upload: Upload, more: int) -> None:
        """StatusError 413 when the body would be too long by itself, 429 when it would be beside the others."""
        if upload.size + more > self._allowed:
            self.drop(upload)
            total = f"{upload.size} bytes were uploaded and {more} more are sent"
            raise StatusError(413, f"{total}; {self._allowed} are allowed in one upload (total_bytes). Nothing was changed.")
        others = sum(other.size for other in self._open() if other is not upload)
        if others + upload.size + more > self._allowed:
            message = f"other uploads hold {others} bytes; all together may hold {self._allowed} (total_bytes). Try again later."
            raise StatusError(429, message, retry_after=10)

    def append(self, upload: Upload, at: int, chunk: bytes) -> None:
        """Nothing happens unless ``at`` is the body's end: what came before ``chunk`` failed then. After an OSError the body is
        as long as it was."""
        if at != upload.size:
            return
        self.check(upload, len(chunk))
        path = self._file(upload.identity, "body")
        try:
            with path.open("ab", buffering=0) as file:
                write_all(file.fileno(), chunk)
        except OSError:
            os.truncate(path, upload.size)
            raise
        upload.size += len(chunk)
        upload.expires = self._now() + SECONDS

    def flush(self, upload: Upload) -> None:
        """What has arrived is on the disk when this returns."""
        with self._file(upload.identity, "body").open("rb") as file:
            os.fdatasync(file.fileno())

    def body(self, upload: Upload) -> Iterator[bytes]:
        with self._file(upload.identity, "body").open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece

    # -- its end --------------------------------------------------------------------------------------------------------

    def answered(self, upload: Upload, answer: Answer) -> None:
        """Durable when this returns; for a sync that means: before its commit."""
        kept = {"code": answer.code, "body": answer.body, "size": answer.size, "number": answer.number}
        new = self._file(upload.identity, "new")
        _write(new, json.dumps(kept).encode())
        new.rename(self._file(upload.identity, "answer"))
        _flush_folder(self._folder)

    def withdraw(self, upload: Upload) -> None:
        """The commit did not come about, whatever was said before it."""
        for suffix in ("answer", "new"):
            self._file(upload.identity, suffix).unlink(missing_ok=True)

    def end(self, upload: Upload, answer: Answer) -> None:
        """It was answered: the body is not needed any more."""
        upload.answer = answer
        upload.expires = self._now() + SECONDS
        for suffix in ("head", "body"):
            self._file(upload.identity, suffix).unlink(missing_ok=True)
        answers = sorted((other for other in self._uploads.values() if other.answer), key=lambda other: other.expires)
        for oldest in answers[:-ANSWERS]:
            self.drop(oldest)

    def drop(self, upload: Upload) -> None:
        self._uploads.pop(upload.identity, None)
        for suffix in ("head", "body", "answer", "new"):
            with contextlib.suppress(OSError):
                self._file(upload.identity, suffix).unlink(missing_ok=True)

    def _file(self, identity: str, suffix: str) -> Path:
        return self._folder / f"{identity}.{suffix}"


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
