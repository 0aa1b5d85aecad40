"""What of a local folder stays out of a sync, and why.

In this order, the first that has a word decides: dependencies and history (always out), ``.sandboxignore`` (either way), what
tools make anew (out), files with secrets (out, unless git tracks them or the caller takes them), git's index (in), then git's own
rules: ``.gitignore`` of each folder up to the top of the repository, ``.git/info/exclude``, the user's ``core.excludesFile``.
Rules of a repository that ignores the folder itself, as one does its build output, say nothing about what is in it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandbox_client import git
from sandbox_protocol import ignore
from sandbox_protocol.ignore import NEVER, Patterns

Kind = Literal["dependencies", "cache", "ignored", "secret", "link", "unreadable", "special", "name"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A path that does not travel, with all below it; ``reason`` is for people."""

    path: str
    kind: Kind
    reason: str


_MADE = frozenset(
    {
        *("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".tox", ".nox", ".ipynb_checkpoints"),
        *(
            ".next",
            ".nuxt",
            ".output",
            ".svelte-kit",
            ".astro",
            ".angular",
            ".turbo",
            ".parcel-cache",
            ".vite",
            ".vinxi",
            ".nitro",
        ),
        *(".react-router", ".docusaurus", ".expo", ".nx", ".eslintcache", ".stylelintcache", ".sass-cache", ".rpt2_cache"),
    }
)
"""Folders and files that tools make anew, for the machine they run on."""

_LITTER = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\._.*|4913|\..*\.sw[a-p]|.*\.swp|\.#.*|#.*#|.*~")
"""Of desktops and editors: vim writes 4913 to try whether it may, emacs a link .#name that leads nowhere."""

_SECRET = re.compile(r"\.env(\..+)?|\.envrc|\.dev\.vars(\..+)?")
_EXAMPLE = re.compile(r".*\.(example|sample|template|dist|defaults|schema)")


@dataclass(slots=True)
class Rules:
    """Of one folder. Blocking: reads rule files when a folder is first asked about."""

    root: Path
    include_env: bool = False
    repository: git.Repository = field(default_factory=git.Repository)
    _files: dict[str, Patterns] = field(default_factory=dict)
    _directories: dict[str, LeftOut | None] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, *, include_env: bool = False) -> Rules:
        rules = cls(root, include_env, git.find(root))
        at = rules.repository.prefix.rstrip("/")
        while at:
            if rules._gits_word(at, True):
                rules.repository = git.Repository()
                rules._files.clear()
                break
            at = at.rpartition("/")[0]
        return rules

    def reason(self, path: str, *, directory: bool = False) -> LeftOut | None:
        """Why ``path`` stays out, itself or by the topmost folder that does; None when it takes part."""
        parent = path.rpartition("/")[0]
        if parent:
            if parent not in self._directories:
                self._directories[parent] = self.reason(parent, directory=True)
            above = self._directories[parent]
            if above is not None and (directory or not self._tracked(path, above)):
                return above
        return self._own(path, directory)

    def ignores(self, path: str, *, directory: bool = False) -> bool:
        return self.reason(path, directory=directory) is not None

    def enters(self, path: str, left_out: LeftOut) -> bool:
        """Whether git tracks something below the folder ``path``, which stays out because of ``left_out``."""
        return self.repository.prefix + path in self.repository.tracked_folders and self._gives_way(left_out)

    def _tracked(self, path: str, left_out: LeftOut) -> bool:
        return self.repository.prefix + path in self.repository.tracked and self._gives_way(left_out)

    def _gives_way(self, left_out: LeftOut) -> bool:
        """What git ignores does to what it tracks; what ``.sandboxignore`` names stays out."""
        if left_out.kind != "ignored":
            return False
        word = self._word(ignore.FILE, left_out.path, True, "")
        return word is None or word.negated

    def _own(self, path: str, directory: bool) -> LeftOut | None:
        name = path.rpartition("/")[2]
        if name in NEVER:
            why = "installed in the pod" if name == "node_modules" else "never synced"
            return LeftOut(path, "dependencies", f"{name} is {why}")
        word = self._word(ignore.FILE, path, directory, "")
        if word is not None:
            return None if word.negated else LeftOut(path, "ignored", f"{ignore.FILE} names it: {word.text}")
        if name in _MADE or (not directory and _LITTER.fullmatch(name)):
            return LeftOut(path, "cache", f"{name} is made anew by tools")
        if directory and (self.root / path / "pyvenv.cfg").is_file():
            return LeftOut(path, "dependencies", "a virtual environment is made in the pod")
        tracked = not directory and self.repository.prefix + path in self.repository.tracked
        if not directory and _SECRET.fullmatch(name) and not _EXAMPLE.fullmatch(name):
            return None if tracked or self.include_env else LeftOut(path, "secret", "may hold secrets; --include-env takes it")
        text = None if tracked else self._gits_word(self.repository.prefix + path, directory)
        return LeftOut(path, "ignored", text) if text else None

    def _gits_word(self, full: str, directory: bool) -> str:
        """The rule that ignores ``full``, a path below the repository's top, or nothing."""
        prefix = self.repository.prefix
        word = self._word(".gitignore", full, directory, prefix)
        if word is not None:
            return "" if word.negated else f".gitignore names it: {word.text}"
        for patterns in self.repository.excludes:
            if found := patterns.last(full, directory):
                return "" if found.negated else f"git's excludes name it: {found.text}"
        return ""

    def _word(self, file: str, path: str, directory: bool, prefix: str) -> ignore.Pattern | None:
        """Of the rule files above ``path``, the nearest first."""
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            below = path[len(folder) + 1 :] if folder else path
            if found := self._patterns(f"{folder}/{file}" if folder else file, prefix).last(below, directory):
                return found
        return None

    def _patterns(self, file: str, prefix: str) -> Patterns:
        key = f"{prefix}\0{file}"
        if key not in self._files:
            top = self.repository.top if prefix and self.repository.top else self.root
            self._files[key] = read(top / file, self.repository.fold_case and file.endswith(".gitignore"))
        return self._files[key]


def read(file: Path, fold_case: bool = False) -> Patterns:
    """Nothing of what is no readable file; git follows no link here, either."""
    try:
        fd = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(fd, "rb") as content:
            return ignore.patterns(content.read(ignore.MAX_BYTES + 1), fold_case=fold_case)
    except OSError:
        return Patterns()
