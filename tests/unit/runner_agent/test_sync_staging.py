"""Small files of a large sync: in the pack and in staging files before the body's end, and what a crash makes of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runner_agent import sync_pack
from runner_agent.sync_request import Receiver
from runner_agent.workspace import Workspace
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import TAR
from tests.unit.runner_agent.harness import Harness, archive, link, member
from tests.unit.runner_agent.test_syscall_crash import Change

OLD = {"a": "old", "d/b": "old", "gone/c": "old", "same": "same"}
NEW = {"a": "new", "d/b": "new", "n/e": "new", "same": "same", "turn": "-> a"}


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_pack, "INLINE_BYTES", 3)


def body(files: dict[str, str]) -> bytes:
    return archive(
        *(
            link(path, text.removeprefix("-> ")) if text.startswith("-> ") else member(path, text.encode())
            for path, text in files.items()
        )
    )


def slots(workspace: Harness) -> list[str]:
    return [name for name in workspace.staged() if not name.endswith(".pack")]


def arriving(workspace: Workspace, data: bytes) -> Receiver:
    receiver = Receiver(workspace.stage(), TAR, "", {})
    receiver.feed(data)
    return receiver


def test_files_are_staged_while_the_rest_is_still_to_come(tmp_path: Path) -> None:
    workspace = Harness(tmp_path)
    whole = body({"a": "one", "b": "two", "c": "three"})
    receiver = arriving(workspace.ws, whole[:2048])
    assert len(slots(workspace)) == 2
    receiver.feed(whole[2048:])
    workspace.ws.commit(receiver.stage, receiver.finish().mode)
    workspace.ws.discard(receiver.stage)
    assert workspace.contents() == {"a": "one", "b": "two", "c": "three"}


def test_what_is_managed_is_written_over_and_not_staged(tmp_path: Path) -> None:
    workspace = Harness(tmp_path)
    files = {"a": "one", "b": "two", "c": "three"}
    workspace.tar(body(files))
    receiver = arriving(workspace.ws, body({**files, "b": "new"}))
    assert slots(workspace) == []
    (workspace.tree / "c").write_text("by the app")
    outcome = workspace.ws.commit(receiver.stage, receiver.finish().mode)
    workspace.ws.discard(receiver.stage)
    assert sorted(outcome.changed) == ["b", "c"]
    assert workspace.contents() == {"a": "one", "b": "new", "c": "three"}


def test_what_was_staged_for_a_refused_sync_is_removed(tmp_path: Path) -> None:
    workspace = Harness(tmp_path)
    with pytest.raises(StatusError, match="absolute"):
        workspace.tar(body({"a": "one", "b": "two", "/c": "three"}))
    assert workspace.staged() == []
    assert workspace.contents() == {}


def test_a_flush_that_failed_while_more_arrived_fails_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Harness(tmp_path)
    flush, failures = os.fdatasync, [OSError(errno.EIO, "Input/output error")]

    def failing(fd: int) -> None:
        if failures:
            raise failures.pop()
        flush(fd)

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(OSError, match="Input/output"):
        workspace.tar(body({"a": "one", "b": "two", "c": "three"}))
    assert workspace.contents() == {}
    assert workspace.staged() == []


@pytest.mark.parametrize("died", ["one", "two"], ids=["agent died", "node went down"])
def test_a_crash_before_any_call_leaves_the_old_or_the_new_revision(tmp_path: Path, died: str) -> None:
    Change(OLD, NEW, lambda workspace: workspace.tar(body(NEW), mode=["mirror"])).holds_at_each_call(tmp_path, died)
