"""A base image from distribution packages, for machines that reach a package mirror but no image registry."""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from devcluster import packages
from devcluster.images.builder import Builder, BuildRequest
from devcluster.images.running import run_logged
from devcluster.progress import step

SUITE = "bookworm"
REPOSITORY = "localhost/debian"

# What the official slim image leaves out: 40 MB nobody reads in a container. Licences stay.
_LEFT_OUT = [f"path-exclude=/usr/share/{part}/*" for part in ("doc", "groff", "info", "lintian", "locale", "man")]
_DPKG_OPTIONS = [*_LEFT_OUT, "path-include=/usr/share/doc/*/copyright"]
_APT_OPTIONS = [
    'APT::Install-Recommends "false"',
    'Dir::Cache::pkgcache ""',  # the binary indexes are 90 MB and are made again by any apt command
    'Dir::Cache::srcpkgcache ""',
]
# mmdebstrap copies the machine's host name and resolver in; ldconfig's cache holds inode numbers.
_CUSTOMIZE = 'cd "$1" && rm -rf etc/hostname etc/resolv.conf var/cache/ldconfig/aux-cache var/log/apt var/log/*.log'


def debootstrap_argv(target: Path) -> list[str]:
    """Command line that writes the root file system as a tar file."""
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=tar",
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        *(f"--aptopt={option}" for option in _APT_OPTIONS),
        f"--customize-hook={_CUSTOMIZE}",
        SUITE,
        str(target),
    ]


def recipe_key() -> str:
    """Changes when the way the base is made changes."""
    return hashlib.sha256("\0".join(debootstrap_argv(Path("-"))).encode()).hexdigest()[:16]


def base_tag() -> str:
    """Name of the base in the builder's store."""
    return f"{REPOSITORY}:{SUITE}-{recipe_key()}"


def ensure_base(builder: Builder, dockerfile: Path, log: Path, *, fresh: bool) -> str:
    """Makes the base image unless the store holds it (`fresh`: make it anyway, with today's packages). Returns its tag."""
    tag = base_tag()
    known = (
        subprocess.run(builder.exists_argv(tag), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    )
    if known and not fresh:
        return tag
    packages.ensure(["mmdebstrap"])
    with (
        tempfile.TemporaryDirectory(prefix="devcluster-base-") as folder,
        step(f"base image {tag} made of distribution packages"),
    ):
        # times of files are cut off at this one: two runs over the same packages give the same bytes
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
        run_logged(debootstrap_argv(Path(folder) / "rootfs.tar"), log, environment=environment)
        run_logged(builder.build_argv(BuildRequest(dockerfile=dockerfile, context=Path(folder), tag=tag)), log)
    return tag
