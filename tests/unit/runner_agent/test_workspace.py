from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner_agent import workspace_disk, workspace_tree
from runner_agent.workspace_apply import is_held
from runner_agent.workspace_tree import OnDisk, Tree
from sandbox_protocol.errors import StatusError
from sandbox_protocol.wire import ManifestEntry
from tests.unit.runner_agent.harness import Harness, archive, dig, directory, link, member


def refused(code: int, act: Callable[[], Any]) -> StatusError:
    with pytest.raises(StatusError) as error:
        act()
    assert error.value.code == code, error.value.message
    return error.value


def test_the_first_sync_makes_revision_one(workspace: Harness) -> None:
    outcome = workspace.sync({"a": "1", "d/e/f": "2"})
    assert outcome.first
    assert outcome.result.revision.startswith("1-")
    assert (outcome.result.written, outcome.result.bytes) == (2, 2)
    assert sorted(outcome.changed) == ["a", "d/e/f"]
    assert workspace.contents() == {"a": "1", "d/e/f": "2"}
    assert (workspace.tree / "d").stat().st_mode & 0o777 == 0o755


def test_an_empty_first_sync_counts_as_one(workspace: Harness) -> None:
    assert workspace.sync().first
    assert workspace.ws.revision is not None
    assert not workspace.sync().first


def test_what_is_already_there_is_not_written_again(workspace: Harness) -> None:
    first = workspace.sync({"a": "1", "b": "2"})
    inode = (workspace.tree / "a").stat().st_ino
    second = workspace.sync({"a": "1", "b": "2"})
    assert (second.result.written, second.result.unchanged) == (0, 2)
    assert second.result.revision == first.result.revision
    assert (workspace.tree / "a").stat().st_ino == inode


def test_a_file_the_app_changed_is_overwritten_even_with_its_old_size_and_time(workspace: Harness) -> None:
    workspace.sync({"a": "old"})
    workspace.sync({"a": "old"})
    before = (workspace.tree / "a").stat()
    (workspace.tree / "a").write_text("app")
    os.utime(workspace.tree / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert workspace.sync({"a": "old"}).result.written == 1
    assert workspace.contents() == {"a": "old"}


def test_a_file_that_changed_a_moment_ago_is_hashed_each_time(workspace: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.sync({"a": "old"})
    monkeypatch.setattr(workspace_disk, "RACY_NS", 3_600_000_000_000)
    workspace.sync({"a": "old"})
    assert workspace.ws._fingerprints == {}
    monkeypatch.setattr(workspace_disk, "RACY_NS", 0)
    workspace.sync({"a": "old"})
    assert list(workspace.ws._fingerprints) == ["a"]


def test_what_a_sync_replaces_is_not_hashed_while_it_is_as_sync_left_it(
    workspace: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.sync({"a": "one", "b": "one"})
    (workspace.tree / "b").write_text("two")
    os.utime(workspace.tree / "b", (0, 0))
    read: list[str] = []

    def noted(tree: Tree, entry: ManifestEntry, there: OnDisk) -> bool:
        read.append(entry.path)
        return is_held(tree, entry, there)

    monkeypatch.setattr("runner_agent.workspace_disk.is_held", noted)
    outcome = workspace.sync({"a": "two", "b": "two"})
    assert (outcome.result.written, outcome.result.unchanged) == (1, 1)
    assert [path for path in read if path in "ab"] == ["b"]
    assert workspace.contents() == {"a": "two", "b": "two"}


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 1 << 19])
def test_a_file_that_grew_or_shrank_since_it_was_looked_at_is_not_what_was_sent(workspace: Harness, size: int) -> None:
    workspace.sync({"a": "x" * size})
    entry = workspace.ws.manifest().get("a")
    assert entry is not None
    with workspace.ws.open_tree() as tree:
        there = tree.look("a")
        assert there is not None
        assert is_held(tree, entry, there)
        with (workspace.tree / "a").open("a") as file:
            file.write("x")
        assert not is_held(tree, entry, there)
        os.truncate(workspace.tree / "a", max(size - 1, 0))
        assert is_held(tree, entry, there) == (size == 0)


def test_a_changed_mode_alone_is_a_change(workspace: Harness) -> None:
    workspace.sync({"a": "1"})
    outcome = workspace.tar(archive(member("a", b"1", mode=0o755)))
    assert outcome.result.written == 1
    assert (workspace.tree / "a").stat().st_mode & 0o777 == 0o755


def test_setuid_and_sticky_bits_are_dropped_and_directories_stay_usable(workspace: Harness) -> None:
    workspace.tar(archive(member("a", b"1", mode=0o6755), directory("d", 0o1055)))
    assert stat.S_IMODE((workspace.tree / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((workspace.tree / "d").stat().st_mode) == 0o755


def test_the_umask_takes_nothing_away(workspace: Harness) -> None:
    before = os.umask(0o077)
    try:
        workspace.tar(archive(member("d/a", b"1", mode=0o666), directory("e", 0o777)))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((workspace.tree / name).stat().st_mode) for name in ("d", "d/a", "e")] == [0o755, 0o666, 0o777]


def test_links_inside_the_tree_are_kept(workspace: Harness) -> None:
    workspace.tar(archive(member("a", b"1"), link("l", "a"), link("d/up", "../a"), link("dangling", "nowhere")))
    assert workspace.contents() == {"a": "1", "l": "-> a", "d/up": "-> ../a", "dangling": "-> nowhere"}
    assert workspace.tar(archive(link("l", "a"))).result.unchanged == 1


def test_a_stale_revision_is_refused_with_both_revisions(workspace: Harness) -> None:
    first = workspace.sync({"a": "1"}).result.revision
    second = workspace.sync({"a": "2"}, revision=first).result.revision
    error = refused(412, lambda: workspace.sync({"a": "3"}, revision=first))
    assert first in error.message
    assert second in error.message
    assert workspace.contents() == {"a": "2"}


def test_merge_leaves_what_is_not_sent(workspace: Harness) -> None:
    workspace.sync({"a": "1", "b": "2"})
    workspace.sync({"a": "3"})
    assert workspace.contents() == {"a": "3", "b": "2"}


def test_mirror_removes_what_sync_manages_and_nothing_else(workspace: Harness) -> None:
    workspace.sync({"a": "1", "d/b": "2", "e/c": "3"})
    (workspace.tree / "d/app").write_text("own")
    (workspace.tree / "cache").mkdir()
    outcome = workspace.sync({"a": "1"}, mode="mirror")
    assert (outcome.result.deleted, outcome.result.unchanged) == (2, 1)
    assert workspace.contents() == {"a": "1", "d/app": "own"}
    assert not (workspace.tree / "e").exists()
    assert (workspace.tree / "cache").is_dir()


def test_mirror_of_nothing_empties_what_was_synced(workspace: Harness) -> None:
    workspace.tar(archive(directory("empty"), member("x/y/z", b"1"), link("l", "x")))
    workspace.sync(mode="mirror")
    assert list(workspace.tree.iterdir()) == []
    assert len(workspace.ws.manifest()) == 0


def test_delete_takes_a_directory_with_all_below_it(workspace: Harness) -> None:
    workspace.sync({"d/a": "1", "d/e/b": "2", "k": "3"})
    (workspace.tree / "d/node_modules").mkdir()
    (workspace.tree / "d/node_modules/x").write_text("x")
    outcome = workspace.sync(delete=["d", "missing", "k/below/a/file"])
    assert outcome.result.deleted == 2
    assert workspace.contents() == {"k": "3"}
    assert workspace.staged() == []


def test_one_sync_turns_a_directory_into_a_file_and_back(workspace: Harness) -> None:
    workspace.sync({"d/a": "1"})
    workspace.sync({"d": "file"}, delete=["d"])
    assert workspace.contents() == {"d": "file"}
    workspace.sync({"d/b": "2"}, mode="mirror")
    assert workspace.contents() == {"d/b": "2"}
    workspace.sync({"d": "file"}, mode="mirror")
    assert workspace.contents() == {"d": "file"}


@pytest.mark.parametrize(
    ("before", "sent", "words"),
    [({"d/a": "1"}, "d", "is a directory"), ({"d": "1"}, "d/a", "d is a file"), ({"d": "1"}, "d/e/a", "d is a file")],
)
def test_a_directory_and_a_file_do_not_replace_each_other_by_accident(
    workspace: Harness, before: dict[str, str], sent: str, words: str
) -> None:
    workspace.sync(before)
    error = refused(422, lambda: workspace.sync({sent: "2", "other": "3"}))
    assert [c.field for c in error.causes] == [sent]
    assert error.causes[0].message.startswith(words)
    assert workspace.contents() == before


def test_a_mirror_does_not_replace_a_directory_the_app_still_uses(workspace: Harness) -> None:
    workspace.sync({"d/a": "1"})
    (workspace.tree / "d/app").write_text("own")
    error = refused(422, lambda: workspace.sync({"d": "file", "e": "2"}, mode="mirror"))
    assert error.causes[0].field == "d"
    assert workspace.contents() == {"d/a": "1", "d/app": "own"}
    assert workspace.staged() == []


@pytest.mark.parametrize(
    "body",
    [
        archive(member("good", b"1"), member("../evil", b"2")),
        archive(member("good", b"1"), member("/etc/evil", b"2")),
        archive(member("good", b"1"), link("evil", "/etc/passwd")),
        archive(member("good", b"1"), link("evil", "../../etc")),
        archive(member("good", b"1"), member("evil", kind=b"1", linkname="good")),
        archive(member("good", b"1"), member("evil", kind=b"6")),
        archive(member("good", b"1"), member("evil", kind=b"3")),
        archive(member("good", b"1"), member("evil" * 100, b"2")),
        archive(member("good", b"1"), member("good", b"2")),
        archive(member("good", b"1"), member("good/evil", b"2")),
        archive(link("good", "."), member("good/evil", b"2")),
        archive(member("good", b"1"), member("../journal", b"2")),
    ],
)
def test_one_refused_entry_refuses_the_sync_by_name(workspace: Harness, body: bytes) -> None:
    workspace.sync({"before": "0"})
    revision = workspace.ws.revision
    error = refused(422, lambda: workspace.tar(body))
    assert error.causes[0].field
    assert error.causes[0].field in error.message
    assert workspace.contents() == {"before": "0"}
    assert workspace.ws.revision == revision
    assert workspace.staged() == []


def test_every_refused_entry_is_named_up_to_twenty(workspace: Harness) -> None:
    error = refused(422, lambda: workspace.tar(archive(*(member(f"../{n}", b"1") for n in range(30)))))
    assert "30 entries" in error.message
    assert len(error.causes) == 20


def test_ignored_entries_are_skipped_with_a_reason(workspace: Harness) -> None:
    outcome = workspace.sync(
        {"node_modules/a/b.js": "1", "x/.git/HEAD": "2", "app.js": "3", "dist/out": "4", ".sandboxignore": "dist/\n"},
        delete=["node_modules/c"],
    )
    assert [(s.path, s.reason) for s in outcome.result.skipped] == [
        ("dist", ".sandboxignore names it: dist/"),
        ("node_modules", "node_modules is never synced"),
        ("node_modules/c", "node_modules is never synced"),
        ("x/.git", ".git is never synced"),
    ] or [s.path for s in outcome.result.skipped] == ["dist", "node_modules", "x/.git"]
    assert sorted(workspace.contents()) == [".sandboxignore", "app.js"]


def test_a_mirror_leaves_managed_entries_that_are_ignored_now(workspace: Harness) -> None:
    workspace.sync({"dist/a": "1", "b": "2"})
    workspace.sync({".sandboxignore": "dist"}, mode="mirror")
    assert sorted(workspace.contents()) == [".sandboxignore", "dist/a"]


def test_a_large_file_and_a_pack_beyond_the_journal_arrive_bit_for_bit(workspace: Harness) -> None:
    large, small = os.urandom(3_000_000), [os.urandom(300_000) for _ in range(6)]
    workspace.tar(archive(member("large", large, mode=0o600), *(member(f"s/{n}", data) for n, data in enumerate(small))))
    assert (workspace.tree / "large").read_bytes() == large
    assert (workspace.tree / "large").stat().st_mode & 0o777 == 0o600
    assert [(workspace.tree / f"s/{n}").read_bytes() for n in range(6)] == small
    assert [name.rpartition(".")[2] for name in workspace.staged()] == ["pack"]
    workspace.ws.close()
    assert workspace.staged() == []


@pytest.mark.parametrize("openat2", [True, False])
def test_a_link_the_app_put_in_the_place_of_a_directory_is_refused_by_name(
    workspace: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openat2: bool
) -> None:
    monkeypatch.setattr(workspace_tree.Tree, "_kernel_has_openat2", openat2)
    workspace.sync({"d/e/a": "1"})
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    (workspace.tree / "d").rename(workspace.tree / "moved")
    (workspace.tree / "d").symlink_to(outside)
    for attempt in ({"d/e/a": "2"}, {"d/new": "2"}):
        error = refused(422, lambda attempt=attempt: workspace.sync(attempt))  # type: ignore[misc]
        assert (error.causes[0].field, error.causes[0].reason) == (next(iter(attempt)), "SymbolicLink")
        assert error.causes[0].message.startswith("d is a symbolic link")
    error = refused(422, lambda: workspace.sync(delete=["d/e/a"]))
    assert error.causes[0].field == "d/e/a"
    assert list((outside / "e").iterdir()) == []
    workspace.sync({"d/e/a": "2"}, delete=["d"])
    assert (workspace.tree / "d/e/a").read_text() == "2"
    assert not (workspace.tree / "d").is_symlink()


@pytest.mark.parametrize("openat2", [True, False])
@pytest.mark.parametrize("when", ["flush", "commit", "link d/e/b", "put d/e/b", "put z"])
def test_a_link_planted_between_check_and_write_is_refused_and_the_tree_put_back(
    make: Callable[..., Harness], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openat2: bool, when: str
) -> None:
    monkeypatch.setattr(workspace_tree.Tree, "_kernel_has_openat2", openat2)
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    armed = False

    def attack(step: str) -> None:
        nonlocal armed
        if armed and step == when:
            armed = False
            (workspace.tree / "d").rename(workspace.tree / "moved")
            (workspace.tree / "d").symlink_to(outside)

    workspace = make(step=attack)
    workspace.sync({"a": "1", "d/e/b": "1", "z/q": "1"})
    revision, armed = workspace.ws.revision, True
    if when == "put z":
        pass
    try:
        workspace.sync({"a": "2", "d/e/b": "2", "new/x": "2", "z/q": "2"})
    except StatusError as error:
        assert (error.code, error.causes[0].field) == (422, "d")  # noqa: PT017
        assert workspace.ws.revision == revision
        assert (workspace.tree / "a").read_text() == "1"
        assert not (workspace.tree / "new").exists()
        assert (workspace.tree / "moved/e/b").read_text() == "1"
    assert list((outside / "e").iterdir()) == []
    assert [p.name for p in outside.iterdir()] == ["e"]


def test_a_directory_that_the_app_removes_meanwhile_is_a_conflict_and_the_tree_put_back(make: Callable[..., Harness]) -> None:
    def remove(step: str) -> None:
        if step == "commit" and (workspace.ws.revision or "").startswith("1-"):
            (workspace.tree / "d/b").unlink()
            (workspace.tree / "d").rmdir()

    workspace = make(step=remove)
    workspace.sync({"a": "1", "d/b": "1"})
    error = refused(409, lambda: workspace.sync({"a": "2", "d/b": "2"}))
    assert "the app changed d/b" in error.message
    assert error.retry_after
    assert workspace.contents() == {"a": "1"}
    assert workspace.staged() == []


def test_a_planted_link_at_the_file_itself_is_replaced_and_not_followed(workspace: Harness, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    workspace.sync({"a": "1"})
    (workspace.tree / "a").unlink()
    (workspace.tree / "a").symlink_to(secret)
    workspace.sync({"a": "2"})
    assert secret.read_text() == "secret"
    assert workspace.contents() == {"a": "2"}


def test_a_pipe_the_app_put_there_does_not_make_the_sync_wait(workspace: Harness) -> None:
    workspace.sync({"a": "1"})
    (workspace.tree / "a").unlink()
    os.mkfifo(workspace.tree / "a")
    os.mkfifo(workspace.tree / ".sandboxignore")
    workspace.sync({"a": "1"})
    assert (workspace.tree / "a").read_text() == "1"


def test_a_full_disk_leaves_the_tree_as_it_was(make: Callable[..., Harness]) -> None:
    full = ""

    def fill(step: str) -> None:
        if full and step.startswith(full):
            raise OSError(errno.ENOSPC, "No space left on device")

    workspace = make(step=fill)
    workspace.sync({"a": "1", "d/b": "1", "gone/c": "1"})
    before, revision = workspace.contents(), workspace.ws.revision
    for full in ("flush", "commit", "remove", "make n", "write d/b", "put n/x"):
        with pytest.raises(OSError, match="No space"):
            workspace.sync({"a": "2", "d/b": "2", "n/x": "2"}, mode="mirror")
        assert workspace.contents() == before, full
        assert workspace.ws.revision == revision
        assert not (workspace.tree / "n").exists()
        assert workspace.staged() == []
    full = ""
    workspace.restart()
    assert (workspace.contents(), workspace.ws.revision) == (before, revision)


def test_a_volume_that_failed_is_not_written_to_again(workspace: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace.sync({"a": "1"})

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            workspace.sync({"a": "2"})
    assert workspace.ws.broken
    assert refused(503, lambda: workspace.sync({"a": "3"})).retry_after
    assert workspace.contents() == {"a": "1"}


def test_a_directory_without_access_is_refused_by_name(workspace: Harness) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may enter any directory")
    workspace.sync({"d/a": "1"})
    (workspace.tree / "d").chmod(0)
    assert refused(422, lambda: workspace.sync({"d/a": "2"})).causes[0].reason == "NoAccess"


def test_directories_the_app_closed_to_everyone_are_deleted(workspace: Harness) -> None:
    workspace.sync({"d/e/a": "1", "d/f/b": "2"})
    (workspace.tree / "d/e").chmod(0o555)
    (workspace.tree / "d/f").chmod(0)
    (workspace.tree / "d").chmod(0o500)
    workspace.sync(delete=["d"])
    assert list(workspace.tree.iterdir()) == []
    assert workspace.staged() == []


def test_a_tree_deeper_than_any_path_is_removed(workspace: Harness) -> None:
    workspace.sync({"d/a": "1"})
    dig(workspace.tree / "d")
    workspace.sync(delete=["d"])
    assert workspace.contents() == {}
    assert workspace.staged() == []
