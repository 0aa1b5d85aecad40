"""Why something is not ready, in words."""

from typing import Any

import pytest

from devcluster.deploy.readiness import condition_lacks, deployment_lacks, newest_warnings, pod_lacks


def deployment(generation: int = 2, wanted: int = 2, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": generation}, "spec": {"replicas": wanted}, "status": {"observedGeneration": 2, **status}}


def pod(*states: dict[str, Any], ready: bool = False, **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    statuses = [{"name": f"c{number}", "state": state} for number, state in enumerate(states)]
    return {"metadata": metadata, "status": {"conditions": conditions, "containerStatuses": statuses}}


RUNNING: dict[str, Any] = {"running": {}}


def test_a_rolled_out_deployment_lacks_nothing() -> None:
    assert deployment_lacks(deployment(replicas=2, updatedReplicas=2, availableReplicas=2), []) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (deployment(generation=3, replicas=2, updatedReplicas=2, availableReplicas=2), "not seen"),
        (deployment(replicas=3, updatedReplicas=2, availableReplicas=2), "2 of 2 available"),  # an old replica still serves
        (deployment(replicas=2, updatedReplicas=1, availableReplicas=2), "2 of 2 available"),
        (deployment(replicas=2, updatedReplicas=2), "0 of 2 available"),
        ({"metadata": {"generation": 1}, "spec": {}}, "not seen"),
    ],
)
def test_a_deployment_in_the_middle_of_a_rollout_lacks_something(given: dict[str, Any], words: str) -> None:
    assert words in (deployment_lacks(given, []) or "")


def test_a_deployment_repeats_what_its_pods_say_once() -> None:
    crashing = pod({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}})
    assert deployment_lacks(deployment(), [crashing, crashing]) == "0 of 2 available: c0 CrashLoopBackOff: back-off 10s"


def test_a_deployment_that_may_not_make_pods_says_so() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert "exceeded quota" in (deployment_lacks(deployment(conditions=[failure]), []) or "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (pod(RUNNING, ready=True), None),
        (pod(RUNNING), "running, but its readiness probe fails"),
        (pod({"waiting": {"reason": "ContainerCreating"}}), "starting"),
        (pod({"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}), "c0 ErrImageNeverPull: not present"),
        (pod(RUNNING, {"terminated": {"exitCode": 2}}), "c1 exited with 2"),
        (pod({"terminated": {"exitCode": 1}}, deletionTimestamp="now"), None),
        ({"metadata": {}, "status": {}}, "starting"),
        (
            {"metadata": {}, "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}},
            "unschedulable: no node",
        ),
    ],
)
def test_pod_lacks(given: dict[str, Any], words: str | None) -> None:
    assert pod_lacks(given) == words


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([], "no condition Available yet"),
        ([{"type": "Available", "status": "True"}], None),
        (
            [{"type": "Available", "status": "False", "reason": "MissingEndpoints", "message": "no endpoints"}],
            "MissingEndpoints: no endpoints",
        ),
        ([{"type": "Available", "status": "Unknown"}], "Unknown"),
    ],
)
def test_condition_lacks(conditions: list[dict[str, str]], words: str | None) -> None:
    assert condition_lacks({"status": {"conditions": conditions}}, "Available") == words


def event(name: str, message: str, at: str, kind: str = "Pod", sort: str = "Warning") -> dict[str, Any]:
    return {"type": sort, "involvedObject": {"kind": kind, "name": name}, "message": message, "lastTimestamp": at, "metadata": {}}


def test_the_newest_warning_explains_a_pod_that_only_starts() -> None:
    events = [
        event("p", "second", "2026-01-01T00:00:02Z"),
        event("p", "first", "2026-01-01T00:00:01Z"),
        event("p", "normal", "2026-01-01T00:00:03Z", sort="Normal"),
        event("p", "of a node", "2026-01-01T00:00:03Z", kind="Node"),
        {**event("p", "a probe failed", "2026-01-01T00:00:03Z"), "reason": "Unhealthy"},
    ]
    assert newest_warnings(events) == {"p": "second"}
    waiting = pod({"waiting": {"reason": "ContainerCreating"}}, name="p")
    assert deployment_lacks(deployment(), [waiting], {"p": "secret not found"}) == "0 of 2 available: starting (secret not found)"
