"""What is written beside an image: its bill of materials and how it was built."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom

from devcluster.images.archive import BadArchiveError, to_oci
from devcluster.images.contents import Contents, DebianPackage, PythonPackage, go_version, read_contents
from devcluster.images.definition import IMAGES, RUNNER
from devcluster.images.describing import bill_path, describe, inputs, is_described, statement_path
from devcluster.images.provenance import Build, Source, statement
from devcluster.images.sbom import Locked, UnlockedPackageError, bill, locked
from devcluster.settings import REPOSITORY
from tests.harness import launcher

STATUS = """Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Description: GNU Bourne Again SHell
 Package: not-a-package

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
RELEASE = 'ID=debian\nVERSION_ID="12"\n'
DIGEST = f"sha256:{'a' * 64}"
CONTENTS = Contents(
    DIGEST,
    "2026-01-02T03:04:05.678901234Z",
    "amd64",
    "debian-12",
    (),
    (DebianPackage("bash", "5.2.15-2+b7", "amd64"),),
    (PythonPackage("Attrs", "26.1.0"),),
)
ATTRS = Locked("attrs", "26.1.0", "requirements/x.txt")


def tar(files: dict[str, bytes | str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as entries:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            header = tarfile.TarInfo(name)
            header.size = len(data)
            entries.addfile(header, io.BytesIO(data))
    return made.getvalue()


def archive(folder: Path, *layers: dict[str, bytes | str]) -> Path:
    blobs = [tar(layer) for layer in layers]
    config = {
        "created": "2026-01-02T03:04:05Z",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in blobs]},
    }
    names = [f"layer-{number}.tar" for number in range(len(blobs))]
    manifest = json.dumps([{"Config": "config.json", "Layers": names}])
    saved = folder / "saved.tar"
    saved.write_bytes(tar({"manifest.json": manifest, "config.json": json.dumps(config), **dict(zip(names, blobs, strict=True))}))
    target = folder / "image.tar"
    to_oci(saved, target, "localhost/x:dev")
    return target


def metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: of the description\n"


def test_packages_are_those_that_the_last_layer_leaves(tmp_path: Path) -> None:
    made = archive(
        tmp_path,
        {
            "var/lib/dpkg/status": "Package: old\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
            "usr/lib/os-release": RELEASE,
            "app/a-1.dist-info/METADATA": metadata("a", "1"),
            "app/b-1.dist-info/METADATA": metadata("b", "1"),
            "opt/c-1.dist-info/METADATA": metadata("c", "1"),
            "usr/lib/python3/dist-packages/pip-23.dist-info/METADATA": metadata("pip", "23"),
        },
        {"./var/lib/dpkg/status": STATUS, "app/.wh.a-1.dist-info": "", "opt/.wh..wh..opq": ""},
        {"opt/d-1.dist-info/METADATA": metadata("d", "1")},
    )
    contents = read_contents(made)
    assert contents.debian == (DebianPackage("bash", "5.2.15-2+b7", "amd64"),)
    assert contents.python == (PythonPackage("b", "1"), PythonPackage("d", "1"))
    assert (contents.distribution, contents.architecture, contents.created) == ("debian-12", "amd64", "2026-01-02T03:04:05Z")


def test_an_image_whose_packages_cannot_be_listed_is_no_image_without_packages(tmp_path: Path) -> None:
    with pytest.raises(BadArchiveError, match=r"has no var/lib/dpkg/status"):
        read_contents(archive(tmp_path, {"etc/passwd": ""}))


def test_a_lock_is_read_for_the_platform_of_the_image() -> None:
    text = (
        "# by uv\n"
        "attrs==26.1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via aiohttp\n"
        "backports.zstd==1.8.0 ; python_version < '3.14' \\\n    --hash=sha256:cc\n"
        "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:dd\n"
        "x86==1 ; platform_machine == 'x86_64' \\\n    --hash=sha256:ee\n"
    )
    assert [f"{entry.name} {entry.version}" for entry in locked("l", text, "amd64")] == [
        "attrs 26.1.0",
        "backports-zstd 1.8.0",
        "x86 1",
    ]
    assert "x86" not in [entry.name for entry in locked("l", text, "arm64")]


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_the_locks_of_our_images_are_understood(image: object) -> None:
    made = inputs(REPOSITORY, image, "", "buildah")  # type: ignore[arg-type]
    locks = [path for path in made.files if path.startswith("requirements/")]
    assert locks
    for path in locks:
        text = (REPOSITORY / path).read_text()
        pins = [*locked(path, text, "amd64")]
        assert 0 < len(pins) <= text.count("==")
        assert all(pin.name and pin.version for pin in pins)


def test_the_bill_names_every_part_by_its_purl() -> None:
    read = Bom.from_json(json.loads(bill("localhost/x", CONTENTS, [ATTRS])))  # type: ignore[attr-defined]
    assert {str(part.purl) for part in read.components} == {
        "pkg:deb/debian/bash@5.2.15-2%2Bb7?arch=amd64&distro=debian-12",
        "pkg:pypi/attrs@26.1.0",
    }
    assert read.metadata.component.version == DIGEST
    (root,) = (entry for entry in read.dependencies if entry.ref.value == f"localhost/x@{DIGEST}")
    assert len(root.dependencies) == 2


def test_the_library_that_is_linked_into_the_launcher_is_named() -> None:
    version = go_version(launcher.built().read_bytes())
    assert f"go{version}" in launcher.go("version")
    assert go_version(b"\x7fELF") == ""
    made = json.loads(bill("x", replace(CONTENTS, go=version), [ATTRS]))
    assert f"pkg:golang/std@{version}" in {component["purl"] for component in made["components"]}


def test_the_same_image_has_the_same_bill() -> None:
    assert bill("localhost/x", CONTENTS, [ATTRS]) == bill("localhost/x", CONTENTS, [ATTRS])


@pytest.mark.parametrize("pins", [[], [Locked("attrs", "26.1.1", "l")], [Locked("other", "26.1.0", "l")]])
def test_a_package_that_no_lock_names_is_an_error_and_no_line(pins: list[Locked]) -> None:
    with pytest.raises(UnlockedPackageError, match=r"holds Attrs 26\.1\.0, which no lock"):
        bill("localhost/x", CONTENTS, pins)


def test_the_statement_names_the_image_what_went_in_and_the_bill() -> None:
    start, end = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 5, 0, tzinfo=UTC)
    files = {"Dockerfile.x": "bb", "a/b": "cc"}
    made = Build("x", "Dockerfile.x", "debian@sha256:1", "buildah", Source("c0ffee", changed=True), files, start, end)
    read = json.loads(statement("localhost/x", DIGEST, made, "bill"))
    assert (read["_type"], read["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    assert read["subject"] == [{"name": "localhost/x", "digest": {"sha256": "a" * 64}}]
    definition, run = read["predicate"]["buildDefinition"], read["predicate"]["runDetails"]
    assert definition["externalParameters"] == {"image": "x", "dockerfile": "Dockerfile.x", "baseImage": "debian@sha256:1"}
    assert definition["resolvedDependencies"] == [
        {"name": "source", "digest": {"gitCommit": "c0ffee"}, "annotations": {"changed": True}},
        {"name": "Dockerfile.x", "digest": {"sha256": "bb"}},
        {"name": "a/b", "digest": {"sha256": "cc"}},
    ]
    assert run["metadata"] == {"startedOn": "2026-01-02T03:04:05Z", "finishedOn": "2026-01-02T03:05:00Z"}
    assert run["byproducts"][0]["digest"]["sha256"] == hashlib.sha256(b"bill").hexdigest()


def test_a_build_is_described_beside_its_archive(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/runner.txt").write_text("attrs==26.1.0 --hash=sha256:aa\n")
    (tmp_path / RUNNER.dockerfile).write_text("FROM scratch\nCOPY requirements/runner.txt /tmp/\n")
    made = archive(
        tmp_path,
        {
            "var/lib/dpkg/status": STATUS,
            "usr/lib/os-release": RELEASE,
            "opt/attrs-26.1.0.dist-info/METADATA": metadata("attrs", "26.1.0"),
        },
    )
    build = inputs(tmp_path, RUNNER, "debian:x", "buildah")
    assert not is_described(made)
    describe(tmp_path, RUNNER, made, build)
    assert is_described(made)
    digest = hashlib.sha256((tmp_path / "requirements/runner.txt").read_bytes()).hexdigest()
    written = json.loads(statement_path(made).read_text())
    assert {"name": "requirements/runner.txt", "digest": {"sha256": digest}} in written["predicate"]["buildDefinition"][
        "resolvedDependencies"
    ]
    byproduct = written["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"]
    assert byproduct == hashlib.sha256(bill_path(made).read_bytes()).hexdigest()
