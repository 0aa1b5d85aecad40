"""Builds an image unless an equal one was built before: an OCI archive in the content cache, and what describes it."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from devcluster.images.archive import to_oci
from devcluster.images.base import base_tag, ensure_base
from devcluster.images.builder import Builder, BuildRequest, find_builder
from devcluster.images.definition import Image, content_key
from devcluster.images.describing import describe, inputs, is_described
from devcluster.images.index_settings import write_build_secrets
from devcluster.images.running import run_logged
from devcluster.progress import say, step
from devcluster.settings import REPOSITORY, cache_root

_KEPT_ARCHIVES = 3  # of each image: the present one, and going back and forth between two branches


@dataclass(frozen=True)
class BuildOptions:
    """What a person may choose."""

    base_image: str | None = None  # None: the builder's default, see `base_for`
    pull: bool = False  # build anew from the base up, with today's packages


def images_cache() -> Path:
    """Archives by content, the builder's own store and the lock."""
    return cache_root() / "images"


def build(image: Image, options: BuildOptions, log: Path) -> Path:
    """Returns the archive of `image`. One build runs at a time on a machine: a second one waits and finds the result.

    An image on another of ours: that one is built first, in the builder's store too, since only there it can be built on.
    """
    with _one_at_a_time():
        builder = find_builder(images_cache() / "buildah")
        base = _base_name(builder, options)
        key = content_key(REPOSITORY, image, base, builder.kind)
        archive = images_cache() / image.name / f"{key}.tar"
        if archive.exists() and (is_described(archive) or not image.billed) and not options.pull:
            os.utime(archive)
            return archive
        if base == base_tag():
            ensure_base(builder, REPOSITORY / "Dockerfile.base", log, fresh=options.pull)
        request = _request(image, base, options)
        made_of = inputs(REPOSITORY, image, base, builder.kind)
        with step(f"image {image.name} built by {builder.kind} from {base or 'its default base'}"):
            if image.on is not None:
                # an archive in the cache says nothing of the store, where a tag may be another work tree's
                _build(builder, _request(image.on, base, options), archive.parent, log)
            _build_archive(builder, request, archive, log)
            if image.billed:
                describe(REPOSITORY, image, archive, made_of)
        _forget_old(archive.parent)
        return archive


def _request(image: Image, base: str, options: BuildOptions) -> BuildRequest:
    """`base` is what the whole stack begins with. Nothing is pulled for an image on another of ours: no registry has that one."""
    under = image.on.tag if image.on is not None else base
    return BuildRequest(
        dockerfile=REPOSITORY / image.dockerfile,
        context=REPOSITORY,
        tag=image.tag,
        arguments={"BASE_IMAGE": under} if under else {},
        pull=options.pull and image.on is None,
    )


def _base_name(builder: Builder, options: BuildOptions) -> str:
    """The chosen base; else the Dockerfile's own (named by "") where a registry answers; else one of distribution packages."""
    return options.base_image or ("" if builder.reaches_registries else base_tag())


def _build(builder: Builder, request: BuildRequest, near: Path, log: Path) -> None:
    """Leaves the image in the builder's store under its tag."""
    near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=near) as folder:
        if tidy := builder.tidy_argv():
            run_logged(tidy, log)
        secrets = write_build_secrets(Path(folder), sys.executable)
        run_logged(builder.build_argv(replace(request, secrets=secrets)), log)


def _build_archive(builder: Builder, request: BuildRequest, archive: Path, log: Path) -> None:
    _build(builder, request, archive.parent, log)
    # beside the archive: the system's temporary folder may be small or in memory
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        saved = Path(folder) / "saved.tar"
        run_logged(builder.save_argv(request.tag, saved), log)
        to_oci(saved, archive, request.tag)


def _forget_old(folder: Path) -> None:
    newest_first = sorted(folder.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
    for archive in newest_first[_KEPT_ARCHIVES:]:
        for file in folder.glob(f"{archive.stem}.*"):
            file.unlink()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    images_cache().mkdir(parents=True, exist_ok=True)
    with (images_cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another image build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
