"""What a watch tells of: each kind of change once, by whose doing, also of what came and went faster than anyone could look."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner_agent import inotify, watch
from runner_agent.watch import Watch
from runner_agent.workspace_tree import Tree
from sandbox_protocol.errors import StatusError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "src/deep").mkdir(parents=True)
    (path / "src/a.js").write_text("a")
    (path / "node_modules/x").mkdir(parents=True)
    return path


@pytest.fixture
def seen(tree: Path) -> Iterator[Watch]:
    root = os.open(tree, os.O_RDONLY)
    made = Watch(Tree(root))
    yield made
    made.close()
    os.close(root)


def told(seen: Watch, synced: list[str] | None = None) -> list[tuple[str, str, str]]:
    before = seen.number
    seen.look(synced)
    return [(change.type, change.path, change.origin) for change in seen.changes if change.number > before]


def test_each_change_is_told_once_with_its_kind(tree: Path, seen: Watch) -> None:
    assert told(seen) == []
    (tree / "new.txt").write_text("12345")
    (tree / "src/a.js").write_text("changed")
    assert told(seen) == [("CREATED", "new.txt", "app"), ("MODIFIED", "src/a.js", "app")]
    assert (seen.changes[0].kind, seen.changes[0].size) == ("file", 5)
    assert told(seen) == []
    (tree / "new.txt").unlink()
    (tree / "src/a.js").chmod(0o755)
    (tree / "link").symlink_to("src/a.js")
    assert told(seen) == [("CREATED", "link", "app"), ("DELETED", "new.txt", "app"), ("MODIFIED", "src/a.js", "app")]


def test_a_file_replaced_by_rename_is_modified_and_one_that_came_and_went_is_nothing(tree: Path, seen: Watch) -> None:
    (tree / "src/.a.js.tmp").write_text("atomically")
    (tree / "src/.a.js.tmp").rename(tree / "src/a.js")
    (tree / "flash").write_text("1")
    (tree / "flash").unlink()
    assert told(seen) == [("MODIFIED", "src/a.js", "app")]


def test_a_directory_made_with_all_its_content_is_told_with_all_its_content(tree: Path, seen: Watch) -> None:
    (tree / "dist/assets").mkdir(parents=True)
    (tree / "dist/assets/a.css").write_text("1")
    assert [path for _, path, _ in told(seen)] == ["dist", "dist/assets", "dist/assets/a.css"]
    (tree / "dist/assets/b.css").write_text("1")
    assert told(seen) == [("CREATED", "dist/assets/b.css", "app")]
    shutil.rmtree(tree / "dist")
    assert [(kind, path) for kind, path, _ in told(seen)] == [
        ("DELETED", path) for path in ("dist/assets/b.css", "dist/assets/a.css", "dist/assets", "dist")
    ]


@pytest.mark.parametrize("target", ["aaa", "zzz"])
def test_a_directory_that_moves_is_watched_at_its_new_place(tree: Path, seen: Watch, target: str) -> None:
    (tree / "src").rename(tree / target)
    assert {(kind, path) for kind, path, _ in told(seen)} == {
        *(("DELETED", path) for path in ("src", "src/a.js", "src/deep")),
        *(("CREATED", path) for path in (target, f"{target}/a.js", f"{target}/deep")),
    }
    (tree / target / "deep/below").write_text("1")
    assert told(seen) == [("CREATED", f"{target}/deep/below", "app")]


def test_a_directory_made_again_under_its_old_name_is_watched_again(tree: Path, seen: Watch) -> None:
    for number in range(3):
        shutil.rmtree(tree / "src")
        (tree / "src").mkdir()
        assert ("CREATED", "src", "app") in told(seen)
        (tree / f"src/{number}").write_text("1")
        assert told(seen) == [("CREATED", f"src/{number}", "app")]


def test_a_file_and_a_directory_take_each_others_place(tree: Path, seen: Watch) -> None:
    (tree / "src/a.js").unlink()
    (tree / "src/a.js").mkdir()
    assert told(seen) == [("DELETED", "src/a.js", "app"), ("CREATED", "src/a.js", "app")]
    assert [change.kind for change in seen.changes] == ["file", "directory"]


def test_what_is_ignored_is_not_watched(tree: Path, seen: Watch) -> None:
    (tree / "node_modules/x/index.js").write_text("1")
    (tree / "node_modules/y").mkdir()
    assert told(seen) == []
    (tree / ".sandboxignore").write_text("*.log\nout/\n")
    assert told(seen)[-1][0] == "RESYNC"
    (tree / "x.log").write_text("1")
    (tree / "out").mkdir()
    (tree / "kept").write_text("1")
    assert told(seen) == [("CREATED", "kept", "app")]


def test_what_a_sync_named_made_and_emptied_is_its_doing(tree: Path, seen: Watch) -> None:
    (tree / "n/m").mkdir(parents=True)
    (tree / "n/m/f").write_text("1")
    (tree / "other").write_text("1")
    (tree / "src/a.js").unlink()
    origins = {path: origin for _, path, origin in told(seen, ["n/m/f", "src/a.js"])}
    assert origins == {"n": "sync", "n/m": "sync", "n/m/f": "sync", "src/a.js": "sync", "other": "app"}
    shutil.rmtree(tree / "n")
    assert {origin for _, _, origin in told(seen, ["n"])} == {"sync"}


def test_a_cursor_continues_without_loss_or_repeat_until_it_is_too_old(
    tree: Path, seen: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = seen.cursor
    for number in range(3):
        (tree / f"{number}").write_text("1")
        seen.look()
    changes = seen.after(start)
    assert changes is not None
    assert [change.path for change in changes] == ["0", "1", "2"]
    middle = seen.after(f"{seen.epoch}-{changes[1].number}")
    assert middle is not None
    assert [change.path for change in middle] == ["2"]
    assert seen.after(seen.cursor) == []
    for unknown in ("", "x", "0-0", f"{seen.epoch}-99", f"{seen.epoch}--1", f"{seen.epoch}-²", f"{seen.epoch}-{'9' * 40}"):
        assert seen.after(unknown) is None
    for number in range(watch.KEPT):
        seen._tell(watch.Change(0, "MODIFIED", str(number)))
    assert seen.after(start) is None


def test_events_that_the_kernel_dropped_become_a_resync(tree: Path, seen: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "unseen").write_text("1")
    list(seen._inotify.read())
    monkeypatch.setattr(seen._inotify, "read", lambda: iter([inotify.Event(-1, inotify.OVERFLOW, "")]))
    assert told(seen) == [("RESYNC", "", "")]
    monkeypatch.undo()
    (tree / "unseen").unlink()
    assert told(seen) == [("DELETED", "unseen", "app")]


@pytest.mark.parametrize(("limit", "number"), [("DIRECTORIES", 3), ("ENTRIES", 3)])
def test_a_tree_too_large_to_be_watched_is_refused_with_the_number(
    tree: Path, monkeypatch: pytest.MonkeyPatch, limit: str, number: int
) -> None:
    (tree / "one/more").mkdir(parents=True)
    monkeypatch.setattr(watch, limit, number)
    root = os.open(tree, os.O_RDONLY)
    with pytest.raises(StatusError, match=f"more than {number}") as refused:
        Watch(Tree(root))
    assert refused.value.code == 507
    os.close(root)


@pytest.mark.parametrize(("code", "limit"), [(28, "max_user_watches"), (24, "max_user_instances")])
def test_a_limit_of_the_node_is_named_with_its_number(tree: Path, monkeypatch: pytest.MonkeyPatch, code: int, limit: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "limit")

    monkeypatch.setattr(inotify.Inotify, "add" if code == 28 else "__init__", refuse)
    monkeypatch.setattr(inotify.Inotify, "close", lambda _: None)
    root = os.open(tree, os.O_RDONLY)
    with pytest.raises(StatusError, match=rf"allows \d+ \(fs.inotify.{limit}\)"):
        Watch(Tree(root))
    os.close(root)


def test_a_tree_that_grows_too_large_while_it_is_watched_is_refused_then(
    tree: Path, seen: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ENTRIES", 5)
    for number in range(5):
        (tree / str(number)).write_text("1")
    with pytest.raises(StatusError):
        seen.look()


def test_where_the_kernel_does_not_tell_every_look_goes_everywhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inotify.Inotify, "read", lambda _: iter(()))
    root = os.open(tree, os.O_RDONLY)
    seen = Watch(Tree(root), polled=True)
    (tree / "d").mkdir()
    (tree / "d/new").write_text("1")
    (tree / "src/a.js").unlink()
    assert told(seen) == [("CREATED", "d", "app"), ("CREATED", "d/new", "app"), ("DELETED", "src/a.js", "app")]
    assert told(seen) == []
    seen.close()
    os.close(root)


NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/f", "z"])
STEPS = st.tuples(st.sampled_from(["file", "dir", "gone", "move"]), NAMES, NAMES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(STEPS, max_size=6), max_size=5))
def test_whoever_follows_the_events_knows_the_tree(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str, str]]]
) -> None:
    tree = tmp_path_factory.mktemp("t")
    root = os.open(tree, os.O_RDONLY)
    seen = Watch(Tree(root))
    known: set[str] = set()
    for steps in rounds:
        for step in steps:
            _do(tree, *step)
        before = seen.number
        seen.look()
        for change in seen.changes:
            if change.number > before:
                assert (change.path in known) == (change.type != "CREATED")
                (known.discard if change.type == "DELETED" else known.add)(change.path)
        assert known == {str(path.relative_to(tree)) for path in tree.rglob("*")}
    seen.close()
    os.close(root)


def _do(tree: Path, what: str, name: str, other: str) -> None:
    path = tree / name
    try:
        if what == "file":
            path.write_text(str(random.random()))
        elif what == "dir":
            path.mkdir()
        elif what == "move":
            path.rename(tree / other)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        pass


def test_under_gvisor_every_look_goes_everywhere(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inotify does not tell a container what another one did, although all else there looks as on Linux."""
    root = os.open(tree, os.O_RDONLY)
    monkeypatch.setattr("runner_agent.isolation.is_gvisor", lambda: True)
    under_gvisor = Watch(Tree(root))
    assert under_gvisor.polled
    under_gvisor.close()
    monkeypatch.setattr("runner_agent.isolation.is_gvisor", lambda: False)
    elsewhere = Watch(Tree(root))
    assert not elsewhere.polled
    elsewhere.close()
    os.close(root)


def test_what_is_shown_to_an_app_under_gvisor_is_no_change_of_its_own(tree: Path) -> None:
    """The launcher sets the times that a file has: see ``show`` there."""
    root = os.open(tree, os.O_RDONLY)
    polled = Watch(Tree(root), polled=True)
    (tree / "src/b.js").write_text("b")
    assert told(polled, ["src/b.js"]) == [("CREATED", "src/b.js", "sync")]
    times = (tree / "src/b.js").stat()
    os.utime(tree / "src/b.js", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert told(polled) == []
    (tree / "src/b.js").write_text("c")
    assert told(polled) == [("MODIFIED", "src/b.js", "app")]
    polled.close()
    os.close(root)
