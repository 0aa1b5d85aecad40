"""The id by which one request is found in every log: the API server's audit log, ours, and the agent's.

The API server's ``Audit-ID`` becomes ours, travels to the agent as ``X-Request-Id``, and comes back to the caller under that
name. A caller may choose it (the API server takes an Audit-ID that it is sent), so it is only ever words in a log. Nothing of it
goes to the app behind ``proxy``.
"""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-Id"
# Within what the agent accepts; the API server's own are UUIDs.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{8,64}")

CURRENT: ContextVar[str] = ContextVar("request_id")
"""Of the request that this task answers. Ambient, because every request to an agent must carry it, whichever verb makes it."""


def accepted(audit_id: str | None) -> str:
    """``audit_id``, or a new one where the API server sent none that can be written in a log."""
    return audit_id if audit_id is not None and _ACCEPTED.fullmatch(audit_id) else str(uuid.uuid4())


def headers() -> dict[str, str]:
    """For the next hop and for the answer; nothing outside of a request."""
    current = CURRENT.get("")
    return {HEADER: current} if current else {}
