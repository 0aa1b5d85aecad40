"""The launcher as a process of its own, told what to do by a plain socket that reads only when the test says so."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from runner_agent import frames, inotify
from runner_agent.frames import Ending, Exited, Hello, Kind, Started, Usage
from tests.harness import launcher

MAX_RUNS = 16

M = TypeVar("M", bound=frames.Message)


class Agent:
    """The agent's end: listens, starts the launcher, sends and reads frames. Every wait fails after 10 s."""

    def __init__(
        self, *options: str, as_user: Sequence[str] = (), env: Mapping[str, str] | None = None, program: str | Path = ""
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        port = self._listener.getsockname()[1]
        self.process = subprocess.Popen(
            [*as_user, program or launcher.built(), "launcher", f"--agent-port={port}", *options],
            env={**os.environ, **(env or {})},
        )
        self._connection = socket.socket()
        self._ids = 0

    def accept(self) -> Hello:
        self.hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(10)
        self._decoder = frames.Decoder()
        self._waiting: list[tuple[Kind, bytes]] = []
        self.outputs: dict[tuple[int, Kind], bytearray] = defaultdict(bytearray)
        return self.message(Hello)

    def message(self, kind: type[M]) -> M:
        """The next control frame, which must be a ``kind``; output before it is collected."""
        while True:
            while self._waiting:
                frame, payload = self._waiting.pop(0)
                if frame is Kind.CONTROL:
                    message = frames.parse(payload)
                    assert isinstance(message, kind), message
                    return message
                run, text = frames.output(payload)
                self.outputs[run, frame] += text
            data = self._connection.recv(1 << 18)
            assert data, "the launcher hung up"
            self._waiting += self._decoder.feed(data)

    def hears(self, run: int, text: bytes) -> None:
        """Waits until ``run`` has printed exactly this."""
        while self.outputs[run, Kind.STDOUT] != text:
            outputs = [frames.output(payload) for frame, payload in self._waiting if frame is Kind.STDOUT]
            self._waiting = [(frame, payload) for frame, payload in self._waiting if frame is not Kind.STDOUT]
            for found, piece in outputs:
                self.outputs[found, Kind.STDOUT] += piece
            if not outputs:
                data = self._connection.recv(1 << 18)
                assert data, "the launcher hung up"
                self._waiting += self._decoder.feed(data)

    @property
    def output(self) -> dict[Kind, bytes]:
        """By kind, of all runs together."""
        return {kind: b"".join(text for (_, found), text in self.outputs.items() if found is kind) for kind in Kind}

    def ends(self, *runs: int) -> dict[int, Exited]:
        """The ends of these runs, in any order, whatever was started meanwhile."""
        found: dict[int, Exited] = {}
        while found.keys() != set(runs):
            message: frames.Message = self.message(frames.Message)  # type: ignore[arg-type]
            if isinstance(message, Exited):
                found[message.id] = message
        return found

    def start(self, *command: str, cwd: str = "/", label: str = "web", **env: str) -> int:
        self._ids += 1
        self._connection.sendall(frames.start(self._ids, command, cwd, env, label))
        return self._ids

    def shell(self, script: str, **env: str) -> int:
        return self.start("sh", "-c", script, **env)

    def running(self, script: str, **env: str) -> int:
        """A shell that has begun."""
        run = self.shell(script, **env)
        assert self.message(Started).id == run
        return run

    def stop(self, run: int, grace: float) -> None:
        self._connection.sendall(frames.stop(run, grace))

    def send(self, raw: bytes) -> None:
        self._connection.sendall(raw)

    def expect_hang_up(self) -> None:
        assert self._connection.recv(1) == b""

    def hang_up(self) -> None:
        self._connection.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._listener.close()
        self._connection.close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    assert made.accept().running == ()
    yield made
    made.close()


def appears(path: Path) -> str:
    """Content of a file that another process writes; fails after 10 s."""
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path.name} was never written"
        os.sched_yield()
    return path.read_text().strip()


def alive(pid: int) -> bool:
    """Runs, or is dead and not collected: both would be something left over."""
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, signal.SIGKILL)]
)
def test_the_end_of_a_command_is_told_as_it_was(agent: Agent, script: str, code: int | None, number: int | None) -> None:
    run = agent.shell(script)
    assert agent.message(Started).id == run
    assert agent.message(Exited) == Exited(run, code, number)


def test_output_comes_whole_before_the_end_and_by_stream(agent: Agent) -> None:
    agent.shell("printf 'to out'; printf 'to err' >&2")
    agent.message(Started)
    agent.message(Exited)
    assert [bytes(agent.output[kind]) for kind in (Kind.STDOUT, Kind.STDERR)] == [b"to out", b"to err"]


def test_what_the_container_before_left_in_its_scratch_is_gone_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/pid").write_text("12")
    agent = Agent(f"--scratch={tmp_path}")
    agent.accept()
    assert list(tmp_path.iterdir()) == []
    agent.close()


def test_the_app_gets_the_given_environment_and_a_home_it_can_write_to() -> None:
    agent = Agent(env={"HOME": "/nowhere", "OWN": "kept"})
    agent.accept()
    agent.shell("echo $PORT $OWN; test -w $HOME", PORT="3000")
    agent.message(Started)
    assert agent.message(Exited).exit_code == 0
    assert agent.output[Kind.STDOUT] == b"3000 kept\n"
    agent.close()


@pytest.mark.parametrize(
    ("command", "cwd", "words"),
    [(["no-such-program"], "/", "cannot run no-such-program"), (["true"], "/nowhere", "cannot enter the working directory")],
)
def test_what_cannot_be_started_says_why(agent: Agent, command: list[str], cwd: str, words: str) -> None:
    run = agent.start(*command, cwd=cwd)
    ended = agent.message(Exited)
    assert (ended.id, ended.exit_code) == (run, 127)
    assert words in ended.error
    assert words in agent.output[Kind.SYSTEM].decode()
    run = agent.shell("exit 3")
    agent.message(Started)
    assert agent.message(Exited).exit_code == 3


def test_runs_are_apart_in_output_and_end(agent: Agent) -> None:
    first = agent.running("echo one; exec sleep 60", label="web")
    second = agent.running("echo two; exec sleep 60", label="worker")
    agent.hears(second, b"two\n")
    agent.stop(second, 5)
    assert agent.message(Exited) == Exited(second, None, signal.SIGTERM)
    agent.hang_up()
    assert [(run.id, run.label) for run in agent.accept().running] == [(first, "web")]
    agent.stop(first, 5)
    assert agent.message(Exited) == Exited(first, None, signal.SIGTERM)


def test_more_runs_than_a_pod_has_processes_are_refused(agent: Agent) -> None:
    for _ in range(MAX_RUNS):
        agent.running("exec sleep 60")
    refused = agent.shell("exec sleep 60")
    ended = agent.message(Exited)
    assert (ended.id, ended.exit_code, ended.signal) == (refused, None, None)
    assert str(MAX_RUNS) in ended.error


def test_stopping_what_does_not_run_is_answered(agent: Agent) -> None:
    agent.stop(99, 1)
    assert agent.message(Exited) == Exited(99, None, None, "it is not running")


def test_a_stop_leaves_time_for_an_orderly_end(agent: Agent, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    run = agent.shell(f"trap 'echo tidied up; exit 4' TERM; echo yes > {ready}; while :; do sleep 0.01; done")
    agent.message(Started)
    appears(ready)
    agent.stop(run, 10)
    assert agent.message(Exited).exit_code == 4
    assert agent.output[Kind.STDOUT] == b"tidied up\n"


def test_sessions_of_their_own_and_deaf_ears_do_not_save_a_process(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run = agent.shell(f'setsid sh -c \'trap "" TERM; (setsid sh -c "echo \\$\\$ > {file}; sleep 60" &) ; sleep 60\' & sleep 60')
    agent.message(Started)
    escaped = int(appears(file))
    agent.stop(run, 0.05)
    agent.message(Exited)
    assert not alive(escaped)


def test_what_a_command_leaves_behind_is_gone_before_its_end_is_told(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    agent.shell(f"setsid sh -c 'echo $$ > {file}; exec sleep 60' & while ! test -s {file}; do :; done; exit 5")
    agent.message(Started)
    assert agent.message(Exited).exit_code == 5
    assert not alive(int(appears(file)))


ESCAPE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # neither session nor parent lead back to the run
        os.setsid()
        with open(os.environ["FILE"], "w") as file:
            print(os.getpid(), file=file)
        time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def test_what_forked_twice_is_still_its_own_run_s_and_nobody_else_s(agent: Agent, tmp_path: Path) -> None:
    escaped = []
    runs = []
    for number in range(2):
        runs.append(agent.start(sys.executable, "-c", ESCAPE, FILE=str(tmp_path / f"{number}")))
        agent.message(Started)
        escaped.append(int(appears(tmp_path / f"{number}")))
    agent.stop(runs[0], 0.05)
    assert agent.message(Exited).id == runs[0]
    assert not alive(escaped[0])
    assert alive(escaped[1])
    agent.stop(runs[1], 0.05)
    agent.message(Exited)
    assert not alive(escaped[1])


def test_an_app_that_kills_its_keeper_ends_with_all_it_started(agent: Agent, tmp_path: Path) -> None:
    bystander = agent.running("exec sleep 60", label="web")
    file = tmp_path / "pid"
    script = f"(setsid sh -c 'echo $$ > {file}; exec sleep 60' &) ; while ! test -s {file}; do :; done; kill -9 $PPID; sleep 60"
    run = agent.start("sh", "-c", script, label="worker")
    assert agent.ends(run) == {run: Exited(run, None, None, "its keeper was killed")}
    assert not alive(int(appears(file)))
    agent.hang_up()
    assert [kept.id for kept in agent.accept().running] == [bystander]
    agent.stop(bystander, 5)
    assert agent.message(Exited) == Exited(bystander, None, signal.SIGTERM)


FLEE = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.open(os.environ["HELD"], os.O_WRONLY)
if os.environ["ALONE"]:
    os.kill(os.getppid(), signal.SIGKILL)
end = time.monotonic() + float(os.environ["SECONDS"])
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""
"""Each process lives for less than a look at /proc takes, and leaves the next one behind. All hold a pipe open."""


class Held:
    """A pipe that what flees holds open: it tells exactly whether any of it is left."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def by_nobody(self) -> bool:
        try:
            return os.read(self._fd, 1) == b""
        except BlockingIOError:
            return False


def test_what_flees_within_its_group_cannot_outrun_the_end(agent: Agent, tmp_path: Path) -> None:
    bystander = agent.running("exec sleep 60")
    held = Held(tmp_path / "held")
    run = agent.start(sys.executable, "-c", FLEE, HELD=str(held.path), ALONE="", SECONDS="20")
    agent.message(Started)
    agent.stop(run, 0.05)
    assert agent.message(Exited).id == run
    assert held.by_nobody()
    agent.stop(bystander, 5)
    assert agent.message(Exited) == Exited(bystander, None, signal.SIGTERM)


def test_what_flees_after_killing_its_keeper_is_not_told_as_gone(agent: Agent, tmp_path: Path) -> None:
    held = Held(tmp_path / "held")
    run = agent.start(sys.executable, "-c", FLEE, HELD=str(held.path), ALONE="yes", SECONDS="0.5")
    assert agent.ends(run)
    assert held.by_nobody()


def test_a_keeper_that_the_app_stopped_does_not_keep_it_alive(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run = agent.shell(f"echo $$ > {file}; kill -STOP $PPID; exec sleep 60")
    pid = int(appears(file))
    agent.stop(run, 0.05)
    assert agent.ends(run)
    assert not alive(pid)


def test_a_keeper_is_not_named_as_what_people_kill_by_name(agent: Agent) -> None:
    agent.shell("cat /proc/$PPID/comm")
    agent.message(Started)
    agent.message(Exited)
    assert agent.output[Kind.STDOUT] == b"keeper\n"


def test_orphans_that_end_are_collected(agent: Agent, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    run = agent.shell(f"(sh -c 'echo $$ > {file}' &); exec sleep 60")
    agent.message(Started)
    orphan = int(appears(file))
    deadline = time.monotonic() + 10
    while alive(orphan):
        assert time.monotonic() < deadline, "a zombie was left"
        os.sched_yield()
    agent.stop(run, 5)
    agent.message(Exited)


def test_a_flood_that_nobody_reads_does_not_stop_the_app_and_is_counted(agent: Agent, tmp_path: Path) -> None:
    done, lines = tmp_path / "done", 200_000
    run = agent.shell(f"seq -f '%0.f a line of a dev server that has much to say' {lines}; echo yes > {done}; exec sleep 60")
    appears(done)  # while nothing is read here: far more than the pipe, the buffer and the sockets hold
    agent.stop(run, 5)
    agent.message(Started)
    agent.message(Exited)
    written = sum(len(f"{n} a line of a dev server that has much to say\n") for n in range(1, lines + 1))
    told = agent.output[Kind.SYSTEM].decode().splitlines()
    assert told
    assert sum(int(line.split()[0]) for line in told) + len(agent.output[Kind.STDOUT]) == written
    assert agent.output[Kind.STDOUT].endswith(b"200000 a line of a dev server that has much to say\n")


def test_a_line_longer_than_any_buffer_arrives_as_it_is_read(agent: Agent) -> None:
    agent.shell("head -c 700000 /dev/zero | tr '\\0' x; echo")
    agent.message(Started)
    agent.message(Exited)
    assert agent.output[Kind.STDOUT] == b"x" * 700_000 + b"\n"


def test_a_run_and_its_end_are_told_to_the_next_agent(agent: Agent, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run = agent.shell(f"while ! test -e {go}; do sleep 0.01; done; echo meanwhile; exit 6", label="web")
    pid = agent.message(Started).pid
    agent.hang_up()
    (running,) = agent.accept().running
    assert (running.id, running.pid, running.label) == (run, pid, "web")
    agent.hang_up()
    go.touch()
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        os.sched_yield()
    agent.accept()
    assert agent.message(Exited) == Exited(run, 6, None)
    assert agent.output[Kind.STDOUT] == b"meanwhile\n"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"stop","id":"x"}',
        b'{"type":"stop","id":1e999}',
        b'{"type":"stop","id":1,"gracePeriodSeconds":Infinity}',
        b'{"type":"stop","id":1,"gracePeriodSeconds":NaN}',
        b'{"type":"start","id":9,"command":["true"],"cwd":"/","env":[]}',
        b"[" * 100_000,
        b"7",
    ],
    ids=lambda payload: payload[:60].decode(),
)
def test_a_message_that_makes_no_sense_ends_the_connection_and_not_the_app(agent: Agent, payload: bytes) -> None:
    run = agent.start("sleep", "60")
    agent.message(Started)
    agent.send(frames.encode(Kind.CONTROL, payload))
    agent.expect_hang_up()
    (running,) = agent.accept().running
    assert running.id == run
    agent.stop(run, 5)
    agent.message(Exited)


def test_what_is_shown_reaches_watchers_and_keeps_its_times(agent: Agent, tmp_path: Path) -> None:
    (tmp_path / "src" / "gone").mkdir(parents=True)
    page, link, secret = tmp_path / "src" / "page", tmp_path / "src" / "link", tmp_path / "secret"
    for file in (page, secret):
        file.write_text("")
        os.utime(file, ns=(10**18 + 1, 10**18 + 7))
    link.symlink_to(secret)
    watcher = inotify.Inotify()
    names = {}
    for folder in (tmp_path, tmp_path / "src"):
        handle = os.open(folder, os.O_RDONLY)
        names[watcher.add(handle)] = folder.name
        os.close(handle)
    (tmp_path / "src" / "gone").rmdir()
    list(watcher.read())
    agent.send(frames.show(str(tmp_path), ["src/page", "src/link", "src/gone/too/deep", "../secret/x", "no\0path"]))
    agent.send(frames.usage())
    agent.message(Usage)
    seen = [(names[event.watch], event.name) for event in watcher.read() if event.mask & inotify.ATTRIB]
    watcher.close()
    assert {("src", "page"), ("src", "link"), ("src", ""), (tmp_path.name, "src")} == set(seen)
    assert [file.stat().st_mtime_ns for file in (page, secret)] == [10**18 + 7] * 2


def test_being_told_to_end_takes_the_app_along(tmp_path: Path) -> None:
    agent = Agent()
    agent.accept()
    file = tmp_path / "pid"
    agent.shell(f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > {file}; sleep 60' & wait; sleep 60")
    escaped = int(appears(file))
    agent.process.terminate()
    agent.message(Started)
    agent.message(Ending)
    assert agent.process.wait(10) == 0
    assert not alive(escaped)
    agent.close()


def test_limits_that_were_asked_for_are_set() -> None:
    agent = Agent("--processes=4000", "--open-files=300", "--no-new-privileges")
    told = agent.accept().isolation
    assert told is not None
    assert told["limits"] | {"processes": 4000, "openFiles": 300, "coreBytes": 0} == told["limits"]
    assert told["noNewPrivileges"] is True
    program = "import resource as r; print(*(r.getrlimit(x) for x in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CORE)))"
    agent.shell(f"{sys.executable} -c '{program}'; grep NoNewPrivs /proc/self/status")
    agent.message(Started)
    agent.message(Exited)
    assert agent.output[Kind.STDOUT] == b"(4000, 4000) (300, 300) (0, 0)\nNoNewPrivs:\t1\n"
    agent.close()


OUTCOME = """
import errno
def outcome(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""

REACH_OUT = """
import ctypes, os, sys
def attach(pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(16, pid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")
keeper = os.getppid()
launcher = int(open(f"/proc/{keeper}/stat").read().rpartition(")")[2].split()[1])
for pid in keeper, launcher:
    print(outcome(lambda: os.kill(pid, 0)), outcome(lambda: attach(pid)), outcome(lambda: open(f"/proc/{pid}/mem", "rb")))
child = os.fork() or os.execlp("sleep", "sleep", "60")
print(outcome(lambda: os.kill(child, 9)))
os.makedirs(sys.argv[1] + "/a/b"), os.makedirs(sys.argv[1] + "/c")
print(outcome(lambda: os.rename(sys.argv[1] + "/a/b", sys.argv[1] + "/c/d")))
"""


CONFINED = ("--no-new-privileges", "--landlock")


@pytest.mark.skipif(launcher.landlock_version() < launcher.LANDLOCK_SCOPES, reason="this kernel's Landlock keeps no signals in")
def test_an_app_cannot_signal_trace_or_read_what_keeps_it(tmp_path: Path) -> None:
    agent = Agent(*CONFINED)
    told = agent.accept().isolation
    assert told is not None
    assert told["landlock"] == launcher.landlock_version()
    agent.start(sys.executable, "-c", OUTCOME + REACH_OUT, str(tmp_path))
    agent.message(Started)
    assert agent.message(Exited).exit_code == 0, agent.output[Kind.STDERR]
    # EACCES is what root is told here about /proc/<pid>/mem; what is the app's own goes on working
    assert agent.output[Kind.STDOUT].split() == [b"EPERM", b"EPERM", b"EACCES"] * 2 + [b"done", b"done"]
    agent.close()


UNPRIVILEGED = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]


@pytest.mark.parametrize(
    ("options", "as_user"),
    [(("--no-new-privileges",), []), (("--landlock",), UNPRIVILEGED)],
    ids=["not asked for", "refused without no_new_privs"],
)
def test_where_it_cannot_be_confined_it_starts_and_says_so(options: tuple[str, ...], as_user: list[str]) -> None:
    if as_user and os.getuid() != 0:
        as_user = []
    agent = Agent(*options, as_user=as_user)
    told = agent.accept().isolation
    assert told is not None
    assert told["landlock"] == 0
    agent.close()


STEERING = {
    "GODEBUG": "inittrace=1,gctrace=1,schedtrace=1",
    "GOGC": "off",
    "GOMAXPROCS": "64",
    "GOMEMLIMIT": "1B",
    "GOTRACEBACK": "crash",
    "LD_PRELOAD": "/nowhere.so",
    "PYTHONPATH": "/nowhere",
    "SANDBOX_AGENT_PORT": "1",
    "SANDBOX_NPROC": "0",
}


def test_what_the_user_sets_is_for_commands_and_steers_nothing_of_the_launcher() -> None:
    agent = Agent("--processes=4000", env=STEERING)
    told = agent.accept().isolation
    assert told is not None
    assert told["limits"]["processes"] == 4000
    own = Path(f"/proc/{agent.process.pid}/environ").read_bytes()
    agent.shell("cat /proc/$PPID/environ; echo; echo $GODEBUG $GOMAXPROCS $PYTHONPATH $SANDBOX_NPROC; ulimit -p")
    agent.message(Started)
    agent.message(Exited)
    keeper, given, processes = agent.output[Kind.STDOUT].decode().splitlines()
    for environ in own.decode(), keeper:
        assert {entry.partition("=")[0] for entry in environ.split("\0") if entry} == {"GOMAXPROCS", "GOGC"}
        assert "64" not in environ
    assert given == "inittrace=1,gctrace=1,schedtrace=1 64 /nowhere 0"
    assert processes == "4000"
    agent.close()


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_it_is_built_for_both_processors_as_a_static_program(tmp_path: Path, architecture: str, machine: int) -> None:
    launcher.go("build", "-ldflags=-s -w", "-o", str(tmp_path / "launcher"), ".", GOARCH=architecture)
    program = (tmp_path / "launcher").read_bytes()
    assert program[:4] == b"\x7fELF"
    assert int.from_bytes(program[18:20], "little") == machine, "e_machine of the ELF header"
    assert b"ld-linux" not in program


def test_standard_input_stays_open_and_says_nothing(agent: Agent) -> None:
    """esbuild, tailwind and others take the end of their input for the wish that they end."""
    program = "import select, sys; print(select.select([sys.stdin], [], [], 0.1)[0])"
    agent.start(sys.executable, "-c", program)
    agent.message(Started)
    agent.message(Exited)
    assert agent.output[Kind.STDOUT] == b"[]\n"


def test_a_command_gets_no_descriptor_but_its_three(agent: Agent) -> None:
    agent.start(sys.executable, "-c", "import os; print(*sorted(map(int, os.listdir('/proc/self/fd'))))")
    agent.message(Started)
    agent.message(Exited)
    assert agent.output[Kind.STDOUT] == b"0 1 2 3\n"  # 3 is the listing's own


def test_no_signal_is_ignored_or_blocked_for_a_command() -> None:
    agent = Agent(as_user=["sh", "-c", 'trap "" HUP PIPE USR1; exec "$@"', "sh"])
    agent.accept()
    agent.start("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    agent.message(Started)
    agent.message(Exited)
    assert {line.split()[1] for line in agent.output[Kind.STDOUT].splitlines()} == {b"0" * 16}
    agent.close()
