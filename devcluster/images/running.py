"""Runs a long command with its output in a log file, of which only the end is shown, and only when it failed."""

import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandFailedError(Exception):
    """A command of the build failed; the message holds the command, its last lines and where the rest is."""


def run_logged(argv: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
    """Appends the output of `argv` to `log`. Raises `CommandFailedError`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        print("$", *argv, file=output, flush=True)
        code = subprocess.run(
            argv, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, check=False
        ).returncode
    if code != 0:
        with log.open(errors="replace") as lines:
            end = "".join(deque(lines, maxlen=25))
        raise CommandFailedError(f"{' '.join(argv)} ended with {code}; all of its output is in {log}, the end of it:\n{end}")
