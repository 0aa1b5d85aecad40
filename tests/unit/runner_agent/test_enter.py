"""What a person starts by exec stands under what bounds all that the launcher starts, in a PID namespace where that is PID 1."""

import os
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
        while not (found := children.read_text().split()) or b"serve" not in Path(f"/proc/{found[0]}/cmdline").read_bytes():
            assert time.monotonic() < deadline, "the launcher never started"
            os.sched_yield()
        self._pid = found[0]

    def exec(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """As the container runtime starts a command beside PID 1."""
        inside = ["nsenter", "--target", self._pid, "--pid", "--mount", "--", *words]
        return subprocess.run(inside, env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=False)

    def enter(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self.exec(str(launcher.built()), "enter", *command, **environ)

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
    assert done.stdout == "(4077, 4077) (300, 300) (0, 0) 15\n"


def test_no_new_privileges_can_be_gained(container: Container) -> None:
    assert container.enter("grep", "NoNewPrivs", "/proc/self/status").stdout == "NoNewPrivs:\t1\n"


@pytest.mark.skipif(launcher.landlock_version() < launcher.LANDLOCK_SCOPES, reason="this kernel's Landlock keeps no signals in")
def test_it_cannot_signal_or_read_what_is_not_its_own(container: Container) -> None:
    script = "kill -0 1 || echo no signal; head -c 1 /proc/1/mem || echo no memory; sleep 60 & kill $! && echo its own"
    done = container.enter("sh", "-c", script)
    assert done.stdout == "no signal\nno memory\nits own\n"
    assert container.exec("sh", "-c", "kill -0 1 && echo outside it could").stdout == "outside it could\n"


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
