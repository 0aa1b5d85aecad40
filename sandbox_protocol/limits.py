"""Numbers that bound what a caller or the app can make us do. The template may lower or raise those marked (template)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncLimits:
    """Bounds of one sync (template: ``spec.limits.sync``); over any of them the answer is 413 with both numbers."""

    body_bytes: int = 64 * 1024 * 1024
    """Bytes of the request body as it travels. 64 MiB pass the API server well inside its 60 s."""
    json_body_bytes: int = 64 * 1024 * 1024
    """JSON is held in memory while it is parsed: three times its bytes, whatever its characters, beside what the agent has."""
    total_bytes: int = 512 * 1024 * 1024
    """Bytes written by one sync after decompression."""
    file_bytes: int = 256 * 1024 * 1024
    files: int = 20_000
    """Entries written or deleted by one sync."""
    tree_entries: int = 200_000
    """Entries of the managed tree."""
    ratio: int = 200
    """Decompressed to compressed bytes, looked at once 1 MiB came out: source code stays below 20, a bomb above 1000."""


LOG_BYTES = 32 * 1024 * 1024
"""Of the log that is kept on the volume (template: ``spec.limits.logBytes``): some 300,000 lines."""
MIN_LOG_BYTES = 1024 * 1024

PATH_BYTES = 1024
"""Of a relative path. PATH_MAX of Linux is 4096; the workspace's own prefix and a suffix must fit as well."""
NAME_BYTES = 255
"""Of one path component (NAME_MAX of ext4, xfs, overlayfs)."""
