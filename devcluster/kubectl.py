"""kubectl as this package calls it, always with the cluster's own kubeconfig."""

import shutil
import subprocess
from pathlib import Path

from devcluster.settings import State


class KubectlError(Exception):
    """kubectl failed; the message is its own."""


def kubectl_argv(state: State, *arguments: str | Path) -> list[str]:
    own = state.bin / "kubectl"
    program = str(own) if own.exists() else shutil.which("kubectl") or str(own)
    return [program, f"--kubeconfig={state.kubeconfig}", f"--cache-dir={state.root / 'kubectl-cache'}", *map(str, arguments)]


def kubectl(state: State, *arguments: str | Path, stdin: str | None = None) -> str:
    """Standard output of `kubectl ARGUMENTS`; raises `KubectlError`."""
    done = subprocess.run(kubectl_argv(state, *arguments), input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def succeeds(state: State, *arguments: str | Path) -> bool:
    """Whether `kubectl ARGUMENTS` succeeds within 5 seconds: for polling."""
    try:
        return subprocess.run(kubectl_argv(state, *arguments), capture_output=True, check=False, timeout=5).returncode == 0
    except subprocess.TimeoutExpired:
        return False
