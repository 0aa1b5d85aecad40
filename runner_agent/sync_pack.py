"""The contents of a sync's small files, one after another: in memory up to 1 MiB, in one file beyond.

Writing and flushing one file is several times quicker than 2,000, and a sync that is refused or changes nothing leaves no more
than that to remove.
"""

from __future__ import annotations

import os

from runner_agent.plain_file import write_all

INLINE_BYTES = 1024 * 1024
"""A pack up to this travels inside the journal's commit record: one flush for the whole sync. Beyond, as much is gathered in
memory before it is written."""


class Pack:
    """One thread at a time, but for :meth:`flush`. ``folder`` is the staging folder's handle and stays the caller's."""

    def __init__(self, folder: int, name: str) -> None:
        self.name = name
        self.size = 0
        self._folder = folder
        self._buffer = bytearray()
        self._fd: int | None = None
        self._named = False

    @property
    def inline(self) -> bool:
        """Whether it is small enough for the journal. From when it is not, it never is again."""
        return self.size <= INLINE_BYTES

    @property
    def full(self) -> bool:
        """Whether :meth:`write` is due."""
        return len(self._buffer) > INLINE_BYTES

    def append(self, chunk: bytes | memoryview) -> None:
        self._buffer += chunk
        self.size += len(chunk)

    def content(self, offset: int, size: int) -> bytes:
        at = offset - (self.size - len(self._buffer))
        if self._fd is None or at >= 0:
            return bytes(self._buffer[at : at + size])
        return os.pread(self._fd, size, offset)

    def write(self) -> None:
        """What has been gathered, to the file; what is inline stays in memory."""
        if self.inline or not self._buffer:
            return
        if self._fd is None:
            self._fd = os.open(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._folder)
        write_all(self._fd, self._buffer)
        self._buffer.clear()

    def flush(self) -> None:
        """What was written is on the disk when this returns, the first time with the file's name. Any thread, one at a time,
        while another goes on."""
        if self._fd is None:
            return
        os.fdatasync(self._fd)
        if not self._named:
            os.fsync(self._folder)
            self._named = True

    def close(self) -> bool:
        """Whether there was a file."""
        if self._fd is None:
            return False
        os.close(self._fd)
        self._fd = None
        return True
