"""Waits for something while saying what is missing, each time that changes."""

import time
from collections.abc import Callable

from devcluster.progress import say

_POLL_SECONDS = 0.5


class NotReadyError(Exception):
    """What was waited for did not come; the message holds what is missing."""


def wait_for(what: str, lacks: Callable[[], str | None], seconds: float) -> None:
    """Polls `lacks` until it is None; its words are printed whenever they change. Raises `NotReadyError` after `seconds`."""
    begin = time.monotonic()
    said = None
    while (missing := lacks()) is not None:
        waited = time.monotonic() - begin
        if waited > seconds:
            raise NotReadyError(f"{what} not ready after {seconds:.0f} s: {missing}")
        # a first second of silence: most things are ready by then
        if missing != said and waited > 1:
            say(f"waiting for {what}: {missing}")
            said = missing
        time.sleep(_POLL_SECONDS)
    say(f"{what} ready ({time.monotonic() - begin:.1f} s)")
