"""What git knows of a folder: where its repository begins, what it tracks, and its rules beside the ``.gitignore`` files.

Without git, outside of a repository, or when git does not answer in time, nothing is known, and that is fine.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sandbox_protocol import ignore
from sandbox_protocol.ignore import Patterns

SECONDS = 5
"""For one answer of git: a repository of a million files takes one."""


@dataclass(frozen=True, slots=True)
class Repository:
    """``prefix`` is the folder's path below ``top``, with a slash at its end; the paths tracked are below ``top``."""

    top: Path | None = None
    prefix: str = ""
    tracked: frozenset[str] = frozenset()
    tracked_folders: frozenset[str] = frozenset()
    excludes: tuple[Patterns, ...] = ()
    fold_case: bool = False


def find(root: Path) -> Repository:
    """Of the repository that ``root`` lies in. Blocking."""
    folder = root.resolve()
    top = next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)
    if top is None:
        return Repository()
    prefix = folder.relative_to(top).as_posix()
    prefix = "" if prefix == "." else f"{prefix}/"
    listed = _git(folder, "ls-files", "-z", "--full-name")
    tracked = frozenset(map(os.fsdecode, filter(None, listed.split(b"\0"))))
    folders = {above for path in tracked for above in _above(path)}
    settings = _git(folder, "config", "--null", "--get-regexp", r"^core\.(ignorecase|excludesfile)$").split(b"\0")
    values = dict(os.fsdecode(item).partition("\n")[::2] for item in settings if item)
    fold_case = values.get("core.ignorecase") == "true"
    default = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "git" / "ignore"
    files = (top / ".git" / "info" / "exclude", Path(values.get("core.excludesfile") or default))
    return Repository(top, prefix, tracked, frozenset(folders), tuple(_patterns(file, fold_case) for file in files), fold_case)


def _above(path: str) -> list[str]:
    cuts = [at for at, character in enumerate(path) if character == "/"]
    return [path[:at] for at in cuts]


def _patterns(file: Path, fold_case: bool) -> Patterns:
    try:
        with file.expanduser().open("rb") as content:
            return ignore.patterns(content.read(ignore.MAX_BYTES + 1), fold_case=fold_case)
    except (OSError, RuntimeError):
        return Patterns()


def _git(folder: Path, *words: str) -> bytes:
    """Output, or nothing. A repository's configuration may name programs (core.fsmonitor); none is run."""
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - our words
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
