from __future__ import annotations

import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner_agent.tar_reader import TarReader
from sandbox_protocol.errors import Cause, StatusError
from tests.unit.runner_agent.harness import archive, member


class Recorder:
    """A sink that keeps what it was told."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []
        self.refused: list[Cause] = []
        self._file: tuple[str, int, int] = ("", 0, 0)
        self._content = b""

    def file(self, raw: str, mode: int, size: int) -> None:
        self._file, self._content = (raw, mode, size), b""

    def data(self, chunk: bytes | memoryview) -> None:
        self._content += chunk

    def end_file(self) -> None:
        assert len(self._content) == self._file[2]
        self.entries.append(("file", *self._file[:2], self._content))

    def link(self, raw: str, target: str) -> None:
        self.entries.append(("link", raw, target))

    def directory(self, raw: str, mode: int) -> None:
        self.entries.append(("directory", raw.rstrip("/"), mode))

    def refuse(self, cause: Cause) -> None:
        self.refused.append(cause)


def read(data: bytes, step: int = 512 * 20) -> Recorder:
    sink = Recorder()
    reader = TarReader(sink)
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.close()
    return sink


NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=60)
MEMBERS = st.lists(
    st.tuples(
        NAMES, st.integers(1, 6), st.binary(max_size=1500), st.integers(0, 0o777), st.sampled_from(["file", "link", "dir"])
    ),
    max_size=6,
)


@given(MEMBERS, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers(1, 3000))
def test_reads_what_the_standard_library_writes_in_any_cut(members: list[Any], form: int, step: int) -> None:
    built: list[tuple[tarfile.TarInfo, bytes]] = []
    expected: list[tuple[Any, ...]] = []
    for name, depth, content, mode, kind in members:
        path = "/".join([name] * depth)
        if kind == "file":
            built.append(member(path, content, mode=mode))
            expected.append(("file", path, mode, content))
        elif kind == "link":
            built.append(member(path, kind=tarfile.SYMTYPE, linkname=path, mode=mode))
            expected.append(("link", path, path))
        else:
            built.append(member(path, kind=tarfile.DIRTYPE, mode=mode))
            expected.append(("directory", path, mode))
    assert read(archive(*built, form=form), step).entries == expected


@given(st.binary(max_size=3000))
def test_bytes_that_are_no_archive_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(StatusError) as error:
        read(data)
    assert error.value.code == 400


@given(st.data())
def test_a_damaged_archive_gives_an_answer_and_no_other_exception(data: st.DataObject) -> None:
    good = bytearray(archive(member("a" * 150, b"x" * 700), member("b", kind=tarfile.SYMTYPE, linkname="c" * 120)))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(good))
    except StatusError as error:
        assert error.code == 400  # noqa: PT017 - either outcome is right, another exception is not


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.LNKTYPE, "HardLink"),
        (tarfile.CHRTYPE, "Device"),
        (tarfile.BLKTYPE, "Device"),
        (tarfile.FIFOTYPE, "Fifo"),
        (b"Z", "UnknownType"),
    ],
)
def test_entries_that_are_no_file_directory_or_link_are_refused_by_name(kind: bytes, reason: str) -> None:
    sink = read(archive(member("dir/odd", kind=kind, linkname="x"), member("good", b"1")))
    assert [(c.field, c.reason) for c in sink.refused] == [("dir/odd", reason)]
    assert sink.entries == [("file", "good", 0o644, b"1")]


def test_sparse_files_are_refused_in_both_spellings() -> None:
    old = read(archive(member("s", b"x" * 10, kind=tarfile.GNUTYPE_SPARSE), form=tarfile.GNU_FORMAT))
    new = read(archive(member("s", b"x" * 10, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.size": "9"})))
    assert [c.reason for c in old.refused + new.refused] == ["SparseFile", "SparseFile"]


@pytest.mark.parametrize("missing", [1, 511, 512, 1024, 1500, 9728])
def test_an_archive_that_was_cut_is_never_taken_for_a_shorter_one(missing: int) -> None:
    body = archive(member("a", b"x" * 600), member("b", b"y" * 600))
    end = len(body.rstrip(b"\0")) + 1024 + 512  # padding of the last file, and two blocks of the end mark
    with pytest.raises(StatusError, match=r"ends (in the middle|before)"):
        read(body[: min(end, 512 * 6) - missing] if missing < 3072 else b"")


def test_what_follows_the_end_is_not_dropped_silently() -> None:
    one = archive(member("a", b"1"))
    with pytest.raises(StatusError, match="follows its end mark"):
        read(one + one)


def test_a_nul_hidden_in_a_pax_path_reaches_the_check_of_paths() -> None:
    assert read(archive(member("a\0b", b"1", pax_headers={"path": "a\0b"}))).entries[0][1] == "a\0b"


def test_a_size_beyond_octal_is_read() -> None:
    info = tarfile.TarInfo("big")
    info.size = 1 << 40
    sink = Recorder()
    TarReader(sink).feed(info.tobuf(tarfile.GNU_FORMAT))
    assert sink._file == ("big", 0o644, 1 << 40)


def test_an_endless_extended_header_is_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 10**9
    with pytest.raises(StatusError, match="extended header"):
        TarReader(Recorder()).feed(info.tobuf())


def test_a_number_behind_a_nul_which_other_readers_do_not_see_is_refused() -> None:
    block = bytearray(archive(member("a", b"1"))[:512])
    block[124:136] = b"\0" + b"00000000001"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(StatusError, match="not octal"):
        read(bytes(block) + b"1".ljust(512, b"\0") + bytes(1024))
