"""PID 1 of the app container: runs the commands the agent names, streams what they print, ends all of one when told.

Standard library, Python 3.8 and later, no import of our own packages but what is beside it: all arrives on a read-only
volume in whatever image the template or the user chose. It holds no secret and trusts nobody; the agent (another
container of the pod) decides.

Guarantees:

* the app never waits for the agent: its pipes are always read; what the buffer cannot hold is dropped, the oldest of the
  loudest first, and counted;
* "exited" is said only when nothing of the run is left, however it forked or escaped into sessions of its own;
* the app outlives the agent: on reconnection ``hello`` tells what runs, and what happened meanwhile follows in order;
* nothing here waits for anything that the app could hold up.

Each run lives below a keeper, a forked copy of this process that is the subreaper of its run: whatever loses its parent
becomes the keeper's child, never PID 1's, so that runs do not mix. The keeper starts the command, collects what ends, tells
how the command ended, and ends when it has no child left: so we know exactly that nothing is. Where Landlock cannot keep it
from that, an app may kill its keeper, as both have one user id; what it kept is then PID 1's, and is killed. Sessions of
``kubectl exec`` and what they leave behind have no keeper and are left alone, unless a keeper was killed.

Environment: SANDBOX_AGENT_PORT (7071), SANDBOX_NPROC (RLIMIT_NPROC of the app), SANDBOX_NOFILE (RLIMIT_NOFILE),
SANDBOX_NO_NEW_PRIVS=1, SANDBOX_LANDLOCK=1 (where the kernel has it), SANDBOX_SCRATCH (a directory that is emptied before
anything runs: /tmp lies on the volume, and nothing in it should outlive the container). No core is ever dumped.
"""

# ruff: noqa: PTH100, PTH116, PTH118, PTH120, PTH123, PTH208  (importing pathlib costs 10 ms of every start)
from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque

TYPE_CHECKING = False  # importing typing costs 5 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import Any

    from runner_agent import emptying, isolation, overrun

    Told = list[dict[str, Any]]
else:
    # whatever PYTHONSAFEPATH says in the image or the runner's env
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import emptying
    import isolation
    import overrun

    del sys.path[0]

CONTROL, STDOUT, STDERR, SYSTEM = range(4)
HEADER = struct.Struct(">IB")
RUN_ID = struct.Struct(">I")
OUTPUT_HEADER = HEADER.size + RUN_ID.size
OWN_WORDS = 0
"""In the place of a run's id: no run in particular."""
MAX_RUNS = 16
MAX_FRAME = 1 << 20
READ_BYTES = 1 << 16
BUFFER_BYTES = 1 << 20
FRAME_OVERHEAD = 100
"""Bytes Python needs to keep one small frame, about; without it a flood of one-byte writes would cost a hundredfold."""
KEEPER_IGNORES = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
F_SETPIPE_SZ = 1031
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

# Of linux/landlock.h; the numbers of the system calls are the same on every architecture.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_VERSION = 1
LANDLOCK_PATH_BENEATH = 1
LANDLOCK_WRITE = 1 << 1
LANDLOCK_TRUNCATE = 1 << 14
"""From version 3 on."""
LANDLOCK_REFER = 1 << 13
LANDLOCK_DEVICES = 1 << 6 | 1 << 11
LANDLOCK_SCOPE_SIGNAL = 1 << 1
LANDLOCK_NEEDED = 2
"""Version 1 would forbid every rename from one directory to another."""
LANDLOCK_SCOPES = 6
"""The version from which on signals can be kept in."""

TERMINATION_LOG = "/dev/termination-log"
"""A file of the node that the kubelet mounts into every container, for all to write to. Nothing bounds it: it counts neither as
ephemeral storage nor against a quota, and an app that fills it fills the node's disk."""

APP_NICE = 15
"""Of what the agent has started, so that a thousand busy processes leave the launcher a fortieth of the container's processor
time, not a thousandth: enough to end them. Beside other containers niceness means nothing; there cgroups are weighed."""

RECONNECT_SECONDS = (0.05, 1.0)
WALK_SECONDS = 0.02
"""Between two looks for processes that were not told to end yet."""
LEFTOVER_GRACE_SECONDS = 1.0
"""For what a command leaves behind when it ends by itself."""
SHUTDOWN_GRACE_SECONDS = 1.5
SHUTDOWN_SECONDS = 2.0
FORK_BOMB_SECONDS = 1.0
"""Of killing by process and by process group before everything in the PID namespace is killed at once, all runs and sessions of
``exec`` included: against what forks into new sessions faster than it can be found."""
MAX_GRACE_SECONDS = 24 * 3600.0
QUIET_WALKS = 3
"""Looks that find nothing, and nothing that ended in between, before what a killed keeper left counts as gone."""


def frame(kind: int, payload: bytes) -> bytes:
    """One frame as it travels: length of what follows, type, payload."""
    return HEADER.pack(len(payload) + 1, kind) + payload


def control(message: dict[str, Any]) -> bytes:
    return frame(CONTROL, json.dumps(message, separators=(",", ":")).encode())


class Outbox:
    """Frames for the agent, in order. Output beyond the limit is dropped, the oldest of the run that holds most of it: a loud one
    does not take a quiet one's lines. Control frames are never dropped.

    ``told`` are the runs the agent knows about, from the last control frame that was handed to the kernel whole.
    """

    def __init__(self, limit: int = BUFFER_BYTES) -> None:
        self._limit = limit
        self._frames: deque[tuple[int, bytes, Told | None]] = deque()
        self._bytes: dict[int, int] = {}  # by run: what its output costs us
        self._sent = 0  # of the first frame
        self._dropped: dict[int, int] = {}  # by run
        self.told: Told = []

    def __bool__(self) -> bool:
        return bool(self._frames) or bool(self._dropped)

    def output(self, kind: int, run_id: int, payload: bytes) -> None:
        self._frames.append((kind, frame(kind, RUN_ID.pack(run_id) + payload), None))
        self._bytes[run_id] = self._bytes.get(run_id, 0) + len(payload) + FRAME_OVERHEAD
        if sum(self._bytes.values()) > self._limit:
            self._make_room()

    def system(self, text: str, run_id: int = OWN_WORDS) -> None:
        self._frames.append(self._words(text, run_id))

    def control(self, message: dict[str, Any], told: Told) -> None:
        self._frames.append((CONTROL, control(message), told))

    def reopen(self) -> None:
        """A new connection: what was half sent is sent again from its start."""
        self._sent = 0

    def pieces(self) -> list[bytes | memoryview]:
        """What to send next, at most 64 buffers (IOV_MAX is 1024; more than 64 small frames gain nothing)."""
        if self._dropped and not self._sent:
            for run_id, count in self._dropped.items():
                text = f"{count} bytes of output were dropped: the app wrote faster than the agent could read\n"
                self._frames.appendleft(self._words(text, run_id))
            self._dropped.clear()
        pieces: list[bytes | memoryview] = [entry[1] for _, entry in zip(range(64), self._frames)]  # noqa: B905 - zip(strict=) needs 3.10
        if pieces and self._sent:
            pieces[0] = memoryview(pieces[0])[self._sent :]
        return pieces

    def advance(self, count: int) -> None:
        self._sent += count
        while self._frames and self._sent >= len(self._frames[0][1]):
            kind, sent, told = self._frames.popleft()
            self._sent -= len(sent)
            if told is not None:
                self.told = told
            elif kind != SYSTEM:
                self._forget(sent)

    @staticmethod
    def _words(text: str, run_id: int) -> tuple[int, bytes, Told | None]:
        return SYSTEM, frame(SYSTEM, RUN_ID.pack(run_id) + text.encode(errors="replace")), None

    def _forget(self, output: bytes) -> int:
        run_id = int(RUN_ID.unpack_from(output, HEADER.size)[0])
        self._bytes[run_id] -= len(output) - OUTPUT_HEADER + FRAME_OVERHEAD
        if not self._bytes[run_id]:
            del self._bytes[run_id]
        return run_id

    def _make_room(self) -> None:
        """In one walk for many frames: a sixteenth below the limit."""
        over = sum(self._bytes.values()) - (self._limit - self._limit // 16)
        for loudest in sorted(self._bytes, key=lambda run_id: -self._bytes[run_id]):
            kept: deque[tuple[int, bytes, Told | None]] = deque()
            mark = RUN_ID.pack(loudest)
            for index, entry in enumerate(self._frames):
                kind, output, _ = entry
                half_sent = index == 0 and self._sent > 0
                if over <= 0 or half_sent or kind not in (STDOUT, STDERR) or output[HEADER.size : OUTPUT_HEADER] != mark:
                    kept.append(entry)
                    continue
                self._forget(output)
                self._dropped[loudest] = self._dropped.get(loudest, 0) + len(output) - OUTPUT_HEADER
                over -= len(output) - OUTPUT_HEADER + FRAME_OVERHEAD
            self._frames = kept
            if over <= 0:
                return


class Run:
    """One command and everything it started. ``status`` is the wait status of the command itself once it ended."""

    def __init__(self, run_id: int, label: str, keeper: int, report: int, pipes: dict[int, int]) -> None:
        self.id = run_id
        self.label = label
        self.keeper = keeper
        self.report = report  # file descriptor: what the keeper says, a line each
        self.said = b""
        self.pipes = pipes  # file descriptor: kind of frame
        self.pid = 0  # until the keeper has started the command
        self.error = ""
        self.status: int | None = None
        self.kill_at: float | None = None  # monotonic; set while everything is being ended
        self.terminated: set[int] = set()
        self.killed: set[int] = set()
        self.lost_at: float | None = None  # monotonic; when its keeper was found killed
        self.quiet_walks = 0
        self.oom_kills = oom_kills()  # before it began
        self.overran: tuple[str, bool] | None = None  # why it was ended with all that ran, and whether for memory

    @property
    def ending(self) -> bool:
        return self.lost_at is not None or self.kill_at is not None

    def told(self) -> dict[str, Any]:
        return {"id": self.id, "pid": self.pid, "label": self.label}


class Table:
    """The living processes at one look. What moved while we looked is found by the next one."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.group: dict[int, int] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        state, ppid, pgrp = file.read().rpartition(b")")[2].split(None, 3)[:3]
                except (OSError, ValueError):
                    continue
                if state not in (b"Z", b"X"):
                    self.parent[int(name)] = int(ppid)
                    self.group[int(name)] = int(pgrp)

    def below(self, root: int, without: Container[int] = ()) -> list[int]:
        """Descendants of ``root``, but for those in ``without`` and what is below them. Sessions of ``kubectl exec`` have no
        parent here and are below nobody."""
        found = []
        for pid in self.parent:
            ancestor = pid
            while ancestor in self.parent and ancestor != root and ancestor not in without:
                ancestor = self.parent[ancestor]
            if ancestor == root and pid != root:
                found.append(pid)
        return found


def groups(run: Run, table: Table, found: list[int]) -> set[int]:
    """The process groups of a run: its first one, though nobody may be seen in it just now, and those of all that was found."""
    theirs = {table.group[pid] for pid in found} | {run.pid}
    others = {group for pid, group in table.group.items() if pid not in found}  # ours, too: a child without a session is in it
    return theirs - others - {0}


def send_signal(pid: int, number: int) -> None:
    """To a process, or to the group ``-pid``; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def app_environment(base: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The container's environment, what the agent gives (PORT, HOST, …), and a HOME that can be written to: package managers
    keep caches there, and a user id without an entry in /etc/passwd lands on ``/``."""
    env = dict(base)
    if not os.access(env.get("HOME", ""), os.W_OK):
        env["HOME"] = "/tmp"  # noqa: S108 - the container's own
    env.update(given)
    return env


def show(root: str, path: str) -> None:
    """Make a file that changed in another container known to the watchers in this one: gVisor tells each container of its own
    changes only. The times that are set are those it has, so that nothing else changes. Of what is gone, the nearest
    directory that is there is shown."""
    while True:
        place = os.path.join(root, path)
        try:
            found = os.stat(place, follow_symlinks=False)
            os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            if not path:
                return
            path = os.path.dirname(path)
        except (OSError, ValueError):  # not the app's own, or no path
            return
        else:
            return


class Bounds:
    """Of every command: RLIMIT_NPROC (0: none), and whether Landlock confines it."""

    def __init__(self, nproc: int = 0, landlock: bool = False) -> None:
        self.nproc = nproc
        self.landlock = landlock


def keep(command: list[str], cwd: str, env: dict[str, str], bounds: Bounds) -> tuple[int, int, int, int]:
    """Fork a keeper that runs ``command``. Returns (its pid, its report, the command's stdout and stderr). Does not wait."""
    pipes: list[int] = []
    try:
        for _ in range(3):
            pipes += os.pipe()
        pid = os.fork()
    except OSError:
        for fd in pipes:
            os.close(fd)
        raise
    report, said, out, out_end, err, err_end = pipes
    if pid == 0:
        try:
            be_keeper(command, cwd, env, bounds, (said, out_end, err_end))
        except BaseException as error:
            os.write(said, f"failed cannot keep it: {error}\n".encode(errors="replace"))
        finally:
            os._exit(1)
    for fd in (said, out_end, err_end):
        os.close(fd)
    for fd in (report, out, err):
        os.set_blocking(fd, False)
    for fd in (out, err):
        with contextlib.suppress(OSError):  # an unprivileged user's total is limited
            fcntl.fcntl(fd, F_SETPIPE_SZ, 1 << 18)
    return pid, report, out, err


def be_keeper(command: list[str], cwd: str, env: dict[str, str], bounds: Bounds, ends: tuple[int, int, int]) -> None:
    """The life of a keeper. Reports ``started <pid>`` or ``failed <why>``, then ``ended <wait status>``; exits with 0 when
    no child is left, and then only."""
    gc.disable()  # a collection would touch, and so copy, pages that are shared with the launcher
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in KEEPER_IGNORES:
        signal.signal(number, signal.SIG_IGN)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in ends:
            with contextlib.suppress(OSError):  # the one that listed them is closed already
                os.close(int(name))
    prctl(PR_SET_NAME, b"keeper")  # `pkill python3` is not meant for it
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    report, out, err = ends
    failure_read, failure_write = os.pipe()  # closed by a successful exec
    child = os.fork()
    if child == 0:
        become(command, cwd, env, bounds, (out, err, failure_write))
    for fd in (out, err, failure_write):
        os.close(fd)
    with open(failure_read, "rb") as file:
        failure = file.read().replace(b"\n", b" ")
    os.write(report, b"failed %s\n" % failure if failure else b"started %d\n" % child)
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            os._exit(0)
        if pid == child:
            os.write(report, b"ended %d\n" % status)


def become(command: list[str], cwd: str, env: dict[str, str], bounds: Bounds, ends: tuple[int, int, int]) -> None:
    """Turn this process into the command, in a session of its own, or say on the last of ``ends`` why not."""
    out, err, failure = ends
    doing = "start a session"
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (out, 1), (err, 2)):
            os.dup2(source, target)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ, *KEEPER_IGNORES):  # Python ignores the first two; apps expect the default
            signal.signal(ignored, signal.SIG_DFL)
        doing = "enter the working directory " + cwd
        os.chdir(cwd)
        os.nice(APP_NICE)
        if bounds.nproc:
            doing = "limit the number of processes"
            resource.setrlimit(resource.RLIMIT_NPROC, (bounds.nproc, bounds.nproc))
        if bounds.landlock:
            doing = "be confined by Landlock"
            confine(landlock_version())
        doing = "run " + command[0]
        os.execvpe(command[0], command, env)  # noqa: S606 - to run the given command is the purpose
    except BaseException as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        os.write(failure, f"cannot {doing}: {reason}".encode(errors="replace")[:1000])
    finally:
        os._exit(127)


def landlock_version() -> int:
    """0 where the kernel has none (gVisor, older than 5.13, switched off), or one that cannot be used."""
    version = ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION)
    return version if version >= LANDLOCK_NEEDED else 0


def usable_landlock() -> int:
    """The version that commands can really be confined by: tried once, as a kernel may have it and a filter forbid it."""
    version = landlock_version()
    if version == 0:
        return 0
    child = os.fork()
    if child == 0:
        try:
            confine(version)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return version if os.waitpid(child, 0)[1] == 0 else 0


def confine(version: int, forbidden: str = TERMINATION_LOG) -> None:
    """Put this process, and all it will start, into a Landlock domain. Needs no_new_privs.

    A domain cannot trace or read the memory of what is outside it, mount anything, or make device nodes; from version 6 on it
    cannot send signals out either. So no app reaches its keeper, the launcher, or another run, though all have one user id.
    Nothing that an app does to its own processes and files is forbidden, but for writing to the file ``forbidden``.
    """
    call = ctypes.CDLL(None, use_errno=True).syscall

    def must(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def allow(access: int, path: str) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        must(call(LANDLOCK_ADD_RULE, rules, LANDLOCK_PATH_BENEATH, struct.pack("=Qi", access, place), 0))
        os.close(place)

    scopes = LANDLOCK_SCOPE_SIGNAL if version >= LANDLOCK_SCOPES else 0
    writing = LANDLOCK_WRITE | (LANDLOCK_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("=QQQ", LANDLOCK_REFER | LANDLOCK_DEVICES | writing, 0, scopes)[: 24 if scopes else 8]
    rules = must(call(LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0))
    allow(LANDLOCK_REFER, "/")
    for path in all_but(forbidden):
        allow(writing, path)
    must(call(LANDLOCK_RESTRICT_SELF, rules, 0))
    os.close(rules)


def all_but(path: str) -> list[str]:
    """What together holds every file but ``path``: Landlock knows what is allowed, not what is forbidden. Links lead to what is
    in the list by its own name, or to nothing."""
    places, here = [], "/"
    for part in path.strip("/").split("/"):
        with contextlib.suppress(FileNotFoundError), os.scandir(here) as found:
            places += [entry.path for entry in found if entry.name != part and not entry.is_symlink()]
        here = os.path.join(here, part)
    return places


def memory_bytes() -> int:
    """Memory of the app container: its cgroup, or the resident pages of all its processes where that is hidden (gVisor)."""
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.current") as file:
        return int(file.read())
    total = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/statm") as file:
                total += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def oom_kills() -> int:
    """Processes of this container that the kernel killed for its memory limit, so far (cgroup v2, v1); 0 where it is not told."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError, KeyError), open(path) as file:
            return int(dict(line.split() for line in file)["oom_kill"])
    return 0


class Launcher:
    """The event loop: one thread, one selector, no waiting anywhere else."""

    def __init__(self, port: int, bounds: Bounds, measured: dict[str, Any]) -> None:
        """``measured`` is what isolates this container, for the agent."""
        self._address = ("127.0.0.1", port)
        self._bounds = bounds
        self._measured = measured
        self._watch = overrun.Watch(bounds.nproc) if measured.get("kernel") == "gVisor" else None
        self._look_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._outbox = Outbox()
        self._runs: dict[int, Run] = {}
        """By the pid of the keeper."""
        self._stray_ended = False
        self._socket: socket.socket | None = None
        self._connected_at: float | None = None
        self._greeting = b""
        self._inbox = bytearray()
        self._retry_seconds = RECONNECT_SECONDS[0]
        self._retry_at = 0.0
        self._walk_at = 0.0
        self._exit_at: float | None = None
        self._ending = False  # and the agent was not told yet

    def run_forever(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code."""
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_end)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda _: os.read(wake_read, 4096))
        while True:
            if self._socket is None and time.monotonic() >= self._retry_at:
                self._connect()
            for key, mask in self._selector.select(self._timeout()):
                key.data(mask)
            self._bound()
            self._care_for_runs()
            self._flush()
            if self._exit_at is not None and (not self._runs or time.monotonic() >= self._exit_at):
                return 0

    def _timeout(self) -> float | None:
        """Seconds until something is due, None to wait for an event."""
        due = [self._exit_at, self._look_at if self._watch else None]
        if self._socket is None:
            due.append(self._retry_at)
        if any(run.ending for run in self._runs.values()):
            due.append(self._walk_at)
        times = [at for at in due if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _told_to_end(self, *_: object) -> None:
        """A signal's handler, between any two steps of the loop; what follows from it is done by the loop."""
        if self._exit_at is None:
            self._exit_at = time.monotonic() + SHUTDOWN_SECONDS
            self._ending = True

    # The connection to the agent

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        result = self._socket.connect_ex(self._address)
        if result not in (0, errno.EINPROGRESS):
            self._disconnect()
            return
        self._connected_at = None
        self._selector.register(self._socket, selectors.EVENT_WRITE, self._on_socket)

    def _disconnect(self) -> None:
        assert self._socket is not None
        if self._connected_at is not None and time.monotonic() - self._connected_at > RECONNECT_SECONDS[1]:
            self._retry_seconds = RECONNECT_SECONDS[0]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._socket)
        self._socket.close()
        self._socket = None
        self._connected_at = None
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(RECONNECT_SECONDS[1], self._retry_seconds * 2)

    def _on_socket(self, mask: int) -> None:
        assert self._socket is not None
        if self._connected_at is None:
            if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._disconnect()
                return
            self._connected_at = time.monotonic()
            self._inbox.clear()
            self._outbox.reopen()
            hello = {"type": "hello", "pid": os.getpid(), "running": self._outbox.told, "isolation": self._measured}
            self._greeting = control(hello)
        if mask & selectors.EVENT_READ:
            self._receive()

    def _flush(self) -> None:
        if self._socket is None or self._connected_at is None:
            return
        try:
            while self._greeting or self._outbox:
                if self._greeting:
                    self._greeting = self._greeting[self._socket.send(self._greeting) :]
                else:
                    self._outbox.advance(self._socket.sendmsg(self._outbox.pieces()))
        except BlockingIOError:
            pass
        except OSError:
            self._disconnect()
            return
        waiting = bool(self._greeting or self._outbox)
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self._on_socket)

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError
            self._inbox += data
            while len(self._inbox) >= HEADER.size:
                length, kind = HEADER.unpack_from(self._inbox)
                if not 1 <= length <= MAX_FRAME:
                    raise ValueError("frame length")
                if len(self._inbox) < 4 + length:
                    break
                payload = bytes(self._inbox[HEADER.size : 4 + length])
                del self._inbox[: 4 + length]
                if kind == CONTROL:
                    self._obey(json.loads(payload))
        except BlockingIOError:
            pass
        # a message that cannot be understood ends the connection; not the launcher, whoever has taken the agent's port
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            self._disconnect()

    # What the agent asks for

    def _obey(self, message: dict[str, Any]) -> None:
        if message["type"] == "start":
            command = [str(word) for word in message["command"]]
            env = {str(name): str(value) for name, value in message["env"].items()}
            self._start(int(message["id"]), command, str(message["cwd"]), env, str(message.get("label", "")))
        elif message["type"] == "stop":
            run_id, grace = int(message["id"]), float(message["gracePeriodSeconds"])
            if not 0 <= grace < MAX_GRACE_SECONDS:  # also what is no number
                raise ValueError("gracePeriodSeconds")
            run = self._running(run_id)
            if run:
                self._end_run(run, grace)
            else:
                self._say({"type": "exited", "id": run_id, "exitCode": None, "signal": None, "error": "it is not running"})
        elif message["type"] == "show":
            for path in message["paths"]:
                show(str(message["root"]), str(path))
        elif message["type"] == "usage":
            self._say({"type": "usage", "memoryBytes": memory_bytes()})

    def _running(self, run_id: int) -> Run | None:
        return next((run for run in self._runs.values() if run.id == run_id), None)

    def _say(self, message: dict[str, Any]) -> None:
        """With what runs at this moment: what the agent knows once it has read this."""
        self._outbox.control(message, [run.told() for run in self._runs.values()])

    def _start(self, run_id: int, command: list[str], cwd: str, env: dict[str, str], label: str) -> None:
        refusal = (
            "the container is ending"
            if self._exit_at is not None
            else "its id is taken"
            if not OWN_WORDS < run_id < 1 << 32 or self._running(run_id)
            else f"{MAX_RUNS} commands run already"
            if len(self._runs) >= MAX_RUNS
            else "there is no command"
            if not command
            else ""
        )
        try:
            if refusal:
                raise OSError(refusal)
            keeper, report, out, err = keep(command, cwd, app_environment(os.environ, env), self._bounds)
        except OSError as error:
            self._say({"type": "exited", "id": run_id, "exitCode": None, "signal": None, "error": str(error)})
            return
        run = self._runs[keeper] = Run(run_id, label, keeper, report, {out: STDOUT, err: STDERR})
        self._selector.register(report, selectors.EVENT_READ, lambda _: self._read_report(run))
        for fd in (out, err):
            self._selector.register(fd, selectors.EVENT_READ, self._reader(run, fd))

    # The runs

    def _reader(self, run: Run, fd: int) -> Callable[[int], bool]:
        return lambda _: self._read_output(run, fd)

    def _read_output(self, run: Run, fd: int) -> bool:
        """One piece of what the app wrote; False once there is nothing more to read now."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._outbox.output(run.pipes[fd], run.id, data)
            return True
        self._forget(fd)
        del run.pipes[fd]
        return False

    def _read_report(self, run: Run) -> None:
        """What the keeper says. Only it can: nothing else ever had the other end."""
        with contextlib.suppress(BlockingIOError):
            while run.report >= 0:
                data = os.read(run.report, READ_BYTES)
                if not data:
                    self._forget(run.report)
                    run.report = -1
                run.said += data
        while b"\n" in run.said:
            line, _, run.said = run.said.partition(b"\n")
            word, _, rest = line.partition(b" ")
            if word == b"started":
                run.pid = int(rest)
                self._say({"type": "started", "id": run.id, "pid": run.pid})
            elif word == b"failed":
                run.error = rest.decode(errors="replace")
                self._outbox.system(run.error + "\n", run.id)
            else:
                run.status = int(rest)

    def _forget(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)

    def _end_run(self, run: Run, grace: float) -> None:
        """SIGTERM to all of it now, SIGKILL after ``grace`` seconds; a second call can only shorten the wait."""
        kill_at = time.monotonic() + max(0.0, grace)
        if run.kill_at is None or kill_at < run.kill_at:
            run.kill_at = kill_at
        self._walk_at = 0.0

    def _care_for_runs(self) -> None:
        if self._ending:
            self._ending = False
            self._say({"type": "ending"})
        self._reap()
        for run in self._runs.values():
            if run.kill_at is None and self._exit_at is not None:
                self._end_run(run, SHUTDOWN_GRACE_SECONDS)
            elif run.kill_at is None and run.status is not None:
                self._end_run(run, LEFTOVER_GRACE_SECONDS)
        now = time.monotonic()
        ending = [run for run in self._runs.values() if run.ending]
        if ending and now >= self._walk_at:
            for run in ending:
                if run.kill_at is not None and now >= run.kill_at and run.pid and run.status is None:
                    # before a look at all that lives, for which a fork bomb leaves us little time
                    send_signal(-run.pid, signal.SIGKILL)
            table = Table()
            for run in ending:
                if run.lost_at is not None:
                    self._clear_after(run, table, now)
                else:
                    self._press(run, table, now)
            self._stray_ended = False
            self._walk_at = time.monotonic() + WALK_SECONDS

    def _bound(self) -> None:
        """What the kernel does not bound. Sessions of ``exec`` take of the same, so all of the container ends."""
        if self._watch is None or time.monotonic() < self._look_at:
            return
        why, memory = self._watch.look()
        if why and os.getpid() == 1:
            for run in self._runs.values():
                run.overran = run.overran or (why, memory)
            send_signal(-1, signal.SIGKILL)
        self._look_at = time.monotonic() + self._watch.pause

    def _reap(self) -> None:
        """Collect ended children: keepers, and what had none above it."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            run = self._runs.get(pid)
            if run is None:
                self._stray_ended = True
                continue
            self._read_report(run)
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
                self._finish(run)
            else:
                run.lost_at = time.monotonic()
                self._walk_at = 0.0

    def _press(self, run: Run, table: Table, now: float) -> None:
        """One step towards the end of all that is below a living keeper."""
        assert run.kill_at is not None
        found = table.below(run.keeper)
        if now < run.kill_at:
            for pid in found:
                if pid not in run.terminated:
                    run.terminated.add(pid)
                    send_signal(pid, signal.SIGTERM)
            return
        send_signal(run.keeper, signal.SIGCONT)  # the app may have stopped it
        for group in groups(run, table, found):
            send_signal(-group, signal.SIGKILL)  # at once: what forks within its group cannot outrun this
        for pid in found:
            send_signal(pid, signal.SIGKILL)
        # what was killed and is still there waits for a disk; what is new, or hides from every look, forks on
        forks = not found or any(pid not in run.killed for pid in found)
        run.killed.update(found)
        if forks and now >= run.kill_at + FORK_BOMB_SECONDS:
            send_signal(-1 if os.getpid() == 1 else run.keeper, signal.SIGKILL)

    def _clear_after(self, run: Run, table: Table, now: float) -> None:
        """Kill what a killed keeper left to us, until nothing is seen and nothing unseen ends either."""
        assert run.lost_at is not None
        strays = table.below(os.getpid(), without=self._runs)
        for pid in strays:
            send_signal(pid, signal.SIGKILL)
        run.quiet_walks = 0 if strays or self._stray_ended else run.quiet_walks + 1
        if run.quiet_walks >= QUIET_WALKS:
            self._finish(run)
        elif now >= run.lost_at + FORK_BOMB_SECONDS and os.getpid() == 1:
            send_signal(-1, signal.SIGKILL)

    def _finish(self, run: Run) -> None:
        for fd in list(run.pipes):
            while self._read_output(run, fd):
                pass
            if fd in run.pipes:  # held open by something outside the tree, such as a session of exec
                self._forget(fd)
        if run.report >= 0:
            self._forget(run.report)
        del self._runs[run.keeper]
        error, code, number = run.error, None, None
        starved = oom_kills() > run.oom_kills
        if run.overran and (run.status is None or os.WIFSIGNALED(run.status)):
            (error, starved), number = run.overran, int(signal.SIGKILL)
        elif run.status is None:
            error = error or "its keeper was killed"
        elif os.WIFSIGNALED(run.status):
            number = os.WTERMSIG(run.status)
        else:
            code = os.WEXITSTATUS(run.status)
        if starved and not error:
            error = f"out of memory: the limit of the container is {self._memory_limit() >> 20} MiB"
        exited = {"type": "exited", "id": run.id, "exitCode": code, "signal": number, "error": error, "outOfMemory": starved}
        self._say(exited)

    def _memory_limit(self) -> int:
        return int(self._measured["limits"].get("memoryBytes", 0))


def prctl(option: int, value: int | bytes) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main() -> int:
    """Run until told to end; as PID 1 in a pod, as a subreaper elsewhere (tests)."""
    if os.getpid() != 1:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if open_files := int(os.environ.get("SANDBOX_NOFILE", "0")):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        open_files = open_files if hard == resource.RLIM_INFINITY else min(open_files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    if os.environ.get("SANDBOX_NO_NEW_PRIVS") == "1":
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if scratch := os.environ.get("SANDBOX_SCRATCH"):
        with contextlib.suppress(OSError):  # what cannot be removed stays
            emptying.empty(scratch)
    landlock = usable_landlock() if os.environ.get("SANDBOX_LANDLOCK") == "1" else 0
    bounds = Bounds(int(os.environ.get("SANDBOX_NPROC", "0")), landlock > 0)
    port = int(os.environ.get("SANDBOX_AGENT_PORT", "7071"))
    return Launcher(port, bounds, isolation.measure(landlock, bounds.nproc)).run_forever()


if __name__ == "__main__":
    sys.exit(main())
