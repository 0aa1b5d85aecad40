"""An archive of a tree that the app changes meanwhile."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

import pytest

from runner_agent import sync_download
from runner_agent.sync_download import ChangedError
from sandbox_protocol.errors import StatusError
from tests.unit.runner_agent.harness import Harness


def test_a_file_that_shrinks_while_it_is_sent_is_an_error_and_no_zeros(workspace: Harness) -> None:
    (workspace.tree / "a").write_bytes(os.urandom(900_000))
    pieces = sync_download.archive(workspace.ws, sync_download.select(workspace.ws, []))
    sent = next(pieces) + next(pieces) + next(pieces)
    os.truncate(workspace.tree / "a", 300_000)
    with pytest.raises(ChangedError, match="a became shorter"):
        next(pieces)
    assert not sent.endswith(bytes(512))


def test_a_file_that_was_replaced_before_it_is_opened_is_sent_as_it_is_then(workspace: Harness) -> None:
    for name in ("grown", "shorter"):
        (workspace.tree / name).write_text("x" * 100)
    selection = sync_download.select(workspace.ws, [])
    (workspace.tree / "grown").write_text("y" * 700)
    (workspace.tree / "shorter").write_text("z")
    archive = b"".join(sync_download.archive(workspace.ws, selection))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {item.name: item.size for item in tar} == {"grown": 700, "shorter": 1}


def test_files_that_grow_do_not_take_an_archive_over_its_limit(workspace: Harness) -> None:
    (workspace.tree / "a").write_text("x")
    selection = sync_download.select(workspace.ws, [])
    os.truncate(workspace.tree / "a", workspace.ws.limits.total_bytes + 1)
    with pytest.raises(ChangedError, match="over"):
        b"".join(sync_download.archive(workspace.ws, selection))


def walks(workspace: Harness, monkeypatch: pytest.MonkeyPatch, *asked: str) -> tuple[list[str], int]:
    """What is selected, and how many folders were listed for it."""
    listed: list[object] = []
    scan = os.scandir

    def counting(folder: int) -> Any:
        listed.append(folder)
        return scan(folder)

    with monkeypatch.context() as patch:
        patch.setattr("runner_agent.workspace_tree.os.scandir", counting)
        found = sync_download.select(workspace.ws, asked)
    return sorted(path for path, _ in found.entries), len(listed)


def test_a_path_named_a_thousand_times_costs_one_walk(workspace: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.tree / "a/b/c").mkdir(parents=True)
    (workspace.tree / "a/b/c/d").write_text("1")
    whole = walks(workspace, monkeypatch, ".")
    assert whole == (["a", "a/b", "a/b/c", "a/b/c/d"], 4)
    for asked in ([".", "./", "a"] * 300, ["a", ".", "a/b", "a/b/c", "a/b/c/d"] * 200):
        assert walks(workspace, monkeypatch, *asked) == whole


def test_what_is_ignored_comes_when_it_is_named_beside_what_is_above_it(
    workspace: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.tree / "node_modules/x/y").mkdir(parents=True)
    (workspace.tree / "own").write_text("1")
    found, listed = walks(workspace, monkeypatch, ".", "node_modules/x/y", "node_modules/x", "node_modules/x")
    assert (found, listed) == (["node_modules/x", "node_modules/x/y", "own"], 3)


def test_a_path_that_is_not_there_is_told_wherever_it_stands(workspace: Harness) -> None:
    with pytest.raises(StatusError, match="there is no a/b"):
        sync_download.select(workspace.ws, [".", "a/b"])


def test_more_paths_than_allowed_are_refused_with_the_number(workspace: Harness) -> None:
    with pytest.raises(StatusError, match="1001 times; 1000 are allowed"):
        sync_download.select(workspace.ws, ["a"] * 1001)


def test_a_selection_ends_when_nobody_waits_for_it(workspace: Harness) -> None:
    (workspace.tree / "node_modules").mkdir()
    for number in range(600):
        (workspace.tree / f"node_modules/{number}").touch()
    looks = iter([False, True])
    with pytest.raises(sync_download.GoneError):
        sync_download.select(workspace.ws, ["node_modules"], lambda: next(looks))
