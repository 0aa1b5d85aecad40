"""Progress a person can read: what was done, how long it took, how long since the start."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STARTED_VARIABLE = "DEVCLUSTER_STARTED"
"""A program that runs others of ours gives them its own start on the monotonic clock, so that all count from one moment."""
_started = float(os.environ.get(STARTED_VARIABLE, time.monotonic()))
_lock = threading.Lock()


def say(text: str) -> None:
    """One line on standard error, stamped with minutes and seconds since the program started. Safe from several threads."""
    minutes, seconds = divmod(time.monotonic() - _started, 60)
    with _lock:
        print(f"{int(minutes):3d}:{seconds:04.1f}  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says `what` with its duration when the block ends well."""
    begin = time.monotonic()
    yield
    say(f"{what} ({time.monotonic() - begin:.1f} s)")
