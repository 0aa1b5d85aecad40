from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner_agent.emptying import empty
from tests.unit.runner_agent.harness import dig


def test_all_that_an_app_can_leave_is_removed_and_the_directory_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    scratch = tmp_path / "scratch"
    (scratch / "a/b/c").mkdir(parents=True)
    (scratch / "a/b/c/file").write_text("x")
    (scratch / "a/b/link").symlink_to(outside)
    (scratch / "dangling").symlink_to("nowhere")
    os.mkfifo(scratch / "pipe")
    (scratch / "a/closed").mkdir()
    (scratch / "a/closed/file").write_text("x")
    (scratch / "a/closed").chmod(0)
    empty(str(scratch))
    assert list(scratch.iterdir()) == []
    assert (outside / "kept").exists()


def test_depth_costs_nothing(tmp_path: Path) -> None:
    dig(tmp_path)
    empty(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        empty(str(tmp_path / "missing"))
