"""Versions that a lock file names, as constraints of pip."""

from __future__ import annotations

import re
from functools import lru_cache

from runner_agent.detect.python_tables import table, toml
from runner_agent.detect.reading import Reader

PINS = 2000
"""Of a lock file; they travel as one argument, which Linux bounds to 128 KiB."""


def pins(read: Reader) -> tuple[str, ...]:
    """Versions of uv.lock, poetry.lock or pdm.lock: of packages that a registry has, in one version only."""
    for lock in ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"):
        if (content := read(lock)) is not None:
            return _locked(content)
    return ()


@lru_cache(maxsize=4)
def _locked(content: bytes) -> tuple[str, ...]:
    document = toml(content)
    versions: dict[str, set[str]] = {}
    for entry in map(table, document.get("package", document.get("packages", ()))):
        name, version, source = entry.get("name"), entry.get("version"), table(entry.get("source"))
        if (
            isinstance(name, str)
            and isinstance(version, str)
            and not source.keys() & {"virtual", "editable", "directory", "git", "url", "path"}
            and source.get("type") not in ("git", "url", "directory", "file")
            and re.fullmatch(r"[\w.+!-]+", version)
        ):
            versions.setdefault(name, set()).add(version)
    return tuple(f"{name}=={next(iter(found))}" for name, found in sorted(versions.items()) if len(found) == 1)[:PINS]
