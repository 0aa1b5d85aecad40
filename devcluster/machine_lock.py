"""One cluster a machine: who holds it, and one command at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster import cgroups
from devcluster.settings import RUN, State

_OWNER = RUN / "owner"
_LOCK = Path("/run/lock/appstudio-devcluster")


class OtherClusterError(Exception):
    """Another state folder's cluster is up on this machine; the message says how to end it."""


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the machine for the length of an `up` or `down`; waits for another one to end."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(state: State) -> None:
    """Make `state` the owner. Raises `OtherClusterError` while processes of another owner's cluster run."""
    current = owner()
    if current not in (None, state.root) and cgroups.processes():
        raise OtherClusterError(
            f"the cluster of {current} is up, and addresses and namespaces are fixed: one cluster a machine.\n"
            f"Take it down first: DEVCLUSTER_STATE={current} python -m devcluster down"
        )
    RUN.mkdir(parents=True, exist_ok=True)
    _OWNER.write_text(str(state.root))


def owner() -> Path | None:
    """State folder of the cluster that is or was up since the machine started."""
    try:
        return Path(_OWNER.read_text())
    except FileNotFoundError:
        return None
