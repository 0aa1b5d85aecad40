"""What the agent is told by its environment (docs/architecture.md, "The pod"), read once at start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sandbox_protocol import names
from sandbox_protocol.limits import LOG_BYTES, MIN_LOG_BYTES, SyncLimits


class SettingsError(ValueError):
    """The environment does not make sense; the message names the variable."""


WEB = "web"
"""The process that spec.command and spec.port make: the one that the preview shows, and that is the app's readiness."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """``command`` None: found from the tree. Without ``port`` it serves nothing. ``working_dir`` None: that of the runner."""

    name: str
    command: tuple[str, ...] | None
    port: int | None
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The app of this pod. ``working_dir`` is a path of the app container, ``restart_on`` are patterns as in .sandboxignore."""

    command: tuple[str, ...] | None = None
    port: int = 3000
    working_dir: str = "/workspace"
    processes: tuple[ProcessSettings, ...] = ()
    """Beside the process ``web``."""
    restart_on: tuple[str, ...] = ()
    preview_url: str = ""
    """Where it is seen, with ``{port}`` for a port of the app; empty where nobody said."""
    languages: tuple[str, ...] = ()
    """What the template has images for: `kubectl sandbox use NAME LANGUAGE` chooses one."""

    def all(self) -> tuple[ProcessSettings, ...]:
        return ProcessSettings(WEB, self.command, self.port), *self.processes


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths are of the agent container; ``control_dir`` holds ``token``, ``tls.crt`` and ``tls.key``."""

    data: Path = Path("/data")
    control_dir: Path = Path("/run/sandbox/control")
    app: AppSettings = field(default_factory=AppSettings)
    limits: SyncLimits = field(default_factory=SyncLimits)
    log_bytes: int = LOG_BYTES
    control_port: int = names.CONTROL_PORT
    preview_port: int = names.PREVIEW_PORT
    launcher_port: int = names.LAUNCHER_PORT

    @property
    def tree(self) -> Path:
        """The workspace, the only part of the volume that the app sees."""
        return self.data / "tree"

    @property
    def private(self) -> Path:
        """Staged syncs, journal, manifest and logs, out of the app's sight."""
        return self.data / ".agent"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """SettingsError names the variable that is wrong; a missing one has its default."""
        limits, log_bytes = _limits(_json(environment, "SANDBOX_LIMITS"))
        return cls(
            data=Path(environment.get("SANDBOX_DATA", "/data")),
            control_dir=Path(environment.get("SANDBOX_CONTROL_DIR", "/run/sandbox/control")),
            app=_app(_json(environment, "SANDBOX_APP")),
            limits=limits,
            log_bytes=log_bytes,
        )


def _json(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(environment.get(name) or "{}")
    except ValueError as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{name} must be a JSON object")
    return value


def _app(value: dict[str, Any]) -> AppSettings:
    known = {"command", "port", "workingDir", "processes", "restartOn", "previewUrl", "languages"}
    _known(value, known, "SANDBOX_APP")
    command, port = value.get("command"), value.get("port", 3000)
    working_dir = value.get("workingDir") or "/workspace"
    if command is not None and not _texts(command):
        raise SettingsError("SANDBOX_APP.command must be a list of strings or null")
    if not _is_port(port):
        raise SettingsError("SANDBOX_APP.port must be a number from 1 to 65535")
    if not _is_absolute(working_dir):
        raise SettingsError("SANDBOX_APP.workingDir must be an absolute path")
    if not _texts(value.get("restartOn", [])):
        raise SettingsError("SANDBOX_APP.restartOn must be a list of strings")
    preview_url = value.get("previewUrl", "")
    if not isinstance(preview_url, str) or (preview_url and preview_url.count("{port}") != 1):
        raise SettingsError("SANDBOX_APP.previewUrl must be a URL with {port} in it")
    if not _texts(value.get("languages", [])):
        raise SettingsError("SANDBOX_APP.languages must be a list of strings")
    processes = value.get("processes", [])
    if not isinstance(processes, list) or not all(isinstance(one, dict) for one in processes):
        raise SettingsError("SANDBOX_APP.processes must be a list of objects")
    return AppSettings(
        tuple(command) if command else None,
        port,
        working_dir,
        tuple(_process(one) for one in processes),
        tuple(value.get("restartOn", [])),
        preview_url,
        tuple(value.get("languages", [])),
    )


def _process(value: dict[str, Any]) -> ProcessSettings:
    _known(value, {"name", "command", "port", "env", "workingDir"}, "SANDBOX_APP.processes")
    name, command, port, env = value.get("name"), value.get("command"), value.get("port"), value.get("env", {})
    if not isinstance(name, str) or not name:
        raise SettingsError("SANDBOX_APP.processes: each needs a name")
    if not command or not _texts(command):
        raise SettingsError(f"SANDBOX_APP.processes: command of {name} must be a list of strings")
    if port is not None and not _is_port(port):
        raise SettingsError(f"SANDBOX_APP.processes: port of {name} must be a number from 1 to 65535, or null")
    if not isinstance(env, dict) or not _texts([*env.values()]):
        raise SettingsError(f"SANDBOX_APP.processes: env of {name} must be an object of strings")
    if (working_dir := value.get("workingDir")) is not None and not _is_absolute(working_dir):
        raise SettingsError(f"SANDBOX_APP.processes: workingDir of {name} must be an absolute path")
    return ProcessSettings(name, tuple(command), port, env, working_dir)


def _known(value: dict[str, Any], known: set[str], what: str) -> None:
    if unknown := sorted(value.keys() - known):
        raise SettingsError(f"{what} has unknown fields: {', '.join(unknown)}")


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_absolute(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535


def _limits(value: dict[str, Any]) -> tuple[SyncLimits, int]:
    """Of syncs, and of the log."""
    known = {f.name for f in fields(SyncLimits)} | {"log_bytes"}
    if unknown := sorted(value.keys() - known):
        raise SettingsError(f"SANDBOX_LIMITS has unknown fields: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    for name, number in value.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise SettingsError(f"SANDBOX_LIMITS.{name} must be a positive whole number")
    log_bytes = value.pop("log_bytes", LOG_BYTES)
    if log_bytes < MIN_LOG_BYTES:
        raise SettingsError(f"SANDBOX_LIMITS.log_bytes is {log_bytes}; at least {MIN_LOG_BYTES} are needed")
    return SyncLimits(**value), log_bytes
