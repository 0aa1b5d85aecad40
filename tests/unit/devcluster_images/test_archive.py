"""One form and one digest for what any builder saves."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from devcluster.images.archive import BadArchiveError, read_digest, to_oci

NAME = "localhost/app:dev"
LAYERS = [b"first layer", b"second layer"]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def docker_archive(path: Path, layers: list[bytes], diff_ids: list[str] | None = None) -> Path:
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids or [sha256(x) for x in layers]},
    }
    with tarfile.open(path, "w") as tar:
        add(tar, "config.json", json.dumps(config).encode())
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        for name, layer in zip(names, layers, strict=True):
            add(tar, name, layer)
        add(tar, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [NAME], "Layers": names}]).encode())
    return path


def blob(path: Path, digest: str) -> bytes:
    with tarfile.open(path) as tar:
        stream = tar.extractfile("blobs/" + digest.replace(":", "/"))
        assert stream is not None
        return stream.read()


def manifest(path: Path) -> dict[str, Any]:
    return dict(json.loads(blob(path, read_digest(path))))


def test_every_blob_has_the_digest_it_is_stored_under(tmp_path: Path) -> None:
    digest = to_oci(docker_archive(tmp_path / "in.tar", LAYERS), tmp_path / "out.tar", NAME)
    assert read_digest(tmp_path / "out.tar") == digest
    described = manifest(tmp_path / "out.tar")
    assert [blob(tmp_path / "out.tar", layer["digest"]) for layer in described["layers"]] == LAYERS
    for descriptor in [described["config"], *described["layers"]]:
        data = blob(tmp_path / "out.tar", descriptor["digest"])
        assert (sha256(data), len(data)) == (descriptor["digest"], descriptor["size"])


def test_the_index_names_the_image_for_containerd_and_for_others(tmp_path: Path) -> None:
    to_oci(docker_archive(tmp_path / "in.tar", LAYERS), tmp_path / "out.tar", NAME)
    with tarfile.open(tmp_path / "out.tar") as tar:
        stream = tar.extractfile("index.json")
        assert stream is not None
        (entry,) = json.load(stream)["manifests"]
        assert "oci-layout" in tar.getnames()
    assert entry["annotations"] == {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME}
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}


def test_equal_images_get_equal_digests_whatever_the_archive_looks_like(tmp_path: Path) -> None:
    first = to_oci(docker_archive(tmp_path / "in.tar", LAYERS), tmp_path / "one.tar", NAME)
    assert to_oci(docker_archive(tmp_path / "again.tar", LAYERS), tmp_path / "two.tar", NAME) == first
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert to_oci(docker_archive(tmp_path / "other.tar", [b"x"]), tmp_path / "three.tar", NAME) != first


def test_a_layer_that_links_to_an_equal_one_is_followed(tmp_path: Path) -> None:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [sha256(b"same")] * 2}}
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        add(tar, "config.json", json.dumps(config).encode())
        add(tar, "a/layer.tar", b"same")
        link = tarfile.TarInfo("b/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        tar.addfile(link)
        add(tar, "manifest.json", json.dumps([{"Config": "config.json", "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode())
    to_oci(tmp_path / "in.tar", tmp_path / "out.tar", NAME)
    assert [layer["digest"] for layer in manifest(tmp_path / "out.tar")["layers"]] == [sha256(b"same")] * 2


@pytest.mark.parametrize("diff_ids", [[sha256(b"other"), sha256(LAYERS[1])], [sha256(LAYERS[0])]])
def test_an_archive_that_is_not_what_its_config_says_is_refused_and_leaves_nothing(tmp_path: Path, diff_ids: list[str]) -> None:
    source = docker_archive(tmp_path / "in.tar", LAYERS, diff_ids)
    with pytest.raises(BadArchiveError):
        to_oci(source, tmp_path / "out.tar", NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tar"]
