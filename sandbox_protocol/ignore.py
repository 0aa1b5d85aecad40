"""Which entries stay out of a sync without failing it: node_modules, .git, and what the tree's ``.sandboxignore`` names.

Client and agent ask the same rules. Of a folder that it sends, the client asks more (:mod:`sandbox_client.leaving_out`).
The patterns are gitignore's, judged as git judges them: ``#`` comments, ``!`` takes back, a trailing ``/`` means directories,
a ``/`` elsewhere anchors at the file's own folder, the last match wins, and below an ignored directory nothing can be taken back.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox_protocol import wildmatch

FILE = ".sandboxignore"
NEVER = frozenset({"node_modules", ".git"})
"""At any depth: dependencies are installed in the pod (other machine, other binaries), and history is not the app's input."""

MAX_BYTES, MAX_PATTERNS = 64 * 1024, 500
"""Of .sandboxignore. Every entry is held against every pattern, and the file is written by whoever syncs or by the app."""

_BOM = b"\xef\xbb\xbf"
_Match = re.Pattern[bytes]


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of such a file."""

    text: str
    negated: bool
    directories_only: bool
    by_name: bool
    """It has no slash, so it is held against the last component alone."""
    expression: bytes
    """For ``re.fullmatch``, flags DOTALL, over the bytes of a path or name."""


@dataclass(frozen=True, slots=True)
class Patterns:
    """Those of one file, in its order."""

    lines: tuple[Pattern, ...] = ()
    fold_case: bool = False
    _any: dict[bool, _Match | None] = field(default_factory=dict, compare=False)
    """For the patterns by name, and for the others: what matches if any of them does."""

    def last(self, path: str, directory: bool) -> Pattern | None:
        """The last one that matches ``path``, which is relative to the folder of the file."""
        whole = os.fsencode(path)
        name = whole.rpartition(b"/")[2]
        if not (self._possible(True, name) or self._possible(False, whole)):
            return None
        for line in reversed(self.lines):
            if (directory or not line.directories_only) and self._matches(line.expression, name if line.by_name else whole):
                return line
        return None

    def _possible(self, by_name: bool, text: bytes) -> bool:
        """Most entries match nothing; one look at all patterns together tells so."""
        if by_name not in self._any:
            found = [line.expression for line in self.lines if line.by_name is by_name]
            self._any[by_name] = _compiled(b"|".join(b"(?:" + one + b")" for one in found), self.fold_case) if found else None
        expression = self._any[by_name]
        return expression is not None and expression.fullmatch(text) is not None

    def _matches(self, expression: bytes, text: bytes) -> bool:
        return _compiled(expression, self.fold_case).fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(expression: bytes, fold_case: bool) -> _Match:
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if fold_case else 0))


@dataclass(slots=True)
class Ignore:
    """Answers for one ``.sandboxignore``; remembers directories, which most entries of a tree share."""

    patterns: Patterns = field(default_factory=Patterns)
    _directories: dict[str, tuple[str, str] | None] = field(default_factory=dict)

    def reason(self, path: str, *, directory: bool = False) -> tuple[str, str] | None:
        """``(topmost ignored path, why)``, or None when ``path`` takes part."""
        parent, _, _ = path.rpartition("/")
        if parent:
            if parent not in self._directories:
                self._directories[parent] = self.reason(parent, directory=True)
            if above := self._directories[parent]:
                return above
        return self._own(path, directory)

    def ignores(self, path: str, *, directory: bool = False) -> bool:
        return self.reason(path, directory=directory) is not None

    def _own(self, path: str, directory: bool) -> tuple[str, str] | None:
        name = path.rpartition("/")[2]
        if name in NEVER:
            return path, f"{name} is never synced"
        found = self.patterns.last(path, directory) if self.patterns.lines else None
        return None if found is None or found.negated else (path, f"{FILE} names it: {found.text}")


def parse(content: bytes) -> Ignore:
    """Of a ``.sandboxignore``; lines over the bounds are left unread."""
    return Ignore(patterns(content))


@functools.lru_cache(maxsize=8)  # every sync reads the same file again
def patterns(content: bytes, *, fold_case: bool = False) -> Patterns:
    """Of a file in gitignore's grammar. ``fold_case`` is git's core.ignoreCase."""
    if len(content) > MAX_BYTES:
        content = content[: content.rfind(b"\n", 0, MAX_BYTES)]  # half a pattern would mean something else
    return Patterns(tuple(_lines(content.removeprefix(_BOM)))[:MAX_PATTERNS], fold_case)


def _lines(content: bytes) -> Iterator[Pattern]:
    for raw in content.split(b"\n"):
        line = _without_trailing_spaces(raw.removesuffix(b"\r").partition(b"\0")[0])
        if not line or line.startswith(b"#"):
            continue
        negated, body = line.startswith(b"!"), line.removeprefix(b"!")
        directories_only, body = body.endswith(b"/"), body.removesuffix(b"/")
        by_name, anchored = b"/" not in body, body.removeprefix(b"/")
        if anchored:
            text = line.decode("utf-8", "replace")
            yield Pattern(text, negated, directories_only, by_name, wildmatch.translate(anchored))


def _without_trailing_spaces(line: bytes) -> bytes:
    """Spaces alone, and not one that a backslash keeps."""
    kept = line.rstrip(b" ")
    backslashes = len(kept) - len(kept.rstrip(b"\\"))
    return kept + b" " if backslashes % 2 and len(kept) < len(line) else kept
