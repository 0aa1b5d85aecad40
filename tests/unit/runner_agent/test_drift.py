"""What the pod made of synced files: told by the manifest, kept or overwritten by a sync."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner_agent.drift import Drift
from tests.unit.runner_agent.harness import Harness


@pytest.fixture
def workspace(tmp_path: Path) -> Harness:
    return Harness(tmp_path / "data")


def drifts(workspace: Harness) -> dict[str, Drift]:
    return workspace.ws.judge(workspace.ws.suspects()[1])


def test_missing_changed_and_blocked_entries_are_told(workspace: Harness) -> None:
    workspace.sync({"same": "1", "gone": "2", "edited": "3", "d/e/f": "4", "file": "5"})
    assert drifts(workspace) == {}
    (workspace.tree / "gone").unlink()
    (workspace.tree / "edited").write_text("other")
    (workspace.tree / "d").rename(workspace.tree / "moved")
    (workspace.tree / "d").write_text("a file now")
    (workspace.tree / "file").unlink()
    (workspace.tree / "file").mkdir()
    expected = {
        "gone": Drift("missing"),
        "edited": Drift("changed"),
        "d/e/f": Drift("changed", "d"),
        "file": Drift("changed", "file"),
    }
    assert drifts(workspace) == expected
    workspace.restart()
    assert drifts(workspace) == expected


def test_a_file_of_a_new_time_and_the_same_content_has_not_drifted(workspace: Harness) -> None:
    workspace.sync({"a": "1"})
    (workspace.tree / "a").write_text("1")
    (workspace.tree / "a").chmod(0o600)
    assert drifts(workspace) == {}
    (workspace.tree / "a").chmod(0o700)
    assert drifts(workspace) == {"a": Drift("changed")}


def test_a_sync_keeps_what_the_pod_changed_and_writes_what_is_gone_or_new(workspace: Harness) -> None:
    sent = {"a": "1", "b": "2", "c": "3"}
    workspace.sync(sent)
    (workspace.tree / "a").write_text("pod")
    (workspace.tree / "b").unlink()
    (workspace.tree / "c").write_text("pod")
    stage = workspace.ws.stage()
    for path, content in {**sent, "c": "mine"}.items():
        stage.file(path, 0o644, len(content))
        stage.data(content.encode())
        stage.end_file()
    outcome = workspace.ws.commit(stage, "merge", drift="keep")
    assert workspace.contents() == {"a": "pod", "b": "2", "c": "mine"}
    assert (outcome.result.drifted, outcome.result.written) == (("a",), 2)
    assert workspace.sync(sent).result.drifted == ()  # as a caller that overwrites
    assert workspace.contents() == sent
