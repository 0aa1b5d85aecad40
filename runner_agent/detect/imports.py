"""Which files of a tree a server program is made of, as far as its own imports tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runner_agent.detect.reading import Reader

if TYPE_CHECKING:
    from runner_agent.detect.programs import Program

_FILES = 60
"""Files that are followed from one entry; a larger program lies in a folder of its own."""
_IMPORT = re.compile(r"""(?:from|import|require\(|import\()\s*["'](\.{1,2}/[^"'\n]+)["']""")
_ENDINGS = ("", ".js", ".ts", ".mjs", ".cjs", ".mts", ".tsx", ".jsx", "/index.js", "/index.ts")
_SHARED = ("", "src")
"""Folders in which server and pages lie side by side."""


def sources_of(read: Reader, folder: str, program: Program) -> tuple[str, ...]:
    """Paths of files, or of folders with a ``/`` at the end: the entry's own folder, or what it imports where it has none of
    its own."""
    entry = "/".join(part for part in (folder, program.entry) if part)
    if not program.entry or read(entry) is None:
        return (f"{folder}/",) if folder else ()
    inside = program.entry.rpartition("/")[0]
    if inside not in _SHARED or folder:
        return (f"{folder}/",) if folder else (f"{inside}/",)
    found, waiting = [entry], [entry]
    while waiting and len(found) < _FILES:
        path = waiting.pop()
        for relative in _IMPORT.findall((read(path) or b"").decode("utf-8", "replace")):
            if (target := _resolved(read, path.rpartition("/")[0], relative)) is not None and target not in found:
                found.append(target)
                waiting.append(target)
    return tuple(found)


def _resolved(read: Reader, folder: str, relative: str) -> str | None:
    parts = folder.split("/") if folder else []
    for part in relative.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", "..", ""):
            parts.append(part)
    path = "/".join(parts)
    endings = (*_ENDINGS, ".ts") if not path.endswith(".js") else ("",)
    if path.endswith(".js") and read(path) is None:  # TypeScript writes .js for what is a .ts
        return next((each for each in (path[:-3] + ".ts", path[:-3] + ".tsx") if read(each) is not None), None)
    return next((path + ending for ending in endings if read(path + ending) is not None), None)
