"""Bodies in parts: continued after every kind of break, answered once and always the same, and bounded."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientResponse

from runner_agent import sync_upload, upload_store
from runner_agent.sync import SyncService
from runner_agent.upload_store import Answer, Head, Store
from runner_agent.workspace import Workspace
from sandbox_protocol.errors import StatusError
from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.harness import archive, member
from tests.unit.runner_agent.served import TAR, Agent

ID = "upload-0001"
BODY = archive(member("a.txt", b"a" * 3000), member("d/b.txt", b"b" * 5000))


async def send(
    agent: Agent,
    content: Any,
    at: int,
    *,
    last: bool = False,
    identity: str = ID,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
) -> ClientResponse:
    """One part; the answer is read."""
    sent = TAR | {"Upload-Offset": str(at), "Upload-Complete": "?1" if last else "?0"} | (headers or {})
    response = await agent.client.post("/v1/sync", params={"upload": identity} | (query or {}), data=content, headers=sent)
    await response.read()
    return response


async def offset(agent: Agent, identity: str = ID) -> dict[str, Any]:
    return dict(await agent.get(f"/v1/sync?upload={identity}"))


async def test_a_body_in_parts_is_one_sync(agent: Agent) -> None:
    first = await send(agent, BODY[:4000], 0)
    assert (first.status, first.headers["Upload-Offset"]) == (204, "4000")
    assert (await offset(agent))["offset"] == 4000
    assert not (agent.data / "tree/a.txt").exists()
    last = await send(agent, BODY[4000:], 4000, last=True)
    assert last.status == 200
    result = await last.json()
    assert (result["kind"], result["written"], result["bytes"]) == ("SyncResult", 2, 8000)
    assert last.headers["ETag"] == f'"{result["revision"]}"'
    assert (agent.data / "tree/d/b.txt").read_bytes() == b"b" * 5000
    state = await offset(agent)
    assert (state["kind"], state["offset"], state["complete"]) == ("SyncUpload", len(BODY), True)


async def test_a_compressed_body_with_its_query_may_be_cut_anywhere(agent: Agent) -> None:
    body = gzip.compress(BODY)
    more: Any = {"headers": {"Content-Encoding": "gzip"}, "query": {"mode": "mirror", "restart": "always"}}
    for at in range(0, len(body), 50):
        answer = await send(agent, body[at : at + 50], at, last=at + 50 >= len(body), **more)
    assert answer.status == 200
    assert agent.supervisor.synced[-1] == (("a.txt", "d/b.txt"), "always", True)
    assert (await answer.json())["restarted"] is True


async def test_the_last_part_again_gets_the_same_answer_and_no_second_sync(agent: Agent) -> None:
    await send(agent, BODY[:4000], 0)
    first = await (await send(agent, BODY[4000:], 4000, last=True)).json()
    await agent.post({"files": [{"path": "other", "content": "1"}]})
    for content, at in ((BODY[4000:], 4000), (b"", len(BODY))):
        again = await send(agent, content, at, last=True)
        assert (again.status, await again.json()) == (200, first)
    assert len(agent.supervisor.synced) == 2


async def test_a_refusal_is_repeated_too(agent: Agent) -> None:
    body = archive(member("../out", b"x"))
    first = await send(agent, body, 0, last=True)
    assert first.status == 422
    again = await send(agent, body, 0, last=True)
    assert (again.status, (await again.json())["details"]) == (422, (await first.json())["details"])
    assert agent.workspace.revision is None


async def test_a_wrong_offset_is_a_conflict_that_names_the_right_one(agent: Agent) -> None:
    await send(agent, BODY[:4000], 0)
    for at in (0, 3999, 4001):
        answer = await send(agent, BODY[at:], at, last=True)
        assert (answer.status, answer.headers["Upload-Offset"]) == (409, "4000")
    assert (await send(agent, BODY[4000:], 4000, last=True)).status == 200
    assert (await send(agent, b"more", len(BODY), last=True)).status == 409


async def test_what_arrived_before_a_connection_broke_is_kept(agent: Agent) -> None:
    body = archive(member("big", os.urandom(900_000)))

    async def breaks() -> AsyncIterator[bytes]:
        yield body[:600_000]
        async with asyncio.timeout(5):
            while not await asyncio.to_thread(_arrived, agent):  # noqa: ASYNC110 - what writes it sets no event
                await asyncio.sleep(0.01)
        raise RuntimeError("the network is gone")

    with pytest.raises((ClientError, RuntimeError)):
        await send(agent, breaks(), 0, last=True)
    state = await offset(agent)
    at = state["offset"]
    assert 0 < at <= 600_000
    assert state["complete"] is False
    assert (await send(agent, body[at:], at, last=True)).status == 200
    assert (agent.data / "tree/big").stat().st_size == 900_000


def _arrived(agent: Agent) -> int:
    file = agent.data / f".agent/uploads/{ID}.body"
    return file.stat().st_size if file.exists() else 0


async def test_a_new_request_ends_a_part_that_hangs(agent: Agent) -> None:
    hang = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield BODY[:100]
        await hang.wait()

    stuck = asyncio.create_task(send(agent, hangs(), 0, last=True))
    async with asyncio.timeout(5):
        while not list((agent.data / ".agent").glob("uploads/*.head")):  # noqa: ASYNC110 - the agent makes it
            await asyncio.sleep(0.01)
        state = await offset(agent)
        answer = await send(agent, BODY[state["offset"] :], state["offset"], last=True)
    assert answer.status == 200
    hang.set()
    await asyncio.gather(stuck, return_exceptions=True)


async def test_a_part_that_does_not_arrive_in_time_is_kept_as_far_as_it_came(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_upload, "_BODY_SECONDS", 0.1)
    hang = asyncio.Event()

    async def hangs() -> AsyncIterator[bytes]:
        yield BODY[:100]
        await hang.wait()

    answer = await send(agent, hangs(), 0)
    hang.set()
    assert (answer.status, answer.headers["Upload-Offset"]) == (408, "100")
    assert (await offset(agent))["offset"] == 100


async def test_a_precondition_holds_at_the_first_part_and_at_the_last(agent: Agent) -> None:
    revision = (await agent.post({"files": [{"path": "x", "content": "1"}]}))["revision"]
    stale = {"headers": {"If-Match": '"9-0123456789abcdef"'}}
    assert (await send(agent, BODY, 0, last=True, identity="stale-00", **stale)).status == 412
    held: Any = {"headers": {"If-Match": f'"{revision}"'}}
    assert (await send(agent, BODY[:4000], 0, **held)).status == 204
    await agent.post({"files": [{"path": "x", "content": "2"}]})
    answer = await send(agent, BODY[4000:], 4000, last=True, **held)
    assert answer.status == 412
    assert revision in (await answer.json())["message"]
    assert not (agent.data / "tree/a.txt").exists()


async def test_a_part_that_says_something_else_than_the_first_is_refused(agent: Agent) -> None:
    await send(agent, BODY[:4000], 0)
    answer = await send(agent, BODY[4000:], 4000, last=True, query={"mode": "mirror"})
    assert answer.status == 400
    assert (await offset(agent))["offset"] == 4000


@pytest.mark.parametrize(
    ("identity", "headers"),
    [
        ("short", {}),
        ("../../etc/passwd", {}),
        ("x" * 65, {}),
        (ID, {"Upload-Offset": "-1"}),
        (ID, {"Upload-Offset": "²"}),
        (ID, {"Upload-Complete": "1"}),
    ],
)
async def test_a_part_that_is_none_is_a_bad_request(agent: Agent, identity: str, headers: dict[str, str]) -> None:
    assert (await send(agent, b"x", 0, identity=identity, headers=headers)).status == 400


async def test_an_unknown_upload_begins_at_zero(agent: Agent) -> None:
    assert (await send(agent, b"x", 5)).status == 404
    await agent.get(f"/v1/sync?upload={ID}", 404)


async def test_more_uploads_than_allowed_are_asked_to_wait(agent: Agent) -> None:
    for number in range(upload_store.OPEN):
        assert (await send(agent, b"x", 0, identity=f"upload-{number:04}")).status == 204
    answer = await send(agent, b"x", 0, identity="one-too-many")
    assert answer.status == 429
    assert answer.headers["Retry-After"]
    assert str(upload_store.OPEN) in (await answer.json())["message"]


@pytest.mark.parametrize("limits", [SyncLimits(total_bytes=10_000, body_bytes=8_000)])
async def test_parts_and_uploads_over_a_limit_are_refused_with_both_numbers(agent: Agent) -> None:
    answer = await send(agent, b"x" * 8001, 0)
    assert (answer.status, "8001" in await answer.text(), "8000" in await answer.text()) == (413, True, True)
    assert (await send(agent, b"x" * 6000, 0)).status == 204
    beside = await send(agent, b"x" * 6000, 0, identity="beside-it")
    assert (beside.status, "10000" in await beside.text()) == (429, True)
    answer = await send(agent, b"x" * 6000, 6000)
    assert (answer.status, "10000" in await answer.text()) == (413, True)
    await agent.get(f"/v1/sync?upload={ID}", 404)  # its bytes are given back at once
    assert list((agent.data / ".agent/uploads").glob("*.body")) == [agent.data / ".agent/uploads/beside-it.body"]


async def test_a_full_volume_ends_the_upload_with_the_numbers(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    await send(agent, BODY[:4000], 0)
    monkeypatch.setattr(SyncService, "free_bytes", lambda _: 5_000_000)
    answer = await send(agent, b"x" * 1_000_000, 4000)
    text = await answer.text()
    assert (answer.status, "5000000" in text, "1000000" in text) == (507, True, True)
    assert not list((agent.data / ".agent/uploads").glob("*.body"))


async def test_on_a_volume_without_a_file_left_none_begins(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body's file is the last one that fits."""

    def full(path: Path, _: bytes) -> None:
        if path.suffix == ".head":
            raise OSError(28, "No space left on device")
        path.touch()

    monkeypatch.setattr("runner_agent.upload_store._write", full)
    answer = await send(agent, BODY, 0, last=True)
    assert answer.status == 507
    assert "files free. Nothing was changed" in await answer.text()
    assert not list((agent.data / ".agent/uploads").iterdir())


async def test_a_disk_that_fills_up_meanwhile_ends_it_too(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "append", full)
    answer = await send(agent, BODY, 0, last=True)
    assert answer.status == 507
    assert "Nothing was changed" in await answer.text()


async def test_an_upload_goes_on_after_the_agent_died(agent: Agent, restarted: Callable[[], Any]) -> None:
    await send(agent, BODY[:4000], 0)
    await restarted()
    assert (await offset(agent))["offset"] == 4000
    assert (await send(agent, BODY[4000:], 4000, last=True)).status == 200


async def test_an_acknowledged_answer_survives_the_agents_death(agent: Agent, restarted: Callable[[], Any]) -> None:
    first = await (await send(agent, BODY, 0, last=True)).json()
    await restarted()
    assert (await offset(agent))["complete"] is True
    again = await send(agent, BODY, 0, last=True)
    assert (again.status, await again.json()) == (200, first)
    assert agent.supervisor.synced == []


@pytest.fixture
def restarted(agent: Agent) -> Callable[[], Any]:
    """As after kill -9: nothing is closed in order, a new process opens what is on the disk."""

    async def restart() -> None:
        agent.workspace = await asyncio.to_thread(Workspace, agent.data, agent.workspace.limits)
        agent.sync._workspace = agent.workspace
        agent.sync._uploads = None
        agent.supervisor.synced.clear()
        await agent.sync.start()

    return restart


async def test_the_first_uploads_at_once_do_not_take_each_other_away(agent: Agent) -> None:
    answers = await asyncio.gather(*(send(agent, BODY[:4000], 0, identity=f"upload-{n:04}") for n in range(upload_store.OPEN)))
    assert [answer.status for answer in answers] == [204] * upload_store.OPEN
    for number in range(upload_store.OPEN):
        assert (await offset(agent, f"upload-{number:04}"))["offset"] == 4000


class TestStore:
    """The folder alone."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "uploads"

    def test_an_answer_counts_only_if_its_revision_was_committed(self, folder: Path) -> None:
        store = Store(folder, 1000, 3)
        upload = store.begin(ID, Head("application/x-tar"))
        store.append(upload, 0, b"body")
        store.answered(upload, Answer(200, {"revision": "4-x"}, 4, 4))
        lost, kept = Store(folder, 1000, 3).get(ID), None
        assert lost is not None
        assert (lost.answer, lost.size, lost.head) == (None, 4, Head("application/x-tar"))
        store.answered(upload, Answer(200, {"revision": "4-x"}, 4, 4))
        kept = Store(folder, 1000, 4).get(ID)
        assert kept is not None
        assert kept.answer == Answer(200, {"revision": "4-x"}, 4, 4)
        assert not (folder / f"{ID}.body").exists()

    def test_nobody_comes_back_for_an_upload_that_expired(self, folder: Path) -> None:
        now = [1000.0]
        store = Store(folder, 1000, 0, lambda: now[0])
        store.append(store.begin(ID, Head()), 0, b"body")
        now[0] += upload_store.SECONDS - 1
        assert store.get(ID)
        now[0] += 1
        assert store.get(ID) is None
        assert list(folder.iterdir()) == []

    def test_the_oldest_answers_go_first(self, folder: Path) -> None:
        now = [1000.0]
        store = Store(folder, 1000, 0, lambda: now[0])
        for number in range(upload_store.ANSWERS + 2):
            now[0] += 1
            upload = store.begin(f"upload-{number:04}", Head())
            store.answered(upload, Answer(422, {}, 0))
            store.end(upload, Answer(422, {}, 0))
        assert store.get("upload-0001") is None
        assert store.get("upload-0002")
        assert len(list(folder.iterdir())) == upload_store.ANSWERS

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"code": 1}'])
    def test_what_is_damaged_is_forgotten(self, folder: Path, content: bytes) -> None:
        folder.mkdir()
        for suffix in ("head", "answer", "body", "new"):
            (folder / f"{ID}.{suffix}").write_bytes(content)
        assert Store(folder, 1000, 0).get(ID) is None
        assert list(folder.iterdir()) == []

    def test_what_follows_a_failed_append_is_not_taken(self, folder: Path) -> None:
        store = Store(folder, 1000, 0)
        upload = store.begin(ID, Head())
        store.append(upload, 0, b"abc")
        store.append(upload, 5, b"fg")
        assert (upload.size, (folder / f"{ID}.body").read_bytes()) == (3, b"abc")

    def test_one_upload_cannot_take_all_and_a_little_more(self, folder: Path) -> None:
        store = Store(folder, 10, 0)
        upload = store.begin(ID, Head())
        with pytest.raises(StatusError, match="10 are allowed"):
            store.append(upload, 0, b"x" * 11)
        assert json.dumps([file.name for file in folder.iterdir()]) == "[]"
