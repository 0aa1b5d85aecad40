"""What a client reads that an untrusted pod has sent."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sandbox_client.errors import LocalFileError
from sandbox_client.unpacking import unpack
from tests.fuzz.target import target

_KINDS = {b"f": tarfile.REGTYPE, b"l": tarfile.SYMTYPE, b"h": tarfile.LNKTYPE, b"d": tarfile.DIRTYPE, b"p": tarfile.FIFOTYPE}


@target
def exported(data: bytes) -> None:
    """LocalFileError only; nothing outside the folder is made, changed or led to, by one export or two. The bytes are an archive
    without its end, and a list of entries: a line each of kind, path, NUL, and what a link leads to."""
    for archive in (data + bytes(-len(data) % 512 + 1024), _listed(data)):
        with tempfile.TemporaryDirectory() as made:
            outer = Path(os.path.realpath(made))
            (outer / "here").mkdir()
            (outer / "x").write_text("good")
            for _ in range(2):
                with contextlib.suppress(LocalFileError):
                    unpack(io.BytesIO(archive), outer / "here")
                assert {path.name for path in outer.iterdir()} == {"here", "x"}
                assert (outer / "x").read_text() == "good"
                for found in _below(outer / "here"):
                    where = os.path.realpath(found)
                    assert where == str(outer / "here") or where.startswith(f"{outer}/here/"), where


def _listed(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for line in data.split(b"\n")[:64]:
            path, _, leads_to = line[1:].partition(b"\0")
            info = tarfile.TarInfo(os.fsdecode(path))
            info.type = _KINDS.get(line[:1], tarfile.REGTYPE)
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = os.fsdecode(leads_to)
            with contextlib.suppress(ValueError):
                tar.addfile(info)
    return out.getvalue()


def _below(folder: Path) -> Iterator[str]:
    for above, folders, files in os.walk(folder):
        yield from (f"{above}/{name}" for name in (*folders, *files))
