"""How long to wait before what a roll-out or a restart broke is asked for again."""

from __future__ import annotations

from sandbox_client.errors import ApiError, SandboxError

SECONDS = (0.2, 0.4, 0.8, 1.6, 3.2, 5.0)


def after(error: SandboxError, failures: int) -> float:
    """Seconds that the server asked for, or more with each of the ``failures`` in a row (1 is the first)."""
    wanted = error.retry_after if isinstance(error, ApiError) else None
    return wanted or SECONDS[min(failures, len(SECONDS)) - 1]
