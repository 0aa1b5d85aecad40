"""Conditions of a SandboxRunner, from what was observed. Pure: one table of facts in, one list of conditions out.

``Ready`` mirrors the first of Suspended, Provisioned, NetworkReady and AgentReady that stands in the way: those four say that the
verbs are served. AppReady is apart: a fresh runner is Ready and waits for its first sync. So are Isolated and DiskPressure, which
were measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sandbox_operator.controller import disk
from sandbox_operator.controller.isolation import UNKNOWN, Isolation, verdict
from sandbox_operator.controller.pods import PodFacts, Why

Object = dict[str, Any]

# metav1.Condition allows 32768 characters; a sentence is enough, a quoted API server message can be long.
_MESSAGE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Facts:
    """``None`` as a problem means there is none. ``app`` is the agent's own word about the app, for display only."""

    generation: int
    suspended: Why | None
    """Why no pod is wanted; None when one is."""
    provision: Why | None
    pod: PodFacts | None
    no_pod: Why
    """Why there is no pod, when there is none."""
    app: Why | None = None
    fine: str = ""
    """Its word about an app that answers."""
    heard: bool = False
    """Whether the agent of this pod has said anything; before that ``app`` means nothing."""
    isolation: Isolation = UNKNOWN
    """As the pod's own parts measured it."""
    disk: disk.Disk | None = None
    disk_size: int | None = None
    """Bytes that the volume should have."""


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: str
    reason: str
    message: str


def conditions(facts: Facts) -> list[Condition]:
    provisioned = _condition(
        "Provisioned", facts.provision, Why("Applied", "All objects of the runtime are as the template says.")
    )
    suspended = _suspended(facts)
    halted = Why("Suspended", "No pod runs while the runner is suspended.") if facts.suspended is not None else None
    pod = facts.pod
    network = halted or (facts.no_pod if pod is None else pod.gate)
    agent = halted or (facts.no_pod if pod is None else pod.agent)
    app = halted or (facts.no_pod if pod is None else _app(pod, facts))
    parts = [
        _condition("NetworkReady", network, Why("PolicyEnforced", "The gate found every forbidden address unreachable.")),
        _condition("AgentReady", agent, Why("AgentAnswers", "The agent answers.")),
    ]
    obstacle = next((part for part in (provisioned, *parts) if part.status != "True"), None)
    if facts.suspended is not None and provisioned.status == "True":
        ready = Condition("Ready", "False", "Suspended", facts.suspended.message)
    elif obstacle is not None:
        ready = Condition("Ready", "False", obstacle.reason, obstacle.message)
    else:
        ready = Condition("Ready", "True", "Ready", "The runner takes syncs and serves logs, restarts and previews.")
    return [
        ready,
        provisioned,
        *parts,
        _condition("AppReady", app, Why("Ready", facts.fine or "The app answers on its port.")),
        _isolated(facts),
        _disk_pressure(facts),
        suspended,
    ]


def _app(pod: PodFacts, facts: Facts) -> Why | None:
    """The agent knows best whether a running app answers, and the kubelet only asks it every other second; before that, and when
    the image is wrong, the pod knows."""
    if pod.agent is not None or not facts.heard or (pod.app is not None and pod.app.reason != "NotReady"):
        return pod.app
    return facts.app


def _isolated(facts: Facts) -> Condition:
    if facts.suspended is not None or facts.pod is None or facts.pod.agent is not None:
        return Condition("Isolated", "Unknown", "NotMeasured", "Nothing runs that could be measured.")
    return Condition("Isolated", *verdict(facts.isolation))


def _disk_pressure(facts: Facts) -> Condition:
    if facts.pod is None or facts.pod.agent is not None:
        return Condition("DiskPressure", "Unknown", "NotMeasured", "Nothing runs that could measure.")
    return Condition("DiskPressure", *disk.verdict(facts.disk, facts.disk_size))


def _suspended(facts: Facts) -> Condition:
    if facts.suspended is None:
        return Condition("Suspended", "False", "Running", "A pod is wanted.")
    if facts.pod is not None:
        return Condition("Suspended", "False", "Suspending", "The pod is ending; the workspace is kept.")
    return Condition("Suspended", "True", facts.suspended.reason, facts.suspended.message)


def _condition(kind: str, problem: Why | None, fine: Why) -> Condition:
    why = problem or fine
    return Condition(kind, "True" if problem is None else "False", why.reason, why.message)


def merged(wanted: Iterable[Condition], generation: int, present: Iterable[Object], now: str) -> list[Object]:
    """As JSON. ``lastTransitionTime`` moves only when a status does; ``now`` is RFC 3339."""
    before = {entry["type"]: entry for entry in present}
    return [
        {
            "type": condition.type,
            "status": condition.status,
            "observedGeneration": generation,
            "lastTransitionTime": (
                before[condition.type]["lastTransitionTime"]
                if condition.type in before and before[condition.type]["status"] == condition.status
                else now
            ),
            "reason": condition.reason,
            "message": condition.message[:_MESSAGE_CHARACTERS],
        }
        for condition in wanted
    ]
