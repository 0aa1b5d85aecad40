"""What a sync is asked to do beside its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runner_agent import paths
from sandbox_protocol.errors import Cause, StatusError
from sandbox_protocol.wire import DriftMode, RestartMode, SyncMode


@dataclass(frozen=True, slots=True)
class Options:
    mode: SyncMode = "merge"
    restart: RestartMode = "auto"
    drift: DriftMode = "keep"


DEFAULTS: dict[str, Any] = {"mode": "merge", "restart": "auto", "drift": "keep"}


def options(mode: Any, restart: Any, drift: Any) -> Options:
    """StatusError 400 names the field and its values."""
    if mode not in ("merge", "mirror"):
        raise bad("mode", f"must be merge or mirror, not {paths.shown(str(mode))}")
    if restart not in ("auto", "always", "never"):
        raise bad("restart", f"must be auto, always or never, not {paths.shown(str(restart))}")
    if drift not in ("keep", "overwrite"):
        raise bad("drift", f"must be keep or overwrite, not {paths.shown(str(drift))}")
    return Options(mode, restart, drift)


def bad(field: str, message: str) -> StatusError:
    return StatusError(400, f"{field} {message}", causes=[Cause(field, "Invalid", message)])
