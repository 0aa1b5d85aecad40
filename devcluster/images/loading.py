"""Hands a built image to the cluster, and keeps the list of what is loaded: `images.json` in the state folder."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from devcluster.containerd import digest_reference, image_names, import_image
from devcluster.images.archive import read_digest
from devcluster.images.building import BuildOptions, build
from devcluster.images.definition import Image
from devcluster.images.running import run_logged
from devcluster.progress import say, step
from devcluster.settings import CONTAINERD_SOCKET, CONTEXT, State


class NoClusterError(Exception):
    """There is no cluster to load into; the message says how to get one."""


class WrongDigestError(Exception):
    """The cluster calls the image by another digest than its archive."""


def references_file(state: State) -> Path:
    """`{"runner": "localhost/sandbox-runner@sha256:…", "operator": …}`: what the cluster holds."""
    return state.root / "images.json"


def read_references(state: State) -> dict[str, str]:
    """Digest reference by image name; empty when nothing was loaded."""
    try:
        return dict(json.loads(references_file(state).read_text()))
    except FileNotFoundError:
        return {}


def write_references(state: State, new: Mapping[str, str]) -> None:
    """Adds `new` to the list, whole or not at all."""
    path = references_file(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({**read_references(state), **new}, indent=2, sort_keys=True) + "\n")
    partial.replace(path)


def load(state: State, image: Image, archive: Path, log: Path) -> str:
    """Loads the archive into the cluster's node; returns the digest reference pods name. Loading what is there does nothing."""
    reference = digest_reference(image.tag, read_digest(archive))
    if CONTAINERD_SOCKET.exists():
        if reference in image_names(state):
            say(f"image {image.name}: already in the cluster")
        else:
            with step(f"image {image.name} loaded into containerd"):
                loaded = import_image(state, archive, image.tag)
            if loaded != reference:
                raise WrongDigestError(f"{archive} is {reference}, containerd says {loaded}")
    elif CONTEXT in _kind_clusters():
        with step(f"image {image.name} loaded into kind"):
            run_logged(["kind", "load", "image-archive", str(archive), "--name", CONTEXT], log)
    else:
        raise NoClusterError(
            "no development cluster is up here (`make cluster-up`), or it is a borrowed one: docs/images.md, Another cluster"
        )
    write_references(state, {image.name: reference})
    return reference


def load_images(state: State, images: Iterable[Image], options: BuildOptions) -> dict[str, str]:
    """Builds what is missing and loads it; returns digest references by image name."""
    log = state.logs / "images.log"
    return {image.name: load(state, image, build(image, options, log), log) for image in images}


def _kind_clusters() -> list[str]:
    if shutil.which("kind") is None:
        return []
    return subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()
