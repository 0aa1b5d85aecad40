from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_agent.manifest import Manifest
from sandbox_protocol.wire import ManifestEntry

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
ENTRIES = st.builds(
    ManifestEntry,
    PATHS,
    st.just("file"),
    st.integers(0, 2**40),
    st.integers(0, 0o777),
    st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest()),
)


def entry(path: str, sha256: str = "ab" * 32) -> ManifestEntry:
    return ManifestEntry(path, "file", 3, 0o644, sha256)


def test_nothing_synced_has_no_revision() -> None:
    assert Manifest().revision is None


def test_the_revision_is_the_number_and_the_digest_of_the_sorted_lines() -> None:
    manifest = Manifest(7, [entry("b"), entry("a")])
    lines = b"".join(b"%s\0file 0644 3 %s\n" % (path, b"ab" * 32) for path in (b"a", b"b"))
    assert manifest.revision == f"7-{hashlib.sha256(lines).hexdigest()[:16]}"


def test_a_change_leaves_the_former_manifest_as_it_was() -> None:
    before = Manifest(1, [entry("a"), entry("b")])
    revision = before.revision
    after = before.changed([entry("c"), entry("a", "cd" * 32)], ["b"], 2)
    assert [e.path for e in after] == ["a", "c"]
    assert after.get("a") == entry("a", "cd" * 32)
    assert before.revision == revision
    assert "b" in before


@given(st.lists(ENTRIES, max_size=8), st.integers(1, 9))
def test_a_snapshot_reads_back_as_it_was(entries: list[ManifestEntry], number: int) -> None:
    manifest = Manifest(number, entries)
    read, generation = Manifest.load(manifest.dump(5))
    assert generation == 5
    assert read.revision == manifest.revision
    assert list(read) == list(manifest)


@given(st.lists(ENTRIES, max_size=6), st.lists(ENTRIES, max_size=6), st.lists(PATHS, max_size=3))
def test_a_change_gives_the_same_revision_as_writing_it_anew(
    old: list[ManifestEntry], put: list[ManifestEntry], drop: list[str]
) -> None:
    expected = {e.path: e for e in old}
    for path in drop:
        expected.pop(path, None)
    expected |= {e.path: e for e in put}
    assert Manifest(1, old).changed(put, drop, 2).revision == Manifest(2, expected.values()).revision


def test_a_damaged_snapshot_is_not_believed() -> None:
    data = Manifest(1, [entry("a")]).dump(1).replace(b"file 0644", b"file 0755")
    with pytest.raises(ValueError, match="digest"):
        Manifest.load(data)


@pytest.mark.parametrize(
    "head", [b"[]", b"7", b'{"format": 1}', b'{"format": 1, "number": "1", "generation": 1}', b"[" * 100_000]
)
def test_what_is_no_head_of_a_snapshot_is_refused_as_such(head: bytes) -> None:
    with pytest.raises(ValueError, match="head"):
        Manifest.load(head + b"\n")


def test_a_snapshot_out_of_order_is_not_believed() -> None:
    head, first, second, _ = Manifest(1, [entry("a"), entry("b")]).dump(1).split(b"\n")
    with pytest.raises(ValueError, match="order"):
        Manifest.load(b"\n".join([head, second, first, b""]))


def test_a_snapshot_of_nothing_with_entries_is_not_believed() -> None:
    data = Manifest(0).dump(1) + Manifest(1, [entry("a")]).dump(1).partition(b"\n")[2]
    with pytest.raises(ValueError, match="nothing was synced"):
        Manifest.load(data)


def test_a_snapshot_that_names_a_path_twice_is_not_believed() -> None:
    data = Manifest(1, [entry("a")]).dump(1)
    with pytest.raises(ValueError, match="twice"):
        Manifest.load(data + data.partition(b"\n")[2])
