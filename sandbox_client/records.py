"""What the verbs answer, as records. Read leniently: a newer server may say more, and the agent's part is untrusted text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox_protocol.wire import ManifestEntry


@dataclass(frozen=True, slots=True)
class Condition:
    """``status`` is True, False or Unknown, as text."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int | None = None

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Condition:
        return cls(
            str(body.get("type", "")),
            str(body.get("status", "Unknown")),
            str(body.get("reason") or ""),
            str(body.get("message") or ""),
            body.get("observedGeneration"),
        )


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The app's process. ``state`` as in the agent's contract: Running, Installing, BackOff, …"""

    state: str
    reason: str = ""
    message: str = ""
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    since: str = ""
    command: tuple[str, ...] = ()
    ready: bool = False

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ProcessState:
        return cls(
            state=str(body.get("state", "")),
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            pid=body.get("pid"),
            exit_code=body.get("exitCode"),
            signal=body.get("signal"),
            restarts=int(body.get("restarts") or 0),
            since=str(body.get("since") or ""),
            command=tuple(map(str, body.get("command") or ())),
            ready=bool(body.get("ready")),
        )


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """``usage`` is in bytes; ``listening`` holds (address, port)."""

    revision: str | None
    process: ProcessState
    listening: tuple[tuple[str, int], ...]
    usage: Mapping[str, int]
    conditions: tuple[Condition, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> RunnerStatus:
        return cls(
            revision=body.get("revision"),
            process=ProcessState.from_json(body.get("process") or {}),
            listening=tuple((str(item.get("address", "")), int(item["port"])) for item in body.get("listening") or ()),
            usage={key: value for key, value in (body.get("usage") or {}).items() if isinstance(value, int)},
            conditions=tuple(map(Condition.from_json, body.get("conditions") or ())),
        )

    def condition(self, kind: str) -> Condition | None:
        return next((item for item in self.conditions if item.type == kind), None)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What syncs have written; ``revision`` is None before the first one."""

    revision: str | None
    entries: tuple[ManifestEntry, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Manifest:
        return cls(body.get("revision"), tuple(map(ManifestEntry.from_json, body.get("entries") or ())))


@dataclass(frozen=True, slots=True)
class Preview:
    """A URL for one person's browser: whoever has it sees the app until it expires or is revoked."""

    url: str
    expires: datetime

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Preview:
        status = body["status"]
        return cls(str(status["url"]), datetime.fromisoformat(str(status["expirationTimestamp"])))


@dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """What the app answered, whatever its status code; header names in lower case, the last one of a name."""

    status: int
    headers: Mapping[str, str]
    body: bytes
