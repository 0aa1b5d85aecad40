"""PID 1 of the app container: starts the command the agent names, streams what it prints, ends all of it when told.

One file, standard library, Python 3.8 and later, no import of our own packages: it arrives on a read-only volume in whatever
image the template or the user chose. It holds no secret and trusts nobody; the agent (another container of the pod) decides.

Guarantees:

* the app never waits for the agent: its pipes are always read; what the buffer cannot hold is dropped, oldest first, and counted;
* "exited" is said only when nothing of the run is left, however it forked or escaped into sessions of its own;
* the app outlives the agent: on reconnection ``hello`` tells what runs, and what happened meanwhile follows in order.

Environment: SANDBOX_AGENT_PORT (7071), SANDBOX_NPROC (RLIMIT_NPROC of the app), SANDBOX_NO_NEW_PRIVS=1.
"""

# ruff: noqa: PTH123, PTH208  (importing pathlib costs 10 ms of every start)
from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque

TYPE_CHECKING = False  # importing typing costs 5 ms of every start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Told = dict[str, Any] | None

CONTROL, STDOUT, STDERR, SYSTEM = range(4)
HEADER = struct.Struct(">IB")
MAX_FRAME = 1 << 20
READ_BYTES = 1 << 16
BUFFER_BYTES = 1 << 20
FRAME_OVERHEAD = 100
"""Bytes Python needs to keep one small frame, about; without it a flood of one-byte writes would cost a hundredfold."""
F_SETPIPE_SZ = 1031
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

RECONNECT_SECONDS = (0.05, 1.0)
WALK_SECONDS = 0.02
"""Between two looks for processes that were not told to end yet."""
LEFTOVER_GRACE_SECONDS = 1.0
"""For what a command leaves behind when it ends by itself."""
SHUTDOWN_GRACE_SECONDS = 1.5
SHUTDOWN_SECONDS = 2.0
FORK_BOMB_SECONDS = 1.0
"""Of killing one by one before everything in the PID namespace is killed at once, sessions of ``exec`` included."""


def frame(kind: int, payload: bytes) -> bytes:
    """One frame as it travels: length of what follows, type, payload."""
    return HEADER.pack(len(payload) + 1, kind) + payload


def control(message: dict[str, Any]) -> bytes:
    return frame(CONTROL, json.dumps(message, separators=(",", ":")).encode())


class Outbox:
    """Frames for the agent, in order. Output beyond the limit is dropped, oldest first; control frames never are.

    ``told`` is the run the agent knows about, from the last control frame that was handed to the kernel whole.
    """

    def __init__(self, limit: int = BUFFER_BYTES) -> None:
        self._limit = limit
        self._frames: deque[tuple[int, bytes, Told]] = deque()
        self._bytes = 0
        self._sent = 0  # of the first frame
        self._dropped = 0
        self.told: Told = None

    def __bool__(self) -> bool:
        return bool(self._frames) or self._dropped > 0

    def output(self, kind: int, payload: bytes) -> None:
        self._frames.append((kind, frame(kind, payload), None))
        self._bytes += len(payload) + FRAME_OVERHEAD
        while self._bytes > self._limit:
            self._drop_oldest()

    def system(self, text: str) -> None:
        self._frames.append((SYSTEM, frame(SYSTEM, text.encode(errors="replace")), None))

    def control(self, message: dict[str, Any], told: Told) -> None:
        self._frames.append((CONTROL, control(message), told))

    def reopen(self) -> None:
        """A new connection: what was half sent is sent again from its start."""
        self._sent = 0

    def pieces(self) -> list[bytes | memoryview]:
        """What to send next, at most 64 buffers (IOV_MAX is 1024; more than 64 small frames gain nothing)."""
        if self._dropped and not self._sent:
            text = f"{self._dropped} bytes of output were dropped: the app wrote faster than the agent could read\n"
            self._frames.appendleft((SYSTEM, frame(SYSTEM, text.encode()), None))
            self._dropped = 0
        pieces: list[bytes | memoryview] = [entry[1] for _, entry in zip(range(64), self._frames)]  # noqa: B905 - zip(strict=) needs 3.10
        if pieces and self._sent:
            pieces[0] = memoryview(pieces[0])[self._sent :]
        return pieces

    def advance(self, count: int) -> None:
        self._sent += count
        while self._frames and self._sent >= len(self._frames[0][1]):
            kind, sent, told = self._frames.popleft()
            self._sent -= len(sent)
            if kind == CONTROL:
                self.told = told
            elif kind != SYSTEM:
                self._bytes -= len(sent) - HEADER.size + FRAME_OVERHEAD

    def _drop_oldest(self) -> None:
        start = 1 if self._sent else 0  # never the one that is half sent
        for index in range(start, len(self._frames)):
            kind, dropped, _ = self._frames[index]
            if kind in (STDOUT, STDERR):
                del self._frames[index]
                self._bytes -= len(dropped) - HEADER.size + FRAME_OVERHEAD
                self._dropped += len(dropped) - HEADER.size
                return
        raise AssertionError("bytes are counted for output frames only")


class Run:
    """One command and everything it started. ``status`` is the wait status of the command itself once it ended."""

    def __init__(self, run_id: int, pid: int, label: str, pipes: dict[int, int]) -> None:
        self.id = run_id
        self.pid = pid
        self.label = label
        self.pipes = pipes  # file descriptor: kind of frame
        self.status: int | None = None
        self.kill_at: float | None = None  # monotonic; set while everything is being ended
        self.terminated: set[int] = set()

    def told(self) -> Told:
        return {"id": self.id, "pid": self.pid, "label": self.label}


def descendants(root: int) -> list[int]:
    """PIDs of all living descendants of ``root``. A process that moved while we looked is found by the next look: orphans
    become children of ``root``, as it is PID 1 or a subreaper. Sessions of ``kubectl exec`` have no parent here: not ours."""
    parent: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, ppid = file.read().rpartition(b")")[2].split(None, 2)[:2]
            except OSError:
                continue
            if state not in (b"Z", b"X"):
                parent[int(name)] = int(ppid)
    found = []
    for pid, above in parent.items():
        ancestor = above
        while ancestor in parent and ancestor != root:
            ancestor = parent[ancestor]
        if ancestor == root and pid != root:
            found.append(pid)
    return found


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def app_environment(base: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The container's environment, what the agent gives (PORT, HOST, …), and a HOME that can be written to: package managers
    keep caches there, and a user id without an entry in /etc/passwd lands on ``/``."""
    env = dict(base)
    if not os.access(env.get("HOME", ""), os.W_OK):
        env["HOME"] = "/tmp"  # noqa: S108 - the container's own emptyDir
    env.update(given)
    return env


def spawn(command: list[str], cwd: str, env: dict[str, str], nproc: int) -> tuple[int, int, int]:
    """Start ``command`` in a session of its own. Returns (pid, stdout, stderr); OSError says what could not be done."""
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    failure_read, failure_write = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if pid == 0:
        doing = "start a session"
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (out_write, 1), (err_write, 2)):
                os.dup2(source, target)
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them; an app expects the default
                signal.signal(ignored, signal.SIG_DFL)
            doing = "enter the working directory " + cwd
            os.chdir(cwd)
            if nproc:
                import resource  # noqa: PLC0415 - rarely asked for

                doing = "limit the number of processes"
                resource.setrlimit(resource.RLIMIT_NPROC, (nproc, nproc))
            doing = "run " + command[0]
            os.execvpe(command[0], command, env)  # noqa: S606 - to run the given command is the purpose
        except BaseException as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            os.write(failure_write, f"cannot {doing}: {reason}".encode(errors="replace")[:1000])
        finally:
            os._exit(127)
    for used in (out_write, err_write, failure_write):
        os.close(used)
    with open(failure_read, "rb") as file:
        failure = file.read()
    if failure:
        os.close(out_read)
        os.close(err_read)
        os.waitpid(pid, 0)
        raise OSError(failure.decode(errors="replace"))
    for pipe in (out_read, err_read):
        os.set_blocking(pipe, False)
        with contextlib.suppress(OSError):  # an unprivileged user's total is limited
            fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 18)
    return pid, out_read, err_read


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


class Launcher:
    """The event loop: one thread, one selector, no waiting anywhere else."""

    def __init__(self, port: int, nproc: int = 0) -> None:
        self._address = ("127.0.0.1", port)
        self._nproc = nproc
        self._selector = selectors.DefaultSelector()
        self._outbox = Outbox()
        self._run: Run | None = None
        self._socket: socket.socket | None = None
        self._connected_at: float | None = None
        self._greeting = b""
        self._inbox = bytearray()
        self._retry_seconds = RECONNECT_SECONDS[0]
        self._retry_at = 0.0
        self._walk_at = 0.0
        self._exit_at: float | None = None

    def run_forever(self) -> int:
        """Until SIGTERM or SIGINT; returns the exit code."""
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._shut_down)
        self._selector.register(wake_read, selectors.EVENT_READ, lambda _: os.read(wake_read, 4096))
        while True:
            if self._socket is None and time.monotonic() >= self._retry_at:
                self._connect()
            for key, mask in self._selector.select(self._timeout()):
                key.data(mask)
            self._care_for_run()
            self._flush()
            if self._exit_at is not None and (self._run is None or time.monotonic() >= self._exit_at):
                return 0

    def _timeout(self) -> float | None:
        """Seconds until something is due, None to wait for an event."""
        due = [self._exit_at]
        if self._socket is None:
            due.append(self._retry_at)
        if self._run and self._run.kill_at is not None:
            due.append(self._walk_at)
        times = [at for at in due if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _shut_down(self, *_: object) -> None:
        self._exit_at = time.monotonic() + SHUTDOWN_SECONDS
        if self._run:
            self._end_run(self._run, SHUTDOWN_GRACE_SECONDS)

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
            self._greeting = control({"type": "hello", "pid": os.getpid(), "running": self._outbox.told})
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
        except (OSError, ValueError, KeyError, TypeError):  # a message that cannot be understood ends the connection
            self._disconnect()

    # What the agent asks for

    def _obey(self, message: dict[str, Any]) -> None:
        if message["type"] == "start":
            command = [str(word) for word in message["command"]]
            self._start(int(message["id"]), command, str(message["cwd"]), dict(message["env"]), str(message.get("label", "")))
        elif message["type"] == "stop":
            run_id, grace = int(message["id"]), float(message["gracePeriodSeconds"])
            if self._run and self._run.id == run_id:
                self._end_run(self._run, grace)
            else:
                self._say_exited(run_id, None, None, "it is not running")
        elif message["type"] == "usage":
            told = self._run.told() if self._run else None
            self._outbox.control({"type": "usage", "memoryBytes": memory_bytes()}, told)

    def _start(self, run_id: int, command: list[str], cwd: str, env: dict[str, str], label: str) -> None:
        if self._run or self._exit_at is not None:
            self._say_exited(run_id, None, None, "another command is still running")
            return
        try:
            pid, out, err = spawn(command, cwd, app_environment(os.environ, env), self._nproc)
        except (OSError, ValueError, IndexError) as error:
            self._outbox.system(f"{error}\n")
            self._say_exited(run_id, 127, None, str(error))
            return
        self._run = Run(run_id, pid, label, {out: STDOUT, err: STDERR})
        for fd in (out, err):
            self._selector.register(fd, selectors.EVENT_READ, self._reader(self._run, fd))
        self._outbox.control({"type": "started", "id": run_id, "pid": pid}, self._run.told())

    def _say_exited(self, run_id: int, code: int | None, number: int | None, error: str = "") -> None:
        message = {"type": "exited", "id": run_id, "exitCode": code, "signal": number, "error": error}
        self._outbox.control(message, self._run.told() if self._run else None)

    # The run

    def _reader(self, run: Run, fd: int) -> Callable[[int], bool]:
        return lambda _: self._read_output(run, fd)

    def _read_output(self, run: Run, fd: int) -> bool:
        """One piece of what the app wrote; False once there is nothing more to read now."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._outbox.output(run.pipes[fd], data)
            return True
        self._selector.unregister(fd)
        os.close(fd)
        del run.pipes[fd]
        return False

    def _end_run(self, run: Run, grace: float) -> None:
        """SIGTERM to all of it now, SIGKILL after ``grace`` seconds; a second call can only shorten the wait."""
        kill_at = time.monotonic() + max(0.0, grace)
        if run.kill_at is None or kill_at < run.kill_at:
            run.kill_at = kill_at
        self._walk_at = 0.0

    def _reap(self) -> bool:
        """Collect ended children, ours and orphans; True if none is left, which means that no descendant is left either."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if self._run and pid == self._run.pid:
                self._run.status = status

    def _care_for_run(self) -> None:
        gone = self._reap()
        run = self._run
        if run is None:
            return
        if gone:
            self._finish(run)
            return
        if self._exit_at is not None and run.kill_at is None:  # told to end while this run was being started
            self._end_run(run, SHUTDOWN_GRACE_SECONDS)
        if run.status is not None and run.kill_at is None:
            self._end_run(run, LEFTOVER_GRACE_SECONDS)
        now = time.monotonic()
        if run.kill_at is not None and now >= self._walk_at:
            self._walk_at = now + WALK_SECONDS
            for pid in descendants(os.getpid()):
                if now >= run.kill_at:
                    send_signal(pid, signal.SIGKILL)
                elif pid not in run.terminated:
                    run.terminated.add(pid)
                    send_signal(pid, signal.SIGTERM)
            if now >= run.kill_at + FORK_BOMB_SECONDS and os.getpid() == 1:
                send_signal(-1, signal.SIGKILL)

    def _finish(self, run: Run) -> None:
        for fd in list(run.pipes):
            while self._read_output(run, fd):
                pass
            if fd in run.pipes:  # held open by something outside the tree, such as a session of exec
                self._selector.unregister(fd)
                os.close(fd)
        self._run = None
        status = run.status or 0
        if os.WIFSIGNALED(status):
            self._say_exited(run.id, None, os.WTERMSIG(status))
        else:
            self._say_exited(run.id, os.WEXITSTATUS(status), None)


def prctl(option: int, value: int) -> None:
    import ctypes  # noqa: PLC0415 - costs 10 ms and is rarely needed

    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main() -> int:
    """Run until told to end; as PID 1 in a pod, as a subreaper elsewhere (tests)."""
    if os.getpid() != 1:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.environ.get("SANDBOX_NO_NEW_PRIVS") == "1":
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    port = int(os.environ.get("SANDBOX_AGENT_PORT", "7071"))
    return Launcher(port, int(os.environ.get("SANDBOX_NPROC", "0"))).run_forever()


if __name__ == "__main__":
    sys.exit(main())
