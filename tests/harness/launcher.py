"""The launcher as a program of this machine: built once for a run of tests."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

LANDLOCK_SCOPES = 6
"""The version from which on Landlock keeps signals in."""
SOURCE = Path(__file__).parents[2] / "launcher"
_OFFLINE = {"CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "local", "GOPROXY": "off"}


def go(*arguments: str, **environ: str) -> str:
    """What ``go`` prints in the launcher's folder; an error shows all it said."""
    done = subprocess.run(
        ["go", *arguments], cwd=SOURCE, env={**os.environ, **_OFFLINE, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@functools.cache
def built() -> Path:
    """For every user to run: some tests give up root. Where /tmp may not execute, TMPDIR names another folder."""
    folder = Path(tempfile.mkdtemp(prefix="launcher-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    go("build", "-ldflags=-s -w", "-o", str(folder / "launcher"), ".")
    return folder / "launcher"


def landlock_version() -> int:
    """Of this kernel, 0 for none or one that is too old, as launcher/landlock.go asks."""
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return version if version >= 2 else 0
