from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runner_agent import page_reloads
from runner_agent.logs import LogBook
from runner_agent.page_reloads import PageReloads
from runner_agent.settings import Settings
from runner_agent.supervisor import Supervisor


@dataclass
class Workspace:
    revision: str | None = "1-a"


class Scene:
    def __init__(self, folder: Path) -> None:
        self.workspace, self.logbook = Workspace(), LogBook()
        self.supervisor = Supervisor(Settings(data=folder), self.workspace, self.logbook, touched)
        self.reloads = PageReloads(self.supervisor, self.workspace, self.logbook)
        self.web = self.supervisor.web

    async def sync(self, revision: str, path: str = "app.py") -> None:
        self.workspace.revision = revision
        await self.supervisor.on_synced([path], "never", first=False)


async def touched(_: Sequence[str]) -> None:
    pass


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(page_reloads, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(page_reloads, "_LOOK_SECONDS", 0.001)
    made = Scene(tmp_path)
    made.web.ready = True
    yield made
    await made.reloads.close()
    await made.supervisor.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def test_a_page_that_waits_hears_of_a_sync_once_the_app_is_ready(scene: Scene) -> None:
    seen = scene.reloads.mark(3000)
    waiting = asyncio.create_task(scene.reloads.wait(3000, seen))
    scene.web.ready = False
    await scene.sync("2-b")
    await asyncio.sleep(0.01)
    assert not waiting.done()
    scene.web.ready = True
    told = await waiting
    assert told is not None
    assert told.startswith("2-b.")
    assert scene.reloads.is_new(3000, seen)


async def test_what_failed_after_a_sync_is_told_as_well(scene: Scene) -> None:
    seen = scene.reloads.mark(3000)
    scene.web.ready = False
    scene.web.stand("BackOff", "CrashLoop")
    await scene.sync("2-b")
    await until(lambda: scene.reloads.is_new(3000, seen))


async def test_a_reloader_of_the_app_s_own_is_heard_in_its_log(scene: Scene) -> None:
    seen = scene.reloads.mark(3000)
    await scene.sync("2-b")
    await until(lambda: scene.reloads.is_new(3000, seen))
    first = scene.reloads.mark(3000)
    scene.logbook.write("web", "stderr", b" * Detected change in 'app.py', reloading\n")
    await until(lambda: scene.reloads.is_new(3000, first))


async def test_a_port_that_went_away_and_came_back_is_told(scene: Scene) -> None:
    seen = scene.reloads.mark(3000)
    await scene.sync("2-b")
    await until(lambda: scene.reloads.is_new(3000, seen))
    first = scene.reloads.mark(3000)
    scene.web.ready = False
    await asyncio.sleep(0.02)
    scene.web.ready = True
    await until(lambda: scene.reloads.is_new(3000, first))


async def test_another_agent_with_the_same_revision_has_nothing_new(scene: Scene) -> None:
    assert not scene.reloads.is_new(3000, "1-a.otherboot.7")
    assert scene.reloads.is_new(3000, "0-z.otherboot.0")


async def test_a_client_that_connected_after_a_sync_did_not_hear_of_it(scene: Scene) -> None:
    scene.reloads.mark(3000)
    begun = time.monotonic()
    assert not scene.reloads.hears(3000, begun, synced=False)
    await scene.sync("2-b")
    scene.reloads.connected(3000)
    assert scene.reloads.hears(3000, begun, synced=False)
    assert not scene.reloads.hears(3000, begun, synced=True)
    await scene.sync("3-c")
    assert scene.reloads.hears(3000, begun, synced=True)


async def test_what_a_page_missed_is_told_once_more_for_tools_that_take_their_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_reloads, "_ONCE_MORE_SECONDS", 0.05)
    seen = scene.reloads.mark(3000)
    await scene.sync("2-b")
    await until(lambda: scene.reloads.is_new(3000, seen))
    first = scene.reloads.mark(3000)
    assert not scene.reloads.hears(3000, time.monotonic(), synced=True)
    await until(lambda: scene.reloads.is_new(3000, first))


async def test_as_many_wait_as_there_are_places(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_reloads, "MOST_WAITING", 1)
    waiting = asyncio.create_task(scene.reloads.wait(3000, scene.reloads.mark(3000)))
    await asyncio.sleep(0)
    assert await scene.reloads.wait(3000, scene.reloads.mark(3000)) is None
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_page_of_an_app_that_dies_without_a_sync_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_reloads, "_DEATH_SECONDS", 0.001)
    seen = scene.reloads.mark(3000)
    waiting = asyncio.create_task(scene.reloads.wait(3000, seen))
    await asyncio.sleep(0)
    scene.web.ready = False
    scene.web.stand("BackOff", "OOMKilled")
    assert await waiting != seen
