from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox_client import changes as changes_module
from sandbox_client.changes import Changes, batches, compare
from sandbox_client.errors import LocalFileError
from sandbox_client.leaving_out import Rules
from sandbox_client.tree import PLAIN, Tree, scan
from sandbox_protocol.wire import EntryState, ManifestEntry, SyncMode


def described(path: str, content: bytes) -> ManifestEntry:
    return ManifestEntry(path, "file", len(content), PLAIN, hashlib.sha256(content).hexdigest())


def tree(*paths: str, root: Path = Path("/nowhere")) -> Tree:
    return Tree(root, {path: described(path, path.encode()) for path in paths}, Rules(root))


def test_a_folder_is_described_without_what_stays_out(tmp_path: Path) -> None:
    for path in ("src/App.jsx", "node_modules/react/index.js", ".git/HEAD", "debug.log", "run.sh"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "run.sh").chmod(0o700)
    (tmp_path / ".sandboxignore").write_text("*.log\n")
    (tmp_path / "link").symlink_to("src/App.jsx")
    os.mkfifo(tmp_path / "pipe")
    found = scan(tmp_path)
    assert list(found.entries) == [".sandboxignore", "link", "run.sh", "src/App.jsx"]
    assert found.entries["run.sh"].mode == 0o755
    assert found.entries["src/App.jsx"] == ManifestEntry(
        "src/App.jsx", "file", 11, 0o644, hashlib.sha256(b"src/App.jsx").hexdigest()
    )
    assert found.entries["link"].type == "symlink"
    assert found.entries["link"].sha256 == hashlib.sha256(b"src/App.jsx").hexdigest()


def test_a_link_to_a_folder_is_not_walked_into(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "alias").symlink_to("real")
    assert list(scan(tmp_path).entries) == ["alias", "real/file"]


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="nowhere is not a folder"):
        scan(tmp_path / "nowhere")


def test_only_what_differs_is_written() -> None:
    local = tree("same", "edited", "new")
    remote = [described("same", b"same"), described("edited", b"before"), described("elsewhere", b"")]
    found = compare(local, remote, "merge")
    assert [entry.path for entry in found.write] == ["edited", "new"]
    assert (found.delete, found.unchanged) == ((), 1)


def test_a_mirror_deletes_what_is_not_here_but_nothing_ignored(tmp_path: Path) -> None:
    (tmp_path / ".sandboxignore").write_text("out/")
    remote = [described("gone", b""), described("out/cache", b""), ManifestEntry("folder", "directory")]
    assert compare(tree(root=tmp_path), remote, "mirror").delete == ("gone",)


def test_the_executable_bit_is_a_difference_other_modes_are_not() -> None:
    local = tree("run")
    there = local.entries["run"]
    assert not compare(local, [replace(there, mode=0o600)], "merge")
    assert compare(local, [replace(there, mode=0o755)], "merge")


def test_a_link_in_place_of_a_file_is_a_difference() -> None:
    local = tree("a")
    assert compare(local, [replace(local.entries["a"], type="symlink")], "merge")


def test_a_large_first_sync_is_cut_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_module, "BATCH_BYTES", 10)
    monkeypatch.setattr(changes_module, "BATCH_ENTRIES", 3)
    write = tuple(ManifestEntry(f"f{number}", "file", size) for number, size in enumerate([4, 4, 4, 25, 1, 1, 1, 1]))
    delete = tuple(f"d{number}" for number in range(5))
    parts = batches(Changes(write, delete, 7))
    assert [entry for part in parts for entry in part.write] == list(write)
    assert [path for part in parts for path in part.delete] == list(delete)
    assert all(len(part.write) + len(part.delete) <= 3 for part in parts)
    assert all(sum(entry.size for entry in part.write) <= 10 or len(part.write) == 1 for part in parts)
    assert [part.unchanged for part in parts] == [0] * (len(parts) - 1) + [7]


def test_deletions_too_long_for_a_url_travel_alone() -> None:
    delete = tuple(f"{'d' * 100}{number}" for number in range(100))
    parts = batches(Changes((ManifestEntry("f", "file", 1),), delete, 0))
    assert [(len(part.write), len(part.delete)) for part in parts] == [(0, 100), (1, 0)]


def test_no_change_is_still_one_request() -> None:
    assert batches(Changes((), (), 3)) == [Changes((), (), 3)]


def drifted(path: str, state: EntryState = "changed", **fields: str) -> ManifestEntry:
    return replace(described(path, path.encode()), state=state, **fields)  # type: ignore[arg-type]


def test_what_is_gone_comes_back_and_what_the_pod_changed_is_kept() -> None:
    remote = [drifted("gone", "missing"), drifted("edited"), drifted("package-lock.json"), replace(drifted("both"), sha256="old")]
    local = tree("gone", "edited", "package-lock.json", "both")
    found = compare(local, remote, "merge")
    assert [entry.path for entry in found.write] == ["both", "gone"]
    assert (found.drifted, found.overwritten, found.unchanged) == (("edited", "package-lock.json"), ("both",), 0)
    mended = compare(local, remote, "merge", "overwrite")
    assert [entry.path for entry in mended.write] == ["both", "edited", "gone"]
    assert (mended.drifted, mended.overwritten) == (("package-lock.json",), ("both", "edited"))


@pytest.mark.parametrize("mode", ["merge", "mirror"])
def test_a_folder_that_became_a_file_and_the_reverse_make_room(mode: SyncMode) -> None:
    found = compare(tree("cfg", "now/a"), [described("cfg/a", b""), described("cfg/b", b""), described("now", b"")], mode)
    assert [entry.path for entry in found.write] == ["cfg", "now/a"]
    assert found.delete == ("cfg", "now")


def test_what_the_pod_put_in_the_way_of_a_change_is_taken_away() -> None:
    remote = [drifted("d/a", blocked_by="d"), replace(drifted("d/b", blocked_by="d"), sha256="old")]
    found = compare(tree("d/a", "d/b"), remote, "merge")
    assert ([entry.path for entry in found.write], found.delete) == (["d/a", "d/b"], ("d",))
    assert compare(tree("d/a"), remote[:1], "merge").drifted == ("d/a",)
