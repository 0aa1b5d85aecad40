"""What a person starts by exec stands under what bounds all that the launcher starts, in a PID namespace where that is PID 1."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import launcher

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes a PID namespace, which needs root")
OPTIONS = ("--processes=4077", "--open-files=300", "--no-new-privileges", "--landlock", "--agent-port=1")


class Container:
    """PID 1 is the launcher, as in the app's container; nobody answers as its agent."""

    def __init__(self, workspace: Path) -> None:
        command = [str(launcher.built()), "launcher", *OPTIONS, f"--workspace={workspace}"]
        self._outer = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command])
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        deadline = time.monotonic() + 10
        while not (found := children.read_text().split()) or not self._hears_signals(found[0]):
            assert time.monotonic() < deadline, "the launcher never started"
            os.sched_yield()
        self._pid = found[0]

    @staticmethod
    def _hears_signals(pid: str) -> bool:
        """Which it does last of all at its start: it ignores SIGUSR1, among others, and it is the launcher proper."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ignored = int(status["SigIgn"], 16) >> (signal.SIGUSR1 - 1) & 1
        return bool(ignored) and b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()

    def exec(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """As the container runtime starts a command beside PID 1."""
        inside = ["nsenter", "--target", self._pid, "--pid", "--mount", "--", *words]
        return subprocess.run(inside, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=False)

    def enter(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.exec(str(launcher.built()), "enter", *command, **environ)

    @contextlib.contextmanager
    def starting(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A session that goes on, once its command runs."""
        inside = ["nsenter", "--target", self._pid, "--pid", "--mount", "--", str(launcher.built()), "enter", *command]
        with subprocess.Popen(inside) as session:
            deadline = time.monotonic() + 10
            while self.exec("pgrep", "--full", "--exact", shlex.join(command)).returncode:
                assert time.monotonic() < deadline, "the session never started"
            yield session

    def wait(self) -> int:
        return self._outer.wait(10)

    def close(self) -> None:
        self._outer.kill()
        self._outer.wait(10)


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    made = Container(tmp_path_factory.mktemp("workspace"))
    yield made
    made.close()


def test_a_command_runs_in_the_workspace_with_its_arguments_and_its_exit_code(container: Container) -> None:
    done = container.enter("sh", "-c", 'basename "$PWD"; echo "$1"; exit 3', "sh", "--processes=0 b*")
    assert (done.returncode, done.stdout) == (3, "workspace0\n--processes=0 b*\n")


def test_it_has_the_launcher_s_limits_whatever_its_environment_says(container: Container) -> None:
    program = (
        "import os, resource as r; print(*(r.getrlimit(x) for x in (r.RLIMIT_NPROC, r.RLIMIT_NOFILE, r.RLIMIT_CORE)), os.nice(0))"
    )
    done = container.enter(sys.executable, "-c", program, SANDBOX_NPROC="0", GOMAXPROCS="3")
    assert done.stdout == f"(4077, 4077) (300, 300) (0, 0) {min(os.nice(0) + 15, 19)}\n"


def test_no_new_privileges_can_be_gained(container: Container) -> None:
    assert container.enter("grep", "NoNewPrivs", "/proc/self/status").stdout == "NoNewPrivs:\t1\n"


def test_it_ends_what_another_session_runs_by_name(container: Container) -> None:
    """As a person does with an app that hangs. Landlock would keep signals within the session."""
    with container.starting("sleep", "777") as other:
        assert container.enter("pkill", "--full", "--exact", "sleep 777").returncode == 0
        assert other.wait(10) == -signal.SIGTERM


@pytest.mark.skipif(not launcher.landlock_version(), reason="this kernel has no Landlock")
def test_it_cannot_trace_or_read_what_is_not_its_own(container: Container) -> None:
    assert container.enter("head", "-c", "1", "/proc/1/mem").returncode == 1
    assert container.exec("head", "-c", "0", "/proc/1/mem").returncode == 0, "outside it could"


def test_no_signal_ends_the_launcher_but_those_that_ask_it_to(container: Container) -> None:
    """Neither of a session nor, on a kernel whose Landlock keeps no signals in, of an app. SIGKILL from inside is none."""
    sent = " ".join(str(int(one)) for one in sorted(signal.valid_signals() - {signal.SIGTERM, signal.SIGINT}))
    done = container.enter("bash", "-c", f"for n in {sent}; do kill -$n 1 || echo cannot send $n; done; kill -9 -1")
    assert done.stdout == ""
    assert container.enter("echo", "alive").stdout == "alive\n"


def test_asked_to_end_it_ends(tmp_path: Path) -> None:
    made = Container(tmp_path)
    made.enter("kill", "1")
    assert made.wait() == 0


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (("no-such-program",), 127, "no-such-program: this image has no such program"),
        (("/no/such/file",), 127, "/no/such/file: there is no such file"),
        (("/etc/passwd",), 126, "/etc/passwd: it is not a program"),
        ((), 126, "no command"),
    ],
)
def test_what_cannot_be_run_has_the_shell_s_exit_codes(
    container: Container, command: tuple[str, ...], code: int, told: str
) -> None:
    done = container.enter(*command)
    assert (done.returncode, done.stderr.startswith(f"exec: {told}")) == (code, True), done.stderr


def test_where_the_launcher_is_not_pid_1_nothing_is_run() -> None:
    done = subprocess.run([launcher.built(), "enter", "true"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (126, "exec: true: process 1 is not the launcher\n")
