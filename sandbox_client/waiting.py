"""Is a runner ready, will it ever be, and what is it waiting for? Pure, over the object and its conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox_client.records import Condition, RunnerStatus
from sandbox_protocol.reasons import HOPELESS

HOPELESS_APP = frozenset({"NoCommand", "LauncherNotStarted", "CrashLoop", "OOMKilled", "Exited", "InstallFailed"})
"""Of AppReady: the app will not answer until another sync or restart."""


@dataclass(frozen=True, slots=True)
class Ready:
    pass


@dataclass(frozen=True, slots=True)
class Waiting:
    """``why`` is a sentence for a person, from the runner's own conditions."""

    why: str


@dataclass(frozen=True, slots=True)
class Hopeless:
    condition: Condition


Verdict = Ready | Waiting | Hopeless


_ASIDE = frozenset({"Suspended", "AppReady"})
"""They do not stand in the way of Ready."""


def conditions(runner: Mapping[str, Any]) -> list[Condition]:
    """Those that speak of the spec as it is now; a condition about an older generation says nothing about this one."""
    generation = (runner.get("metadata") or {}).get("generation", 0)
    found = map(Condition.from_json, (runner.get("status") or {}).get("conditions") or ())
    return [item for item in found if item.observed_generation is None or item.observed_generation >= generation]


def judge(runner: Mapping[str, Any], kind: str = "Ready") -> Verdict:
    """Of a SandboxRunner and one of its conditions."""
    if (runner.get("metadata") or {}).get("deletionTimestamp"):
        return Hopeless(Condition(kind, "False", "Deleting", "it is being deleted"))
    found = conditions(runner)
    wanted = next((item for item in found if item.type == kind), None)
    if wanted is not None and wanted.status == "True":
        return Ready()
    hopeless = next((item for item in found if item.status == "False" and item.reason in HOPELESS), None)
    if hopeless is not None:
        return Hopeless(hopeless)
    if kind == "Ready" and (runner.get("spec") or {}).get("operatingMode") == "Suspended":
        return Hopeless(Condition(kind, "False", "Suspended", "it is suspended; resume it first"))
    return Waiting(_why(found, wanted))


def judge_app(status: RunnerStatus) -> Verdict:
    """Of what the ``status`` verb says about the app."""
    app = status.condition("AppReady")
    if status.process.ready or (app is not None and app.status == "True"):
        return Ready()
    if app is not None and app.reason in HOPELESS_APP:
        return Hopeless(app)
    return Waiting(_why([app] if app else [], app))


def judge_container(runner: Mapping[str, Any]) -> Verdict:
    """Of the app's container, while the agent has not heard of it: what keeps it from starting, only the kubelet knows."""
    app = next((item for item in conditions(runner) if item.type == "AppReady"), None)
    if app is not None and app.status == "False" and app.reason in HOPELESS | HOPELESS_APP:
        return Hopeless(app)
    return Waiting(_why([app] if app else [], app))


def _why(found: Sequence[Condition], wanted: Condition | None) -> str:
    """Conditions mirror each other; each message is told once, by the first part that stands in the way."""
    parts = [item for item in found if item.status != "True" and item.type not in _ASIDE and item is not wanted]
    told = {item.message or item.reason: item for item in reversed([*parts, *([wanted] if wanted else [])])}
    if not told:
        return "nothing has reported on it yet; is the controller running?"
    return "; ".join(f"{item.type}: {message}" for message, item in reversed(told.items()))
