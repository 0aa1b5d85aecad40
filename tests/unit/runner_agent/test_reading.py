"""A sync names the sources that nobody has read since; our own writing is nobody's reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from runner_agent import isolation, reading
from runner_agent.reading import sources
from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.served import TOKEN, Agent

pytestmark = pytest.mark.skipif(isolation.is_gvisor(), reason="gVisor tells a container of its own changes only")


@pytest.fixture
async def agent(tmp_path: Path, control: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agent]:
    """Of an app that may go on with its old sources."""
    monkeypatch.setattr(reading, "WITHIN_SECONDS", 0.05)
    one = await asyncio.to_thread(Agent, tmp_path / "data", control, SyncLimits())
    server = TestServer(one.app())
    await server.start_server(auto_decompress=False)
    async with TestClient(server, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        one.client = client
        await sync(one, {"src/a.ts": "old", "src/b.ts": "old", "public/c.js": "old"})
        one.supervisor.may_miss = True
        yield one
    await one.sync.close()


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits to the end waits for ever, and fails the test."""
    monkeypatch.setattr(reading, "WITHIN_SECONDS", 60.0)


async def sync(agent: Agent, files: dict[str, str], **fields: Any) -> dict[str, Any]:
    return await agent.post({"files": [{"path": path, "content": text} for path, text in files.items()], **fields})


@pytest.mark.parametrize("content", ["new", "longer than before", "n", "binary\0", ""])
async def test_a_changed_source_that_nobody_opens_is_unapplied(agent: Agent, content: str) -> None:
    assert (await sync(agent, {"src/a.ts": content}))["unapplied"] == ["src/a.ts"]


async def test_a_new_source_that_nobody_opens_is_unapplied(agent: Agent) -> None:
    assert (await sync(agent, {"src/new.ts": "new"}))["unapplied"] == ["src/new.ts"]


async def test_what_is_read_on_request_is_never_called_unapplied(agent: Agent, no_wait: None) -> None:
    answer = await sync(agent, {"public/c.js": "new", "index.html": "new", "src/style.css": "new"})
    assert answer["unapplied"] == []


async def test_what_did_not_change_is_not_unapplied(agent: Agent, no_wait: None) -> None:
    assert (await sync(agent, {"src/a.ts": "old"}))["unapplied"] == []


async def test_a_sync_that_restarts_waits_for_nobody(agent: Agent, no_wait: None) -> None:
    assert (await sync(agent, {"src/a.ts": "new"}, restart="always"))["unapplied"] == []


async def test_a_known_reloader_is_not_waited_for(agent: Agent, no_wait: None) -> None:
    agent.supervisor.may_miss = False
    assert (await sync(agent, {"src/a.ts": "new"}))["unapplied"] == []


async def test_the_answer_comes_as_soon_as_all_are_opened(agent: Agent, no_wait: None) -> None:
    answer = asyncio.create_task(sync(agent, {"src/a.ts": "new", "src/b.ts": "new"}))
    await _read_each(agent, ["src/a.ts", "src/b.ts"], "new")
    assert (await answer)["unapplied"] == []


async def test_what_one_opens_the_other_does_not(agent: Agent) -> None:
    answer = asyncio.create_task(sync(agent, {"src/a.ts": "new", "src/b.ts": "new"}))
    await _read_each(agent, ["src/a.ts"], "new")
    assert (await answer)["unapplied"] == ["src/b.ts"]


async def test_a_touch_of_ours_is_no_reading(agent: Agent) -> None:
    answer = asyncio.create_task(sync(agent, {"src/a.ts": "new"}))
    await _told(agent)
    await agent.sync.touch(["src/a.ts"])
    assert (await answer)["unapplied"] == ["src/a.ts"]


async def test_another_sync_does_not_wait_for_the_readers_of_the_first(agent: Agent, no_wait: None) -> None:
    first = asyncio.create_task(sync(agent, {"src/a.ts": "new"}))
    await _told(agent)
    assert (await sync(agent, {"index.html": "new"}))["written"] == 1
    await _read_each(agent, ["src/a.ts"], "new")
    assert (await first)["unapplied"] == []


def test_sources_are_code_that_a_program_loads() -> None:
    changed = ["a.py", "lib/b.ts", "static/c.js", "d.html", "app/templates/e.py", "README.md", "f.css"]
    assert sources(changed) == ("a.py", "lib/b.ts")
    assert len(sources([f"{n}.py" for n in range(1000)])) == 100


async def _told(agent: Agent) -> None:
    """Until the app is told of the second sync."""
    while not agent.supervisor.synced[1:]:  # noqa: ASYNC110 - the request makes it true
        await asyncio.sleep(0)


async def _read_each(agent: Agent, paths: list[str], content: str) -> None:
    """Once the sync has been told to the app; opened anew for each look, as a program that loads it does."""
    await _told(agent)
    for path in paths:
        assert (agent.workspace.tree / path).read_text() == content
