"""The supervisor with the real launcher as a child process, over loopback."""

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner_agent import lookout, process, whereabouts
from runner_agent.logs import LogBook
from runner_agent.ports import Listener, listening, read_tables
from runner_agent.settings import AppSettings, ProcessSettings, Settings
from runner_agent.supervisor import Supervisor
from runner_agent.touch import touch
from runner_agent.whereabouts import Where
from runner_agent.workspace_tree import Tree
from sandbox_protocol.errors import StatusError
from tests.harness import launcher

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

    def __init__(self, tree: Path) -> None:
        self._tree = tree

    async def touch(self, paths: Sequence[str]) -> None:
        def work() -> None:
            root = os.open(self._tree, os.O_RDONLY | os.O_DIRECTORY)
            with Tree(root) as tree:
                touch(tree, paths)
            os.close(root)

        await asyncio.to_thread(work)


def listening_inodes(pid: int) -> set[str]:
    """Of the sockets that a process and its descendants hold."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found, left = set(), [pid]
    while left:
        one = left.pop()
        left += parents.get(one, ())
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{one}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Pod:
    """An agent's process half and an app container's launcher, sharing a tree."""

    def __init__(self, folder: Path, command: tuple[str, ...] | None, **app_settings: Any) -> None:
        (folder / "tree").mkdir()
        (folder / ".agent").mkdir()
        app = AppSettings(command, free_port(), str(folder / "tree"), **app_settings)
        self.settings = Settings(data=folder, app=app, launcher_port=0)
        self.workspace = FakeWorkspace(folder / "tree")
        self.logbook = LogBook()
        self.supervisor = Supervisor(self.settings, self.workspace, self.logbook, self.workspace.touch)
        self._judged: dict[str, bool] = {}
        self.supervisor.look_at = self._own_listeners
        self.launcher: asyncio.subprocess.Process | None = None

    def _own_listeners(self) -> list[Listener]:
        """Of the launcher's processes: unlike in a pod, others live on this machine."""
        lines = [line for table in read_tables() for line in table.splitlines()[1:] if line.split()[3] == "0A"]
        inodes = {line.split()[9] for line in lines}
        if self.launcher is not None and inodes - self._judged.keys():
            own = listening_inodes(self.launcher.pid)
            self._judged |= {inode: inode in own for inode in inodes - self._judged.keys()}
        return listening(["\n".join(["", *(line for line in lines if self._judged.get(line.split()[9]))])])

    async def start(self) -> None:
        await self.supervisor.start()
        await self.start_launcher(self.supervisor.link.port)

    async def start_launcher(self, port: int) -> None:
        self.launcher = await asyncio.create_subprocess_exec(launcher.built(), "launcher", f"--agent-port={port}")

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
        return str(self.supervisor.web.to_json()["state"])

    def one(self, name: str) -> dict[str, Any]:
        return next(one.to_json() for one in self.supervisor.processes if one.name == name)

    def fake_install(self, script: str) -> None:
        """A requirements.txt, and a pip that is this shell script."""
        (self.settings.tree / ".venv" / "bin").mkdir(parents=True)
        python = self.settings.tree / ".venv" / "bin" / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        (python.parent / "pip").symlink_to("python")
        (self.settings.tree / "requirements.txt").write_text("")

    def log(self) -> str:
        """All that was kept, of every process and run."""
        blocks = self.logbook.ring.blocks(0)
        return "".join(record.text.decode() for block in blocks for record in block.records())


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(*command: str, **app_settings: Any) -> Pod:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Pod(folder, command or None, **app_settings))
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
    assert (await pod.supervisor.on_synced(["a"], "auto", True)).restarted
    await pod.until(lambda: "hello" in pod.log())


async def test_ready_means_an_answer_on_the_port(pods: Callable[..., Pod]) -> None:
    pod = pods(sys.executable, "-c", SERVE)
    await pod.start()
    assert pod.supervisor.readiness()[0] is False
    await pod.until(lambda: pod.supervisor.web.ready)
    assert pod.state() == "Running"
    assert pod.supervisor.readiness() == (True, "")


@pytest.mark.skipif(not HAS_IPV6_LOOPBACK, reason="this machine has no ::1")
async def test_an_app_on_the_ipv6_loopback_is_found(pods: Callable[..., Pod]) -> None:
    pod = pods(sys.executable, "-c", SERVE_IPV6)
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.ready)
    where = pod.supervisor.where(None)
    assert where is not None
    assert (where.host, where.port) == ("::1", pod.supervisor.web.port)


async def test_a_crash_is_told_with_its_last_lines_and_tried_again(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "echo going down >&2; exit 7")
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    first = pod.supervisor.web.to_json()
    assert (first["exitCode"], first["reason"], first["restarts"]) == (7, "Restarting", 0)
    assert "going down" in first["message"]
    assert "exit code 7" in first["message"]
    await pod.until(lambda: pod.supervisor.web.to_json()["reason"] == "CrashLoop")
    assert pod.supervisor.web.to_json()["restarts"] == 1


async def test_an_app_that_keeps_crashing_is_told_as_such_while_it_is_tried_again(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_BACKOFF_SECONDS", 0.05)
    pod = pods("sh", "-c", "test -e tried && exec sleep 60; test -e once && touch tried; touch once; exit 7")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting" and pod.one("web")["restarts"] == 2)
    assert pod.supervisor.condition()["reason"] == "CrashLoop"
    await pod.supervisor.on_synced(["package.json"], "auto", False)
    await pod.until(lambda: pod.supervisor.condition()["reason"] == "Starting")


async def test_a_web_app_that_ends_well_is_told_to_keep_running(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_BACKOFF_SECONDS", 0.05)
    pod = pods("true")
    await pod.start()
    await pod.until(lambda: pod.one("web")["reason"] == "Exited")
    message = pod.supervisor.condition()["message"]
    assert message.startswith("the app ended with exit code 0: a web app must keep running, and answer on port")


async def test_a_sync_ends_the_back_off_at_once(pods: Callable[..., Pod]) -> None:
    pod = pods("sh", "-c", "cat answer && exec sleep 60")
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    (pod.settings.tree / "answer").write_text("fixed\n")
    assert (await pod.supervisor.on_synced(["answer"], "auto", False)).restarted is True
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
    assert (await pod.supervisor.on_synced(changed, mode, False)).restarted is restarted  # type: ignore[arg-type]


async def test_restart_answers_with_the_new_process(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.to_json()["pid"] is not None)
    before = pod.supervisor.web.to_json()
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: pod.supervisor.web.to_json()["pid"] not in (None, before["pid"]))
    assert pod.supervisor.web.to_json()["restarts"] == before["restarts"] == 0  # it did not end by itself
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
    (python.parent / "pip").symlink_to("python")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")
    assert "installing -m pip install" in pod.log()
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: pod.state() == "Starting")
    assert pod.log().count("installing") == 1
    (pod.settings.tree / "requirements.txt").write_text("six\n")
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: pod.log().count("installing") == 2)


async def test_a_failed_install_is_told_as_such(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    (pod.settings.tree / "requirements.txt").write_text("")
    (pod.settings.tree / ".venv" / "bin").mkdir(parents=True)
    python = pod.settings.tree / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho no such package; exit 1\n")
    python.chmod(0o755)
    (python.parent / "pip").symlink_to("python")
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
    assert (await pod.supervisor.on_synced(["index.html"], "auto", False)).restarted is True
    await pod.until(lambda: pod.supervisor.web.ready)


async def test_an_app_outlives_its_agent(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.to_json()["pid"] is not None)
    pid, port = pod.supervisor.web.to_json()["pid"], pod.supervisor.link.port
    await pod.supervisor.close()
    successor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, LogBook(), pod.workspace.touch)
    await successor.start()
    try:
        await pod.until(lambda: successor.web.to_json()["state"] == "Starting")
        assert successor.web.to_json()["pid"] == pid
        await pod.until(lambda: successor.web.to_json()["pid"] == pid)
    finally:
        await successor.close()


async def test_an_app_whose_dependencies_changed_unseen_is_not_kept(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.to_json()["pid"] is not None)
    port = pod.supervisor.link.port
    await pod.supervisor.close()  # as if killed between a sync and the restart it asked for
    (pod.settings.tree / "requirements.txt").write_text("")
    (pod.settings.tree / ".venv" / "bin").mkdir(parents=True)
    python = pod.settings.tree / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho installing $*\n")
    python.chmod(0o755)
    (python.parent / "pip").symlink_to("python")
    logbook = LogBook()
    successor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, logbook, pod.workspace.touch)
    await successor.start()
    try:
        await pod.until(
            lambda: "installing -m pip install" in "\n".join(logbook.last_lines(50, "install")) or successor.web.ready
        )
        await pod.until(lambda: successor.web.to_json()["state"] == "Starting")
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


def worker(name: str, *command: str, port: int | None = None, **env: str) -> ProcessSettings:
    return ProcessSettings(name, command, port, env)


async def test_processes_run_side_by_side_with_a_port_and_an_environment_each(pods: Callable[..., Pod]) -> None:
    port = free_port()
    api = worker("api", sys.executable, "-c", SERVE, port=port)
    said = worker("said", "sh", "-c", "echo $GREETING ${PORT-none}; exec sleep 60", GREETING="hello")
    pod = pods(sys.executable, "-c", SERVE, processes=(api, said))
    await pod.start()
    await pod.until(lambda: all(one.ready for one in pod.supervisor.processes))
    assert [one["name"] for one in map(pod.one, ("web", "api", "said"))] == ["web", "api", "said"]
    assert pod.one("api")["port"] == port
    assert pod.supervisor.serving(port) is pod.supervisor.processes[1]
    await pod.until(lambda: "hello none" in pod.logbook.last_lines(9, "said"))
    assert "hello" not in "".join(pod.logbook.last_lines(9, "web"))


async def test_one_that_crashes_backs_off_alone(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("bad", "sh", "-c", "echo no >&2; exit 3"),))
    await pod.start()
    await pod.until(lambda: pod.one("bad")["restarts"] >= 1 and pod.one("bad")["state"] == "BackOff")
    assert pod.one("bad")["exitCode"] == 3
    assert "no" in pod.one("bad")["message"]
    assert (pod.state(), pod.one("web")["restarts"]) == ("Starting", 0)


async def test_one_is_restarted_and_the_others_are_left_alone(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("a", "sleep", "60"), worker("b", "sleep", "60")))
    await pod.start()
    await pod.until(lambda: all(pod.one(name)["pid"] for name in ("web", "a", "b")))
    before = {name: pod.one(name)["pid"] for name in ("web", "a", "b")}
    assert (await pod.supervisor.restart(1.0, "a"))["name"] == "a"
    await pod.until(lambda: pod.one("a")["pid"] not in (None, before["a"]))
    assert {name: pod.one(name)["pid"] for name in ("web", "b")} == {name: before[name] for name in ("web", "b")}
    await pod.supervisor.restart(1.0)
    await pod.until(lambda: all(pod.one(name)["pid"] not in (None, before[name]) for name in before))
    with pytest.raises(StatusError, match="web, a, b"):
        await pod.supervisor.restart(1.0, "nobody")


async def test_work_that_is_done_is_completed_and_no_crash(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("build", "sh", "-c", "cat source"),))
    (pod.settings.tree / "source").write_text("one\n")
    await pod.start()
    await pod.until(lambda: pod.one("build")["state"] == "Exited")
    assert (pod.one("build")["reason"], pod.one("build")["exitCode"]) == ("Completed", 0)
    assert (await pod.supervisor.on_synced([], "auto", False)).restarted is False
    (pod.settings.tree / "source").write_text("two\n")
    assert (await pod.supervisor.on_synced(["source"], "auto", False)).restarted is True
    await pod.until(lambda: "two" in pod.log())
    assert pod.one("web")["restarts"] == 0


async def test_a_declared_trigger_restarts_all_of_them(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("a", "sleep", "60"),), restart_on=("schema/**/*.sql",))
    await pod.start()
    await pod.until(lambda: pod.one("a")["pid"] is not None and pod.one("web")["pid"] is not None)
    before = {name: pod.one(name)["pid"] for name in ("a", "web")}
    assert (await pod.supervisor.on_synced(["schema/readme.md"], "auto", False)).restarted is False
    assert (await pod.supervisor.on_synced(["schema/v1/a.sql"], "auto", False)).restarted is True
    await pod.until(lambda: all(pod.one(name)["pid"] not in (None, before[name]) for name in before))
    assert pod.one("a")["restarts"] == pod.one("web")["restarts"] == 0


async def test_sources_restart_only_the_process_that_reads_them_once(pods: Callable[..., Pod]) -> None:
    sleep = "import time; time.sleep(60)"
    pod = pods("sleep", "60", processes=(worker("py", sys.executable, "-c", sleep),))
    await pod.start()
    await pod.until(lambda: pod.one("py")["ready"] and pod.one("web")["pid"] is not None)
    before = {name: pod.one(name)["pid"] for name in ("py", "web")}
    assert (await pod.supervisor.on_synced(["lib/a.py"], "auto", False)).restarted is True
    assert pod.supervisor.processes[1].restarting_by_us
    await pod.until(lambda: pod.one("py")["ready"] and pod.one("py")["pid"] != before["py"])
    assert not pod.supervisor.processes[1].restarting_by_us
    assert pod.one("web")["pid"] == before["web"]


async def test_an_install_runs_once_before_all_and_again_when_the_lock_file_changes(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("a", "sleep", "60"),))
    pod.fake_install("echo installing")
    await pod.start()
    await pod.until(lambda: pod.one("a")["ready"])
    assert pod.supervisor.install_json()["state"] == "Succeeded"
    assert pod.logbook.last_lines(9, "install") == ["installing"]
    (pod.settings.tree / "requirements.txt").write_text("six\n")
    assert (await pod.supervisor.on_synced(["requirements.txt"], "auto", False)).restarted is True
    await pod.until(lambda: pod.log().count("installing") == 2 and pod.one("a")["ready"])
    assert pod.one("a")["restarts"] == pod.one("web")["restarts"] == 0


async def test_an_install_that_writes_its_lock_file_runs_once(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    pod.fake_install("echo installing; echo made > uv.lock; echo made > requirements.lock")
    await pod.start()
    await pod.until(lambda: pod.state() == "Starting")
    await pod.supervisor.restart(0.1)
    await pod.until(lambda: pod.state() == "Starting")
    assert pod.log().count("installing") == 1


async def test_a_failure_that_a_second_try_would_not_mend_waits_for_the_next_sync(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    pod.fake_install("echo resolving; echo 'ERROR: No matching distribution found for nope'; exit 1")
    await pod.start()
    await pod.until(lambda: pod.state() == "BackOff")
    install = pod.supervisor.install_json()
    assert (install["failures"], install["lines"]) == (1, ["ERROR: No matching distribution found for nope"])
    assert "tried again after the next sync" in pod.supervisor.condition()["message"]
    await pod.supervisor.on_synced(["requirements.txt"], "auto", False)
    await pod.until(lambda: pod.supervisor.install_json()["failures"] == 2)


async def test_a_failed_install_holds_all_back_and_says_why(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("a", "sleep", "60"),))
    pod.fake_install("echo no such package; exit 4")
    await pod.start()
    await pod.until(lambda: pod.one("a")["reason"] == "InstallFailed")
    install = pod.supervisor.install_json()
    assert (install["state"], install["exitCode"]) == ("Failed", 4)
    assert "no such package" in install["message"]
    pod_python = pod.settings.tree / ".venv" / "bin" / "python"
    pod_python.write_text("#!/bin/sh\n")
    assert (await pod.supervisor.on_synced(["requirements.txt"], "auto", False)).restarted is True
    await pod.until(lambda: pod.one("a")["ready"])


async def test_an_install_that_hangs_is_ended_by_a_restart(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    pod.fake_install("echo begun; exec sleep 60")
    await pod.start()
    await pod.until(lambda: "begun" in pod.log())
    assert pod.state() == "Installing"
    await pod.supervisor.restart(0.1)
    await pod.until(lambda: "was cut off: it begins anew" in pod.log())
    await pod.until(lambda: not (pod.settings.tree / ".venv" / "bin" / "pip").exists())


async def test_all_runs_outlive_their_agent(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60", processes=(worker("a", "sleep", "60"),))
    await pod.start()
    await pod.until(lambda: all(pod.one(name)["pid"] for name in ("web", "a")))
    before, port = {name: pod.one(name)["pid"] for name in ("web", "a")}, pod.supervisor.link.port
    await pod.supervisor.close()
    pod.supervisor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, LogBook(), pod.workspace.touch)
    await pod.supervisor.start()
    await pod.until(lambda: all(pod.one(name)["state"] in ("Starting", "Running") for name in before))
    assert {name: pod.one(name)["pid"] for name in before} == before


async def test_an_install_outlives_its_agent_unless_it_is_another_by_now(pods: Callable[..., Pod]) -> None:
    pod = pods("sleep", "60")
    pod.fake_install("echo begun; while ! test -e go; do sleep 0.01; done; echo went on")
    await pod.start()
    await pod.until(lambda: "begun" in pod.log())
    port = pod.supervisor.link.port
    await pod.supervisor.close()
    pod.logbook = LogBook()
    pod.supervisor = Supervisor(replace(pod.settings, launcher_port=port), pod.workspace, pod.logbook, pod.workspace.touch)
    await pod.supervisor.start()
    await pod.until(lambda: pod.supervisor.install_json()["state"] == "Running")
    (pod.settings.tree / "go").touch()
    await pod.until(lambda: pod.state() == "Starting")
    assert pod.logbook.last_lines(9, "install") == ["went on"]
    assert pod.supervisor.install_json()["state"] == "Succeeded"


LATE_WATCHER = """
import http.server, os, time
seen = os.stat("page").st_mtime_ns
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        changed = os.stat("page").st_mtime_ns != watched
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"changed" if changed else b"same")
    def log_message(self, *_):
        pass
while not os.path.exists("synced"):
    time.sleep(0.005)
watched = os.stat("page").st_mtime_ns  # only from here on does it look for changes
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


async def test_a_sync_that_a_starting_app_did_not_watch_is_shown_to_it_once_it_is_ready(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "UNSEEN_SECONDS", (0.05, 0.2))
    pod = pods(sys.executable, "-c", LATE_WATCHER)
    page = pod.settings.tree / "page"
    page.write_text("old")
    secret = tmp_path / "secret"
    secret.write_text("")
    untouched = secret.stat().st_mtime_ns
    (pod.settings.tree / "link").symlink_to(secret)
    await pod.start()
    await pod.until(lambda: pod.one("web")["pid"] is not None)
    page.write_text("new")
    assert (await pod.supervisor.on_synced(["page", "link", "gone"], "auto", False)).restarted is False
    written = page.stat().st_mtime_ns
    (pod.settings.tree / "synced").touch()
    await pod.until(lambda: page.stat().st_mtime_ns != written)
    assert pod.supervisor.web.ready
    first = page.stat().st_mtime_ns
    await pod.until(lambda: page.stat().st_mtime_ns != first)  # once more, for a watcher that is up later
    assert page.read_text() == "new"
    assert secret.stat().st_mtime_ns == untouched


async def test_a_watcher_without_a_port_is_shown_what_was_synced_while_it_started(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "UNSEEN_SECONDS", (0.05, 0.1))
    pod = pods("sleep", "60", processes=(worker("css", "sleep", "60"),))
    (pod.settings.tree / "in.css").write_text("old")
    await pod.start()
    await pod.until(lambda: pod.one("css")["ready"])
    written = (pod.settings.tree / "in.css").stat().st_mtime_ns
    await pod.supervisor.on_synced(["in.css"], "auto", False)
    await pod.until(lambda: (pod.settings.tree / "in.css").stat().st_mtime_ns != written)


async def test_what_a_sync_changed_is_shown_to_watchers_whose_kernel_does_not_tell_them(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = pods(sys.executable, "-c", SERVE)
    pod.supervisor._shown_below = "/workspace"
    shown: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(pod.supervisor.link, "show", lambda root, paths: shown.append((root, list(paths))))
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.ready)
    await pod.supervisor.on_synced(["src/a/é\U0001f600.js", "src/b.js"], "auto", False)
    assert shown == [("/workspace", [".", "src", "src/a", "src/a/é\U0001f600.js", "src/b.js"])]
    await pod.supervisor.touch(["src/b.js"])
    assert shown[1:] == [("/workspace", [".", "src", "src/b.js"])]


async def test_a_ready_app_is_asked_no_more_and_its_end_is_seen(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "STILL_SECONDS", 0.02)
    quits = (
        "import http.server, os, time\n"
        "server = http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler)\n"
        "while not os.path.exists('close'): server.timeout = 0.02; server.handle_request()\n"
        "server.server_close(); time.sleep(60)\n"
    )
    pod = pods(sys.executable, "-u", "-c", quits)
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.ready)
    (pod.settings.tree / "close").touch()
    await pod.until(lambda: not pod.supervisor.web.ready)
    assert pod.supervisor.condition()["reason"] == "Starting"
    monkeypatch.setattr(whereabouts, "STOPPED_SECONDS", 0.0)
    await pod.until(lambda: pod.supervisor.condition()["reason"] == "StoppedAnswering")
    await pod.until(lambda: "GET / " in pod.log())  # the app's own line may come after we see that it ended
    assert pod.log().count("GET / ") == 1
    assert re.search("error|exception", pod.log(), re.IGNORECASE) is None


SERVE_ELSEWHERE = SERVE.replace('int(os.environ["PORT"])', "int(open('own').read())")


async def test_an_app_on_a_port_of_its_own_is_served_from_there_and_says_so(
    pods: Callable[..., Pod], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whereabouts, "ELSEWHERE_SECONDS", 0.1)
    monkeypatch.setattr(lookout, "ELSEWHERE_SECONDS", 0.1)
    pod = pods(sys.executable, "-c", SERVE_ELSEWHERE)
    own, asked = free_port(), pod.supervisor.web.port
    (pod.settings.tree / "own").write_text(str(own))
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.ready)
    assert pod.supervisor.where(None) == pod.supervisor.where(asked) == Where("127.0.0.1", own)
    assert pod.one("web")["listening"] == own
    assert pod.supervisor.condition() == {
        "type": "AppReady",
        "status": "True",
        "reason": "Ready",
        "message": f"listens on port {own}, not on PORT ({asked}), and is served from there",
    }


async def test_a_port_that_nobody_declared_is_looked_up_when_it_is_asked_for(pods: Callable[..., Pod]) -> None:
    both = (
        "import http.server, os, threading\n"
        "def serve(port): http.server.HTTPServer(('127.0.0.1', port), http.server.SimpleHTTPRequestHandler).serve_forever()\n"
        "threading.Thread(target=serve, args=(int(open('own').read()),)).start()\n"
        "serve(int(os.environ['PORT']))\n"
    )
    pod = pods(sys.executable, "-c", both)
    own = free_port()
    (pod.settings.tree / "own").write_text(str(own))
    await pod.start()
    await pod.until(lambda: pod.supervisor.web.ready)
    assert pod.supervisor.where(own) is None
    await pod.supervisor.look(own)
    assert pod.supervisor.where(own) == Where("127.0.0.1", own)
