"""How images get into the node's containerd, from this machine and without a registry."""

import subprocess
from pathlib import Path

from devcluster.namespaces import in_node_argv
from devcluster.settings import CONTAINERD_SOCKET, State

NAMESPACE = "k8s.io"  # the containerd namespace the kubelet looks in


class ImageImportError(Exception):
    """containerd refused an archive, or the archive does not hold the name asked for; the message says which."""


def ctr_argv(state: State, *arguments: str | Path) -> list[str]:
    """`ctr ARGUMENTS` against the cluster's containerd. Paths on disk are the same inside the node."""
    return in_node_argv([state.bin / "ctr", "--address", CONTAINERD_SOCKET, "--namespace", NAMESPACE, *arguments])


def import_image(state: State, archive: Path, name: str) -> str:
    """Load the image `name` from a docker or OCI `archive`; returns its digest reference `<name without tag>@sha256:…`.

    Both names resolve afterwards, with `imagePullPolicy: IfNotPresent` or `Never`. `name` must be fully qualified, as it
    stands in the archive (`localhost/sandbox-runner:dev`). Importing the same content again changes nothing.
    """
    _ctr(state, "images", "import", "--snapshotter", "overlayfs", archive)
    digest = image_digest(state, name)
    if digest is None:
        raise ImageImportError(f"{archive} holds no image named {name}; containerd has: {' '.join(image_names(state))}")
    reference = digest_reference(name, digest)
    _ctr(state, "images", "tag", "--force", name, reference)
    return reference


def digest_reference(name: str, digest: str) -> str:
    """`registry:5000/a/b:tag` with `sha256:…` → `registry:5000/a/b@sha256:…`."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{digest}"


def image_digest(state: State, name: str) -> str | None:
    """Digest of the image `name`, None when containerd has none of that name."""
    # columns: REF TYPE DIGEST SIZE PLATFORMS LABELS
    rows = [line.split() for line in _ctr(state, "images", "ls", f"name=={name}").splitlines()]
    return next((row[2] for row in rows if row[:1] == [name]), None)


def image_names(state: State) -> list[str]:
    """Every name containerd has an image by."""
    return _ctr(state, "images", "ls", "--quiet").split()


def _ctr(state: State, *arguments: str | Path) -> str:
    result = subprocess.run(ctr_argv(state, *arguments), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ImageImportError(f"ctr {' '.join(map(str, arguments))}: {result.stderr.strip()[-1000:]}")
    return result.stdout
