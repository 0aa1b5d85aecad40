"""The software bill of materials of an image, in CycloneDX: what its layers hold, held against what the locks allow. Pure."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from devcluster.images.contents import Contents

# Debian 12, the base of both images; markers of the locks are read for it.
_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.2", "implementation_name": "cpython"}
_PLATFORM = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class UnlockedPackageError(Exception):
    """The image holds a Python package that no lock names; the message says which."""


@dataclass(frozen=True)
class Locked:
    """A line of a lock that applies to the image's platform."""

    name: str
    version: str
    lock: str


def locked(lock: str, text: str, architecture: str) -> Iterator[Locked]:
    """Of a lock as uv writes it: `name==version ; marker` and continued lines with hashes."""
    platform = {**_PYTHON, **_PLATFORM, "platform_machine": _MACHINES.get(architecture, architecture)}
    for line in text.replace("\\\n", " ").splitlines():
        stated = line.partition("#")[0].partition("--hash")[0].strip()
        if not stated:
            continue
        requirement = Requirement(stated)
        if requirement.marker is None or requirement.marker.evaluate(platform):
            (pin,) = requirement.specifier
            yield Locked(canonicalize_name(requirement.name), pin.version, lock)


def bill(name: str, contents: Contents, allowed: Iterable[Locked]) -> str:
    """JSON. Raises UnlockedPackageError. The same image has the same bill, byte for byte.

    What a lock names without metadata in the image is listed too: Node's wheel is taken apart when it is installed.
    """
    pins = {(entry.name, entry.version): entry for entry in allowed}
    unlocked = [f"{p.name} {p.version}" for p in contents.python if (canonicalize_name(p.name), p.version) not in pins]
    if unlocked:
        raise UnlockedPackageError(f"{name} holds {', '.join(unlocked)}, which no lock in requirements/ names")
    parts = [*(_python(entry) for entry in pins.values()), *_debian(contents), *_go(contents)]
    made = Bom(components=parts, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{name}@{contents.digest}"))
    made.metadata.timestamp = datetime.fromisoformat(contents.created[:19] + "+00:00")
    image = Component(
        name=name,
        version=contents.digest,
        type=ComponentType.CONTAINER,
        bom_ref=f"{name}@{contents.digest}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=contents.digest.partition(":")[2])],
    )
    made.metadata.component = image
    made.register_dependency(image, parts)
    return str(JsonV1Dot6(made).output_as_string(indent=1)) + "\n"


def _python(entry: Locked) -> Component:
    return _component(PackageURL("pypi", None, entry.name, entry.version), {"lock": entry.lock})


def _debian(contents: Contents) -> Iterator[Component]:
    namespace = contents.distribution.partition("-")[0]
    for package in contents.debian:
        qualifiers = {"arch": package.architecture, "distro": contents.distribution}
        yield _component(PackageURL("deb", namespace, package.name, package.version, qualifiers), {})


def _go(contents: Contents) -> Iterator[Component]:
    if contents.go:
        yield _component(PackageURL("golang", None, "std", contents.go), {})


def _component(purl: PackageURL, properties: Mapping[str, str]) -> Component:
    return Component(
        name=purl.name,
        version=purl.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=purl.to_string(),
        properties=[Property(name=f"appstudio-sandbox:{name}", value=value) for name, value in properties.items()],
    )
