"""The launcher as a process of its own, told what to do by a plain socket that reads only when the test says so."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from runner_agent import frames
from runner_agent.frames import Exited, Hello, Kind, Started

LAUNCHER = Path(__file__).parents[3] / "runner_agent" / "launcher.py"


M = TypeVar("M", bound=frames.Message)


class Agent:
    """The agent's end: listens, starts the launcher, sends and reads frames. Every wait fails after 10 s."""

    def __init__(self, **env: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        port = self._listener.getsockname()[1]
        self.process = subprocess.Popen([sys.executable, LAUNCHER], env={**os.environ, "SANDBOX_AGENT_PORT": str(port), **env})
        self._connection = socket.socket()
        self._ids = 0

    def accept(self) -> Hello:
        self.hang_up()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(10)
        self._decoder = frames.Decoder()
        self._waiting: list[tuple[Kind, bytes]] = []
        self.output = {kind: bytearray() for kind in Kind}
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
                self.output[frame] += payload
            data = self._connection.recv(1 << 18)
            assert data, "the launcher hung up"
            self._waiting += self._decoder.feed(data)

    def start(self, *command: str, cwd: str = "/", label: str = "app", **env: str) -> int:
        self._ids += 1
        self._connection.sendall(frames.start(self._ids, command, cwd, env, label))
        return self._ids

    def shell(self, script: str, **env: str) -> int:
        return self.start("sh", "-c", script, **env)

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
    assert made.accept().running is None
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


def test_it_is_one_file_of_python_3_8_that_imports_none_of_ours() -> None:
    tree = ast.parse(LAUNCHER.read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


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


def test_the_app_gets_the_given_environment_and_a_home_it_can_write_to() -> None:
    agent = Agent(HOME="/nowhere", OWN="kept")
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


def test_a_second_command_is_refused_while_one_runs(agent: Agent) -> None:
    first = agent.start("sleep", "60")
    agent.message(Started)
    second = agent.start("true")
    assert agent.message(Exited) == Exited(second, None, None, "another command is still running")
    agent.stop(first, 5)
    assert agent.message(Exited) == Exited(first, None, signal.SIGTERM)


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
    run = agent.shell(f"while ! test -e {go}; do sleep 0.01; done; echo meanwhile; exit 6", label="app")
    pid = agent.message(Started).pid
    agent.hang_up()
    running = agent.accept().running
    assert running is not None
    assert (running.id, running.pid, running.label) == (run, pid, "app")
    agent.hang_up()
    go.touch()
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        os.sched_yield()
    agent.accept()
    assert agent.message(Exited) == Exited(run, 6, None)
    assert agent.output[Kind.STDOUT] == b"meanwhile\n"


def test_a_message_that_makes_no_sense_ends_the_connection_and_not_the_app(agent: Agent) -> None:
    run = agent.start("sleep", "60")
    agent.message(Started)
    agent.send(frames.encode(Kind.CONTROL, json.dumps({"type": "stop", "id": "x"}).encode()))
    agent.expect_hang_up()
    running = agent.accept().running
    assert running is not None
    assert running.id == run
    agent.stop(run, 5)
    agent.message(Exited)


def test_being_told_to_end_takes_the_app_along(tmp_path: Path) -> None:
    agent = Agent()
    agent.accept()
    file = tmp_path / "pid"
    agent.shell(f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > {file}; sleep 60' & wait; sleep 60")
    escaped = int(appears(file))
    agent.process.terminate()
    assert agent.process.wait(10) == 0
    assert not alive(escaped)
    agent.close()


def test_limits_that_were_asked_for_are_set() -> None:
    agent = Agent(SANDBOX_NPROC="4000", SANDBOX_NO_NEW_PRIVS="1")
    agent.accept()
    agent.shell("ulimit -u 2>/dev/null || grep processes /proc/self/limits; grep NoNewPrivs /proc/self/status")
    agent.message(Started)
    agent.message(Exited)
    assert b"4000" in agent.output[Kind.STDOUT]
    assert agent.output[Kind.STDOUT].endswith(b"NoNewPrivs:\t1\n")
    agent.close()
