"""The tar headers that are written without tarfile."""

from __future__ import annotations

import tarfile

from hypothesis import given
from hypothesis import strategies as st

from sandbox_client import archive

NAMES = st.text(min_size=1, max_size=120).filter(lambda name: "\0" not in name) | st.sampled_from(
    ["a" * 100, "a" * 101, "ä" * 60]
)


@given(NAMES, st.sampled_from([0o644, 0o755]), st.integers(0, 8**11 - 1) | st.just(8**11))
def test_a_files_header_is_byte_for_byte_what_tarfile_writes(name: str, mode: int, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, size
    assert archive._file_header(info) == info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
