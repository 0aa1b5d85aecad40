"""The SDK's sync against an API server that keeps a workspace."""

from __future__ import annotations

import builtins
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox_client import LocalFileError, Sandbox, Stale, Unavailable, changes, packing
from sandbox_protocol.errors import StatusError
from tests.unit.sandbox_client.fake_api import FakeApi


def posts(api: FakeApi) -> list[web.Request]:
    return [request for request in api.requests if request.method == "POST"]


def contents(api: FakeApi) -> dict[str, bytes]:
    return {path: content for path, (_, content) in api.tree.items()}


async def test_files_in_memory_arrive_with_binary_content_and_deletions(api: FakeApi, shop: Sandbox) -> None:
    await shop.sync({"old": "x"})
    result = await shop.sync({"a.txt": "text", "b.bin": b"\xff\x00"}, delete=["old"], restart="always")
    assert contents(api) == {"a.txt": b"text", "b.bin": b"\xff\x00"}
    assert (result.written, result.deleted, result.restarted, result.revision) == (2, 1, True, api.revision)


async def test_of_a_folder_only_what_changed_travels(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    first = await shop.sync(directory=tmp_path)
    assert (first.written, first.unchanged) == (3, 0)
    (tmp_path / "b").write_text("changed")
    second = await shop.sync(directory=tmp_path)
    assert (second.written, second.unchanged, second.bytes) == (1, 2, 7)
    assert contents(api) == {"a": b"a", "b": b"changed", "c": b"c"}
    assert [request.headers.get("If-Match") for request in posts(api)] == [None, f'"{first.revision}"']


async def test_links_and_large_files_travel_as_a_compressed_tar(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    big = os.urandom(packing.JSON_BYTES + 1)
    (tmp_path / "big").write_bytes(big)
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("run")
    await shop.sync(directory=tmp_path)
    assert contents(api) == {"big": big, "run": b"#!/bin/sh\n", "link": b"run"}
    assert api.tree["run"][0].mode == 0o755
    sent = posts(api)[0]
    assert sent.content_type == "application/x-tar"
    assert sent.headers["Content-Encoding"] == "zstd"
    assert (await shop.sync(directory=tmp_path)).unchanged == 3


async def test_a_body_larger_than_memory_allows_waits_on_disk(
    api: FakeApi, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SPOOL_BYTES", 1000)
    data = os.urandom(400_000)
    (tmp_path / "big").write_bytes(data)
    await shop.sync(directory=tmp_path)
    assert contents(api) == {"big": data}


async def test_content_that_would_look_like_a_bomb_travels_uncompressed(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(2_000_000))
    await shop.sync(directory=tmp_path)
    assert posts(api)[0].headers["Content-Encoding"] == "identity"
    assert contents(api) == {"zeros": bytes(2_000_000)}


async def test_without_zstd_gzip_does_it(api: FakeApi, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if "zstd" in name:
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    data = os.urandom(packing.JSON_BYTES + 1)
    (tmp_path / "big").write_bytes(data)
    await shop.sync(directory=tmp_path)
    assert posts(api)[0].headers["Content-Encoding"] == "gzip"
    assert contents(api) == {"big": data}


async def test_a_mirror_deletes_by_name(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    await shop.sync({"gone": "x", "kept": "kept"})
    (tmp_path / "kept").write_text("kept")
    result = await shop.sync(directory=tmp_path, mode="mirror")
    assert contents(api) == {"kept": b"kept"}
    assert (result.deleted, result.unchanged) == (1, 1)


async def test_many_deletions_beside_links_are_two_requests(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    await shop.sync({f"{'d' * 100}{number}": "" for number in range(100)})
    (tmp_path / "link").symlink_to("x")
    result = await shop.sync(directory=tmp_path, mode="mirror", restart="always")
    assert contents(api) == {"link": b"x"}
    assert (result.written, result.deleted, result.restarted) == (1, 100, True)
    assert len(posts(api)) == 3


async def test_a_large_folder_is_sent_in_parts_and_restarts_once(
    api: FakeApi, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "BATCH_BYTES", 400_000)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(os.urandom(300_000))
    result = await shop.sync(directory=tmp_path, restart="always")
    assert (result.written, result.bytes) == (3, 900_000)
    assert [request.query["restart"] for request in posts(api)] == ["never", "never", "always"]


async def test_another_sync_in_between_is_compared_anew(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    await shop.sync({"a": "a", "theirs": "1"})
    (tmp_path / "a").write_text("mine")
    stale = [web.json_response(StatusError(412, "moved on").body(), status=412)]
    api.fail = lambda request: stale.pop() if request.method == "POST" and stale else None
    result = await shop.sync(directory=tmp_path)
    assert result.written == 1
    assert contents(api) == {"a": b"mine", "theirs": b"1"}


async def test_a_revision_that_the_caller_named_is_not_retried(shop: Sandbox, tmp_path: Path) -> None:
    await shop.sync({"a": "a"})
    with pytest.raises(Stale, match="the workspace is at 1-"):
        await shop.sync({"a": "b"}, if_match="0-0000")
    with pytest.raises(Stale):
        await shop.sync(directory=tmp_path, if_match="0-0000")


async def test_an_empty_first_sync_is_still_sent(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    assert (await shop.sync(directory=tmp_path)).revision == api.revision
    assert len(posts(api)) == 1


async def test_a_file_that_cannot_be_read_is_named(shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")

    def refuse(self: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LocalFileError, match=r"secret|sandboxignore"):
        await shop.sync(directory=tmp_path)


async def test_files_and_a_folder_at_once_are_refused(shop: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either files or a directory"):
        await shop.sync({}, directory=tmp_path)
    with pytest.raises(ValueError, match="either files or a directory"):
        await shop.sync()


async def test_workspace_files_can_be_read_back(shop: Sandbox) -> None:
    await shop.sync({"a": b"\x00\x01", "b": "b"})
    assert await shop.read() == {"a": b"\x00\x01", "b": b"b"}
    assert await shop.read("b") == {"b": b"b"}
    assert builtins.len((await shop.manifest()).entries) == 2


def coming_up(times: int) -> Callable[[web.Request], web.StreamResponse | None]:
    """Answers so many requests as the API server does for a runner without a pod."""
    left = iter(range(times))

    def answer(_: web.Request) -> web.StreamResponse | None:
        if next(left, None) is None:
            return None
        error = StatusError(503, "the runner's agent cannot be reached", retry_after=1)
        return web.json_response(error.body(), status=503, headers={"Retry-After": "1"})

    return answer


async def test_a_runner_that_is_coming_up_is_waited_for(
    api: FakeApi, shop: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox_client.pauses.after", lambda error, failures: 0.0)
    (tmp_path / "a").write_text("a")
    api.fail = coming_up(3)
    assert (await shop.sync(directory=tmp_path)).written == 1
    api.fail = coming_up(3)
    assert (await shop.sync({"b": "b"})).written == 1


async def test_a_runner_that_cannot_come_up_by_itself_is_not_waited_for(api: FakeApi, shop: Sandbox) -> None:
    api.fail = lambda _: web.json_response(StatusError(503, "suspended", reason="Suspended").body(), status=503)
    with pytest.raises(Unavailable, match="suspended"):
        await shop.sync({"b": "b"})
