"""A lookout over a played table of sockets and real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from runner_agent import lookout, whereabouts
from runner_agent.lookout import Lookout, Post
from runner_agent.ports import Listener
from runner_agent.whereabouts import Finding, Where

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"


class Scene:
    """``table`` is what the kernel says; ``findings`` is what was told."""

    def __init__(self) -> None:
        self.table: list[Listener] = []
        self.findings: list[Finding] = []
        self.requests: dict[int, int] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.servers: list[asyncio.Server] = []
        self.lookout: Lookout | None = None
        self._task: asyncio.Task[None] | None = None

    async def serve(self) -> Listener:
        """A server that answers while ``open`` is set; the table knows it."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not await reader.read(4096):
                writer.close()
                return
            self.requests[port] = self.requests.get(port, 0) + 1
            await self.open.wait()
            writer.write(OK)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = int(server.sockets[0].getsockname()[1])
        self.servers.append(server)
        self.table.append(Listener(port, "127.0.0.1"))
        return self.table[-1]

    def watch(self, port: int, before: Sequence[Listener] = ()) -> None:
        async def look() -> Sequence[Listener]:
            return list(self.table)

        self.lookout = Lookout(Post(port, "spec.port", True, look, frozenset, lambda: False), before)
        self._task = asyncio.create_task(self.lookout.follow(self.findings.append))

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(8):
            while not true():  # noqa: ASYNC110 - the table is played
                await asyncio.sleep(0.005)

    @property
    def last(self) -> Finding:
        return self.findings[-1] if self.findings else Finding()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for server in self.servers:
            server.close()


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    for module in (lookout, whereabouts):
        monkeypatch.setattr(module, "ELSEWHERE_SECONDS", 0.02)
    monkeypatch.setattr(lookout, "MOVED_SECONDS", 0.02)
    monkeypatch.setattr(lookout, "STILL_SECONDS", 0.02)
    monkeypatch.setattr(lookout, "ALERT_EVERY", 0.02)
    made = Scene()
    yield made
    await made.close()


async def test_a_page_that_takes_long_is_asked_for_once(scene: Scene) -> None:
    scene.open.clear()
    port = (await scene.serve()).port
    scene.watch(port)
    await scene.until(lambda: scene.last.where == Where("127.0.0.1", port))
    await asyncio.sleep(0)
    assert not scene.last.answers
    scene.open.set()
    await scene.until(lambda: scene.last.answers)
    assert scene.requests == {port: 1}


async def test_what_listened_before_the_run_is_not_its_own(scene: Scene) -> None:
    other, own = await scene.serve(), await scene.serve()
    scene.watch(1, before=[other])
    await scene.until(lambda: scene.last.answers)
    assert scene.last.where == Where("127.0.0.1", own.port)
    assert scene.requests == {own.port: 1}


async def test_an_app_that_comes_to_port_later_is_served_there(scene: Scene) -> None:
    elsewhere, port = await scene.serve(), await scene.serve()
    scene.table.remove(port)
    scene.watch(port.port)
    await scene.until(lambda: scene.last.where == Where("127.0.0.1", elsewhere.port))
    scene.table.append(port)
    await scene.until(lambda: scene.last.where == Where("127.0.0.1", port.port))
    assert all(finding.answers for finding in scene.findings if finding.where)


async def test_a_port_lost_after_a_sync_is_told_at_once_and_after_a_while_for_good(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = await scene.serve()
    scene.watch(port.port)
    await scene.until(lambda: scene.last.answers)
    assert scene.lookout is not None
    scene.lookout.synced()
    scene.table.clear()
    await scene.until(lambda: not scene.last.answers)
    assert scene.last.reason == ""
    monkeypatch.setattr(whereabouts, "STOPPED_SECONDS", 0.05)
    await scene.until(lambda: scene.last.reason == "StoppedAnswering")
    assert "after the last sync" in scene.last.words
    scene.table.append(port)
    await scene.until(lambda: scene.last.answers)


async def test_a_listener_whose_program_accepts_nothing_any_more_does_not_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "HUNG_SECONDS", 0.05)
    port = await scene.serve()
    scene.watch(port.port)
    await scene.until(lambda: scene.last.answers)
    scene.open.clear()  # as a reloader without its worker: the kernel takes connections, nobody answers
    scene.table[0] = replace(port, waiting=1)
    await scene.until(lambda: not scene.last.answers)
    scene.table[0] = port
    scene.open.set()
    await scene.until(lambda: scene.last.answers)


async def test_of_an_app_that_lost_its_port_nothing_else_is_served(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "STOPPED_SECONDS", 0.05)
    port, other = await scene.serve(), await scene.serve()
    scene.watch(port.port)
    await scene.until(lambda: scene.last.answers)
    scene.table.remove(port)
    await scene.until(lambda: scene.last.reason == "StoppedAnswering")
    assert other.port not in scene.requests
