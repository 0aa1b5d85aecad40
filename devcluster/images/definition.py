"""What an image is made of, and the key under which an equal one is found again."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """One image of this repository."""

    name: str  # what a person types: runner, operator, go
    repository: str
    dockerfile: str
    on: "Image | None" = None  # the image of ours that it is built on; else the base
    description: str = ""  # what the development template says of it
    billed: bool = True  # a bill of materials and a statement are written beside it; there is none of an image without packages

    @property
    def tag(self) -> str:
        """For people and logs; everything that runs is named by digest."""
        return f"{self.repository}:dev"

    def stack(self) -> "tuple[Image, ...]":
        """This image and those of ours below it."""
        return self, *(self.on.stack() if self.on is not None else ())


RUNNER = Image("runner", "localhost/sandbox-runner", "Dockerfile.runner")
OPERATOR = Image("operator", "localhost/sandbox-operator", "Dockerfile.operator")
IMAGES = (RUNNER, OPERATOR)
"""What the operator needs; `all` on the command line."""
LANGUAGES = (
    Image("build", "localhost/sandbox-build", "images/Dockerfile.build", RUNNER, "The default image with compilers."),
    Image("go", "localhost/sandbox-go", "images/Dockerfile.go", None, "Go."),
    Image("bun", "localhost/sandbox-bun", "images/Dockerfile.bun", RUNNER, "The default image with Bun."),
)
"""By the names that a template gives them. Built when asked for; the development template offers those that are loaded."""


def copied_paths(dockerfile: str) -> list[str]:
    """Sources of the COPY lines that read the build context, so that key and Dockerfile cannot drift apart."""
    found: list[str] = []
    for line in dockerfile.splitlines():
        words = line.split()
        if not words or words[0].upper() != "COPY":
            continue
        arguments = [word for word in words[1:] if not word.startswith("--")]
        if not any(word.startswith("--from=") for word in words[1:]):
            found += arguments[:-1]
    return found


def context_files(root: Path, sources: list[str]) -> Iterator[Path]:
    """Files below `sources`, sorted, without compiled ones (the .dockerignore keeps those out of the build as well)."""
    for source in sources:
        path = root / source
        if not path.exists():
            raise FileNotFoundError(f"{source} is copied into an image but is not in the work tree")
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        yield from (file for file in files if "__pycache__" not in file.parts)


def content_key(root: Path, image: Image, base: str, builder: str) -> str:
    """Hash of what decides the result: the Dockerfile, what it copies (name, mode, bytes), the base, the kind of builder.

    Not in it: what the distribution's package lists held on that day. `--pull` builds from the base up.
    """
    digest = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)

    if image.on is not None:
        base = content_key(root, image.on, base, builder)
    dockerfile = (root / image.dockerfile).read_bytes()
    add(image.tag.encode(), base.encode(), builder.encode(), dockerfile)
    for file in context_files(root, copied_paths(dockerfile.decode())):
        executable = b"x" if file.stat().st_mode & 0o100 else b"-"
        add(str(file.relative_to(root)).encode(), executable, file.read_bytes())
    return digest.hexdigest()[:32]
