"""What the agent is told by its environment (docs/architecture.md, "The pod"), read once at start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sandbox_protocol import names
from sandbox_protocol.limits import SyncLimits


class SettingsError(ValueError):
    """The environment does not make sense; the message names the variable."""


@dataclass(frozen=True, slots=True)
class AppSettings:
    """The app of this pod. ``command`` None: found from the tree. ``working_dir`` is a path of the app container."""

    command: tuple[str, ...] | None = None
    port: int = 3000
    working_dir: str = "/workspace"


@dataclass(frozen=True, slots=True)
class Settings:
    """Paths are of the agent container; ``control_dir`` holds ``token``, ``tls.crt`` and ``tls.key``."""

    data: Path = Path("/data")
    control_dir: Path = Path("/run/sandbox/control")
    app: AppSettings = field(default_factory=AppSettings)
    limits: SyncLimits = field(default_factory=SyncLimits)
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
        return cls(
            data=Path(environment.get("SANDBOX_DATA", "/data")),
            control_dir=Path(environment.get("SANDBOX_CONTROL_DIR", "/run/sandbox/control")),
            app=_app(_json(environment, "SANDBOX_APP")),
            limits=_limits(_json(environment, "SANDBOX_LIMITS")),
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
    if unknown := sorted(value.keys() - {"command", "port", "workingDir"}):
        raise SettingsError(f"SANDBOX_APP has unknown fields: {', '.join(unknown)}")
    command, port, working_dir = value.get("command"), value.get("port", 3000), value.get("workingDir") or "/workspace"
    if command is not None and not (isinstance(command, list) and all(isinstance(word, str) for word in command)):
        raise SettingsError("SANDBOX_APP.command must be a list of strings or null")
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise SettingsError("SANDBOX_APP.port must be a number from 1 to 65535")
    if not isinstance(working_dir, str) or not working_dir.startswith("/"):
        raise SettingsError("SANDBOX_APP.workingDir must be an absolute path")
    return AppSettings(tuple(command) if command else None, port, working_dir)


def _limits(value: dict[str, Any]) -> SyncLimits:
    known = {f.name for f in fields(SyncLimits)}
    if unknown := sorted(value.keys() - known):
        raise SettingsError(f"SANDBOX_LIMITS has unknown fields: {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    for name, number in value.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise SettingsError(f"SANDBOX_LIMITS.{name} must be a positive whole number")
    return SyncLimits(**value)
