"""What stays out of a sync: dependencies, version control, and what the tree's own ``.sandboxignore`` names.

Client and agent ask the same rules, so that neither sends what the other will not keep. The form is that of .gitignore: one
pattern a line, ``#`` comments, ``!`` takes back, a trailing ``/`` means directories, a ``/`` elsewhere anchors at the root,
``*`` ``?`` ``[…]`` within one component, ``**`` across components; the last matching line wins, and nothing below an ignored
directory comes back.

The file comes from an untrusted tree: its size is bounded, and matching takes time linear in pattern times path.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

IGNORE_FILE = ".sandboxignore"
ALWAYS = frozenset({".git", "node_modules"})
"""Names that stay out at any depth and cannot be taken back: large, machine-made, and of another platform than the pod's."""
MAX_BYTES = 64 * 1024
MAX_PATTERNS = 1000


@dataclass(frozen=True, slots=True)
class _Pattern:
    segments: tuple[re.Pattern[str] | None, ...]
    """None stands for ``**``."""
    directories_only: bool
    takes_back: bool


@dataclass(frozen=True, slots=True)
class Ignore:
    """A set of rules; the empty one ignores only :data:`ALWAYS`."""

    patterns: tuple[_Pattern, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ignore:
        """Rules of a ``.sandboxignore``. ValueError when it is over a bound; a pattern that means nothing matches nothing."""
        if len(text.encode(errors="surrogateescape")) > MAX_BYTES:
            raise ValueError(f"{IGNORE_FILE} is larger than {MAX_BYTES} bytes")
        patterns = [pattern for line in text.splitlines() if (pattern := _parse_line(line)) is not None]
        if len(patterns) > MAX_PATTERNS:
            raise ValueError(f"{IGNORE_FILE} has {len(patterns)} patterns, more than {MAX_PATTERNS}")
        return cls(tuple(patterns))

    def ignores(self, path: str, *, directory: bool = False) -> bool:
        """Whether the relative ``path`` stays out, by itself or because a directory above it does."""
        parts = path.split("/")
        if not ALWAYS.isdisjoint(parts):
            return True
        if not self.patterns:
            return False
        return any(self._names(parts[:depth], directory or depth < len(parts)) for depth in range(1, len(parts) + 1))

    def _names(self, parts: Sequence[str], directory: bool) -> bool:
        for pattern in reversed(self.patterns):
            if (directory or not pattern.directories_only) and _matches(pattern.segments, parts):
                return not pattern.takes_back
        return False


def _parse_line(line: str) -> _Pattern | None:
    line = line.rstrip()
    if not line or line.startswith("#"):
        return None
    takes_back = line.startswith("!")
    if takes_back or line.startswith("\\"):
        line = line[1:]
    directories_only = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    segments = [segment for segment in line.split("/") if segment]
    if not segments:
        return None
    if not anchored:
        segments.insert(0, "**")
    compiled = tuple(None if segment == "**" else re.compile(fnmatch.translate(segment)) for segment in segments)
    return _Pattern(compiled, directories_only, takes_back)


def _matches(pattern: Sequence[re.Pattern[str] | None], parts: Sequence[str]) -> bool:
    """Greedy with one point of return, the last ``**``: enough for a single kind of wildcard, and never exponential."""
    at, part, back_at, back_part = 0, 0, -1, 0
    while part < len(parts):
        if at < len(pattern) and (segment := pattern[at]) is None:
            back_at, back_part = at, part
            at += 1
        elif at < len(pattern) and segment is not None and segment.match(parts[part]):
            at, part = at + 1, part + 1
        elif back_at >= 0:
            back_part += 1
            at, part = back_at + 1, back_part
        else:
            return False
    return all(segment is None for segment in pattern[at:])
