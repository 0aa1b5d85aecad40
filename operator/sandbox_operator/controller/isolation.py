"""The condition ``Isolated``: what a runner really got, measured in its pod, beside what every sandbox should have. Pure.

It decides nothing: pod security admission and the template keep a pod in. This tells people where a node did not do as asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox_protocol.measurement import described, processes_without_bound, weaknesses

Measured = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Isolation:
    """``agent`` is what the agent measured of its own container, ``app`` the launcher's word about the app's. None: not told."""

    agent: Measured | None = None
    app: Measured | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: dict(measured) for name, measured in (("agent", self.agent), ("app", self.app)) if measured is not None}


UNKNOWN = Isolation()


def verdict(isolation: Isolation) -> tuple[str, str, str]:
    """(status, reason, message)."""
    if isolation.agent is None:
        return "Unknown", "NotMeasured", "The agent has not told yet what isolates it."
    faults = [f"agent: {fault}" for fault in weaknesses(isolation.agent)]
    if isolation.app is not None:
        faults += [f"app: {fault}" for fault in weaknesses(isolation.app)]
        # of the app alone: an agent starts none
        faults += ["app: the number of processes is not bounded"] if processes_without_bound(isolation.app) else []
    if faults:
        return "False", "Weaker", f"Less than a sandbox should have: {'; '.join(faults)}. Look at the node, then at the template."
    if isolation.app is None:
        return "Unknown", "AppNotMeasured", f"Agent: {described(isolation.agent)}. The launcher of the app has not told yet."
    return "True", "Measured", f"As it should be: {described(isolation.app)}."
