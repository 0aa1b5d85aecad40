"""Writes beside an image's archive what is in it and how it came about: `<key>.cdx.json` and `<key>.intoto.json`."""

import hashlib
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from devcluster.images.contents import read_contents
from devcluster.images.definition import Image, context_files, copied_paths
from devcluster.images.provenance import Build, Source, statement
from devcluster.images.sbom import bill, locked

_LOCKS = "requirements/"


def bill_path(archive: Path) -> Path:
    """The software bill of materials of an archive."""
    return archive.with_suffix(".cdx.json")


def statement_path(archive: Path) -> Path:
    """The provenance statement of an archive."""
    return archive.with_suffix(".intoto.json")


def is_described(archive: Path) -> bool:
    """Both are there; they are written last, so the archive is whole too."""
    return bill_path(archive).exists() and statement_path(archive).exists()


def inputs(root: Path, image: Image, base: str, builder: str) -> Build:
    """What a build that starts now is made of; taken before it, so that an edit meanwhile is not claimed."""
    files: list[Path] = []
    for each in image.stack():
        dockerfile = root / each.dockerfile
        files += [dockerfile, *context_files(root, copied_paths(dockerfile.read_text()))]
    now = datetime.now(UTC)
    return Build(
        image=image.name,
        dockerfile=image.dockerfile,
        base=base,
        builder=builder,
        source=_source(root),
        files={str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        started=now,
        finished=now,
    )


def describe(root: Path, image: Image, archive: Path, build: Build) -> None:
    """Raises UnlockedPackageError, BadArchiveError."""
    contents = read_contents(archive)
    pins = [
        pin
        for path in build.files
        if path.startswith(_LOCKS)
        for pin in locked(path, (root / path).read_text(), contents.architecture)
    ]
    made = bill(image.repository, contents, pins)
    bill_path(archive).write_text(made)
    finished = replace(build, finished=datetime.now(UTC))
    statement_path(archive).write_text(statement(image.repository, contents.digest, finished, made))


def _source(root: Path) -> Source:
    """Asks git; an exported tree without history has no commit."""
    commit = _git(root, "rev-parse", "HEAD")
    return Source(commit, bool(commit and _git(root, "status", "--porcelain", "--untracked-files=normal")))


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
