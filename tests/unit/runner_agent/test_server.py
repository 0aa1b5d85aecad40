"""The control port over real HTTP: token, answers, limits of time and size, and what a caller sees of each failure."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import re
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError
from backports import zstd

from runner_agent import sync, sync_download
from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.harness import archive, directory, link, member
from tests.unit.runner_agent.served import TAR, TOKEN, Agent


async def test_a_sync_is_answered_with_its_result_and_the_app_is_told(agent: Agent) -> None:
    result = await agent.post({"files": [{"path": "a", "content": "1"}], "restart": "always"})
    revision = result.pop("revision")
    assert revision.startswith("1-")
    assert result == {
        "kind": "SyncResult",
        "apiVersion": "subresources.infrastructure.appstudio.dev/v1alpha1",
        "written": 1,
        "deleted": 0,
        "unchanged": 0,
        "bytes": 1,
        "restarted": True,
        "skipped": [],
        "unapplied": [],
    }
    assert agent.supervisor.synced == [(("a",), "always", True)]
    assert (await agent.get("/v1/status"))["revision"] == revision


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
async def test_a_tar_is_synced_by_its_query(agent: Agent, encoding: str) -> None:
    await agent.post({"files": [{"path": "old", "content": "1"}, {"path": "d/x", "content": "1"}]})
    body = archive(member("a", b"x" * 400_000), link("l", "a"))
    body = {"": bytes, "gzip": gzip.compress, "zstd": zstd.compress}[encoding](body)  # type: ignore[operator]
    headers = {"Content-Encoding": encoding} if encoding else {}
    result = await agent.post(body, headers=headers, params={"mode": "mirror", "restart": "never", "delete": "d"})
    assert (result["written"], result["deleted"], result["restarted"]) == (2, 2, False)
    assert agent.supervisor.synced[-1][1:] == ("never", False)
    assert sorted(path.name for path in (agent.data / "tree").iterdir()) == ["a", "l"]


async def test_a_stale_if_match_is_a_failed_precondition(agent: Agent) -> None:
    first = (await agent.post({"files": [{"path": "a", "content": "1"}]}))["revision"]
    second = (await agent.post({"files": [{"path": "a", "content": "2"}]}, headers={"If-Match": f'"{first}"'}))["revision"]
    answer = await agent.post({"files": []}, code=412, headers={"If-Match": f'"{first}"'})
    assert first in answer["message"]
    assert second in answer["message"]


@pytest.mark.parametrize("value", ["*", "1-ab", '"a", "b"', '""', 'W/"1-ab"'])
async def test_an_if_match_that_is_no_revision_is_a_bad_request(agent: Agent, value: str) -> None:
    await agent.post({}, code=400, headers={"If-Match": value})


async def test_a_refused_entry_is_named_in_the_answer(agent: Agent) -> None:
    answer = await agent.post(archive(member("../x", b"1")), code=422)
    assert answer["reason"] == "Invalid"
    assert answer["details"]["causes"][0]["field"] == "../x"
    assert agent.supervisor.synced == []


@pytest.mark.parametrize("limits", [SyncLimits(body_bytes=1000)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_its_limit_is_refused_while_it_arrives(agent: Agent, chunked: bool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(100_000)

    if chunked:
        async with agent.client.post("/v1/sync", data=endless(), headers=TAR) as response:
            assert response.status == 413
            assert (await response.json())["details"]["causes"][0]["field"] == "body_bytes"
    else:
        answer = await agent.post(bytes(2000), code=413)
        assert "2000 bytes; 1000 are allowed" in answer["message"]


async def test_a_full_volume_is_answered_with_numbers(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(step: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(agent.workspace, "_step", full)
    answer = await agent.post({"files": [{"path": "a", "content": "1"}]}, code=507)
    assert re.search(r"\d+ bytes and \d+ files are used, \d+ bytes and \d+ files free", answer["message"])
    assert agent.workspace.revision is None
    monkeypatch.undo()
    await agent.post({"files": [{"path": "a", "content": "1"}]})


async def test_a_body_that_does_not_arrive_in_time_is_given_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "_BODY_SECONDS", 0.05)
    released = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await released.wait()

    async with agent.client.post("/v1/sync", data=slow(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 408
        assert (await response.json())["reason"] == "Timeout"
    released.set()


async def test_more_bodies_at_once_than_allowed_are_asked_to_come_back(agent: Agent) -> None:
    released, arrived = asyncio.Event(), [asyncio.Event() for _ in range(4)]

    async def slow(event: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"{"
        event.set()
        await released.wait()
        yield b"}"

    async def send(event: asyncio.Event) -> int:
        async with agent.client.post("/v1/sync", data=slow(event), headers={"Content-Type": "application/json"}) as response:
            return response.status

    waiting = [asyncio.create_task(send(event)) for event in arrived]
    await asyncio.gather(*(event.wait() for event in arrived))
    while agent.sync._receiving < 4:  # noqa: ASYNC110 - what the server does with the bytes that were sent has no event
        await asyncio.sleep(0)
    answer = await agent.post({}, code=429)
    assert answer["details"]["retryAfterSeconds"] == 1
    released.set()
    assert await asyncio.gather(*waiting) == [200] * 4
    await agent.post({})


async def test_syncs_side_by_side_become_revisions_one_after_another(agent: Agent) -> None:
    bodies = [{"files": [{"path": f"f{n}", "content": str(n)}]} for n in range(4)]
    results = await asyncio.gather(*(agent.post(body) for body in bodies))
    assert sorted(int(result["revision"].split("-")[0]) for result in results) == [1, 2, 3, 4]
    assert [call[2] for call in agent.supervisor.synced].count(True) == 1


async def test_a_durable_sync_is_acknowledged_even_when_the_app_cannot_be_told(agent: Agent) -> None:
    agent.supervisor.fails = True
    assert (await agent.post({"files": [{"path": "a", "content": "1"}]}))["restarted"] is False


async def test_the_manifest_lists_what_sync_wrote(agent: Agent) -> None:
    assert (await agent.get())["revision"] is None
    await agent.post(archive(member("b", b"hello", mode=0o755), link("a", "b"), directory("d")))
    (agent.data / "tree/own").touch()
    manifest = await agent.get()
    assert manifest["kind"] == "SyncManifest"
    assert [(e["path"], e["type"], e["size"], e["mode"]) for e in manifest["entries"]] == [
        ("a", "symlink", 1, "0777"),
        ("b", "file", 5, "0755"),
        ("d", "directory", 0, "0755"),
    ]
    assert manifest["entries"][1]["sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


async def test_the_tree_comes_back_as_an_archive(agent: Agent) -> None:
    long = "ä" * 60 + "/" + "x" * 120
    sent = archive(
        member("b", b"hello", mode=0o755), link("a", "b"), directory("d"), member(long, b"y" * 700), link("m", "z" * 200)
    )
    await agent.post(sent)
    tree = agent.data / "tree"
    (tree / "own").write_text("by the app")
    (tree / "node_modules").mkdir()
    (tree / "node_modules/x").write_text("1")
    os.mkfifo(tree / "pipe")
    found = await agent.tar()
    assert sorted(found) == ["a", "b", "d", "m", "own", "ä" * 60, long]
    assert (found["b"].mode, found["b"].size, found[long].size) == (0o755, 5, 700)
    assert (found["a"].linkname, found["m"].linkname) == ("b", "z" * 200)


async def test_an_archive_that_breaks_off_does_not_look_whole(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> Iterator[bytes]:
        yield bytes(300_000)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sync_download, "archive", breaks)
    with pytest.raises(ClientError):
        async with agent.client.get("/v1/sync", headers={"Accept": "application/x-tar"}) as response:
            await response.read()


async def test_parts_of_the_tree_can_be_asked_for(agent: Agent) -> None:
    await agent.post(archive(member("a/b", b"1"), member("a/c/d", b"2"), member("e", b"3")))
    (agent.data / "tree/node_modules").mkdir()
    (agent.data / "tree/node_modules/x").write_text("1")
    assert sorted(await agent.tar("a/c", "e")) == ["a/c", "a/c/d", "e"]
    assert sorted(await agent.tar("node_modules")) == ["node_modules", "node_modules/x"]
    headers = {"Accept": "application/x-tar"}
    missing = await agent.get(code=404, params={"path": "zz"}, headers=headers)
    assert "zz" in missing["message"]
    await agent.get(code=422, params={"path": "../etc"}, headers=headers)


async def test_the_archive_is_compressed_for_who_accepts_it(agent: Agent) -> None:
    content = os.urandom(1000) * 700
    await agent.post(archive(member("a", content)))
    headers = {"Accept": "application/x-tar", "Accept-Encoding": "zstd"}
    async with agent.client.get("/v1/sync", headers=headers) as response:
        assert response.headers["Content-Encoding"] == "zstd"
        body = await response.read()  # the client decompresses
    with tarfile.open(fileobj=io.BytesIO(body)) as read:
        file = read.extractfile("a")
        assert file is not None
        assert file.read() == content


async def test_an_archive_does_not_follow_links_the_app_planted(agent: Agent, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    await agent.post({"files": [{"path": "d/a", "content": "1"}]})
    (agent.data / "tree/out").symlink_to(secret)
    found = await agent.tar()
    assert found["out"].issym()
    assert "out/key" not in found
    await agent.get(code=422, params={"path": "out/key"}, headers={"Accept": "application/x-tar"})


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer é"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/sync"), ("GET", "/v1/log"), ("GET", "/"), ("DELETE", "/healthz/x")])
async def test_nothing_is_answered_without_the_token(agent: Agent, method: str, path: str, authorization: str) -> None:
    async with agent.client.request(method, path, headers={"Authorization": authorization}, data=b"{}") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["reason"] == "Unauthorized"
    assert agent.workspace.revision is None


async def test_probes_need_no_token_and_say_why_not(agent: Agent) -> None:
    async with agent.client.get("/healthz", headers={"Authorization": ""}) as response:
        assert response.status == 200
    async with agent.client.get("/readyz", headers={"Authorization": ""}) as response:
        assert (response.status, await response.text()) == (503, "AwaitingFirstSync\n")
    agent.supervisor.ready = (True, "")
    async with agent.client.get("/readyz", headers={"Authorization": ""}) as response:
        assert response.status == 200


async def test_a_rotated_token_works_at_once_and_ends_the_old_one(agent: Agent, control: Path) -> None:
    (control / "token").write_text("rotated\n")
    await agent.get(headers={"Authorization": "Bearer rotated"})
    await agent.get(code=401, headers={"Authorization": f"Bearer {TOKEN}"})


async def test_without_a_token_file_everyone_is_refused(agent: Agent, control: Path) -> None:
    (control / "token").unlink()
    await asyncio.to_thread(agent.credentials.look)
    await agent.get(code=401)
    await agent.get(code=401, headers={"Authorization": "Bearer "})


async def test_restart_passes_its_grace_period_on(agent: Agent) -> None:
    async with agent.client.post("/v1/restart", json={"gracePeriodSeconds": 2}) as response:
        assert await response.json() == {"state": "Running"}
    async with agent.client.post("/v1/restart", json={"process": "worker"}) as response:
        assert response.status == 200
    assert agent.supervisor.graces == [2.0, None]
    assert agent.supervisor.restarted == [None, "worker"]


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"grace": 1}', b'{"gracePeriodSeconds": -1}', b'{"gracePeriodSeconds": "1"}', b'{"process": 1}']
)
async def test_a_wrong_restart_body_is_a_bad_request(agent: Agent, body: bytes) -> None:
    async with agent.client.post("/v1/restart", data=body) as response:
        assert response.status == 400
    assert agent.supervisor.graces == []


@pytest.mark.parametrize(
    ("method", "path", "code"), [("GET", "/nothing", 404), ("PUT", "/v1/sync", 405), ("HEAD", "/v1/log", 405)]
)
async def test_unknown_paths_and_methods_are_answered_as_status(agent: Agent, method: str, path: str, code: int) -> None:
    async with agent.client.request(method, path) as response:
        assert response.status == code
        if method != "HEAD":
            assert (await response.json())["code"] == code


async def test_a_failure_nobody_foresaw_says_where_to_look_and_nothing_else(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("internal detail")

    monkeypatch.setattr(agent.workspace, "commit", broken)
    async with agent.client.post("/v1/sync", json={}, headers={"X-Request-Id": "r-1"}) as response:
        assert response.status == 500
        assert response.headers["X-Request-Id"] == "r-1"
        text = await response.text()
    assert "r-1" in text
    assert "internal detail" not in text


async def test_the_access_log_names_the_request_and_no_secret(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with agent.client.get("/v1/sync?x=private", headers={"X-Request-Id": "bad id\n".strip() + "!"}) as response:
        identity = response.headers["X-Request-Id"]
    fields = [record.fields for record in caplog.records if record.name == "runner_agent.server"]  # type: ignore[attr-defined]
    assert [(f["request"], f["status"], f["path"]) for f in fields] == [(identity, 400, "/v1/sync")]
    assert len(identity) == 16
    assert TOKEN not in str(fields)
    assert "private" not in str(fields)


async def test_a_checkpoint_follows_a_sync_by_itself(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "_CHECKPOINT_AFTER", 0)
    await agent.post({"files": [{"path": "a", "content": "1"}]})
    checkpoint = agent.sync._checkpoint
    assert checkpoint is not None
    await checkpoint
    assert sorted(path.name for path in (agent.data / ".agent").iterdir()) == ["journal.00000002", "manifest", "staging"]
