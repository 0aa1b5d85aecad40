"""Why something is not ready, in words. Pure: reads objects as the API server gives them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

Object = Mapping[str, Any]


def deployment_lacks(
    deployment: Object, pods: Sequence[Object], warnings: Mapping[str, str] = MappingProxyType({})
) -> str | None:
    """None when the newest version of a Deployment is fully rolled out, else what is missing and why.

    The reasons are the pods' own, and for a pod that has none to give the newest of its `warnings` (pod name → message).
    """
    spec, status = deployment["spec"], deployment.get("status", {})
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "not seen by the deployment controller yet"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated >= wanted and available >= wanted and status.get("replicas", 0) <= updated:
        return None
    reasons = sorted(
        {reason for pod in pods if (reason := pod_lacks(pod, warnings.get(pod["metadata"].get("name", "")))) is not None}
    )
    failure = _condition(deployment, "ReplicaFailure")
    if failure and failure["status"] == "True":
        reasons.insert(0, failure.get("message", "pods cannot be made"))
    return f"{available} of {wanted} available" + (f": {'; '.join(reasons)}" if reasons else "")


def newest_warnings(events: Sequence[Object]) -> dict[str, str]:
    """Pod name → message of the last Warning event about it, failed probes aside: the pod's own state says as much."""
    warnings = [event for event in events if event["type"] == "Warning" and event.get("reason") != "Unhealthy"]
    about_pods = [event for event in warnings if event["involvedObject"]["kind"] == "Pod"]
    about_pods.sort(
        key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    )
    return {event["involvedObject"]["name"]: event["message"] for event in about_pods}


def pod_lacks(pod: Object, warning: str | None = None) -> str | None:
    """The most telling reason why a pod is not ready; None when it is, or is on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return None
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        name, waiting, ended = container["name"], container["state"].get("waiting"), container["state"].get("terminated")
        if waiting and waiting.get("reason") not in ("PodInitializing", "ContainerCreating"):
            return f"{name} {waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
        if ended and ended.get("exitCode") != 0:
            return f"{name} exited with {ended.get('exitCode')}"
    scheduled, ready = _condition(pod, "PodScheduled"), _condition(pod, "Ready")
    if scheduled and scheduled["status"] == "False":
        return f"unschedulable: {scheduled.get('message', '')}"
    if ready and ready["status"] == "True":
        return None
    started = (
        all("running" in container["state"] for container in status.get("containerStatuses", []))
        and "containerStatuses" in status
    )
    state = "running, but its readiness probe fails" if started else "starting"
    return f"{state} ({warning})" if warning else state


def condition_lacks(item: Object, kind: str) -> str | None:
    """None when the condition `kind` is True, else its reason and message."""
    found = _condition(item, kind)
    if found is None:
        return f"no condition {kind} yet"
    if found["status"] == "True":
        return None
    return f"{found.get('reason', 'Unknown')}: {found.get('message', '')}".rstrip(": ")


def _condition(item: Object, kind: str) -> Mapping[str, Any] | None:
    return next((entry for entry in item.get("status", {}).get("conditions", []) if entry["type"] == kind), None)
