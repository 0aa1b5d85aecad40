"""What a pod's status means in words."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox_operator.controller import pods
from sandbox_operator.controller.pods import Why

PASSED = {"name": "gate", "state": {"terminated": {"exitCode": 0}}}
SERVES = {"name": "agent", "ready": True, "state": {"running": {}}}


def pod(*init: dict[str, Any], app: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "runner-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"initContainerStatuses": list(init), "containerStatuses": [{"name": "app", **app}] if app else [], **status},
    }


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, "restartCount": 2, **more}


def test_a_pod_that_works_has_no_problem() -> None:
    facts = pods.facts(pod(PASSED, SERVES, app={"ready": True, "imageID": "reg.test/app@sha256:1"}))
    assert (facts.gate, facts.agent, facts.app, facts.image) == (None, None, None, "reg.test/app@sha256:1")


def ended(name: str, *, again: bool = False, **how: Any) -> dict[str, Any]:
    """A container that ended, or one that did and is held back before its next start."""
    if again:
        return {"name": name, **waiting("CrashLoopBackOff"), "lastState": {"terminated": how}}
    return {"name": name, "state": {"terminated": how}, "restartCount": 0}


def after(name: str, container: dict[str, Any]) -> dict[str, Any]:
    """A pod in which everything before ``name`` works."""
    named = {**container, "name": name}
    if name == "gate":
        return pod(named)
    return pod(PASSED, named) if name == "agent" else pod(PASSED, SERVES, app=named)


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}

UNPREPARED = {"type": "PodReadyToStartContainers", "status": "False"}


@pytest.mark.parametrize(
    ("live", "part", "reason", "says"),
    [
        (pod(conditions=[UNSCHEDULABLE]), "gate", "Unschedulable", "0/1 nodes"),
        (pod(phase="Failed", reason="Evicted", message="low on disk"), "app", "Evicted", "low on disk"),
        (pod(), "gate", "Starting", "starting"),
        (pod(phase="Pending", conditions=[UNPREPARED]), "gate", "Starting", "kubectl describe pod"),
        (after("gate", waiting("ErrImagePull", "not found", image="x")), "gate", "ImagePullBackOff", "Image x of container gate"),
        (after("gate", waiting("CreateContainerConfigError", "no key")), "gate", "CreateContainerConfigError", "no key"),
        (after("gate", ended("gate", exitCode=3, message="it answers")), "gate", "NetworkPolicyNotEnforced", "it answers"),
        (after("gate", ended("gate", again=True, exitCode=3)), "gate", "NetworkPolicyNotEnforced", "forbids"),
        (after("gate", ended("gate", exitCode=1, message="boom")), "gate", "GateFailed", "exit code 1: boom"),
        (after("agent", {"ready": False, "state": {"running": {}}}), "agent", "NotReady", "not ready yet"),
        (after("agent", ended("agent", again=True, exitCode=1)), "agent", "CrashLoop", "exit code 1; 2 restarts"),
        (after("agent", ended("agent", again=True, exitCode=137, reason="OOMKilled")), "agent", "OOMKilled", "memory"),
        (after("app", waiting("ImagePullBackOff", image="evil")), "app", "ImagePullBackOff", "Image evil of container app"),
        (
            after("app", ended("app", again=True, exitCode=128, reason="StartError", message="exec format error")),
            "app",
            "LauncherNotStarted",
            "exec format error",
        ),
        (after("app", ended("app", again=True, exitCode=137, signal=9)), "app", "CrashLoop", "signal 9"),
        (after("app", waiting("PodInitializing")), "app", "Starting", "Container app is starting"),
    ],
)
def test_a_problem_is_said_in_words(live: dict[str, Any], part: str, reason: str, says: str) -> None:
    why = getattr(pods.facts(live), part)
    assert why.reason == reason
    assert says in why.message


def test_what_is_behind_a_problem_has_that_problem() -> None:
    facts = pods.facts(pod({"name": "gate", **waiting("ErrImagePull")}, SERVES, app={"ready": True}))
    assert facts.gate == facts.agent == facts.app


def test_the_newest_pod_that_is_not_ending_is_spoken_of() -> None:
    def named(name: str, created: str, *, ending: bool = False) -> dict[str, Any]:
        return {"metadata": {"name": name, "creationTimestamp": created} | ({"deletionTimestamp": created} if ending else {})}

    chosen = pods.newest([named("old", "2026-01-01"), named("new", "2026-01-02"), named("gone", "2026-01-03", ending=True)])
    assert chosen is not None
    assert chosen["metadata"]["name"] == "new"
    assert pods.newest([]) is None


@pytest.mark.parametrize(
    ("image_id", "image", "shown"),
    [
        ("reg.test/a@sha256:1", "reg.test/a:v1", "reg.test/a@sha256:1"),
        ("docker-pullable://reg.test/a@sha256:1", "reg.test/a:v1", "reg.test/a@sha256:1"),
        ("sha256:1", "localhost/a@sha256:9", "localhost/a@sha256:1"),
        ("", "a", ""),
    ],
)
def test_the_image_is_shown_with_its_digest(image_id: str, image: str, shown: str) -> None:
    assert pods.facts(pod(PASSED, SERVES, app={"ready": True, "imageID": image_id, "image": image})).image == shown


@pytest.mark.parametrize(
    ("message", "reason"),
    [('pods "runner" is forbidden: exceeded quota: limits', "QuotaExceeded"), ("violates PodSecurity", "FailedCreate")],
)
def test_a_refused_pod_is_told_from_its_deployment(message: str, reason: str) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    assert pods.no_pod({"status": {"conditions": [condition]}}) == Why(reason, f"The pod is refused: {message}")
    assert pods.no_pod(None).reason == "Starting"
