"""Applies the manifests and waits until every part serves."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from devcluster.deploy import manifests
from devcluster.deploy.overlay import Object
from devcluster.deploy.readiness import condition_lacks, deployment_lacks, newest_warnings
from devcluster.deploy.waiting import NotReadyError, wait_for
from devcluster.kubectl import KubectlError, kubectl
from devcluster.progress import say, step
from devcluster.settings import State
from sandbox_protocol.names import SYSTEM_NAMESPACE

MANAGER = "sandbox-deploy"
CONTROLLER = "sandbox-controller"  # makes what the other two mount
# A first start on a busy two-core machine took 25 s.
_PATIENCE_SECONDS = 180.0


def install(state: State) -> None:
    """Everything up and answering. Raises `KubectlError`, `OverlayError` or `NotReadyError`."""
    objects = manifests.adapted(state)
    waits = {name: manifests.mounted_from_elsewhere(objects, item) for name, item in _named(objects, "Deployment").items()}
    late = [name for name, mounts in waits.items() if mounts]
    with step(f"applied {len(objects)} objects"):
        for phase in (0, 1, 2):
            apply(state, [item for item in objects if manifests.phase(item["kind"]) == phase and not _is_one_of(item, late)])
            if phase == 0:
                for name in _named(objects, "CustomResourceDefinition"):
                    wait_for(f"CRD {name}", _condition_of(state, "crd", name, "Established"), 30)
        for name in waits.keys() - set(late):
            _wait_for_deployment(state, name)
        for name in late:
            for mount in waits[name]:
                _wait_for(state, CONTROLLER, " ".join(mount), _existence_of(state, *mount))
            apply(state, [item for item in objects if _is_one_of(item, [name])])
    for name in late:
        _wait_for_deployment(state, name)
    for name in _named(objects, "APIService"):
        wait_for(f"APIService {name}", _condition_of(state, "apiservice", name, "Available"), _PATIENCE_SECONDS)
    say("the operator serves")


def _named(objects: Sequence[Object], kind: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def _is_one_of(item: Object, deployments: Sequence[str]) -> bool:
    return item["kind"] == "Deployment" and item["metadata"]["name"] in deployments


def apply(state: State, objects: Sequence[Object]) -> None:
    """Server-side, as the owner of every field in the manifests, whoever set it before."""
    if objects:
        arguments = ["apply", "--server-side", "--force-conflicts", f"--field-manager={MANAGER}", "-f", "-"]
        kubectl(state, *arguments, stdin=manifests.dump(list(objects)))


def _condition_of(state: State, kind: str, name: str, condition: str) -> Callable[[], str | None]:
    return lambda: condition_lacks(_get(state, kind, name), condition)


def _existence_of(state: State, kind: str, name: str) -> Callable[[], str | None]:
    def lacks() -> str | None:
        found = kubectl(state, "get", kind, name, "-n", SYSTEM_NAMESPACE, "--ignore-not-found", "-o", "name")
        return None if found else "the controller has not made it yet"

    return lacks


def _wait_for_deployment(state: State, name: str) -> None:
    def lacks() -> str | None:
        deployment = _get(state, "deployment", name, "-n", SYSTEM_NAMESPACE)
        warnings = newest_warnings(_items(state, "events", "--field-selector=type=Warning"))
        return deployment_lacks(deployment, _pods(state, deployment), warnings)

    _wait_for(state, name, f"Deployment {name}", lacks)


def _wait_for(state: State, culprit: str, what: str, lacks: Callable[[], str | None]) -> None:
    """`wait_for` that shows the end of the log of the Deployment `culprit` when it was in vain."""
    try:
        wait_for(what, lacks, _PATIENCE_SECONDS)
    except NotReadyError as error:
        raise NotReadyError(f"{error}\n{_last_log_lines(state, culprit)}") from error


def _pods(state: State, deployment: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    labels = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    return _items(state, "pods", "-l", labels)


def _items(state: State, kind: str, *arguments: str) -> list[Mapping[str, Any]]:
    return list(json.loads(kubectl(state, "get", kind, "-n", SYSTEM_NAMESPACE, *arguments, "-o", "json"))["items"])


def _get(state: State, *arguments: str) -> Mapping[str, Any]:
    return dict(json.loads(kubectl(state, "get", *arguments, "-o", "json")))


def _last_log_lines(state: State, name: str) -> str:
    try:
        return kubectl(state, "logs", f"deployment/{name}", "-n", SYSTEM_NAMESPACE, "--all-containers", "--tail=15")
    except KubectlError as error:
        return str(error)
