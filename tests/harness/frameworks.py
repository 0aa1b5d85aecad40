"""Real frameworks for apps on this machine, from the package indexes that pip and npm are set to; installed once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

_CACHE = Path(__file__).parents[2] / ".cache" / "frameworks"
_PYTHON = ("django==5.2.19", "flask==3.1.3", "fastapi==0.165.0", "uvicorn==0.54.0", "itsdangerous==2.2.0")
_NODE = ("express@5.3.0", "express-session@1.19.0", "@auth/express@0.12.3")


def python() -> Path:
    """An interpreter with Django, Flask and FastAPI."""
    folder = _CACHE / "python"
    with _alone(folder, _PYTHON) as fresh:
        if fresh:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([folder / "bin/pip", "install", "-q", "--disable-pip-version-check", *_PYTHON], check=True)
    return folder / "bin/python"


def node_modules() -> Path:
    """A ``node_modules`` with Express, its sessions, and Auth.js."""
    folder = _CACHE / "node"
    with _alone(folder, _NODE) as fresh:
        if fresh:
            (folder / "package.json").write_text('{"private": true}')
            command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *_NODE]
            subprocess.run(command, cwd=folder, check=True)
    return folder / "node_modules"


class _alone:  # noqa: N801 - reads as a word
    """One process at a time; true while what is wanted is not there yet."""

    def __init__(self, folder: Path, wanted: tuple[str, ...]) -> None:
        self._ready, self._wanted = folder / "ready", "\n".join(wanted)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder.parent / f"{folder.name}.lock").open("w")

    def __enter__(self) -> bool:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return not self._ready.exists() or self._ready.read_text() != self._wanted

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._ready.write_text(self._wanted)
        self._lock.close()
