"""The promise: after a crash at any moment the tree is the old or the new revision, and an acknowledged one survives."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.runner_agent.harness import Harness


class Crash(BaseException):
    """The process ends here: nothing of the code that tidies up may run."""


class Bomb:
    """Raises Crash at the n-th step after it was armed."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        self.steps.append(step)
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise Crash(step)
            self.left -= 1


OLD = {"a": "old", "d/b": "old", "gone/c": "old", "same": "same", "turn/x": "old"}
NEW = {"a": "new", "d/b": "new", "n/m/e": "new", "same": "same", "turn": "file now"}


def prepared(data: Path, **options: Any) -> tuple[Harness, Bomb, str]:
    bomb = Bomb()
    workspace = Harness(data, step=bomb, **options)
    workspace.sync(OLD)
    assert workspace.ws.revision
    return workspace, bomb, workspace.ws.revision


@pytest.mark.parametrize("boots", [("one", "one"), ("one", "two"), ("", "")], ids=["agent died", "node went down", "unknown"])
def test_a_crash_at_any_step_leaves_the_old_or_the_new_revision(tmp_path: Path, boots: tuple[str, str]) -> None:
    seen = set()
    for n in count():
        workspace, bomb, old = prepared(tmp_path / str(n), boot=boots[0])
        bomb.left = n
        try:
            workspace.sync(NEW, mode="mirror")
        except Crash:
            workspace.restart(boot=boots[1])
        else:
            assert n > 10
            break
        if workspace.ws.revision == old:
            assert workspace.contents() == OLD
            seen.add("old")
        else:
            assert workspace.ws.revision is not None
            assert workspace.ws.revision.startswith("2-")
            assert workspace.contents() == NEW
            seen.add("new")
        assert workspace.staged() == []
        assert workspace.sync({"after": "1"}).result.written == 1
        workspace.ws.close()
    assert seen == {"old", "new"}


@pytest.mark.parametrize("boot", ["one", "two"], ids=["agent died", "node went down"])
def test_a_crash_while_a_directory_that_is_emptied_by_name_becomes_a_file_leaves_no_half(tmp_path: Path, boot: str) -> None:
    before = {"a": "", "b": "", "d/a": "", "d/e/a": ""}
    for n in count():
        bomb = Bomb()
        workspace = Harness(tmp_path / str(n), step=bomb, boot="one")
        old = workspace.sync(before).result.revision
        bomb.left = n
        try:
            workspace.sync({"a": "", "d": "a file"}, delete=["d/e/a"], mode="mirror")
        except Crash:
            workspace.restart(boot=boot)
            assert workspace.contents() == (before if workspace.ws.revision == old else {"a": "", "d": "a file"})
        else:
            assert n > 5
            return


def test_a_crash_in_recovery_itself_is_recovered_from(tmp_path: Path) -> None:
    for n in count():
        workspace, bomb, _ = prepared(tmp_path / str(n), boot="one")
        bomb.left = len("ab") + 2  # in the middle of what is done to the tree
        with pytest.raises(Crash):
            workspace.sync(NEW, mode="mirror")
        bomb.left = n
        try:
            workspace.restart()
        except Crash:
            workspace.restart()
            assert workspace.contents() == NEW
            assert workspace.ws.revision is not None
            assert workspace.ws.revision.startswith("2-")
        else:
            assert n > 3
            return


def test_a_crash_while_a_refused_sync_is_undone_never_leaves_half(tmp_path: Path) -> None:
    finished = False
    for n in count():
        workspace, bomb, old = prepared(tmp_path / str(n), boot="one")
        (workspace.tree / "zz").mkdir()
        (workspace.tree / "zz/app").write_text("own")
        armed = True

        def block(step: str, workspace: Harness = workspace, bomb: Bomb = bomb, n: int = n) -> None:
            nonlocal armed
            if armed and step == "commit":
                # the app makes a directory where a file is about to go, after it was checked that nothing is there
                (workspace.tree / "zfile").mkdir()
                (workspace.tree / "zfile/x").write_text("own")
                armed = False
            if not armed and (step.startswith(("unput", "restore", "prune"))):
                bomb(step)

        workspace.ws._step = block
        bomb.left = n
        try:
            workspace.sync({"a": "new", "d/b": "new", "q/r": "new", "zfile": "new"}, delete=["gone"])
        except Crash:
            shutil.rmtree(workspace.tree / "zfile")  # whatever recovery decides, nothing is in its way any more
            workspace.restart(step=lambda _: None)
            changed = {"a": "new", "d/b": "new", "q/r": "new", "zfile": "new"}
            both = (OLD, {k: v for k, v in (OLD | changed).items() if not k.startswith("gone")})
            tree = {k: v for k, v in workspace.contents().items() if not k.startswith("zz")}
            assert tree == both[workspace.ws.revision != old]
        except Exception as error:
            assert "zfile" in str(error)  # noqa: PT017
            finished = True
            break
    assert finished
    assert n > 3


@pytest.mark.parametrize("lost", ["emptied", "missing", "as before"])
def test_what_a_power_cut_took_from_the_tree_comes_back_from_the_journal(tmp_path: Path, lost: str) -> None:
    workspace, _, _ = prepared(tmp_path / "data", boot="one")
    workspace.sync(NEW, mode="mirror")
    workspace.sync({"a": "newest"})
    revision = workspace.ws.revision
    for name in ("a", "n/m/e"):
        path = workspace.tree / name
        if lost == "emptied":
            path.write_text("")
        elif lost == "missing":
            path.unlink()
        else:
            path.write_text("old")
    (workspace.tree / "gone").mkdir()
    (workspace.tree / "gone/c").write_text("old")
    workspace.restart(boot="two")
    assert workspace.contents() == NEW | {"a": "newest"}
    assert workspace.ws.revision == revision


def test_the_content_of_a_large_sync_comes_back_from_its_pack(tmp_path: Path) -> None:
    workspace = Harness(tmp_path / "data", boot="one")
    files = {f"f{n}": str(n) * 200_000 for n in range(8)}
    workspace.sync(files)
    for n in range(8):
        (workspace.tree / f"f{n}").write_text("")
    workspace.restart(boot="two")
    assert workspace.contents() == files


LARGE = "x" * 1_100_000
"""Too large for the journal and for a pack: after it was renamed into the tree there is no second copy."""


@pytest.mark.parametrize(
    "earlier",
    [
        [{"files": {"d/a": "small"}}],
        [{"files": {"d/a": "small"}}, {"delete": ["d/a"]}],
        [{"files": {"d/a": "small", "d/other": "1"}}, {"delete": ["d"]}],
        [{"files": {"d": "a file"}}, {"delete": ["d"]}],
        [{"files": {"d/a/deep": "1"}}, {"delete": ["d/a"]}],
    ],
)
def test_what_is_done_again_after_a_power_cut_takes_nothing_from_later_syncs(
    tmp_path: Path, earlier: list[dict[str, Any]]
) -> None:
    workspace = Harness(tmp_path / "data", boot="one")
    for sync in earlier:
        workspace.sync(sync.get("files"), delete=sync.get("delete", []))
    revision = workspace.sync({"d/a": LARGE, "b": "1"}).result.revision
    before = workspace.contents()
    assert before == {"d/a": LARGE, "b": "1"} or "d/other" in before
    for boot in ("two", ""):
        workspace.restart(boot=boot)
        assert workspace.contents() == before
        assert workspace.ws.revision == revision


@pytest.mark.parametrize(
    ("there", "delete", "put"),
    [
        ("a", "a", "a"),
        ("d/b", "d", "d/b"),
        ("d/b", "d", "d/other"),
        ("d/b/c", "d", "d/b"),
        ("d", "d", "d/b/c"),
        ("d/b", "d", "d"),
    ],
)
@pytest.mark.parametrize("renamed", [True, False], ids=["all was done", "the rename was lost"])
def test_a_large_file_in_the_place_of_what_its_own_sync_deleted_outlives_the_node(
    tmp_path: Path, there: str, delete: str, put: str, renamed: bool
) -> None:
    workspace = Harness(tmp_path / "data", boot="one")
    workspace.sync({there: "small"})
    stop = Bomb()
    if renamed:
        workspace.sync({put: LARGE}, delete=[delete])
    else:
        workspace.ws._step = stop
        stop.left = 2  # flush, commit, then the first change of the tree
        with pytest.raises(Crash):
            workspace.sync({put: LARGE}, delete=[delete])
    workspace.restart(boot="two")
    assert workspace.contents() == {put: LARGE}


def test_what_the_app_wrote_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    workspace, _, revision = prepared(tmp_path / "data", boot="one")
    (workspace.tree / "a").write_text("by the app")
    workspace.restart()
    assert (workspace.tree / "a").read_text() == "by the app"
    assert workspace.ws.revision == revision


def test_what_the_app_made_again_after_a_sync_removed_it_survives_a_restart(tmp_path: Path) -> None:
    workspace, _, _ = prepared(tmp_path / "data", boot="one")
    workspace.sync(delete=["a"])
    (workspace.tree / "a").write_text("by the app")
    workspace.restart()
    assert (workspace.tree / "a").read_text() == "by the app"


def test_a_commit_record_that_is_damaged_was_never_acknowledged(tmp_path: Path) -> None:
    workspace, bomb, old = prepared(tmp_path / "data", boot="one")
    bomb.left = 2  # flush, commit, then the first change of the tree
    with pytest.raises(Crash):
        workspace.sync(NEW | {"blob": "content"}, mode="mirror")
    journal = max((tmp_path / "data/.agent").glob("journal.*"))
    assert b"content" in journal.read_bytes()
    journal.write_bytes(journal.read_bytes().replace(b"content", b"contend"))
    workspace.restart()
    assert workspace.ws.revision == old
    assert workspace.contents() == OLD


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_commit_record_that_is_cut_was_never_acknowledged(tmp_path: Path, cut: int) -> None:
    workspace, bomb, old = prepared(tmp_path / "data", boot="one")
    bomb.left = 2  # flush, commit, then the first change of the tree
    with pytest.raises(Crash):
        workspace.sync(NEW, mode="mirror")
    journal = max((tmp_path / "data/.agent").glob("journal.*"))
    journal.write_bytes(journal.read_bytes().rstrip(b"\0")[:-cut])
    workspace.restart()
    assert workspace.ws.revision == old
    assert workspace.contents() == OLD


@pytest.mark.parametrize("sector", range(4))
def test_a_commit_record_of_which_one_sector_is_missing_was_never_acknowledged(tmp_path: Path, sector: int) -> None:
    """Records are written over zeros, and a disk writes sectors in any order."""
    workspace, bomb, old = prepared(tmp_path / "data", boot="one")
    journal = max((tmp_path / "data/.agent").glob("journal.*"))
    begin = len(journal.read_bytes().rstrip(b"\0"))
    bomb.left = 2  # flush, commit, then the first change of the tree
    with pytest.raises(Crash):
        workspace.sync(NEW | {"blob": "x" * 2048}, mode="mirror")
    written = bytearray(journal.read_bytes())
    first = begin // 512 * 512 + sector * 512
    lost = range(max(first, begin), first + 512)
    assert any(written[lost.start : lost.stop])
    written[lost.start : lost.stop] = bytes(len(lost))
    journal.write_bytes(written)
    workspace.restart(boot="two")
    assert workspace.ws.revision == old
    assert workspace.contents() == OLD


def test_the_journal_keeps_every_record_when_it_outgrows_its_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner_agent.journal._ROOM", 1000)
    workspace, _, _ = prepared(tmp_path / "data", boot="one")
    for number in range(20):
        revision = workspace.sync({"a": str(number) * 300, f"n/{number}": "new"}).result.revision
    before = workspace.contents()
    shutil.rmtree(workspace.tree / "n")
    workspace.restart(boot="two")
    assert workspace.ws.revision == revision
    assert workspace.contents() == before


def test_a_sync_that_fits_a_full_disk_does_not_fail_for_the_zeros_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner_agent.journal._ROOM", 1000)
    workspace, _, _ = prepared(tmp_path / "data", boot="one")
    pwrite = os.pwrite
    refused = []

    def full(fd: int, data: bytes, at: int) -> int:
        if not any(data):
            refused.append(at)
            raise OSError(errno.ENOSPC, "full")
        return pwrite(fd, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    for number in range(10):
        workspace.sync({"a": str(number) * 300})
    assert refused
    monkeypatch.undo()
    revision = workspace.sync({"b": "1"}).result.revision
    (workspace.tree / "a").unlink()
    workspace.restart(boot="two")
    assert workspace.ws.revision == revision
    assert workspace.contents()["a"] == "9" * 300


@pytest.mark.parametrize("died", ["one", "two"])
def test_a_crash_at_any_step_of_a_checkpoint_loses_nothing(tmp_path: Path, died: str) -> None:
    for n in count():
        workspace, bomb, _ = prepared(tmp_path / str(n), boot="one")
        workspace.ws.checkpoint_begin()
        during = workspace.sync({"during": "1"}).result.revision
        bomb.left = n
        try:
            workspace.ws.flush_to_disk()
            workspace.ws.checkpoint_end()
        except Crash:
            pass
        finished, bomb.left = bomb.left is not None, None
        workspace.restart(boot=died)
        assert workspace.contents() == OLD | {"during": "1"}
        assert workspace.ws.revision == during
        if finished:
            return


PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e/a", "e/a"])
SYNCS = st.tuples(
    st.dictionaries(PATHS, st.sampled_from(["", "1", "22", "x" * 300_000]), max_size=4),
    st.lists(PATHS, max_size=2),
    st.sampled_from(["merge", "mirror"]),
)


@settings(max_examples=15, deadline=None)
@given(
    syncs=st.lists(st.tuples(SYNCS, st.integers(0, 25) | st.none()), min_size=1, max_size=6),
    checkpoints=st.lists(st.booleans(), min_size=6, max_size=6),
    reboot=st.booleans(),
)
def test_any_history_with_crashes_reads_as_one_of_its_revisions(
    tmp_path_factory: pytest.TempPathFactory, syncs: list[Any], checkpoints: list[bool], reboot: bool
) -> None:
    bomb = Bomb()
    workspace = Harness(tmp_path_factory.mktemp("w") / "data", step=bomb, boot="0")
    for index, ((files, deletes, mode), crash) in enumerate(syncs):
        before, revision = workspace.contents(), workspace.ws.revision
        plain = Harness(workspace.data.parent / f"plain{index}")
        plain.sync(before)
        _same_directories(plain, workspace)
        expected = _outcome(plain, files, deletes, mode, workspace)
        bomb.left = crash
        try:
            outcome = _outcome(workspace, files, deletes, mode, workspace)
        except Crash:
            workspace.restart(boot=str(index + 1) if reboot else "0")
            if workspace.ws.revision == revision:
                assert workspace.contents() == before
            else:
                assert workspace.contents() == expected
        else:
            assert outcome == expected
        bomb.left = None
        if checkpoints[index]:
            workspace.ws.checkpoint_begin()
            workspace.ws.flush_to_disk()
            workspace.ws.checkpoint_end()
    acknowledged = workspace.ws.revision, workspace.contents()
    workspace.restart(boot="later")
    assert (workspace.ws.revision, workspace.contents()) == acknowledged


def _same_directories(target: Harness, of: Harness) -> None:
    """A directory that lost its last file stays, and refuses a file in its place: contents alone do not tell."""
    for folder, names, _ in os.walk(of.data / "tree"):
        for name in names:
            (target.data / "tree" / Path(folder).relative_to(of.data / "tree") / name).mkdir(parents=True, exist_ok=True)


def _outcome(target: Harness, files: dict[str, str], deletes: list[str], mode: str, of: Harness) -> dict[str, str]:
    """The tree after the sync, refused or not; what ``target`` manages is taken from ``of`` for a mirror to mean the same."""
    if target is not of:
        target.ws._manifest = of.ws.manifest()
    body = {"files": [{"path": p, "content": c} for p, c in files.items()], "delete": deletes, "mode": mode}
    try:
        target.send(json.dumps(body).encode())
    except Exception as error:
        assert getattr(error, "code", 0) == 422, error  # noqa: PT017
    return target.contents()


def test_an_injected_crash_is_not_swallowed(make: Callable[..., Harness]) -> None:
    bomb = Bomb()
    workspace = make(step=bomb)
    bomb.left = 0
    with pytest.raises(Crash):
        workspace.sync({"a": "1"})
