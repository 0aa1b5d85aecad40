"""Which entries stay out of a sync without failing it: node_modules, .git, and what the tree's ``.sandboxignore`` names.

Client and agent ask the same rules, so that neither sends what the other will not keep. The patterns are gitignore's: ``#``
comments, ``!`` takes back, a trailing ``/`` means directories, a ``/`` elsewhere anchors at the root, ``**`` spans components,
the last match wins, and below an ignored directory nothing can be taken back.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

FILE = ".sandboxignore"
ALWAYS = frozenset({"node_modules", ".git"})
"""At any depth: dependencies are installed in the pod (other machine, other binaries), and history is not the app's input."""

MAX_BYTES, MAX_PATTERNS = 64 * 1024, 500
"""Of .sandboxignore. Every entry is held against every pattern, and the file is written by whoever syncs or by the app."""

_Component = Callable[[str], object] | None


@dataclass(frozen=True, slots=True)
class _Pattern:
    text: str
    negated: bool
    directories_only: bool
    components: tuple[_Component, ...]
    """A matcher a component; None is ``**``."""


@dataclass(slots=True)
class Ignore:
    """Answers for one ``.sandboxignore``; remembers directories, which most entries of a tree share."""

    patterns: tuple[_Pattern, ...] = ()
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
        parts = path.split("/")
        if parts[-1] in ALWAYS:
            return path, f"{parts[-1]} is never synced"
        for pattern in reversed(self.patterns):
            if (directory or not pattern.directories_only) and _matches(pattern.components, parts):
                return None if pattern.negated else (path, f"{FILE} names it: {pattern.text}")
        return None


def parse(content: bytes) -> Ignore:
    """Patterns of a ``.sandboxignore``; lines over the bounds are left unread, undecodable bytes match nothing."""
    if len(content) > MAX_BYTES:
        content = content[: content.rfind(b"\n", 0, MAX_BYTES)]  # half a pattern would mean something else
    lines = content.decode("utf-8", "replace").splitlines()
    return Ignore(tuple(_patterns(lines))[:MAX_PATTERNS])


def _patterns(lines: Iterable[str]) -> Iterable[_Pattern]:
    for line in lines:
        text = line.rstrip()
        if not text or text.startswith("#"):
            continue
        negated, body = text.startswith("!"), text.removeprefix("!").removeprefix("\\")
        directories_only, body = body.endswith("/"), body.rstrip("/")
        if not body:
            continue
        anchored = "/" in body
        parts = [part for part in body.split("/") if part]
        components: list[_Component] = [] if anchored else [None]
        for part in parts:
            # consecutive "**" say the same as one, and would only multiply the work
            if part != "**":
                # fnmatch.translate writes possessive groups: matching one name is linear, whatever the pattern
                components.append(re.compile(fnmatch.translate(part)).match)
            elif not components or components[-1] is not None:
                components.append(None)
        yield _Pattern(text, negated, directories_only, tuple(components))


def _matches(components: tuple[_Component, ...], parts: list[str]) -> bool:
    """Whole-path match. Greedy with one point of return, the last ``**``: enough for one kind of wildcard, never exponential."""
    at, part, back_at, back_part = 0, 0, -1, 0
    while part < len(parts):
        if at < len(components) and (matcher := components[at]) is None:
            back_at, back_part = at, part
            at += 1
        elif at < len(components) and matcher is not None and matcher(parts[part]):
            at, part = at + 1, part + 1
        elif back_at >= 0:
            back_part += 1
            at, part = back_at + 1, back_part
        else:
            return False
    return all(matcher is None for matcher in components[at:])
