"""Removes the operator and everything it made; may be run again after it was cut short anywhere."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from devcluster.deploy import manifests
from devcluster.deploy.overlay import PART_OF, Object
from devcluster.deploy.readiness import condition_lacks
from devcluster.deploy.waiting import NotReadyError, wait_for
from devcluster.kubectl import KubectlError, kubectl, succeeds
from devcluster.progress import say, step
from devcluster.settings import State
from sandbox_protocol.names import (
    FINALIZER,
    GROUP,
    LABEL_RUNNER_UID,
    PLURAL,
    SUBRESOURCE_GROUP,
    SYSTEM_NAMESPACE,
    TEMPLATE_PLURAL,
    VERSION,
)

RUNNERS = f"{PLURAL}.{GROUP}"
TEMPLATES = f"{TEMPLATE_PLURAL}.{GROUP}"
API_SERVICE = f"{VERSION}.{SUBRESOURCE_GROUP}"
# Deleting a busy runtime namespace took 16 s at most on two cores; several end side by side.
_PATIENCE_SECONDS = 120.0
# Kinds of ours that live outside any namespace, or in somebody else's.
_SWEPT = (
    "apiservices",
    "customresourcedefinitions",
    "clusterroles",
    "clusterrolebindings",
    "rolebindings",
    "roles",
    "priorityclasses",
)


def remove(state: State) -> None:
    """Nothing of ours is left afterwards. Raises `KubectlError` or `NotReadyError`, which says what is in the way."""
    # First: while it exists and nobody serves it, no namespace of the cluster can end.
    kubectl(state, "delete", "apiservice", API_SERVICE, "--ignore-not-found")
    if succeeds(state, "get", "crd", RUNNERS):
        _remove_runners(state)
    if succeeds(state, "get", "crd", TEMPLATES):
        kubectl(state, "delete", TEMPLATES, "--all", "--ignore-not-found")
    with step("operator removed"):
        delete(state, manifests.render(state))
        kubectl(state, "delete", ",".join(_SWEPT), "-A", "-l", "=".join(PART_OF), "--ignore-not-found")
        kubectl(state, "delete", "namespace", SYSTEM_NAMESPACE, "--ignore-not-found")


def delete(state: State, objects: Iterable[Object]) -> None:
    """Deletes what is there of `objects`, also when their kind is gone already."""
    present = kubectl(state, "api-resources", "--no-headers", "-o", "name").split()
    known = {name.partition(".")[0]: name for name in present}
    there = [item for item in objects if _plural(item["kind"]) in known]
    if there:
        kubectl(state, "delete", "--ignore-not-found", "-f", "-", stdin=manifests.dump(there))


def _plural(kind: str) -> str:
    """As every kind we ship has it: policy → policies, class → classes, role → roles."""
    lower = kind.lower()
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower + ("es" if lower.endswith("s") else "s")


def _remove_runners(state: State) -> None:
    if not runners(state) and not runtime_namespaces(state):
        return
    with step("runtimes removed"):
        kubectl(state, "delete", RUNNERS, "--all", "-A", "--wait=false", "--ignore-not-found")
        try:
            if not _controller_serves(state):
                raise NotReadyError("the controller does not run")
            wait_for("removal of runtimes", lambda: _still_there(state), _PATIENCE_SECONDS)
        except NotReadyError as error:
            say(f"{error}; removing the runtimes without it")
            _remove_by_hand(state)


def _remove_by_hand(state: State) -> None:
    """What the controller does, without it: namespaces first, so that runners go on saying what exists until it is gone."""
    kubectl(state, "delete", "namespaces", "-l", LABEL_RUNNER_UID, "--wait=false", "--ignore-not-found")
    wait_for("removal of runtime namespaces", lambda: _names(runtime_namespaces(state)), _PATIENCE_SECONDS)
    for runner in runners(state):
        kept = [entry for entry in runner["metadata"].get("finalizers", []) if entry != FINALIZER]
        patch = json.dumps({"metadata": {"finalizers": kept}})
        name, namespace = runner["metadata"]["name"], runner["metadata"]["namespace"]
        kubectl(state, "patch", RUNNERS, name, "-n", namespace, "--type=merge", "-p", patch)
    wait_for("removal of runners", lambda: _names(runners(state)), _PATIENCE_SECONDS)


def _controller_serves(state: State) -> bool:
    try:
        deployment = json.loads(kubectl(state, "get", "deployment", "sandbox-controller", "-n", SYSTEM_NAMESPACE, "-o", "json"))
    except KubectlError:
        return False
    return condition_lacks(deployment, "Available") is None


def runners(state: State) -> list[Mapping[str, Any]]:
    """All SandboxRunners."""
    return list(json.loads(kubectl(state, "get", RUNNERS, "-A", "-o", "json"))["items"])


def runtime_namespaces(state: State) -> list[Mapping[str, Any]]:
    """All namespaces that hold a runtime."""
    return list(json.loads(kubectl(state, "get", "namespaces", "-l", LABEL_RUNNER_UID, "-o", "json"))["items"])


def _still_there(state: State) -> str | None:
    return _names([*runners(state), *runtime_namespaces(state)])


def _names(items: list[Mapping[str, Any]]) -> str | None:
    """What is left, and what the API server says about why."""
    found = []
    for item in items:
        metadata = item["metadata"]
        conditions = item.get("status", {}).get("conditions", [])
        reasons = [
            entry["message"] for entry in conditions if entry["status"] == "True" and entry["type"].startswith("Namespace")
        ]
        where = f"{metadata['namespace']}/" if "namespace" in metadata else ""
        found.append(where + metadata["name"] + (f" ({'; '.join(reasons)})" if reasons else ""))
    return f"{len(found)} left: {', '.join(found[:5])}" if found else None
