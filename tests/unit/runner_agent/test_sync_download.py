"""An archive of a tree that the app changes meanwhile."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from runner_agent import sync_download
from runner_agent.sync_download import ChangedError
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
