"""One file by ETag and range, as a browser's cache or a resumed download asks for it, and never one outside the tree."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from aiohttp import ClientError
from hypothesis import given
from hypothesis import strategies as st

from runner_agent import sync_file
from runner_agent.conditional import UnsatisfiableError, byte_range, none_match
from sandbox_protocol.limits import SyncLimits
from tests.unit.runner_agent.served import Agent

TEXT = b"0123456789"
TAG = hashlib.sha256(TEXT).hexdigest()


async def fetch(agent: Agent, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with agent.client.get("/v1/sync", params={"file": path}, headers=sent) as response:
        return response.status, await response.read(), {name.title(): value for name, value in response.headers.items()}


async def test_a_file_comes_with_its_hash_whether_sync_or_the_app_wrote_it(agent: Agent) -> None:
    await agent.post({"files": [{"path": "src/a.txt", "content": TEXT.decode()}]})
    (agent.data / "tree/made.lock").write_bytes(TEXT)
    for path in ("src/a.txt", "./src/a.txt", "made.lock"):
        status, body, headers = await fetch(agent, path)
        assert (status, body, headers["Etag"]) == (200, TEXT, f'"{TAG}"')
        assert (headers["Content-Type"], headers["Accept-Ranges"]) == ("application/octet-stream", "bytes")


@pytest.mark.parametrize("etag", [f'"{TAG}"', f'"other", W/"{TAG}"', "*"])
async def test_an_unchanged_file_is_not_sent_again(agent: Agent, etag: str) -> None:
    (agent.data / "tree/a").write_bytes(TEXT)
    status, body, headers = await fetch(agent, "a", If_None_Match=etag)
    assert (status, body, headers["Etag"]) == (304, b"", f'"{TAG}"')
    assert (await fetch(agent, "a", If_None_Match='"other"'))[0] == 200


@pytest.mark.parametrize("size", [10, 700_000])
async def test_ranges_of_small_and_large_files(agent: Agent, size: int) -> None:
    content = os.urandom(size)
    (agent.data / "tree/a").write_bytes(content)
    for wanted, first, last in (("bytes=2-5", 2, 5), ("bytes=7-", 7, size - 1), ("bytes=-3", size - 3, size - 1)):
        status, body, headers = await fetch(agent, "a", Range=wanted)
        assert (status, body) == (206, content[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{last}/{size}"
    status, _, headers = await fetch(agent, "a", Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    assert (await fetch(agent, "a"))[1] == content


async def test_a_range_of_another_version_is_not_mixed_in(agent: Agent) -> None:
    (agent.data / "tree/a").write_bytes(TEXT)
    assert (await fetch(agent, "a", Range="bytes=5-", If_Range=f'"{TAG}"'))[:2] == (206, b"56789")
    for other in ('"0"', f'W/"{TAG}"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert (await fetch(agent, "a", Range="bytes=5-", If_Range=other))[:2] == (200, TEXT)


async def test_links_inside_the_tree_are_followed_and_no_others(agent: Agent, tmp_path: Path) -> None:
    tree = agent.data / "tree"
    (tree / "d/e").mkdir(parents=True)
    (tree / "d/a").write_bytes(TEXT)
    (tmp_path / "secret").write_text("secret")
    links = {"near": "d/a", "d/e/up": "../a", "dir": "d/e", "loop": "loop", "far": str(tmp_path / "secret")}
    links |= {"out": "../../secret", "agent": "../.agent", "gone": "nowhere"}
    for name, target in links.items():
        (tree / name).symlink_to(target)
    for path in ("near", "d/e/up", "dir/up"):
        assert (await fetch(agent, path))[:2] == (200, TEXT)
    for path, code in {"loop": 422, "far": 422, "out": 422, "agent/manifest": 422, "gone": 404}.items():
        assert (await fetch(agent, path))[0] == code, path


async def test_what_is_no_file_is_refused_in_words(agent: Agent) -> None:
    (agent.data / "tree/d").mkdir()
    (agent.data / "tree/f").write_bytes(b"")
    os.mkfifo(agent.data / "tree/pipe")
    for path, code in {"d": 422, ".": 422, "../x": 422, "/etc/passwd": 422, "no": 404, "f/x": 404, "pipe": 422, "": 422}.items():
        assert (await fetch(agent, path))[0] == code, path
    assert (await fetch(agent, "f"))[:2] == (200, b"")
    assert (await fetch(agent, "f", Range="bytes=0-"))[0] == 416


async def test_a_large_file_is_hashed_once_for_many_ranges(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    path = agent.data / "tree/film"
    path.write_bytes(b"1" * 600_000)
    os.utime(path, (1, 1))
    monkeypatch.setattr(sync_file, "RACY_NS", -(10**12))
    await fetch(agent, "film", Range="bytes=0-9")
    monkeypatch.setattr(sync_file, "_hash", lambda _: "hashed again")
    status, _, headers = await fetch(agent, "film", Range="bytes=10-19")
    assert (status, headers["Etag"]) == (206, f'"{hashlib.sha256(b"1" * 600_000).hexdigest()}"')
    path.write_bytes(b"2" * 600_001)
    assert (await fetch(agent, "film", Range="bytes=0-9"))[2]["Etag"] == '"hashed again"'


async def test_a_file_that_changes_while_it_is_sent_does_not_look_whole(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    path = agent.data / "tree/big"
    path.write_bytes(b"1" * 2_000_000)
    hashed = sync_file._hash

    def then_changed(fd: int) -> str:
        found = hashed(fd)
        path.write_bytes(b"2" * 2_000_000)
        return found

    monkeypatch.setattr(sync_file, "_hash", then_changed)
    with pytest.raises(ClientError):
        await fetch(agent, "big")


@pytest.mark.parametrize("limits", [SyncLimits(total_bytes=1000)])
async def test_a_file_over_the_limit_is_refused_with_both_numbers(agent: Agent) -> None:
    (agent.data / "tree/big").write_bytes(b"1" * 1001)
    status, body, _ = await fetch(agent, "big")
    assert (status, b"1001" in body, b"1000" in body) == (413, True, True)


async def test_a_manifest_that_is_known_is_not_sent_again(agent: Agent) -> None:
    revision = (await agent.post({"files": [{"path": "a", "content": "1"}]}))["revision"]
    async with agent.client.get("/v1/sync", headers={"If-None-Match": f'"{revision}"'}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", f'"{revision}"')
    await agent.post({"files": [{"path": "a", "content": "2"}]})
    async with agent.client.get("/v1/sync", headers={"If-None-Match": f'"{revision}"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize("query", ["file=a&path=b", "file=a&file=b", "upload=abcdefgh&file=a", "nonsense=1"])
async def test_questions_that_do_not_go_together_are_refused(agent: Agent, query: str) -> None:
    await agent.get(f"/v1/sync?{query}", 400)


@pytest.mark.parametrize(
    "header", ["bytes=", "bytes=5-2", "bytes=0-1,4-5", "items=0-1", "bytes=a-b", "bytes=--1", "bytes=²-", "x" * 50]
)
def test_what_is_no_single_range_is_ignored(header: str) -> None:
    assert byte_range(header, None, TAG, 10) is None


@given(st.integers(0, 30), st.integers(0, 30) | st.none(), st.integers(1, 20))
def test_a_range_lies_within_the_file_or_is_told_not_to(first: int, last: int | None, size: int) -> None:
    try:
        found = byte_range(f"bytes={first}-{'' if last is None else last}", None, TAG, size)
    except UnsatisfiableError:
        assert first >= size
    else:
        if found is None:
            assert last is not None
            assert last < first
        else:
            assert list(range(size))[first : None if last is None else last + 1] == list(range(found[0], found[1] + 1))


@given(st.text(max_size=40))
def test_any_header_gets_an_answer(header: str) -> None:
    assert none_match(header, None) is False
    assert none_match(header, "tag") in (True, False)
    try:
        byte_range(header, header, TAG, 10)
    except UnsatisfiableError:
        assert "bytes" in header.lower()
