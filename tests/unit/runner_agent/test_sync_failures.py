"""What goes wrong with a volume or a body, for real where that can be had: the numbers are told, and the tree is unharmed."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_agent.sync_request import Receiver
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import JSON, TAR
from tests.unit.runner_agent.harness import Harness, archive, directory, link, member
from tests.unit.runner_agent.served import Agent


@pytest.fixture
def volume(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real filesystem with the options that the test gives, where the agent will keep its data."""
    data = tmp_path / "data"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", data], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a filesystem")
    yield data
    subprocess.run(["umount", "--lazy", data], check=True)


def files(tree: Path) -> dict[str, bytes]:
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


@pytest.mark.parametrize("volume", ["size=16m"], indirect=True)
@pytest.mark.usefixtures("volume")
@pytest.mark.parametrize("upload", [False, True])
async def test_a_disk_that_is_too_small_is_told_with_its_numbers(agent: Agent, upload: bool) -> None:
    await agent.post({"files": [{"path": "kept", "content": "1"}]})
    before = agent.workspace.revision
    body = archive(*(member(f"big{number}", os.urandom(700_000)) for number in range(13)), member("kept", b"2"))
    headers = {"Upload-Offset": "0", "Upload-Complete": "?1"} if upload else {}
    answer = await agent.post(body, 507, params={"upload": "too-large"} if upload else {}, headers=headers)
    assert answer["reason"] == "InsufficientStorage"
    assert re.search(r"\d{7,8} bytes and \d+ files are used, \d+ bytes and", answer["message"]), answer["message"]
    assert (files(agent.data / "tree"), agent.workspace.revision) == ({"kept": b"1"}, before)
    await agent.post({"files": [{"path": "after", "content": "3"}]})
    assert files(agent.data / "tree") == {"kept": b"1", "after": b"3"}


@pytest.mark.parametrize("volume", ["size=8m,nr_inodes=120"], indirect=True)
@pytest.mark.usefixtures("volume")
async def test_a_disk_without_inodes_is_told_as_such(agent: Agent) -> None:
    await agent.post({"files": [{"path": "kept", "content": "1"}]})
    before = agent.workspace.revision
    many = [{"path": f"d{number}/f", "content": str(number)} for number in range(100)]
    answer = await agent.post({"files": [*many, {"path": "kept", "content": "2"}]}, 507)
    assert re.search(r"1[01]\d files are used, \d+ bytes and \d+ files free", answer["message"]), answer["message"]
    assert (files(agent.data / "tree"), agent.workspace.revision) == ({"kept": b"1"}, before)
    assert [path.name for path in (agent.data / "tree").iterdir()] == ["kept"]
    await agent.post({"files": many[:10]})


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
async def test_a_volume_that_cannot_be_written_is_told_in_words(agent: Agent, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    await agent.post({"files": [{"path": "kept", "content": "1"}]})

    def fails(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fdatasync", fails)
    answer = await agent.post({"files": [{"path": "kept", "content": "2"}]}, 503)
    assert os.strerror(code) in answer["message"]
    monkeypatch.undo()
    assert files(agent.data / "tree") == {"kept": b"1"}


def test_a_million_entries_are_refused_long_before_the_last(workspace: Harness) -> None:
    workspace.sync({"kept": "1"})
    stage = workspace.ws.stage()
    receiver = Receiver(stage, TAR, "", {})
    fed = 0
    with pytest.raises(StatusError, match="20000 are allowed") as refused:  # noqa: PT012 - it is fed until it refuses
        for number in range(1_000_000):
            receiver.feed(tarfile.TarInfo(f"many/{number}").tobuf())
            fed = number
    assert refused.value.code == 413
    assert fed == 20_000 - 1
    workspace.ws.discard(stage)
    assert (workspace.contents(), workspace.staged()) == ({"kept": "1"}, [])


def test_a_name_twice_in_one_json_object_is_refused(workspace: Harness) -> None:
    for body, field in (
        (b'{"mode":"merge","mode":"mirror"}', "mode"),
        (b'{"files":[{"path":"a","content":"1","path":"b"}]}', "path"),
    ):
        with pytest.raises(StatusError) as refused:
            workspace.send(body, JSON)
        assert (refused.value.code, refused.value.causes[0].field) == (400, field)
    assert workspace.ws.revision is None


@pytest.mark.parametrize("form", ["json", "tar"])
def test_a_path_twice_in_one_sync_is_refused_by_name(workspace: Harness, form: str) -> None:
    bodies = {
        "tar": (archive(member("d/a", b"1"), member("./d/a", b"2")), TAR),
        "json": (b'{"files":[{"path":"d/a","content":"1"},{"path":"./d/a","content":"2"}]}', JSON),
    }
    with pytest.raises(StatusError) as refused:
        workspace.send(*bodies[form])
    assert [(cause.reason, cause.field) for cause in refused.value.causes] == [("Duplicate", "./d/a")]


def test_names_that_only_look_alike_are_different_files(workspace: Harness) -> None:
    alike = {
        "caf\u00e9": "composed",
        "cafe\u0301": "decomposed",
        "Readme": "upper",
        "readme": "lower",
        "\U0001f4a9/\u202e": "odd",
    }
    workspace.sync(alike)
    assert workspace.contents() == alike
    assert [entry.path for entry in workspace.ws.manifest()] == sorted(alike)
    workspace.restart()
    assert workspace.sync(alike).result.unchanged == len(alike)


def test_empty_directories_links_and_modes_travel_and_come_back(workspace: Harness) -> None:
    body = archive(
        directory("empty/below", 0o750),
        member("run", b"#!", mode=0o755),
        member("plain", b"1", mode=0o640),
        link("d/up", "../run"),
    )
    assert workspace.tar(body).result.written == 4
    kinds = {entry.path: (entry.type, entry.mode) for entry in workspace.ws.manifest()}
    assert kinds == {
        "empty/below": ("directory", 0o750),
        "run": ("file", 0o755),
        "plain": ("file", 0o640),
        "d/up": ("symlink", 0o777),
    }
    assert (workspace.tree / "d/up").read_text() == "#!"
    assert workspace.tar(body).result.unchanged == 4
    workspace.tar(archive(member("run", b"#!", mode=0o755)), mode=["mirror"])
    assert sorted(path.name for path in workspace.tree.iterdir()) == ["run"]


async def test_of_writers_at_once_on_one_revision_one_wins_and_the_others_learn_why(agent: Agent) -> None:
    base = (await agent.post({"files": [{"path": "a", "content": "base"}]}))["revision"]

    async def write(who: str) -> tuple[int, str]:
        body = {"files": [{"path": "a", "content": who}]}
        async with agent.client.post("/v1/sync", json=body, headers={"If-Match": f'"{base}"'}) as response:
            return response.status, await response.text()

    answers = await asyncio.gather(*map(write, ["ann", "bob", "eve"]))
    now = agent.workspace.revision
    assert now is not None
    assert sorted(status for status, _ in answers) == [200, 412, 412]
    assert all(base in text and now in text for status, text in answers if status == 412)


def test_a_compressed_bomb_leaves_nothing_behind(workspace: Harness) -> None:
    workspace.sync({"kept": "1"})
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as zipped:
        header = tarfile.TarInfo("zeros")
        header.size = 200_000_000
        zipped.write(header.tobuf())
        for _ in range(100):
            zipped.write(bytes(1_000_000))
    with pytest.raises(StatusError, match="200 are allowed"):
        workspace.tar(out.getvalue(), "gzip")
    assert (workspace.contents(), workspace.staged()) == ({"kept": "1"}, [])
