"""`python -m devcluster.images build|load [runner|operator|all|build|go|bun|languages]`; prints a digest reference for each,
the last one on the last line."""

import argparse
import os
import sys

from devcluster.containerd import ImageImportError, digest_reference
from devcluster.images.archive import BadArchiveError, read_digest
from devcluster.images.building import BuildOptions, build
from devcluster.images.definition import IMAGES, LANGUAGES, Image
from devcluster.images.loading import NoClusterError, WrongDigestError, load_images
from devcluster.images.running import CommandFailedError
from devcluster.images.sbom import UnlockedPackageError
from devcluster.packages import PackagesMissingError
from devcluster.settings import state_from_environment

GROUPS = {"all": IMAGES, "languages": LANGUAGES}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.images", description="Build the images and load them into the cluster."
    )
    parser.add_argument("command", choices=["build", "load"], help="load also builds what is missing")
    parser.add_argument("image", nargs="?", default="all", choices=[*GROUPS, *(image.name for image in (*IMAGES, *LANGUAGES))])
    parser.add_argument(
        "--base-image",
        default=os.environ.get("BASE_IMAGE") or None,
        metavar="REFERENCE",
        help="another Debian-like base, best by digest (environment: BASE_IMAGE)",
    )
    parser.add_argument("--pull", action="store_true", help="build anew from the base up, with today's packages")
    return parser


def chosen(name: str) -> list[Image]:
    """The images a name on the command line means."""
    return [*GROUPS.get(name, [image for image in (*IMAGES, *LANGUAGES) if image.name == name])]


def main() -> int:
    given = arguments().parse_args()
    state = state_from_environment()
    options = BuildOptions(base_image=given.base_image, pull=given.pull)
    images = chosen(given.image)
    try:
        if given.command == "load":
            references = load_images(state, images, options)
        else:
            log = state.logs / "images.log"
            references = {image.name: digest_reference(image.tag, read_digest(build(image, options, log))) for image in images}
    except (
        BadArchiveError,
        CommandFailedError,
        FileNotFoundError,
        ImageImportError,
        NoClusterError,
        PackagesMissingError,
        UnlockedPackageError,
        WrongDigestError,
    ) as error:
        print(f"devcluster.images: {error}", file=sys.stderr)
        return 1
    for reference in references.values():
        print(reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
