"""`make undeploy` leaves nothing of the operator in the cluster, with and without a controller that helps."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devcluster.deploy.remove import runtime_namespaces
from devcluster.kubectl import KubectlError, kubectl
from devcluster.settings import State
from sandbox_protocol.names import GROUP, SYSTEM_NAMESPACE

NAMESPACE = "undeploy-test"
RUNNER = f"""
apiVersion: {GROUP}/v1alpha1
kind: SandboxRunner
metadata: {{name: left-behind, namespace: {NAMESPACE}}}
spec: {{}}
"""


def deploy(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "devcluster.deploy", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def everything_of_ours(state: State) -> list[str]:
    """Every object of the cluster whose name, group or label is the operator's."""
    kinds = kubectl(state, "api-resources", "--verbs=list", "-o", "name").split()
    skipped = {"events", "events.events.k8s.io"}  # tell what was; the API server drops them after an hour
    listed = json.loads(kubectl(state, "get", ",".join(kind for kind in kinds if kind not in skipped), "-A", "-o", "json"))[
        "items"
    ]
    found = []
    for item in listed:
        metadata = item["metadata"]
        ours = metadata["name"].startswith("sandbox-") or metadata.get("namespace", "").startswith("sandbox-")
        if ours or GROUP in metadata["name"] or "appstudio" in json.dumps(metadata.get("labels", {})):
            found.append(f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}")
    return found


@pytest.fixture
def runner(state: State) -> Iterator[None]:
    if not state.kubeconfig.exists():
        pytest.skip("no cluster is up")
    deploy("up")
    kubectl(state, "create", "namespace", NAMESPACE)
    kubectl(state, "apply", "-f", "-", stdin=RUNNER)
    kubectl(state, "wait", "--for=condition=Provisioned", f"sandboxrunners.{GROUP}/left-behind", "-n", NAMESPACE, "--timeout=60s")
    assert runtime_namespaces(state)
    yield
    kubectl(state, "delete", "namespace", NAMESPACE)
    deploy("up")


@pytest.mark.usefixtures("runner")
def test_undeploy_leaves_nothing_and_may_be_repeated(state: State) -> None:
    deploy("down")
    assert everything_of_ours(state) == []
    deploy("down")


@pytest.mark.usefixtures("runner")
def test_undeploy_does_without_the_controller(state: State) -> None:
    kubectl(state, "delete", "deployment", "sandbox-controller", "-n", SYSTEM_NAMESPACE)
    deploy("down")
    assert everything_of_ours(state) == []
    with pytest.raises(KubectlError, match="the server doesn't have a resource type"):
        kubectl(state, "get", f"sandboxrunners.{GROUP}")
