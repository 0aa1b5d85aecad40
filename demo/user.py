"""Who the demo acts as: a ServiceAccount that may `edit` in one namespace and nothing else, with a kubeconfig of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import yaml

from devcluster.kubectl import kubectl, kubectl_argv
from devcluster.settings import State

NAME = "demo-user"
TOKEN_HOURS = 24


@dataclass(frozen=True, slots=True)
class DemoUser:
    """``kubeconfig`` holds a token that ends after :data:`TOKEN_HOURS`; its context's namespace is ``namespace``."""

    namespace: str
    kubeconfig: Path
    kubectl: Path

    def apply(self, manifest: Path) -> None:
        """Real kubectl, as this user. Raises CalledProcessError."""
        subprocess.run(
            [self.kubectl, f"--kubeconfig={self.kubeconfig}", "apply", "-f", manifest], check=True, capture_output=True, text=True
        )


def make(state: State, namespace: str) -> DemoUser:
    """Creates or renews all of it, as the cluster's administrator. Raises KubectlError."""
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME, "namespace": namespace}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": NAME, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
        },
    ]
    kubectl(state, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    token = kubectl(state, "create", "token", NAME, f"--namespace={namespace}", f"--duration={TOKEN_HOURS}h").strip()
    file = state.root / f"{namespace}.kubeconfig"
    _write_private(file, yaml.safe_dump(_kubeconfig(state, namespace, token)))
    return DemoUser(namespace, file, Path(kubectl_argv(state)[0]))


def _kubeconfig(state: State, namespace: str, token: str) -> dict[str, object]:
    admin = json.loads(kubectl(state, "config", "view", "--minify", "--flatten", "--output=json"))
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": "devcluster", "cluster": admin["clusters"][0]["cluster"]}],
        "users": [{"name": NAME, "user": {"token": token}}],
        "contexts": [{"name": NAME, "context": {"cluster": "devcluster", "user": NAME, "namespace": namespace}}],
    }


def _write_private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
