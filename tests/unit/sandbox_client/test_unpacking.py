"""An export from a pod that runs anybody's code: nothing outside, nothing through what is here, old or new content."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from sandbox_client.errors import LocalFileError
from sandbox_client.unpacking import unpack

EVIL = b"evil"
Entry = tuple[str, bytes | str, bytes]


def file(name: str, content: bytes = EVIL) -> Entry:
    return name, content, tarfile.REGTYPE


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return name, target, kind


def folder(name: str) -> Entry:
    return name, b"", tarfile.DIRTYPE


def packed(*entries: Entry) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, what, kind in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(what, str):
                info.linkname = what
            content = b"" if isinstance(what, str) else what
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out


LINKS_TO_SELF = [link(name, ".") for name in "pqr"]


def too_long_to_be_looked_at() -> list[Entry]:
    """A link whose real path is longer than 4096 bytes, which ``os.path.realpath`` takes for none (CVE-2025-4517)."""
    entries, above, steps = [], "", "abcdefghijklmnop"
    for step in steps:
        entries += [folder(above + "d" * 247), link(above + step, "d" * 247)]
        above += "d" * 247 + "/"
    way = "/".join(steps) + "/" + "l" * 254
    return [*entries, link(way, "../" * len(steps)), link("escape", f"{way}/../victim"), file("escape")]


HOSTILE: dict[str, list[Entry]] = {
    "links to itself, made after what leads through them": [link("escape", "p/q/r/../../victim"), *LINKS_TO_SELF],
    "links to itself, then what leads through them": [*LINKS_TO_SELF, link("escape", "p/q/r/../../victim"), file("escape")],
    "a way too long to be looked at": too_long_to_be_looked_at(),
    "a link out": [link("escape", "../victim"), file("escape")],
    "a file below a link": [link("up", ".."), file("up/victim")],
    "a file below a link to itself": [link("p", "."), file("p/../../victim")],
    "an absolute link": [link("escape", "/victim"), file("escape")],
    "a hard link to a link": [link("p", "."), link("escape", "p/../victim", tarfile.LNKTYPE), file("escape")],
    "a hard link out": [link("escape", "../victim", tarfile.LNKTYPE), file("escape")],
    "a folder, then a link in its place": [folder("d"), link("d", ".."), file("d/victim")],
    "dots": [file("../victim")],
    "dots behind a folder": [file("a/../../victim")],
    "an absolute path": [file("/victim")],
    "a pipe": [("victim", b"", tarfile.FIFOTYPE), ("dev", b"", tarfile.CHRTYPE)],
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_text("good")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def outside(here: Path) -> tuple[list[str], str]:
    return names(here.parent), (here.parent / "victim").read_text()


@pytest.mark.parametrize("attack", HOSTILE)
def test_nothing_is_written_outside_however_often(here: Path, attack: str) -> None:
    for _ in range(2):
        with contextlib.suppress(LocalFileError):
            unpack(packed(*HOSTILE[attack]), here)
        assert outside(here) == (["here", "victim"], "good")
        for found in here.rglob("*"):
            assert found.resolve().is_relative_to(here)
            assert found.is_file() or found.is_dir() or found.is_symlink()


def test_what_an_archive_may_hold_comes_as_it_is(here: Path) -> None:
    content = packed(folder("d"), file("d/a", b"1"), link("d/l", "../b"), file("./b", b"22"), file("ü/" + "x" * 150, b"3"))
    assert unpack(content, here) == ["d/a", "d/l", "b", "ü/" + "x" * 150]
    assert (here / "d/l").read_bytes() == b"22"
    assert (here / "ü" / ("x" * 150)).read_bytes() == b"3"
    assert not [name for name in names(here) if name.startswith(".")]


def test_links_that_are_here_are_replaced_and_not_written_through(here: Path) -> None:
    (here / "a").symlink_to("../victim")
    unpack(packed(file("a")), here)
    assert (outside(here)[1], (here / "a").read_bytes(), (here / "a").is_symlink()) == ("good", EVIL, False)


def test_a_folder_that_is_a_link_here_is_not_entered(here: Path) -> None:
    (here / "d").symlink_to("..")
    with pytest.raises(LocalFileError, match="not followed"):
        unpack(packed(file("d/victim")), here)
    assert outside(here)[1] == "good"


def test_another_name_of_a_file_keeps_its_content(here: Path) -> None:
    os.link(here.parent / "victim", here / "a")
    unpack(packed(file("a")), here)
    assert (outside(here)[1], (here / "a").read_bytes()) == ("good", EVIL)


def test_a_folder_in_the_place_of_a_file_stays_and_is_told(here: Path) -> None:
    (here / "a/b").mkdir(parents=True)
    with pytest.raises(LocalFileError, match="cannot write a: there is a folder"):
        unpack(packed(file("a")), here)
    assert names(here) == ["a"]


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 1024, 1536])
def test_an_archive_without_its_end_writes_nothing(here: Path, cut: int) -> None:
    whole = packed(file("a", b"x" * 600)).getvalue()
    with pytest.raises(LocalFileError):
        unpack(io.BytesIO(whole[:cut]), here)
    assert names(here) == []


def test_a_compressed_archive_is_none(here: Path) -> None:
    with pytest.raises(LocalFileError):
        unpack(io.BytesIO(gzip.compress(packed(file("a")).getvalue())), here)


def test_a_name_that_is_none_is_found_before_anything_is_written(here: Path) -> None:
    with pytest.raises(LocalFileError, match="nothing was written"):
        unpack(packed(file("a"), file("../b")), here)
    assert names(here) == []


def test_only_the_executable_bit_travels(here: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, mode in (("run", 0o4777), ("plain", 0o2666)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            tar.addfile(info)
    before = os.umask(0o022)
    try:
        unpack(out, here)
    finally:
        os.umask(before)
    assert [(here / name).stat().st_mode & 0o7777 for name in ("run", "plain")] == [0o755, 0o644]
