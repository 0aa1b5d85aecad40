"""The supervisor with the real launcher as a child process, over loopback."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runner_agent.logs import LogBook
from runner_agent.process import Supervisor
from runner_agent.settings import AppSettings, Settings

LAUNCHER = Path(__file__).parents[3] / "runner_agent" / "launcher.py"
SERVE = """
import http.server, os
address = "127.0.0.1", int(os.environ["PORT"])
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""
SERVE_IPV6 = (
    f"import http.server, socket\nhttp.server.HTTPServer.address_family = socket.AF_INET6\n{SERVE.replace('127.0.0.1', '::1')}"
)
HAS_IPV6_LOOPBACK = (
    Path("/proc/net/if_inet6").exists() and "00000000000000000000000000000001" in Path("/proc/net/if_inet6").read_text()
)


class FakeWorkspace:
    revision: str | None = "1-abc"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Pod:
    """An agent's process half and an app container's launcher, sharing a tree."""

    def __init__(self, folder: Path, command: tuple[str, ...] | None) -> None:
        (folder / "tree").mkdir()
        (folder / ".agent").mkdir()
        app = AppSettings(command, free_port(), str(folder / "tree"))
        self.settings = Settings(data=folder, app=app, launcher_port=0)
        self.workspace = FakeWorkspace()
        self.logbook = LogBook()
        self.supervisor = Supervisor(self.settings, self.workspace, self.logbook)
        self.launcher: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        await self.supervisor.start()
        await self.start_launcher(self.supervisor.link.port)

    async def start_launcher(self, port: int) -> None:
        env = {**os.environ, "SANDBOX_AGENT_PORT": str(port)}
        self.launcher = await asyncio.create_subprocess_exec(sys.executable, str(LAUNCHER), env=env)

    async def close(self) -> None:
        await self.supervisor.close()
        if self.launcher is not None:
            with contextlib.suppress(ProcessLookupError):
                self.launcher.terminate()
            await self.launcher.wait()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(8):
            while not true():  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.01)

    def state(self) -> str:
        return str(self.supervisor.process_json()["state"])

    def log(self) -> str:
        return "\n".join(self.logbook.last_lines(1000, frozenset({"stdout", "stderr", "system"})))


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(*command: str) -> Pod:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Pod(folder, command or None))
        return made[-1]

    yield make
    for pod in made:
        await pod.close()


async def test_nothing_runs_before_the_first_sync(pods: Callable[..., Pod]) -> None:
    pod = pods("echo", "hello")
    pod.workspace.revision = None
    await pod.start()
    await pod.until(pod.supervisor.link.connected.is_set)
    assert pod.state() == "AwaitingFirstSync"
    assert pod.supervisor.condition()["reason"] == "AwaitingFirstSync"
    pod.workspace.revision = "1-abc"
    assert await pod.supervisor.on_synced(["a"], "auto", True)
    await pod.until(lambda: "hello" in pod.log())


async def test_ready_means_an_answer_on_the_port(pods: Callable[..., Pod]) -> None:
    pod = pods(sys.executable, "-c", SERVE)
    await pod.start()
    assert pod.supervisor.readiness()[0] is False
    await pod.until(lambda: pod.supervisor.ready)
    assert pod.state() == "Running"
    assert pod.supervisor.readiness() == (True, "")


@pytest.mark.skipif(not HAS_IPV6_LOOPBACK, reason="this machine has no ::1")
async def test_an_app_on_the_ipv6_loopback_is_found(pods: Callable[..., Pod]) -> None:
    pod = pods(sys.executable, "-c", SERVE_IPV6)
    await pod.start()
    await pod.until(lambda: pod.supervisor.ready)
    assert pod.supervisor.app_host == "::1"


async def test_a_crash_is_told_with_its_last_lines_and_tried_again(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "echo going down >&2; exit 7")
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    process = pod.supervisor.process_json()
    assert (process["exitCode"], process["reason"]) == (7, "CrashLoop")
    assert "going down" in process["message"]
    assert "exit code 7" in process["message"]
    await pod.until(lambda: pod.supervisor.process_json()["restarts"] >= 1)


async def test_a_sync_ends_the_back_off_at_once(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "cat answer && exec sleep 60")
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    (pod.settings.tree / "answer").write_text("fixed\n")
    assert await pod.supervisor.on_synced(["answer"], "auto", False) is True
    await pod.until(lambda: "fixed" in pod.log())


@pytest.mark.parametrize(
    ("changed", "mode", "restarted"),
    [
        (["src/App.jsx"], "auto", False),
        (["package.json"], "auto", True),
        (["web/vite.config.ts"], "auto", True),
        (["package.json"], "never", False),
        (["src/App.jsx"], "always", True),
        ([], "auto", False),
    ],
)
async def test_only_declared_triggers_restart_a_running_app(
    pods: Callable[..., Pod], changed: list[str], mode: str, restarted: bool
) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")
    assert await pod.supervisor.on_synced(changed, mode, False) is restarted  # type: ignore[arg-type]


async def test_restart_answers_with_the_new_process(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.process_json()["pid"] is not None)
    before = pod.supervisor.process_json()
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: pod.supervisor.process_json()["pid"] not in (None, before["pid"]))
    assert pod.supervisor.process_json()["restarts"] == before["restarts"] + 1
    with pytest.raises(ProcessLookupError):
        os.kill(before["pid"], 0)


async def test_what_ignores_sigterm_and_escapes_its_session_is_killed_on_restart(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > escaped; sleep 60' & wait; sleep 60")
    await pod.start()
    escaped = pod.settings.tree / "escaped"
    await pod.until(lambda: escaped.exists() and escaped.read_text().strip() != "")
    pid = int(escaped.read_text())
    await pod.supervisor.restart(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_an_install_is_a_step_of_its_own_done_once(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    (pod.settings.tree / "requirements.txt").write_text("")
    (pod.settings.tree / ".venv" / "bin").mkdir(parents=True)
    python = pod.settings.tree / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho installing $*\n")
    python.chmod(0o755)
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")
    assert "installing -m pip install" in pod.log()
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: pod.state() == "Starting")
    assert "installing" not in pod.log()  # the log of this run
    (pod.settings.tree / "requirements.txt").write_text("six\n")
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: "installing" in pod.log())


async def test_a_failed_install_is_told_as_such(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    (pod.settings.tree / "requirements.txt").write_text("")
    (pod.settings.tree / ".venv" / "bin").mkdir(parents=True)
    python = pod.settings.tree / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no such package; exit 1\n")
    python.chmod(0o755)
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    condition = pod.supervisor.condition()
    assert condition["reason"] == "InstallFailed"
    assert "no such package" in condition["message"]


async def test_an_empty_tree_says_what_would_run(pods: Callable[..., Pod]) -> None:
    pod = pods()
    await pod.start()
    await pod.until(lambda: pod.state() == "Exited")
    assert pod.supervisor.condition()["reason"] == "NoCommand"
    (pod.settings.tree / "index.html").write_text("<p>hello")
    assert await pod.supervisor.on_synced(["index.html"], "auto", False) is True
    await pod.until(lambda: pod.supervisor.ready)


async def test_an_app_outlives_its_agent(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.process_json()["pid"] is not None)
    pid, port = pod.supervisor.process_json()["pid"], pod.supervisor.link.port
    await pod.supervisor.close()
    successor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, LogBook())
    await successor.start()
    try:
        await pod.until(lambda: successor.process_json()["state"] == "Starting")
        assert successor.process_json()["pid"] == pid
        await pod.until(lambda: successor.process_json()["pid"] == pid)
    finally:
        await successor.close()


async def test_an_app_whose_dependencies_changed_unseen_is_not_kept(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.process_json()["pid"] is not None)
    port = pod.supervisor.link.port
    await pod.supervisor.close()  # as if killed between a sync and the restart it asked for
    (pod.settings.tree / "requirements.txt").write_text("")
    (pod.settings.tree / ".venv" / "bin").mkdir(parents=True)
    python = pod.settings.tree / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho installing $*\n")
    python.chmod(0o755)
    logbook = LogBook()
    successor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, logbook)
    await successor.start()
    try:
        await pod.until(lambda: "installing -m pip install" in "\n".join(logbook.last_lines(50)) or successor.ready)
        await pod.until(lambda: successor.process_json()["state"] == "Starting")
    finally:
        await successor.close()


async def test_a_lost_launcher_is_waited_for(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")
    assert pod.launcher is not None
    pod.launcher.kill()
    await pod.launcher.wait()
    await pod.until(lambda: pod.state() == "AwaitingLauncher")
    await pod.start_launcher(pod.supervisor.link.port)
    await pod.until(lambda: pod.state() == "Starting")


async def test_a_second_launcher_is_turned_away(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(pod.supervisor.link.connected.is_set)
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.supervisor.link.port)
    assert await reader.read(1) == b""
    writer.close()


@pytest.mark.parametrize("sent", [b"\xff" * 64, b"\x00\x00\x00\x05\x09abcd", b"\x00\x00\x00\x05\x01text"])
async def test_what_is_no_launcher_is_cut_off(pods: Callable[..., Pod], sent: bytes) -> None:
    pod = pods("sleep", "60")
    await pod.supervisor.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.supervisor.link.port)
    writer.write(sent)
    with contextlib.suppress(ConnectionError):
        assert await reader.read(1) == b""
    writer.close()
    await pod.start_launcher(pod.supervisor.link.port)
    await pod.until(pod.supervisor.link.connected.is_set)


async def test_a_planted_link_is_not_read_as_a_manifest(pods: Callable[..., Pod], tmp_path: Path) -> None:
    pod = pods()
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"scripts": {"dev": "echo stolen"}}))
    (pod.settings.tree / "package.json").symlink_to(secret)
    await pod.start()
    await pod.until(lambda: pod.state() == "Exited")
    assert pod.supervisor.condition()["reason"] == "NoCommand"


async def test_a_launcher_told_to_end_while_a_command_starts_leaves_nothing_behind(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "echo $$ > pid; exec sleep 60")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")  # asked for, and perhaps not begun
    await pod.supervisor.close()
    assert pod.launcher is not None
    pod.launcher.terminate()
    await pod.launcher.wait()
    file = pod.settings.tree / "pid"
    if file.exists() and (text := file.read_text().strip()):
        with pytest.raises(ProcessLookupError):
            os.kill(int(text), 0)
