"""App images of the kinds that people bring, which hold nothing of ours: built here, as no registry can be reached."""

from __future__ import annotations

from devcluster.containerd import digest_reference, image_names, import_image
from devcluster.images.archive import read_digest
from devcluster.images.building import BuildOptions, build
from devcluster.images.definition import LANGUAGES, Image
from devcluster.settings import State

GO = next(image for image in LANGUAGES if image.name == "go")
SLIM, MUSL, SHELL, BARE, FOREIGN = (
    Image(f"test-{name}", f"localhost/test-{name}", f"tests/images/Dockerfile.{name}", billed=False)
    for name in ("slim", "musl", "shell", "bare", "foreign")
)


def loaded(state: State, image: Image) -> str:
    """Its digest reference in the cluster. The list of what is deployed does not change."""
    archive = build(image, BuildOptions(), state.logs / "images.log")
    reference = digest_reference(image.tag, read_digest(archive))
    return reference if reference in image_names(state) else import_image(state, archive, image.tag)
