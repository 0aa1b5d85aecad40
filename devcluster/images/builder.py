"""The machine's image builder, whichever it is: docker (buildx), podman, or buildah with a store of its own."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import packages


@dataclass(frozen=True)
class BuildRequest:
    """One build; `secrets` maps an id of the Dockerfile's secret mounts to a file on this machine."""

    dockerfile: Path
    context: Path
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    pull: bool = False


@dataclass(frozen=True)
class Builder:
    """How to call one builder."""

    kind: str  # docker, podman or buildah
    program: tuple[str, ...]
    reaches_registries: bool  # its default base image is pulled; otherwise devcluster makes one

    def build_argv(self, request: BuildRequest) -> list[str]:
        """Command line that builds `request` and leaves the image in the builder's store under its tag."""
        options = [
            "--file",
            str(request.dockerfile),
            "--tag",
            request.tag,
            *(word for name, value in sorted(request.arguments.items()) for word in ("--build-arg", f"{name}={value}")),
            *(word for name, path in sorted(request.secrets.items()) for word in ("--secret", f"id={name},src={path}")),
        ]
        context = str(request.context)
        match self.kind:
            case "docker":
                pull = ["--pull", "--no-cache"] if request.pull else []
                # an attestation would make the digest differ from one build to the next
                return [
                    *self.program,
                    "buildx",
                    "build",
                    "--load",
                    "--progress=plain",
                    "--provenance=false",
                    *pull,
                    *options,
                    context,
                ]
            case "podman":
                pull = ["--pull=always", "--no-cache"] if request.pull else []
                return [*self.program, "build", "--layers", *pull, *options, context]
            case _:
                pull = ["--no-cache"] if request.pull else ["--layers"]
                # chroot isolation asks for no cgroup and no network namespace: RUN steps use the machine's network
                return [*self.program, "build", "--isolation=chroot", *pull, *options, context]

    def save_argv(self, tag: str, archive: Path) -> list[str]:
        """Command line that writes the image `tag` to `archive` in the form of `docker save`."""
        match self.kind:
            case "docker":
                return [*self.program, "save", "--output", str(archive), tag]
            case "podman":
                return [*self.program, "save", "--quiet", "--format=docker-archive", "--output", str(archive), tag]
            case _:
                return [*self.program, "push", "--quiet", tag, f"docker-archive:{archive}:{tag}"]

    def tidy_argv(self) -> list[str]:
        """Command line that removes what a killed build left; only of our own store, other builders look after theirs."""
        return [*self.program, "rm", "--all"] if self.kind == "buildah" else []

    def exists_argv(self, tag: str) -> list[str]:
        """Command line that succeeds when the store holds `tag`."""
        verb = ["inspect", "--type", "image"] if self.kind == "buildah" else ["image", "inspect"]
        return [*self.program, *verb, tag]


def answers(*argv: str) -> bool:
    """A client without its engine is common; only what answers counts."""
    if shutil.which(argv[0]) is None:
        return False
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _run_root(store: Path) -> Path:
    """Where buildah counts what is mounted: of no meaning after a reboot, when nothing is, so each boot has its own."""
    current = store / f"run-{Path('/proc/sys/kernel/random/boot_id').read_text()[:8]}"
    for stale in store.glob("run-*"):
        if stale != current:
            shutil.rmtree(stale, ignore_errors=True)
    return current


def find_builder(store: Path) -> Builder:
    """Docker with buildx, else podman, else buildah with its images below `store`; installed when there is none of the three."""
    if answers("docker", "info") and answers("docker", "buildx", "version"):
        return Builder("docker", ("docker",), reaches_registries=True)
    if answers("podman", "info"):
        return Builder("podman", ("podman",), reaches_registries=True)
    if shutil.which("buildah") is None:
        packages.ensure(["buildah"])
    own_store = ("--root", str(store / "images"), "--runroot", str(_run_root(store)), "--storage-driver", "overlay")
    return Builder("buildah", ("buildah", *own_store), reaches_registries=False)
