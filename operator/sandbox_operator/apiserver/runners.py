"""Which runtime a request means: from namespace and name to the UID, and from the UID to everything else.

``spec`` and ``metadata`` decide, ``status`` never: its conditions are used for words only, so a forged one moves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sandbox_operator.apiserver.target import Target
from sandbox_protocol import names
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.reasons import HOPELESS
from sandbox_protocol.refs import Refs

# In the order in which they come true; the first that is not explains why nothing answers yet.
_CONDITIONS = ("Provisioned", "NetworkReady", "AgentReady")
# A runner comes up in about 3 s, most of it in steps shorter than this.
RETRY_SECONDS = 2
# What has stood for longer, a client that waits in silence (kubectl does, ten times) had better show at once.
_PASSING_SECONDS = 30.0
_WORDS = 300
_AGENT_PORTS = frozenset({names.CONTROL_PORT, names.LAUNCHER_PORT, names.PREVIEW_PORT})


class Store(Protocol):
    """The local copy of all SandboxRunners."""

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Runner:
    """A SandboxRunner that exists and stays. ``why`` says in words why it might not answer, and ``waiting_helps`` whether that
    passes by itself soon; nothing else is decided by them."""

    namespace: str
    name: str
    refs: Refs
    port: int
    suspended: bool
    why: str
    waiting_helps: bool = True
    ports: tuple[int, ...] = ()
    """Those that its processes declare, its own among them."""

    def unavailable(self, cause: str) -> StatusError:
        """503 for a runner that should answer and does not: ``cause`` is what we saw, ``why`` what the controller knows.

        With Retry-After clients wait in silence, so it is only sent where waiting helps.
        """
        retry = RETRY_SECONDS if self.waiting_helps else None
        return StatusError(503, f"{cause}. {self.why}" if self.why else f"{cause}; try again", retry_after=retry)


def find(store: Store, target: Target, now: float | None = None) -> Runner:
    """StatusError 404 when there is none, 410 while it is being deleted. ``now`` is Unix time, the present one by default."""
    found = store.get(target.namespace, target.name)
    if found is None:
        raise StatusError(
            404,
            f'{names.PLURAL}.{names.GROUP} "{target.name}" not found in namespace "{target.namespace}": '
            f"kubectl get {names.PLURAL} -n {target.namespace} lists those that exist",
        )
    metadata, spec = found["metadata"], found.get("spec") or {}
    if metadata.get("deletionTimestamp"):
        raise StatusError(410, f'{names.PLURAL}.{names.GROUP} "{target.name}" is being deleted: create it again once it is gone')
    blocked = blocking(found.get("status") or {})
    return Runner(
        namespace=target.namespace,
        name=target.name,
        refs=Refs(metadata["uid"]),
        port=int(spec.get("port") or 3000),
        suspended=spec.get("operatingMode") == "Suspended",
        why=explain(blocked),
        waiting_helps=passing(blocked, time.time() if now is None else now),
        ports=_ports(spec),
    )


def slim(found: dict[str, Any]) -> dict[str, Any]:
    """What :func:`find` reads of a SandboxRunner, so that ten thousand of them fit in little memory."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "deletionTimestamp")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {
            **{key: spec[key] for key in ("port", "operatingMode") if key in spec},
            **({"processes": [{"port": port} for port in ports]} if (ports := _ports(spec)[1:]) else {}),
        },
        "status": {"conditions": status.get("conditions") or []},
    }


def _ports(spec: Mapping[str, Any]) -> tuple[int, ...]:
    declared = (process.get("port") for process in spec.get("processes") or () if isinstance(process, dict))
    return tuple(dict.fromkeys((int(spec.get("port") or 3000), *(int(port) for port in declared if port))))


def running(runner: Runner) -> Runner:
    """``runner``, unless its owner has suspended it: StatusError 409, reason Suspended."""
    if runner.suspended:
        raise StatusError(
            409,
            f'SandboxRunner "{runner.name}" is suspended: set spec.operatingMode to Running to wake it, '
            f"kubectl patch sandboxrunner {runner.name} -n {runner.namespace} --type=merge "
            f'-p \'{{"spec":{{"operatingMode":"Running"}}}}\'',
            reason="Suspended",
        )
    return runner


def app_port(port: int, field: str) -> int:
    """``port``, where an app may listen. StatusError 422 for what is no port, and for the agent's own: they are not the app's."""
    if 1 <= port <= 65535 and port not in _AGENT_PORTS:
        return port
    message = f"{port} belongs to the runner's agent" if port in _AGENT_PORTS else f"{port} is not between 1 and 65535"
    raise StatusError(422, f"{field}: {message}", causes=[Cause(field, "FieldValueInvalid", message)])


def blocking(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first condition that keeps the runner from answering; an empty one where there are none yet, None where none does."""
    conditions = {c.get("type"): c for c in status.get("conditions") or () if isinstance(c, dict)}
    if not conditions:
        return {}
    found = (conditions[kind] for kind in _CONDITIONS if kind in conditions)
    return next((condition for condition in found if condition.get("status") != "True"), None)


def explain(blocked: Mapping[str, Any] | None) -> str:
    """What :func:`blocking` found, as ``Reason: message``; empty for None."""
    if blocked is None:
        return ""
    if not blocked:
        return "The controller has not looked at it yet"
    return f"{blocked['type']} is {blocked.get('status')}, {blocked.get('reason')}: {blocked.get('message')}"[:_WORDS]


def passing(blocked: Mapping[str, Any] | None, now: float) -> bool:
    """Whether what :func:`blocking` found will soon be over by itself: no person must act, and it has not stood for long."""
    if not blocked:
        return True
    if blocked.get("reason") in HOPELESS:
        return False
    try:
        since = datetime.fromisoformat(str(blocked.get("lastTransitionTime"))).timestamp()
    except ValueError:
        return True
    return now - since < _PASSING_SECONDS
