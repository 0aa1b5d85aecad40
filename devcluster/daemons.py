"""Processes that outlive the command that starts them, known by pid *and* start time, never by pid alone.

Each runs in a cgroup of its own below `devcluster/daemons` of the cgroup v2 hierarchy, so that `down` ends also what a daemon
has started (containerd's shims, a compiler) with one write to `cgroup.kill`. No resource limit hangs on that cgroup.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import cgroups
from devcluster.settings import RUN, State

RECORDS = RUN / "daemons"
LOG_LIMIT = 20 * 1024 * 1024  # bytes after which a log is put aside when its daemon starts anew

# The shell moves itself into the cgroup and leaves its identity before it becomes the daemon (its pid stays the same), so
# there is no moment in which a daemon runs unrecorded, whenever the starting command may be killed.
_BECOME = 'echo $$ >"$1" && { cat /proc/$$/stat; echo "$2"; } >"$3" && shift 3 && exec "$@"'


class DaemonError(Exception):
    """A daemon died or did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Identity:
    """A process that existed: pid and start time (clock ticks since boot), which together are never used twice."""

    pid: int
    started: int


@dataclass(frozen=True)
class Daemon:
    """What should run. It is started again when its command line or the content of one of its `config` files changed."""

    name: str
    argv: Sequence[str | Path]
    config: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Changes when the daemon has to be started anew."""
        text = repr(([str(word) for word in self.argv], sorted(self.environment.items()))).encode()
        return hashlib.sha256(text + b"".join(path.read_bytes() for path in self.config)).hexdigest()[:16]


def parse_stat(line: str) -> tuple[Identity, str]:
    """A line of /proc/PID/stat → identity and state letter. The command in parentheses may hold spaces and parentheses."""
    pid, rest = line.split(" (", 1)
    fields = rest.rsplit(") ", 1)[1].split()
    return Identity(int(pid), int(fields[19])), fields[0]


def alive(identity: Identity) -> bool:
    """True while that very process runs (a zombie does not)."""
    try:
        now, letter = parse_stat(Path(f"/proc/{identity.pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return now == identity and letter not in "ZX"


def recorded(name: str) -> tuple[Identity, str] | None:
    """Identity and digest of the daemon `name` as last started, None if it never was."""
    try:
        stat, digest = (RECORDS / name).read_text().splitlines()
        return parse_stat(stat)[0], digest
    except (FileNotFoundError, ValueError):  # ValueError: killed while it wrote its record, so it never ran
        return None


def names() -> list[str]:
    """Daemons on record, running or not."""
    return sorted(path.name for path in RECORDS.glob("*"))


def running(name: str) -> Identity | None:
    """Identity of the daemon `name` if it runs."""
    record = recorded(name)
    return record[0] if record and alive(record[0]) else None


def as_described(daemon: Daemon) -> bool:
    """Whether the daemon runs with just this command line and configuration."""
    record = recorded(daemon.name)
    return record is not None and record[1] == daemon.digest() and alive(record[0])


def ensure(state: State, daemon: Daemon) -> None:
    """Have `daemon` run as described. Returns when it is on record, not when it is ready: see `wait_until`."""
    if as_described(daemon):
        return
    stop([daemon.name])
    RECORDS.mkdir(parents=True, exist_ok=True)
    state.logs.mkdir(parents=True, exist_ok=True)
    log = log_path(state, daemon.name)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.rename(log.with_suffix(".log.1"))
    procs = cgroups.daemon_group(daemon.name) / "cgroup.procs"
    words = [str(procs), daemon.digest(), str(RECORDS / daemon.name), *map(str, daemon.argv)]
    with log.open("ab") as output:
        subprocess.run(
            # --fork: it is init's child from the start, so it is reaped when it dies, however long its starter lives
            ["setsid", "--fork", "/bin/sh", "-c", _BECOME, daemon.name, *words],
            env={**os.environ, **daemon.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            check=True,
        )
    wait_until(state, f"{daemon.name} to start", lambda: recorded(daemon.name) is not None, seconds=10)


def stop(which: Iterable[str], grace: float = 5.0) -> None:
    """SIGTERM to all of `which`, SIGKILL after `grace` seconds to what is left; forgets them."""
    handles: dict[str, int] = {}
    for name in which:
        identity = running(name)
        if identity and (handle := _handle(identity)) is not None:
            handles[name] = handle
            _send(handle, signal.SIGTERM)
        elif identity is None:
            (RECORDS / name).unlink(missing_ok=True)
    deadline = time.monotonic() + grace
    for name, handle in handles.items():
        while (identity := running(name)) is not None:
            if time.monotonic() > deadline:
                _send(handle, signal.SIGKILL)
            time.sleep(0.02)
        os.close(handle)
        (RECORDS / name).unlink(missing_ok=True)


def wait_until(state: State, what: str, probe: Callable[[], bool], needs: Sequence[str] = (), seconds: float = 60) -> None:
    """Poll `probe` until it is true. Raises `DaemonError` at once when a daemon of `needs` dies, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not probe():
        dead = [name for name in needs if running(name) is None]
        if dead or time.monotonic() > deadline:
            why = f"{', '.join(dead)} died" if dead else f"not within {seconds:.0f} s"
            raise DaemonError("\n".join([f"waiting for {what}: {why}", *(tail(state, name) for name in dead or needs)]))
        time.sleep(0.05)


def log_path(state: State, name: str) -> Path:
    return state.logs / f"{name}.log"


def tail(state: State, name: str, lines: int = 12) -> str:
    """The last lines of a daemon's log, under its path."""
    path = log_path(state, name)
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return f"--- {path}\n" + "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    return f"--- {path} (absent)"


def _handle(identity: Identity) -> int | None:
    """A pidfd of exactly that process: signals through it cannot hit a successor of the pid."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if alive(identity):
        return handle
    os.close(handle)
    return None


def _send(handle: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)
