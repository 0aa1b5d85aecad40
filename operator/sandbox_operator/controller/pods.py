"""What a runner's pod says about itself, in our words. Pure; the reasons are those people look up.

Only the kubelet's and scheduler's fields are read, never what the container can write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sandbox_protocol import names

Object = dict[str, Any]

GATE, AGENT, APP = "gate", "agent", "app"

_PULL = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})
_CREATE = frozenset({"CreateContainerConfigError", "CreateContainerError"})
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
"""The container runtime could not execute the command: containerd's word and Docker's."""
_STARTING = ("Starting", "The pod is starting.")


@dataclass(frozen=True, slots=True)
class Why:
    """A condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class PodFacts:
    """The parts of a pod in the order they start; ``None`` as problem means that the part works."""

    name: str
    ending: bool
    gate: Why | None
    agent: Why | None
    app: Why | None
    image: str
    """Of the running app container, with digest; empty before it runs."""

    @property
    def readiness(self) -> tuple[str, bool, bool]:
        """Changes when the agent is worth asking again."""
        return self.name, self.agent is None, self.app is None


def newest(pods: Iterable[Object]) -> Object | None:
    """The pod to speak about: one that is not ending, and the youngest of those."""
    return max(
        pods, key=lambda pod: ("deletionTimestamp" not in pod["metadata"], pod["metadata"]["creationTimestamp"]), default=None
    )


def facts(pod: Object) -> PodFacts:
    status = pod.get("status") or {}
    statuses = {
        entry["name"]: entry for field in ("initContainerStatuses", "containerStatuses") for entry in status.get(field) or ()
    }
    blocked = _unscheduled(status) or _failed(status)
    gate = blocked or _unprepared(pod, status) or _gate(statuses.get(GATE))
    agent = gate or _serving(AGENT, statuses.get(AGENT))
    app = agent or _serving(APP, statuses.get(APP))
    return PodFacts(
        name=pod["metadata"]["name"],
        ending="deletionTimestamp" in pod["metadata"],
        gate=gate,
        agent=agent,
        app=app,
        image=_image(statuses.get(APP)),
    )


def _unscheduled(status: Object) -> Why | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return Why(
                condition.get("reason") or "Unschedulable", condition.get("message") or "No node has room for the pod yet."
            )
    return None


def _unprepared(pod: Object, status: Object) -> Why | None:
    """A volume that cannot be mounted, or a runtime that the node lacks, is told in events alone, which nobody here may read."""
    for condition in status.get("conditions") or ():
        if (
            condition["type"] == "PodReadyToStartContainers"
            and condition["status"] == "False"
            and status.get("phase") == "Pending"
        ):
            name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace")
            where = f"kubectl describe pod {name} -n {namespace} names what is in the way"
            return Why("Starting", f"The node makes the pod's volumes and network. If that lasts, {where}.")
    return None


def _failed(status: Object) -> Why | None:
    """Evicted, out of a node's resources, deadline passed: the pod will not come back, its Deployment makes another."""
    if status.get("phase") != "Failed":
        return None
    return Why(status.get("reason") or "PodFailed", status.get("message") or "The pod failed.")


def _gate(entry: Object | None) -> Why | None:
    if entry is None:
        return Why(*_STARTING)
    state = entry.get("state") or {}
    ended = state.get("terminated") or (entry.get("lastState") or {}).get("terminated")
    if state.get("terminated", {}).get("exitCode") == 0:
        return None
    problem = _waiting(GATE, entry)
    if problem is not None and problem.reason not in {"CrashLoop", "Starting"}:
        return problem
    if ended is not None and ended.get("exitCode") == names.GATE_NOT_FENCED:
        return Why("NetworkPolicyNotEnforced", ended.get("message") or "The gate could reach an address that the policy forbids.")
    if ended is not None and ended.get("reason") not in _NOT_STARTED:
        return Why(
            "GateFailed", f"Container gate ended with exit code {ended.get('exitCode')}: {ended.get('message') or 'see its log'}"
        )
    return problem or Why(*_STARTING)


def _serving(name: str, entry: Object | None) -> Why | None:
    if entry is None:
        return Why(*_STARTING)
    if entry.get("ready"):
        return None
    return _waiting(name, entry) or Why("NotReady", f"Container {name} runs and is not ready yet.")


def _waiting(name: str, entry: Object) -> Why | None:
    state = entry.get("state") or {}
    last = state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
    if last.get("reason") in _NOT_STARTED:
        return _not_started(name, last)
    waiting = state.get("waiting")
    if waiting is not None:
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason in _PULL:
            return Why(
                "ImagePullBackOff", f"Image {entry.get('image')} of container {name} cannot be pulled: {message}".rstrip(": ")
            )
        if reason in _CREATE:
            return Why(reason, f"Container {name} cannot be made: {message}")
        if reason != "CrashLoopBackOff":
            return Why("Starting", f"Container {name} is starting.")
    if last or waiting is not None:
        return _ended(name, entry, last)
    return None


def _not_started(name: str, last: Object) -> Why:
    if name == APP:
        return Why(
            "LauncherNotStarted",
            "The app's container cannot start its first process, the launcher, which needs nothing of the image: look at the "
            "memory limit, and whether the image is for the node's processor. "
            f"The container runtime says: {last.get('message') or 'the command cannot be executed'}",
        )
    return Why("CrashLoop", f"Container {name} cannot be started: {last.get('message') or last.get('reason')}")


def _ended(name: str, entry: Object, last: Object) -> Why:
    restarts = entry.get("restartCount") or 0
    if last.get("reason") == "OOMKilled":
        return Why("OOMKilled", f"Container {name} used more memory than its limit and was ended; {restarts} restarts.")
    how = f"signal {last['signal']}" if last.get("signal") else f"exit code {last.get('exitCode')}"
    return Why("CrashLoop", f"Container {name} ended with {how}; {restarts} restarts.")


def _image(entry: Object | None) -> str:
    """``repository@sha256:…`` where the runtime knows it, else what it says; a bare ``sha256:`` is the id of a loaded image."""
    if entry is None:
        return ""
    image_id = str(entry.get("imageID") or "")
    if image_id.startswith("sha256:"):
        return f"{str(entry.get('image') or '').partition('@')[0]}@{image_id}"
    return image_id.rpartition("://")[2]


def no_pod(deployment: Object | None) -> Why:
    """Why there is no pod. Only the message tells a quota from other refusals; it chooses a word to show, nothing else."""
    for condition in ((deployment or {}).get("status") or {}).get("conditions") or ():
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = str(condition.get("message") or "")
            reason = "QuotaExceeded" if "exceeded quota" in message else str(condition.get("reason") or "FailedCreate")
            return Why(reason, f"The pod is refused: {message}")
    return Why("Starting", "The pod is being made.")
