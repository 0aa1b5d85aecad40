"""What time does to a runner: a shutdown time that has come, an idle timeout that has passed. Pure; ``now`` is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox_operator.controller.pods import Why
from sandbox_operator.errors import SpecInvalid
from sandbox_operator.model.quantity import parse_duration
from sandbox_operator.model.runner import RunnerSpec


@dataclass(frozen=True, slots=True)
class Due:
    """``suspended`` says why no pod is wanted; ``next_in`` is the seconds until time changes something, if it ever does."""

    suspended: Why | None = None
    delete: bool = False
    next_in: float | None = None


def due(spec: RunnerSpec, now: datetime) -> Due:
    """Raises SpecInvalid for a shutdown time that is none."""
    wish = (
        Why("Suspended", "spec.operatingMode is Suspended; the workspace is kept.")
        if spec.operating_mode == "Suspended"
        else None
    )
    if spec.lifecycle.shutdown_time is None:
        return Due(wish)
    shutdown = parse_time(spec.lifecycle.shutdown_time)
    if shutdown is None:
        raise SpecInvalid(f"spec.lifecycle.shutdownTime: {spec.lifecycle.shutdown_time!r} is not an RFC 3339 time")
    left = (shutdown - now).total_seconds()
    if left > 0:
        return Due(wish, next_in=left)
    if spec.lifecycle.shutdown_policy == "Delete":
        return Due(wish, delete=True)
    message = (
        f"spec.lifecycle.shutdownTime {spec.lifecycle.shutdown_time} has passed; the workspace is kept. Move it to run again."
    )
    return Due(wish or Why("ShutdownTime", message))


def idle_for(timeout: str, last_activity: datetime, now: datetime) -> float:
    """Seconds left until ``timeout`` has passed without activity; zero or less when it has."""
    return (last_activity + timedelta(seconds=parse_duration(timeout)) - now).total_seconds()


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with its offset; None for anything else."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
