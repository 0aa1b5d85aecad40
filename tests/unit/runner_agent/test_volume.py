from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runner_agent.volume import COUNT_SECONDS, Volume, count, is_shared

MOUNTS = """\
20 1 0:19 / / ro - overlay overlay rw
31 20 8:1 {root} /data rw - {kind} /dev/loop0 rw
32 20 0:5 / /dev rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("root", "kind", "shared"),
    [("/", "ext4", False), ("/var/lib/volumes/pvc-1", "ext4", True), ("/", "nfs4", True), ("/", "9p", False)],
)
def test_a_volume_that_is_no_file_system_of_its_own_is_told(root: str, kind: str, shared: bool) -> None:
    assert is_shared(Path("/data"), MOUNTS.format(root=root, kind=kind)) is shared


def test_a_directory_of_another_mount_is_shared_and_where_nothing_is_told_it_is_not() -> None:
    assert is_shared(Path("/data/below"), MOUNTS.format(root="/", kind="ext4"))
    assert not is_shared(Path("/data"), "")


def test_a_count_takes_each_file_once_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 100_000)
    data = tmp_path / "data"
    (data / "a/b").mkdir(parents=True)
    (data / "a/file").write_bytes(b"x" * 50_000)
    os.link(data / "a/file", data / "a/b/same")
    (data / "link").symlink_to(outside)
    held = count(data)
    assert held.entries == 5
    assert 50_000 <= held.bytes < 80_000


def test_a_count_ends_at_its_bound_and_says_so(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).touch()
    held = count(tmp_path, most=7)
    assert held.entries == 7


def test_an_own_volume_tells_its_bytes_and_inodes(tmp_path: Path) -> None:
    usage = Volume(tmp_path, shared=False).usage()
    assert usage["workspaceFreeBytes"] > 0
    assert usage["workspaceBytes"] >= 0
    assert ("workspaceFreeFiles" in usage) is ("workspaceFiles" in usage)
    assert usage["volumeShared"] is False


def test_of_a_shared_volume_is_told_what_the_runner_holds_counted_anew_after_a_while(tmp_path: Path) -> None:
    now = [0.0]
    volume = Volume(tmp_path, shared=True, clock=lambda: now[0])

    def counted() -> int | bool:
        volume.usage()
        for thread in threading.enumerate():
            if thread.name == "count":
                thread.join()
        return volume.usage()["workspaceFiles"]

    assert "workspaceBytes" not in volume.usage()
    assert counted() == 0
    (tmp_path / "file").write_text("x")
    assert counted() == 0
    now[0] += COUNT_SECONDS
    assert counted() == 1
