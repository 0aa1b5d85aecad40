"""Packages that lie in the tree itself: the members of uv's workspace, and uv's other sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from runner_agent.detect.python_tables import name_of, table, texts, toml
from runner_agent.detect.reading import Reader, below, folders

_MOST = 2000


def local(read: Reader, document: Mapping[str, Any], lines: Sequence[str]) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """uv's own sources of packages in the words of pip: what lies in the tree is imported from there, with its dependencies.

    No index is asked for such a name: there it may be anybody's package. The folders to import from, and their manifests.
    """
    uv = table(table(document.get("tool")).get("uv"))
    sources = {
        name_of(name): table(said[0] if isinstance(said, list) and said else said)
        for name, said in table(uv.get("sources")).items()
    }
    members = _members(read, texts(table(uv.get("workspace")).get("members")))
    found: list[str] = []
    inner: list[str] = []
    files: list[str] = []
    waiting = list(lines)
    while waiting and len(found) < _MOST:
        line = waiting.pop(0)
        source = sources.get(name_of(line))
        path = source.get("path") if source is not None else None
        folder = members.get(name_of(line)) if source is not None else None
        if isinstance(path, str) and read(f"{path}/pyproject.toml".removeprefix("./")) is not None:
            folder = path.removeprefix("./").rstrip("/")
        if source is None:
            found.append(line)
        elif folder is not None and folder not in files:
            there = below(read, folder)
            inner.append(f"{folder}/src" if there.names("src") else folder)
            files.append(folder)
            waiting += texts(table(toml(there("pyproject.toml")).get("project")).get("dependencies"))
        elif isinstance(git := source.get("git"), str):
            at = next((source[key] for key in ("rev", "tag", "branch") if isinstance(source.get(key), str)), "")
            found.append(f"{name_of(line)} @ git+{git}" + (f"@{at}" if at else ""))
        elif isinstance(url := source.get("url"), str):
            found.append(f"{name_of(line)} @ {url}")
        elif isinstance(path, str) and not path.startswith(("/", "..")):
            found.append(f"./{path.removeprefix('./')}")
        elif not source.keys() & {"workspace", "path"}:
            found.append(line)
    return found, tuple(inner), tuple(f"{folder}/pyproject.toml" for folder in files)


def _members(read: Reader, patterns: Sequence[str]) -> dict[str, str]:
    """Name of a package of uv's workspace → its folder."""
    found = {}
    for pattern in patterns:
        parent, _, last = pattern.strip("/").rpartition("/")
        for folder in [f"{parent}/{name}".strip("/") for name in folders(read, parent)] if "*" in last else [pattern.strip("/")]:
            name = table(toml(read(f"{folder}/pyproject.toml")).get("project")).get("name")
            if isinstance(name, str) and ("*" not in last or fnmatchcase(folder.rpartition("/")[2], last)):
                found[name_of(name)] = folder
    return found
