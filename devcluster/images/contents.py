"""What is really in a built image: packages of the distribution and of Python, read from the layers of its archive."""

import email.parser
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcluster.images.archive import BadArchiveError

_DPKG_STATUS = "var/lib/dpkg/status"
_OS_RELEASE = "usr/lib/os-release"
_METADATA = ".dist-info/METADATA"
_LAUNCHER = "opt/runner/runner_agent/launcher"
# Of package debug/buildinfo: 16 bytes of magic and flags in a header of 32, then a length of one byte and the compiler's version.
# A program names these 14 bytes only where its own version stands.
_GO_VERSION = re.compile(rb"\xff Go buildinf:.{18}.go([0-9.]+)", re.DOTALL)
# Of the distribution's own Python packages, which its package list names already.
_OF_DEBIAN = "usr/lib/python3/dist-packages/"
_WHITEOUT = ".wh."  # OCI image specification: a later layer removes what an earlier one has
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, order=True)
class DebianPackage:
    name: str
    version: str
    architecture: str


@dataclass(frozen=True, order=True)
class PythonPackage:
    name: str
    version: str


@dataclass(frozen=True)
class Contents:
    """`created` is RFC 3339, `distribution` such as debian-12, `layers` and `digest` are sha256 digests."""

    digest: str
    created: str
    architecture: str
    distribution: str
    layers: tuple[str, ...]
    debian: tuple[DebianPackage, ...]
    python: tuple[PythonPackage, ...]
    go: str = ""  # version of the standard library in our own program, which is all that is linked into it


def read_contents(archive: Path) -> Contents:
    """Of an archive that `to_oci` wrote. Raises BadArchiveError when it names no package at all: then it was not understood."""
    with tarfile.open(archive) as tar:
        digest = str(_json(tar, "index.json")["manifests"][0]["digest"])
        manifest = _json(tar, _blob(digest))
        config = _json(tar, _blob(manifest["config"]["digest"]))
        layers = tuple(str(layer["digest"]) for layer in manifest["layers"])
        files: dict[str, bytes] = {}
        for layer in layers:
            _apply(tar, layer, files)
    status = files.get(_DPKG_STATUS)
    if status is None:
        raise BadArchiveError(f"{archive} has no {_DPKG_STATUS}: its packages cannot be listed")
    release = dict(line.split("=", 1) for line in files.get(_OS_RELEASE, b"").decode().splitlines() if "=" in line)
    return Contents(
        digest=digest,
        created=str(config["created"]),
        architecture=str(config["architecture"]),
        distribution="-".join(release.get(field, "").strip('"') for field in ("ID", "VERSION_ID")).strip("-"),
        layers=layers,
        debian=tuple(sorted(_debian(status.decode()))),
        python=tuple(sorted(_python(files))),
        go=go_version(files.get(_LAUNCHER, b"")),
    )


def _apply(tar: tarfile.TarFile, layer: str, files: dict[str, bytes]) -> None:
    """Brings `files`, what matters of the layers below, to what the layer makes of it."""
    with tarfile.open(fileobj=_member(tar, _blob(layer))) as entries:
        for entry in entries:
            path = posixpath.normpath(entry.name)
            folder, name = posixpath.split(path)
            if name == _OPAQUE:
                _forget(files, folder)
            elif name.startswith(_WHITEOUT):
                _forget(files, posixpath.join(folder, name.removeprefix(_WHITEOUT)))
            elif entry.isfile() and (path in (_DPKG_STATUS, _OS_RELEASE, _LAUNCHER) or path.endswith(_METADATA)):
                content = entries.extractfile(entry)
                assert content is not None  # it is a file
                files[path] = content.read()


def go_version(program: bytes) -> str:
    """Of the compiler that made it; "" for what no Go 1.18 or later made."""
    found = _GO_VERSION.search(program)
    return found[1].decode() if found else ""


def _forget(files: dict[str, bytes], path: str) -> None:
    for gone in [known for known in files if known == path or known.startswith(f"{path}/")]:
        del files[gone]


def _debian(status: str) -> Iterator[DebianPackage]:
    for paragraph in status.split("\n\n"):
        fields = email.parser.HeaderParser().parsestr(paragraph)
        if fields["Status"] is not None and fields["Status"].split()[-1] == "installed":
            yield DebianPackage(fields["Package"], fields["Version"], fields["Architecture"])


def _python(files: dict[str, bytes]) -> Iterator[PythonPackage]:
    for path, content in files.items():
        if path.endswith(_METADATA) and not path.startswith(_OF_DEBIAN):
            fields = email.parser.BytesHeaderParser().parsebytes(content)
            yield PythonPackage(fields["Name"], fields["Version"])


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _member(tar: tarfile.TarFile, name: str) -> Any:
    stream = tar.extractfile(name)
    if stream is None:
        raise BadArchiveError(f"{tar.name!r}: {name} is not a file")
    return stream


def _json(tar: tarfile.TarFile, name: str) -> Any:
    return json.load(_member(tar, name))
