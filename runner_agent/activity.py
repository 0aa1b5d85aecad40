"""When somebody last used the runner from outside, for the idle timeout.

Verbs count, and requests to the preview; asking for the status does not, because the controller does that by itself, and
neither does the app calling its own preview, over loopback or at the pod's own address. A connection that stays open counts
once: a forgotten tab keeps nothing awake.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from runner_agent.doorkeeper import is_own


class Activity:
    """Begins with the start of the agent: a runner that nobody has used yet is not idle since ever."""

    def __init__(self) -> None:
        self._last = time.time()

    def touch(self) -> None:
        self._last = time.time()

    def visited_from(self, peer: str) -> None:
        """A request to the preview port; ``peer`` is the address it came from."""
        if not is_own(peer):
            self.touch()

    def to_json(self) -> str:
        """RFC 3339 in UTC."""
        return datetime.fromtimestamp(self._last, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
