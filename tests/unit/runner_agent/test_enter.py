"""What a person starts by exec stands under the limits of what the launcher starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from runner_agent import enter

ENTER = Path(enter.__file__)


def run(tmp_path: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-I", "-S", str(ENTER), *command]
    environ = {"PATH": "/usr/bin:/bin", "SANDBOX_WORKSPACE": str(tmp_path)} | environ
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)


def test_a_command_runs_in_the_workspace_with_its_arguments_and_its_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, "sh", "-c", 'pwd; echo "$1"; exit 3', "sh", "a b*")
    assert (done.returncode, done.stdout) == (3, f"{tmp_path}\na b*\n")


def test_the_number_of_processes_is_bounded_and_cannot_be_raised(tmp_path: Path) -> None:
    program = "import resource as r; print(r.getrlimit(r.RLIMIT_NPROC))"
    assert run(tmp_path, sys.executable, "-c", program, SANDBOX_NPROC="77").stdout == "(77, 77)\n"


def test_no_new_privileges_can_be_gained(tmp_path: Path) -> None:
    shown = run(tmp_path, "grep", "NoNewPrivs", "/proc/self/status", SANDBOX_NO_NEW_PRIVS="1").stdout
    assert shown == "NoNewPrivs:\t1\n"


@pytest.mark.parametrize(
    ("command", "environ", "code", "told"),
    [
        (("no-such-program",), {}, 127, "no-such-program: "),
        (("/etc/passwd",), {}, 126, "/etc/passwd: "),
        (("true",), {"SANDBOX_NPROC": "many"}, 126, "true: "),
        ((), {}, 126, "no command"),
    ],
)
def test_what_cannot_be_run_has_the_shell_s_exit_codes(
    tmp_path: Path, command: tuple[str, ...], environ: dict[str, str], code: int, told: str
) -> None:
    done = run(tmp_path, *command, **environ)
    assert (done.returncode, done.stderr.startswith(f"exec: {told}")) == (code, True), done.stderr
