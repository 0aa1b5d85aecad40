"""The agent as a whole: what it loads, how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from runner_agent.auth import Credentials
from runner_agent.main import serve
from runner_agent.settings import Settings
from runner_agent.workspace import Workspace

ROOT = Path(__file__).parents[3]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(module: str) -> set[str]:
    result = python("-c", f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))")
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_the_agent_loads_neither_the_operator_nor_what_is_heavy() -> None:
    top = {name.partition(".")[0] for name in loaded("runner_agent.main")}
    unwanted = {
        "kopf",
        "cryptography",
        "jwt",
        "msgspec",
        "uvloop",
        "kubernetes",
        "cel_expr_python",
        "yaml",
        "pip",
        "tarfile",
        "gzip",
    }
    assert top & (unwanted | {"sandbox_operator", "sandbox_client", "app_studio", "hypothesis", "pytest"}) == set()


def test_the_gate_does_not_load_the_agent() -> None:
    modules = loaded("runner_agent.gate")
    assert not {name for name in modules if name.startswith(("aiohttp", "runner_agent.sync", "runner_agent.workspace"))}


@pytest.mark.parametrize("arguments", [[], ["agents"], ["agent", "--help"]])
def test_an_unknown_program_is_told_the_known_ones(arguments: list[str]) -> None:
    result = python("-m", "runner_agent", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "agent | gate" in result.stderr


def test_a_wrong_environment_ends_with_its_name(tmp_path: Path) -> None:
    result = python("-m", "runner_agent", "agent", SANDBOX_APP="{", SANDBOX_DATA=str(tmp_path))
    assert result.returncode == 2
    assert "SANDBOX_APP" in json.loads(result.stdout)["message"]


def test_without_the_control_secret_nothing_is_opened(tmp_path: Path) -> None:
    result = python("-m", "runner_agent", "agent", SANDBOX_DATA=str(tmp_path / "d"), SANDBOX_CONTROL_DIR=str(tmp_path / "none"))
    assert result.returncode == 2
    assert not (tmp_path / "d").exists()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@asynccontextmanager
async def running(
    tmp_path: Path, control: Path, workspace: Workspace
) -> AsyncIterator[tuple[ClientSession, asyncio.Event, asyncio.Task[None]]]:
    control_port, preview_port, launcher_port = free_ports(3)
    settings = Settings(
        tmp_path / "data", control, control_port=control_port, preview_port=preview_port, launcher_port=launcher_port
    )
    credentials = await asyncio.to_thread(Credentials, control)
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, workspace, credentials, stop))
    headers = {"Authorization": "Bearer correct-horse"}
    base = f"https://127.0.0.1:{control_port}"
    async with ClientSession(base, connector=TCPConnector(ssl=False), headers=headers) as session:
        while True:
            try:
                async with session.get("/healthz"):
                    break
            except OSError:
                assert not task.done(), task
                await asyncio.sleep(0.01)
        yield session, stop, task
        stop.set()
        await task


async def test_the_whole_agent_takes_a_sync_and_tells_its_state(tmp_path: Path, control: Path) -> None:
    workspace = await asyncio.to_thread(Workspace, tmp_path / "data")
    async with running(tmp_path, control, workspace) as (session, _, _):
        async with session.get("/readyz") as response:
            assert response.status == 503
            assert "AwaitingFirstSync" in await response.text()
        async with session.post("/v1/sync", json={"files": [{"path": "a", "content": "1"}]}) as response:
            assert response.status == 200
            revision = (await response.json())["revision"]
        async with session.get("/v1/status") as response:
            status = await response.json()
        assert (status["kind"], status["revision"]) == ("RunnerStatus", revision)
        assert status["usage"]["workspaceFreeBytes"] > 0
        async with session.get("/v1/log") as response:
            assert response.status == 200
    assert sorted(path.name for path in (tmp_path / "data/.agent").iterdir()) == [
        "journal.00000002",
        "log",
        "manifest",
        "staging",
    ]


async def test_the_end_waits_for_the_sync_that_is_being_applied(tmp_path: Path, control: Path) -> None:
    applying, go_on = threading.Event(), threading.Event()

    def step(what: str) -> None:
        if what == "put b":
            applying.set()
            go_on.wait(10)

    workspace = await asyncio.to_thread(lambda: Workspace(tmp_path / "data", step=step))
    async with running(tmp_path, control, workspace) as (session, stop, task):

        async def sync() -> int:
            files = [{"path": path, "content": "1"} for path in "abc"]
            async with session.post("/v1/sync", json={"files": files}) as response:
                return response.status

        syncing = asyncio.create_task(sync())
        await asyncio.to_thread(applying.wait, 10)
        stop.set()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        assert await syncing == 200
        await task
    assert sorted(path.name for path in (tmp_path / "data/tree").iterdir()) == ["a", "b", "c"]


async def test_a_body_that_never_arrives_does_not_hold_up_the_end(tmp_path: Path, control: Path) -> None:
    workspace = await asyncio.to_thread(Workspace, tmp_path / "data")
    async with running(tmp_path, control, workspace) as (session, stop, task):
        begun = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"{"
            begun.set()
            await asyncio.Event().wait()

        upload = asyncio.create_task(
            session.post("/v1/sync", data=body(), headers={"Content-Type": "application/json"}).__aenter__()
        )
        await begun.wait()
        stop.set()
        async with asyncio.timeout(1.9):  # of the 2 s that the kubelet gives
            await task
        upload.cancel()
        await asyncio.wait([upload])
