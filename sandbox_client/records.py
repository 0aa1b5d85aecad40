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
class Language:
    """What the runner's template has an image for; ``description`` in the template's words."""

    name: str
    description: str = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Language:
        return cls(str(body.get("name") or ""), str(body.get("description") or ""))


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process. ``state`` as in the agent's contract: Running, Installing, BackOff, …"""

    state: str
    name: str = "web"
    port: int | None = None
    reason: str = ""
    message: str = ""
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    restarts: int = 0
    since: str = ""
    command: tuple[str, ...] = ()
    ready: bool = False
    listening: int | None = None
    """Port on which it answers: another one than ``port`` if it listens elsewhere."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ProcessState:
        return cls(
            state=str(body.get("state", "")),
            name=str(body.get("name") or "web"),
            port=body.get("port"),
            reason=str(body.get("reason") or ""),
            message=str(body.get("message") or ""),
            pid=body.get("pid"),
            exit_code=body.get("exitCode"),
            signal=body.get("signal"),
            restarts=int(body.get("restarts") or 0),
            since=str(body.get("since") or ""),
            command=tuple(map(str, body.get("command") or ())),
            ready=bool(body.get("ready")),
            listening=listening if isinstance(listening := body.get("listening"), int) else None,
        )


@dataclass(frozen=True, slots=True)
class InstallState:
    """The dependency install before all processes. ``state`` is None, Running, Succeeded or Failed, as text."""

    state: str = "None"
    since: str = ""
    exit_code: int | None = None
    command: tuple[str, ...] = ()
    message: str = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> InstallState:
        return cls(
            state=str(body.get("state") or "None"),
            since=str(body.get("since") or ""),
            exit_code=body.get("exitCode"),
            command=tuple(map(str, body.get("command") or ())),
            message=str(body.get("message") or ""),
        )


@dataclass(frozen=True, slots=True)
class RunnerStatus:
    """``process`` is the process ``web``, ``processes`` are all, web first; ``usage`` is in bytes; ``listening`` holds
    (address, port)."""

    revision: str | None
    process: ProcessState
    processes: tuple[ProcessState, ...]
    install: InstallState
    listening: tuple[tuple[str, int], ...]
    usage: Mapping[str, int]
    conditions: tuple[Condition, ...]
    isolation: Mapping[str, Any]
    """What isolates the containers ``agent`` and ``app``, as measured in them."""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> RunnerStatus:
        return cls(
            revision=body.get("revision"),
            process=ProcessState.from_json(body.get("process") or {}),
            processes=tuple(map(ProcessState.from_json, body.get("processes") or (body.get("process") or {},))),
            install=InstallState.from_json(body.get("install") or {}),
            listening=tuple((str(item.get("address", "")), int(item["port"])) for item in body.get("listening") or ()),
            usage={key: value for key, value in (body.get("usage") or {}).items() if isinstance(value, int)},
            conditions=tuple(map(Condition.from_json, body.get("conditions") or ())),
            isolation=body.get("isolation") or {},
        )

    def condition(self, kind: str) -> Condition | None:
        return next((item for item in self.conditions if item.type == kind), None)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A line of the log, without its end. ``cursor`` continues after it. ``partial``: the next record of the same process and
    stream goes on with the line. ``lost``: so many lines are missing here; ``text`` says so in words."""

    cursor: str
    time: datetime
    process: str
    stream: str
    text: str
    partial: bool = False
    lost: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> LogRecord:
        """ValueError, KeyError or TypeError when it is none. Of the time's nine digits Python keeps six."""
        return cls(
            cursor=str(body["cursor"]),
            time=datetime.fromisoformat(str(body["time"])),
            process=str(body["process"]),
            stream=str(body["stream"]),
            text=str(body["text"]),
            partial=bool(body.get("partial")),
            lost=int(body.get("lost") or 0),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What syncs have written; ``revision`` is None before the first one."""

    revision: str | None
    entries: tuple[ManifestEntry, ...]

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Manifest:
        return cls(body.get("revision"), tuple(map(ManifestEntry.from_json, body.get("entries") or ())))


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file, or the asked part of it; ``sha256`` is of the whole."""

    path: str
    content: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """What happened to ``path``: CREATED, MODIFIED or DELETED, by a sync or by the app (``origin``). RESYNC, without a path:
    changes were not seen (or the watch has just begun), so what the caller knows of the tree must be read anew."""

    type: str
    path: str = ""
    entry_type: str = ""
    size: int | None = None
    origin: str = ""
    cursor: str = ""

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FileChange:
        return cls(
            type=str(body.get("type", "")),
            path=str(body.get("path") or ""),
            entry_type=str(body.get("entryType") or ""),
            size=body.get("size"),
            origin=str(body.get("origin") or ""),
            cursor=str(body.get("cursor") or ""),
        )


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
