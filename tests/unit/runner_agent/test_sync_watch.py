"""The stream of changes over HTTP: begun, continued, ended in due form, and no work while nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientResponse

from runner_agent import sync_watch, watch
from tests.unit.runner_agent.served import Agent


@asynccontextmanager
async def watching(agent: Agent, cursor: str = "") -> AsyncIterator[ClientResponse]:
    params = {"watch": "true"} | ({"cursor": cursor} if cursor else {})
    async with asyncio.timeout(10), agent.client.get("/v1/sync", params=params) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/x-ndjson"
        yield response


async def line(response: ClientResponse) -> dict[str, Any]:
    return dict(json.loads(await response.content.readline()))


async def test_changes_of_app_and_sync_are_streamed_as_they_happen(agent: Agent) -> None:
    async with watching(agent) as stream:
        assert (await line(stream))["type"] == "BOOKMARK"
        (agent.data / "tree/made.lock").write_text("12")
        found = await line(stream)
        assert found.pop("cursor")
        assert found == {"type": "CREATED", "path": "made.lock", "entryType": "file", "origin": "app", "size": 2}
        await agent.post({"files": [{"path": "src/a", "content": "1"}, {"path": "made.lock", "content": "123"}]})
        events = [await line(stream) for _ in range(3)]
        assert [(event["type"], event["path"], event["origin"]) for event in events] == [
            ("MODIFIED", "made.lock", "sync"),
            ("CREATED", "src", "sync"),
            ("CREATED", "src/a", "sync"),
        ]
        await agent.post({"delete": ["src"]})
        assert [(await line(stream))["path"] for _ in range(2)] == ["src/a", "src"]


async def test_what_the_app_did_just_before_a_sync_stays_the_apps(agent: Agent) -> None:
    async with watching(agent) as stream:
        await line(stream)
        (agent.data / "tree/a").write_text("by the app")
        await agent.post({"files": [{"path": "a", "content": "by the sync"}]})
        assert [(await line(stream))["origin"] for _ in range(2)] == ["app", "sync"]


async def test_what_is_touched_for_a_starting_app_is_told_as_the_syncs(agent: Agent) -> None:
    await agent.post({"files": [{"path": "a", "content": "1"}]})
    async with watching(agent) as stream:
        await line(stream)
        await agent.sync.touch(["a", "gone"])
        found = await line(stream)
        assert (found["type"], found["path"], found["origin"]) == ("MODIFIED", "a", "sync")


async def test_a_stream_ends_with_a_bookmark_and_the_next_one_continues(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_watch, "_SECONDS", 0.2)
    async with watching(agent) as stream:
        lines = (await stream.content.read()).splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert (first["type"], last["type"]) == ("BOOKMARK", "BOOKMARK")
    (agent.data / "tree/meanwhile").write_text("1")
    monkeypatch.setattr(sync_watch, "_SECONDS", 55.0)
    async with watching(agent, last["cursor"]) as stream:
        assert (await line(stream))["path"] == "meanwhile"


@pytest.mark.parametrize("cursor", ["0-0", "nonsense", "²"])
async def test_a_cursor_that_is_not_known_any_more_is_a_resync(agent: Agent, cursor: str) -> None:
    async with watching(agent, cursor) as stream:
        assert (await line(stream))["type"] == "RESYNC"
        (agent.data / "tree/a").write_text("1")
        assert (await line(stream))["path"] == "a"


async def test_nothing_is_watched_before_the_first_and_after_the_last_stream(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_watch, "_LINGER_SECONDS", 0.01)
    assert agent.sync._watching is None
    async with watching(agent) as stream:
        await line(stream)
        assert agent.sync._watching is not None
        assert agent.sync._watching._watch is not None
    async with asyncio.timeout(5):
        while agent.sync._watching._watch is not None:
            (agent.data / "tree/poke").write_text(str(id(object())))  # the server learns that its reader left by writing
            await asyncio.sleep(0.02)


async def test_more_streams_than_allowed_are_asked_to_wait(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_watch, "VIEWERS", 1)
    async with watching(agent) as stream:
        await line(stream)
        assert "1 may" in (await agent.get("/v1/sync?watch=true", 429))["message"]


async def test_a_tree_that_cannot_be_watched_is_told_so_and_a_smaller_one_is_watched_again(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    (agent.data / "tree/a/b/c").mkdir(parents=True)
    monkeypatch.setattr(watch, "DIRECTORIES", 4)
    async with watching(agent) as stream:
        await line(stream)
        (agent.data / "tree/d").mkdir()
        assert json.loads((await stream.content.read()).splitlines()[-1])["type"] == "BOOKMARK"
    refused = await agent.get("/v1/sync?watch=true", 507)
    assert refused["reason"] == "WatchLimit"
    (agent.data / "tree/d").rmdir()
    async with watching(agent) as stream:
        assert (await line(stream))["type"] == "BOOKMARK"


async def test_streams_end_in_due_form_when_the_server_does(agent: Agent) -> None:
    async with watching(agent) as stream:
        await line(stream)
        agent.sync.end_streams()
        assert (await line(stream))["type"] == "BOOKMARK"
        assert await stream.content.read() == b""


@pytest.mark.parametrize("query", ["watch=maybe", "cursor=1-1", "watch=true&file=a"])
async def test_a_wrong_question_is_a_bad_request(agent: Agent, query: str) -> None:
    await agent.get(f"/v1/sync?{query}", 400)
