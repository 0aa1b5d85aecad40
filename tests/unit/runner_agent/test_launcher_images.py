"""The launcher in images that have next to nothing: root directories of their own, with a PID namespace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from runner_agent.frames import Exited, Kind, Started
from tests.harness import launcher
from tests.unit.runner_agent.test_launcher import Agent

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes a root directory, which needs root")
HOSTILE = {"LD_PRELOAD": "/evil.so", "LD_LIBRARY_PATH": "/evil", "PYTHONPATH": "/evil", "PATH": "/evil", "HOME": "/evil"}


def with_libraries(root: Path, program: str) -> None:
    """Puts a program and the libraries that it names into ``root``, at the places where they are here."""
    shown = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for word in (program, *(word for word in shown.split() if word.startswith("/"))):
        target = root / word.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(word, target)


Image = Callable[..., Agent]


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    agents = []

    def made(*programs: str, env: Mapping[str, str] | None = None) -> Agent:
        for folder in ("proc", "opt/sandbox", "tmp"):
            (tmp_path / folder).mkdir(parents=True)
        shutil.copy(launcher.built(), tmp_path / "opt/sandbox/launcher")
        for program in programs:
            with_libraries(tmp_path, program)
        inside = [str(shutil.which("unshare")), "--pid", "--fork", "--kill-child", f"--root={tmp_path}", "--mount-proc"]
        agents.append(Agent(as_user=inside, program="/opt/sandbox/launcher", env=env))
        return agents[-1]

    yield made
    for agent in agents:
        agent.process.send_signal(signal.SIGKILL)
        agent.close()


def test_an_image_without_any_file_runs_a_static_program(image: Image) -> None:
    agent = image(env=HOSTILE)
    assert agent.accept().pid == 1
    agent.start("/opt/sandbox/launcher")
    agent.message(Started)
    assert agent.message(Exited).exit_code == 2
    assert agent.output[Kind.STDERR].startswith(b"usage: launcher")


def test_a_missing_shell_is_told_with_what_to_do(image: Image) -> None:
    agent = image()
    agent.accept()
    agent.shell("npm ci")
    assert "cannot run sh: this image has no shell; choose an image with one" in agent.message(Exited).error
    agent.start("npm", "ci")
    assert "cannot run npm: this image has no such program" in agent.message(Exited).error


def test_an_image_with_a_shell_and_nothing_else_runs_it_and_ends_all_of_it(image: Image) -> None:
    agent = image("/bin/sh")
    agent.accept()
    run = agent.running("echo up; (while :; do :; done) & while :; do :; done", PATH="/bin")
    agent.hears(run, b"up\n")
    agent.stop(run, 0.05)
    assert agent.message(Exited).signal in (signal.SIGTERM, signal.SIGKILL)


def test_a_program_whose_loader_the_image_lacks_is_told_apart_from_one_that_is_missing(image: Image, tmp_path: Path) -> None:
    agent = image("/bin/sh")
    shutil.rmtree(tmp_path / "lib64")
    agent.accept()
    agent.start("/bin/sh")
    assert "the program that runs it" in agent.message(Exited).error
