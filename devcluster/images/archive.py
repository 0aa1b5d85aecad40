"""Gives the archive of any builder one form: an OCI image layout with uncompressed layers, in one tar file.

`docker save`, `podman save` and `buildah push docker-archive:` all write a `manifest.json` that names a config and layers. The
manifest, and with it the digest that Kubernetes uses, is otherwise made by whoever loads the archive; made here, it is known
before there is a cluster and is the same in containerd and in kind. Uncompressed, because the archive never leaves this machine:
compressing costs 5 s and saves nobody a download.
"""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import IO, Any

_COPY = 1 << 20


class BadArchiveError(Exception):
    """The builder's archive is not what its manifest says."""


def read_digest(path: Path) -> str:
    """Digest of the image manifest in an archive written by `to_oci`."""
    with tarfile.open(path) as tar:
        index = json.load(_member(tar, "index.json"))
    return str(index["manifests"][0]["digest"])


def to_oci(source: Path, target: Path, name: str) -> str:
    """Rewrite the docker archive `source` as `target`, holding one image called `name`. Returns the digest of its manifest.

    Raises `BadArchiveError` when a layer is not what the image's config promises. `target` appears only when it is whole.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        digest = _write_oci(source, partial, name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def _write_oci(source: Path, target: Path, name: str) -> str:
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        entry = json.load(_member(old, "manifest.json"))[0]
        config = _member(old, entry["Config"]).read()
        described = json.loads(config)
        diff_ids = described["rootfs"]["diff_ids"]
        if len(diff_ids) != len(entry["Layers"]):
            raise BadArchiveError(f"{source}: {len(entry['Layers'])} layers for {len(diff_ids)} in the config")
        layers = []
        for diff_id, member in zip(diff_ids, entry["Layers"], strict=True):
            size = _copy_layer(old, member, new, diff_id)
            layers.append(_descriptor("application/vnd.oci.image.layer.v1.tar", diff_id, size))
        manifest = _canonical(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": _descriptor("application/vnd.oci.image.config.v1+json", _add_blob(new, config), len(config)),
                "layers": layers,
            }
        )
        digest = _add_blob(new, manifest)
        described_manifest = {
            **_descriptor("application/vnd.oci.image.manifest.v1+json", digest, len(manifest)),
            "platform": {"architecture": described["architecture"], "os": described["os"]},
            # containerd reads the first, tools of the OCI world the second
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
        }
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [described_manifest]}
        _add(new, "index.json", _canonical(index))
        _add(new, "oci-layout", _canonical({"imageLayoutVersion": "1.0.0"}))
    return digest


def _copy_layer(old: tarfile.TarFile, member: str, new: tarfile.TarFile, diff_id: str) -> int:
    """Copies a layer under the digest of its bytes. Layers may be named several times; a tar may hold a blob twice."""
    info = old.getmember(member)
    while info.issym() or info.islnk():  # `docker save` links equal layers
        target = info.linkname if info.islnk() else os.path.normpath(Path(info.name).parent / info.linkname)
        info = old.getmember(target)
    hashed = hashlib.sha256()
    with _member(old, info.name) as stream:
        while chunk := stream.read(_COPY):
            hashed.update(chunk)
        if diff_id != f"sha256:{hashed.hexdigest()}":
            raise BadArchiveError(f"layer {member} has digest sha256:{hashed.hexdigest()}, the image's config says {diff_id}")
        stream.seek(0)
        new.addfile(_header(_blob_path(diff_id), info.size), stream)
    return info.size


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise BadArchiveError(f"{tar.name!r}: {name} is not a file")
    return stream


def _add_blob(tar: tarfile.TarFile, data: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    _add(tar, _blob_path(digest), data)
    return digest


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_header(name, len(data)), io.BytesIO(data))


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    return header


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
