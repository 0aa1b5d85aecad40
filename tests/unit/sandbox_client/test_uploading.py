"""Large bodies over a network that breaks, and files that come back the same way."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from aiohttp import web

from sandbox_client import (
    FileChange,
    Forbidden,
    LocalFileError,
    Sandbox,
    SandboxError,
    Stale,
    Unreachable,
    packing,
    pauses,
    uploading,
)
from sandbox_protocol.errors import StatusError
from tests.unit.sandbox_client.fake_api import FakeApi


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "PART_BYTES", 100_000)
    monkeypatch.setattr(packing, "SPOOL_BYTES", 100_000)
    monkeypatch.setattr(pauses, "SECONDS", (0.001,))


@pytest.fixture
def big(tmp_path: Path) -> bytes:
    content = os.urandom(350_000)
    (tmp_path / "big").write_bytes(content)
    return content


def parts(api: FakeApi) -> list[web.Request]:
    return [request for request in api.requests if request.method == "POST"]


async def test_a_large_body_travels_in_parts(api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes) -> None:
    result = await shop.sync(directory=tmp_path)
    assert (result.written, api.tree["big"][1]) == (1, big)
    sent = parts(api)
    assert [request.headers["Upload-Offset"] for request in sent] == ["0", "100000", "200000", "300000"]
    assert [request.headers["Upload-Complete"] for request in sent] == ["?0", "?0", "?0", "?1"]
    assert len({request.query["upload"] for request in sent}) == 1


async def test_a_broken_connection_is_continued_where_the_server_stands(
    api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes
) -> None:
    broken = iter([40_000, None, 0, 99_999])
    api.lose = lambda _, __: next(broken, None)
    await shop.sync(directory=tmp_path)
    assert api.tree["big"][1] == big
    assert api.number == 1


async def test_a_lost_answer_is_asked_for_again_and_nothing_is_done_twice(
    api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes
) -> None:
    api.lose = lambda request, content: len(content) if request.headers["Upload-Complete"] == "?1" else None
    result = await shop.sync(directory=tmp_path)
    assert (result.revision, api.number, api.tree["big"][1]) == (api.revision, 1, big)


async def test_an_upload_that_was_forgotten_begins_again(api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes) -> None:
    forgotten = iter([True])

    def lose(_: web.Request, content: bytes) -> int | None:
        if len(parts(api)) == 3 and next(forgotten, False):
            api.uploads.clear()
            return 0
        return None

    api.lose = lose
    await shop.sync(directory=tmp_path)
    assert api.tree["big"][1] == big


async def test_a_server_that_has_a_lot_to_do_is_given_time(api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes) -> None:
    refusals = iter([429, 503, 429])

    def refuse(request: web.Request) -> web.Response | None:
        code = next(refusals, 0) if request.method == "POST" else 0
        return web.json_response(StatusError(code, "later").body(), status=code) if code else None

    api.fail = refuse
    await shop.sync(directory=tmp_path)
    assert api.tree["big"][1] == big


async def test_what_makes_no_progress_is_given_up(api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes) -> None:
    api.lose = lambda _, __: 0
    with pytest.raises(Unreachable):
        await shop.sync(directory=tmp_path)
    assert len(parts(api)) == uploading.ATTEMPTS + 1
    assert api.tree == {}


async def test_a_refusal_is_raised_at_once(api: FakeApi, shop: Sandbox, tmp_path: Path, big: bytes) -> None:
    api.fail = lambda request: (
        web.json_response(StatusError(412, "stale").body(), status=412) if request.method == "POST" else None
    )
    with pytest.raises(Stale):
        await shop.sync(directory=tmp_path, if_match="1-0")
    assert len(parts(api)) == 1


async def test_a_file_is_read_whole_or_in_part(api: FakeApi, shop: Sandbox) -> None:
    await shop.sync({"d/a.txt": b"0123456789"})
    whole = await shop.read_file("d/a.txt")
    assert (whole.path, whole.content, whole.sha256) == ("d/a.txt", b"0123456789", api.tree["d/a.txt"][0].sha256)
    assert (await shop.read_file("d/a.txt", start=3)).content == b"3456789"
    assert (await shop.read_file("d/a.txt", start=3, end=5)).content == b"34"
    with pytest.raises(SandboxError):
        await shop.read_file("missing")


async def test_an_export_brings_the_files_into_a_folder(api: FakeApi, shop: Sandbox, tmp_path: Path) -> None:
    await shop.sync({"a": b"1", "d/b": b"\xff"})
    assert await shop.export(tmp_path / "new/here") == ["a", "d/b"]
    assert (tmp_path / "new/here/d/b").read_bytes() == b"\xff"
    assert await shop.export(tmp_path / "one", "a") == ["a"]


@pytest.mark.parametrize(("name", "refused"), [("../escape", True), ("/escape", True), ("link/escape", False)])
async def test_an_export_never_leaves_its_folder(api: FakeApi, shop: Sandbox, tmp_path: Path, name: str, refused: bool) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("link")
        for link.type, link.linkname in ((tarfile.SYMTYPE, ".."), (tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "../escape")):
            tar.addfile(link)
        tar.addfile(tarfile.TarInfo(name))
    api.fail = lambda request: web.Response(body=out.getvalue()) if request.path.endswith("/sync") else None
    if refused:
        with pytest.raises(LocalFileError):
            await shop.export(tmp_path / "here")
    else:
        await shop.export(tmp_path / "here")
    _assert_nothing_outside(tmp_path)


def _assert_nothing_outside(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} <= {"here"}
    assert not (folder / "here/link").is_symlink()
    assert not Path("/escape").exists()


async def test_changes_go_on_over_many_watches_and_bookmarks_are_not_shown(api: FakeApi, shop: Sandbox) -> None:
    bookmark = {"type": "BOOKMARK", "cursor": "1-0"}
    made = {"type": "CREATED", "path": "é", "entryType": "file", "size": 3, "cursor": "1-1", "origin": "app"}
    gone = {"type": "DELETED", "path": "é", "cursor": "1-2", "origin": "sync"}
    api.events = [[bookmark, made, {"type": "BOOKMARK", "cursor": "1-1"}], [gone], [{"type": "RESYNC", "cursor": "2-0"}]]
    seen: list[FileChange] = []

    async def look() -> None:
        async for change in shop.watch_files():
            seen.append(change)

    with pytest.raises(Forbidden):
        await look()
    assert seen == [
        FileChange("RESYNC", cursor="1-0"),
        FileChange("CREATED", "é", "file", 3, "app", "1-1"),
        FileChange("DELETED", "é", origin="sync", cursor="1-2"),
        FileChange("RESYNC", cursor="2-0"),
    ]
    assert [request.query.get("cursor") for request in api.requests] == [None, "1-1", "1-2", "2-0"]
