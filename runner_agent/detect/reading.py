"""What detection may see of a tree: single files and the names in a folder, both bounded.

Detection is pure over a :class:`Reader`, so that its tests are tables of files and what is made of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

NAMES = 1000
"""Of one folder that are looked at; a folder with more is no place where people put manifests."""


class Reader(Protocol):
    """Paths are relative to the tree, parts divided by ``/``."""

    def __call__(self, path: str) -> bytes | None:
        """Content of a file; None when it is not there, is no plain file, lies behind a link or is larger than a manifest can
        be."""

    def names(self, folder: str) -> Sequence[str]:
        """Sorted names in a folder ("" is the top), those of folders with a ``/`` at the end; empty when there is no such
        folder."""


class Below:
    """The part of a tree below ``folder``, as a tree of its own."""

    def __init__(self, read: Reader, folder: str) -> None:
        self._read, self._folder = read, folder

    def __call__(self, path: str) -> bytes | None:
        return self._read(f"{self._folder}/{path}")

    def names(self, folder: str) -> Sequence[str]:
        return self._read.names(f"{self._folder}/{folder}".rstrip("/"))


def below(read: Reader, folder: str) -> Reader:
    return Below(read, folder) if folder else read


def text(read: Reader, path: str) -> str:
    """Content as text, "" when there is none; what is no UTF-8 is replaced, and so is NUL, which no command can hold."""
    return (read(path) or b"").decode("utf-8", "replace").removeprefix("\ufeff").replace("\0", "\ufffd")


def json_object(content: bytes | None) -> dict[str, Any]:
    """A JSON object, or an empty one for whatever is none."""
    try:
        value = json.loads((content or b"").removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def folders(read: Reader, folder: str = "") -> list[str]:
    """Folders directly below ``folder`` that can hold an app: none that is hidden, made by a tool, or documentation."""
    return [name[:-1] for name in read.names(folder) if name.endswith("/") and not _NO_APP(name[:-1])]


_NO_APP: Callable[[str], object] = re.compile(
    r"\..*|node_modules|__pycache__|venv|env|dist|build|out|target|coverage|tests?|docs|public|static|assets|migrations"
).fullmatch
