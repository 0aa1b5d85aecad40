"""Files both ways through the real API server: uploads that survive a break, files by version, what the app changes."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sandbox_client import Conflict, FileChange, NotFound, SandboxError, Stale, blocking, uploading
from sandbox_client.api import Api, Request, path
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory, UserFactory
from tests.harness.killing import agent_killer


def verb(sandbox: blocking.Sandbox) -> str:
    return path(
        "apis", names.SUBRESOURCE_GROUP, names.VERSION, "namespaces", sandbox.namespace, names.PLURAL, sandbox.name, "sync"
    )


def ask(connection: Connection, request: Request) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body, whatever they are."""

    async def one() -> tuple[int, dict[str, str], bytes]:
        async with Api(connection) as api:
            answer = await api.exchange(request)
            return answer.status, {name.title(): value for name, value in answer.headers.items()}, await answer.read()

    return asyncio.run(one())


def test_an_upload_goes_on_after_the_agent_was_killed_in_the_middle_of_it(
    cluster: Cluster, make_runner: RunnerFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = make_runner("killed-upload")
    sandbox.sync({"index.html": "first"})
    monkeypatch.setattr(uploading, "PART_BYTES", 4 * 1024 * 1024)
    content = random.Random(2).randbytes(40_000_000)
    (tmp_path / "video.bin").write_bytes(content)
    kill = agent_killer(cluster, sandbox)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sandbox.sync, directory=tmp_path)
        time.sleep(0.6)
        kill()
        result = answer.result()
    assert (result.written, result.bytes) == (1, len(content))
    assert sandbox.read_file("video.bin").content == content
    assert sandbox.manifest().revision == result.revision


def test_a_part_whose_connection_broke_counts_as_far_as_it_came(user: UserFactory, runner: blocking.Sandbox) -> None:
    connection = user("edit")
    body = json.dumps({"files": [{"path": "resumed.txt", "content": "x" * 3_000_000}], "restart": "never"}).encode()
    query = [("upload", f"broken-{random.randrange(1 << 60):x}")]
    sent = {"Content-Type": "application/json", "Upload-Offset": "0", "Upload-Complete": "?1", "Content-Length": str(len(body))}

    async def breaks() -> AsyncIterator[bytes]:
        yield body[:2_000_000]
        await asyncio.sleep(0.3)
        raise ConnectionResetError("the network is gone")

    with pytest.raises((SandboxError, ConnectionError)):
        ask(connection, Request("POST", verb(runner), query, sent, breaks))
    status, _, text = ask(connection, Request("GET", verb(runner), query))
    state = json.loads(text)
    assert status == 200
    assert 0 < state["offset"] <= 2_000_000
    assert state["complete"] is False
    at = state["offset"]
    for _ in range(2):  # the last part again: the same answer
        rest = body[at:]
        headers = {**sent, "Upload-Offset": str(at), "Content-Length": str(len(rest))}
        status, headers, text = ask(connection, Request("POST", verb(runner), query, headers, rest))
        assert (status, json.loads(text)["written"], headers["Upload-Offset"]) == (200, 1, str(len(body)))
    wrong = {**sent, "Upload-Offset": "7", "Content-Length": "1"}
    status, headers, _ = ask(connection, Request("POST", verb(runner), query, wrong, b"x"))
    assert (status, headers["Upload-Offset"]) == (409, str(len(body)))
    assert runner.read_file("resumed.txt").content == b"x" * 3_000_000


def test_one_file_by_version_and_range(cluster: Cluster, user: UserFactory, runner: blocking.Sandbox) -> None:
    runner.sync({"src/a.txt": "0123456789"})
    cluster.exec(
        runner, "sh", "-c", "cd /workspace && echo made > made.lock && ln -sfn src/a.txt near && ln -sfn /etc/passwd far"
    )
    connection = user("view")

    def file(name: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return ask(
            connection, Request("GET", verb(runner), [("file", name)], {k.replace("_", "-"): v for k, v in headers.items()})
        )

    status, headers, content = file("near")
    assert (status, content, headers["Content-Type"]) == (200, b"0123456789", "application/octet-stream")
    tag = headers["Etag"]
    assert file("src/a.txt", If_None_Match=tag)[0] == 304
    status, headers, content = file("src/a.txt", Range="bytes=2-4", If_Range=tag)
    assert (status, headers["Content-Range"], content) == (206, "bytes 2-4/10", b"234")
    status, headers, _ = file("src/a.txt", Range="bytes=10-")
    assert (status, headers["Content-Range"]) == (416, "bytes */10")
    assert file("far")[0] == 422
    assert file("../.agent/manifest")[0] == 422
    assert runner.read_file("made.lock").content == b"made\n"
    with pytest.raises(NotFound):
        runner.read_file("missing")
    revision = runner.manifest().revision
    assert ask(connection, Request("GET", verb(runner), (), {"If-None-Match": f'"{revision}"'}))[0] == 304


def test_an_export_brings_back_what_the_app_made(cluster: Cluster, runner: blocking.Sandbox, tmp_path: Path) -> None:
    runner.sync({"package.json": "{}"}, restart="never")
    cluster.exec(
        runner,
        "sh",
        "-c",
        "cd /workspace && mkdir -p gen/empty node_modules/x && echo 1 > gen/out.js && echo 2 > package-lock.json",
    )
    written = runner.export(tmp_path / "out")
    assert {"package.json", "package-lock.json", "gen/out.js"} <= set(written)
    assert (tmp_path / "out/gen/out.js").read_text() == "1\n"
    assert (tmp_path / "out/gen/empty").is_dir()
    assert not (tmp_path / "out/node_modules").exists()
    assert runner.export(tmp_path / "part", "gen") == ["gen/out.js"]


def test_changes_of_the_app_and_of_syncs_are_streamed_with_their_origin(cluster: Cluster, runner: blocking.Sandbox) -> None:
    runner.sync({"watched/a.txt": "1"})
    seen: list[FileChange] = []
    begun, done = threading.Event(), threading.Event()

    def follow() -> None:
        for change in runner.watch_files():
            begun.set()
            seen.append(change)
            if change.path == "watched/last":
                done.set()
                return

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow)
        assert begun.wait(20)
        cluster.exec(
            runner, "sh", "-c", "cd /workspace/watched && echo 2 > b.txt && mkdir -p node_modules && echo 3 > node_modules/c"
        )
        time.sleep(0.3)  # what happens within 50 ms is told in the order of names
        runner.sync({"watched/a.txt": "changed"})
        time.sleep(0.3)
        cluster.exec(runner, "sh", "-c", "rm /workspace/watched/b.txt; touch /workspace/watched/last")
        assert done.wait(20)
        following.result()
    told = [(change.type, change.path, change.origin) for change in seen if change.path.startswith("watched/")]
    # the synced file is touched too, at some moment after a start of the app (see runner_agent.touch)
    assert {event for event in told if event[1] == "watched/a.txt"} == {("MODIFIED", "watched/a.txt", "sync")}
    assert [event for event in told if event[1] != "watched/a.txt"] == [
        ("CREATED", "watched/b.txt", "app"),
        ("DELETED", "watched/b.txt", "app"),
        ("CREATED", "watched/last", "app"),
    ]
    assert seen[0].type == "RESYNC"
    # a cursor continues, also after the stream was left
    assert next(iter(runner.watch_files(cursor=seen[-2].cursor))).path == "watched/last"


def test_a_stream_of_changes_ends_itself_before_the_api_server_would(user: UserFactory, runner: blocking.Sandbox) -> None:
    began = time.monotonic()

    async def follow() -> list[dict[str, Any]]:
        async with (
            Api(user("view")) as api,
            api.open(Request("GET", verb(runner), [("watch", "true")]), stream=True) as answer,
        ):
            return [json.loads(line) for line in (await answer.read()).splitlines()]

    lines = asyncio.run(follow())
    assert 50 < time.monotonic() - began < 60
    assert (lines[0]["type"], lines[-1]["type"]) == ("BOOKMARK", "BOOKMARK")


def test_of_two_writers_on_one_revision_one_wins_and_the_other_learns_why(runner: blocking.Sandbox) -> None:
    base = runner.sync({"shared.txt": "base"}).revision

    def write(who: str) -> str | Stale | Conflict:
        try:
            return runner.sync({"shared.txt": who}, if_match=base).revision
        except (Stale, Conflict) as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(write, ["ann", "bob", "eve", "joe"]))
    won = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert won == [runner.manifest().revision]
    for refused in (outcome for outcome in outcomes if not isinstance(outcome, str)):
        assert base in refused.message
        assert won[0] in refused.message
