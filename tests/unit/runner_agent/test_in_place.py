"""A changed file is written over where it stands, and what the app did with that file is respected."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner_agent import inotify
from runner_agent.inotify import Inotify
from tests.unit.runner_agent.harness import Harness, archive, member

CONTENTS = ["new", "longer than before" * 1000, "n", "", "old2"]


@pytest.fixture
def synced(workspace: Harness) -> Harness:
    workspace.sync({"a": "old one"})
    return workspace


@contextlib.contextmanager
def watched(directory: Path) -> Iterator[Inotify]:
    """Changes of content and names in one directory; elsewhere is what the sync does beside the tree."""
    watch, fd = Inotify(), os.open(directory, os.O_RDONLY)
    try:
        watch.add(fd, inotify.MODIFY | inotify.ATTRIB | inotify.CREATE | inotify.DELETE | inotify.MOVED_TO | inotify.MOVED_FROM)
        yield watch
    finally:
        os.close(fd)
        watch.close()


@pytest.mark.parametrize("content", CONTENTS)
def test_a_changed_file_stays_the_file_that_is_watched(synced: Harness, content: str) -> None:
    before = (synced.tree / "a").stat().st_ino
    assert synced.sync({"a": content}).unsure == ()
    assert (synced.tree / "a").stat().st_ino == before
    assert (synced.tree / "a").read_text() == content


@pytest.mark.parametrize("content", CONTENTS)
def test_one_event_tells_of_a_change_and_comes_when_it_is_whole(synced: Harness, content: str) -> None:
    with watched(synced.tree) as watch:
        synced.sync({"a": content})
        assert [(event.mask, event.name) for event in watch.read()] == [(inotify.MODIFY, "a")]


def test_before_the_event_of_a_shorter_content_all_of_it_is_there(synced: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, seen = os.ftruncate, []

    def noted(fd: int, size: int) -> None:
        seen.append((synced.tree / "a").read_text())
        cut(fd, size)

    with watched(synced.tree) as watch:
        monkeypatch.setattr(os, "ftruncate", noted)
        synced.sync({"a": "new"})
        assert seen[-1] == "new one"
        assert len(list(watch.read())) == 1


def test_a_file_that_cannot_be_mapped_is_written_all_the_same(synced: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(19, "No such device")

    monkeypatch.setattr("mmap.mmap", refuse)
    synced.sync({"a": "new"})
    assert synced.contents() == {"a": "new"}


def test_another_name_that_the_app_gave_a_file_keeps_the_old_content(synced: Harness) -> None:
    os.link(synced.tree / "a", synced.tree / "copy")
    assert synced.sync({"a": "new"}).unsure == ("a",)
    assert synced.contents() == {"a": "new", "copy": "old one"}


def test_whoever_has_a_database_open_keeps_the_old_one(workspace: Harness) -> None:
    workspace.sync({"db": "old\0pages"})
    with (workspace.tree / "db").open() as opened:
        assert workspace.sync({"db": "new\0"}).unsure == ("db",)
        assert opened.read() == "old\0pages"
    assert workspace.contents() == {"db": "new\0"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_a_read_only_file_is_replaced(workspace: Harness) -> None:
    workspace.tar(archive(member("a", b"old", mode=0o444)))
    workspace.tar(archive(member("a", b"new", mode=0o444)))
    assert workspace.contents() == {"a": "new"}


def test_a_program_that_is_being_run_is_replaced(workspace: Harness) -> None:
    sleep = Path(shutil.which("sleep") or "/bin/sleep").read_bytes()
    workspace.tar(archive(member("tool", sleep, mode=0o755)))
    with subprocess.Popen([workspace.tree / "tool", "60"]) as running:
        try:
            workspace.tar(archive(member("tool", b"#!/bin/sh\n", mode=0o755)))
        finally:
            running.kill()
    assert (workspace.tree / "tool").read_bytes() == b"#!/bin/sh\n"


def test_a_mode_changes_with_the_content_and_after_it(workspace: Harness) -> None:
    workspace.tar(archive(member("a", b"old", mode=0o644)))
    with watched(workspace.tree) as watch:
        workspace.tar(archive(member("a", b"new", mode=0o755)))
        assert [event.mask for event in watch.read()] == [inotify.MODIFY, inotify.ATTRIB]
    assert stat.S_IMODE((workspace.tree / "a").stat().st_mode) == 0o755


@pytest.mark.parametrize("there", ["pipe", "link", "nothing"])
def test_what_the_app_puts_there_at_the_last_moment_is_replaced_and_not_followed(
    workspace: Harness, tmp_path: Path, there: str
) -> None:
    workspace.sync({"a": "old"})
    outside = tmp_path / "outside"
    outside.write_text("untouched")

    def plant(step: str) -> None:
        if step == "commit":
            (workspace.tree / "a").unlink()
            if there == "pipe":
                os.mkfifo(workspace.tree / "a")
            elif there == "link":
                (workspace.tree / "a").symlink_to(outside)

    workspace.ws._step = plant
    workspace.sync({"a": "new"})
    assert workspace.contents() == {"a": "new"}
    assert outside.read_text() == "untouched"


def test_what_comes_with_its_directory_is_shown_again(synced: Harness) -> None:
    assert synced.sync({"d/e/new": "1", "d/x": "1", "b": "1", "a": "2"}).unsure == ("d/e/new", "d/x")


def test_no_copy_of_an_old_content_is_left(synced: Harness) -> None:
    synced.sync({"a": "new"})
    assert synced.staged() == []


def test_a_volume_without_room_for_the_growth_is_found_out_before_anything_changes(
    synced: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        synced.sync({"a": "x" * 10_000})
    assert synced.contents() == {"a": "old one"}
    assert synced.staged() == []
