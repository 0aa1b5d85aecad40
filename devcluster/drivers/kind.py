"""kind (Kubernetes in Docker), where Docker and kind are there. Written from kind's documentation; see docs/devcluster.md."""

import shutil
import subprocess
from pathlib import Path

from devcluster.progress import say, step
from devcluster.settings import CONTEXT, State

CONFIG = Path(__file__).resolve().parent.parent / "kind.yaml"


class KindError(Exception):
    """kind, Docker, or a tool they need is missing or failed; the message is the tool's."""


def available() -> bool:
    """Whether kind and a Docker engine that answers are there."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def clusters() -> list[str]:
    return _run(["kind", "get", "clusters"]).split()


def up(state: State) -> None:
    """Create the cluster if need be, install Cilium into it, write the kubeconfig to the contract's path."""
    if not available():
        raise KindError("the kind driver needs kind and a running Docker engine")
    if shutil.which("cilium") is None:
        raise KindError("the kind driver needs the cilium command line tool: NetworkPolicy is what sandboxes are fenced with")
    state.root.mkdir(parents=True, exist_ok=True)
    # --kubeconfig everywhere: kind would otherwise write to the user's own and change its current context.
    if CONTEXT not in clusters():
        with step("kind cluster created"):
            _run(["kind", "create", "cluster", "--name", CONTEXT, "--config", str(CONFIG), "--kubeconfig", str(state.kubeconfig)])
    _run(["kind", "export", "kubeconfig", "--name", CONTEXT, "--kubeconfig", str(state.kubeconfig)])
    # kind names the context kind-devcluster; the contract is devcluster
    if f"kind-{CONTEXT}" in _run(["kubectl", f"--kubeconfig={state.kubeconfig}", "config", "get-contexts", "-o", "name"]).split():
        _run(["kubectl", f"--kubeconfig={state.kubeconfig}", "config", "rename-context", f"kind-{CONTEXT}", CONTEXT])
    cilium = ["cilium", "--kubeconfig", str(state.kubeconfig)]
    if subprocess.run([*cilium, "status"], capture_output=True, check=False).returncode != 0:
        with step("Cilium installed"):
            _run([*cilium, "install", "--set", "policyCIDRMatchMode=nodes"])
            _run([*cilium, "status", "--wait"])


def load_image(name: str) -> None:
    """Hand an image of the local Docker engine to the cluster's node."""
    _run(["kind", "load", "docker-image", name, "--name", CONTEXT])


def down(state: State) -> None:
    """Delete the cluster with everything in it."""
    if CONTEXT in clusters():
        _run(["kind", "delete", "cluster", "--name", CONTEXT, "--kubeconfig", str(state.kubeconfig)])
        say("kind cluster deleted")


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KindError(f"{' '.join(argv)}: {done.stderr.strip()[-2000:]}")
    return done.stdout
