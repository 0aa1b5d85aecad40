"""A cluster somebody else runs, and only by a kubeconfig named on the command line: never the user's current context."""

import shutil
import subprocess
from pathlib import Path

from devcluster.settings import State


class UnreachableError(Exception):
    """The named cluster does not answer, or refuses; the message is kubectl's."""


def up(state: State, kubeconfig: Path) -> None:
    """Check that the cluster answers, then copy its kubeconfig (current context only, self-contained) to the contract's path."""
    program = shutil.which("kubectl") or str(state.bin / "kubectl")
    base = [program, f"--kubeconfig={kubeconfig.resolve(strict=True)}"]
    answer = subprocess.run([*base, "get", "--raw", "/version"], capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode != 0:
        raise UnreachableError(f"{kubeconfig}: {answer.stderr.strip()}")
    flat = subprocess.run([*base, "config", "view", "--flatten", "--minify"], capture_output=True, text=True, check=True).stdout
    state.root.mkdir(parents=True, exist_ok=True)
    part = state.kubeconfig.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(flat)
    part.rename(state.kubeconfig)


def down(state: State) -> None:
    """Forget it; the cluster itself is not ours to touch."""
    state.kubeconfig.unlink(missing_ok=True)
