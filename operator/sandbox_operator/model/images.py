"""Names of container images: read strictly, normalised as container runtimes do, and held against a template's allow-list. Pure.

The grammar is that of the distribution project's ``reference`` package, which the kubelet and containerd use, narrowed where two
spellings would name one image or one spelling two: hosts in lower case and without a closing dot, ports without leading zeros,
digests of sha256 only. Everything is compared in its canonical form, by whole path parts, never by a prefix of text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox_operator.model.template import TemplateSpec

DEFAULT_REGISTRY = "docker.io"
"""Of a name without a host, for every container runtime."""
_LEGACY_DEFAULT = "index.docker.io"

_HOST = re.compile(r"(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])(?:\.(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9]))*")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BARE_ID = re.compile(r"[0-9a-f]{64}")
# Of host and path together in the reference package, and of a DNS name.
_NAME_CHARACTERS, _HOST_CHARACTERS = 255, 253


class ImageError(ValueError):
    """Not the name of an image; the message says which part is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """``str()`` is the canonical form: one image by digest has one spelling, whatever tag stood beside the digest."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag or 'latest'}"


@dataclass(frozen=True, slots=True)
class ImagePattern:
    """``below`` means every repository under the path, or in the registry when ``repository`` is empty."""

    registry: str
    repository: str
    digest: str = ""
    below: bool = False

    def matches(self, ref: ImageRef) -> bool:
        if ref.registry != self.registry or self.digest not in ("", ref.digest):
            return False
        if self.below:
            return not self.repository or ref.repository.startswith(f"{self.repository}/")
        return ref.repository == self.repository


def parse(text: str) -> ImageRef:
    """``[host[:port]/]path[:tag][@sha256:…]``. Raises ImageError."""
    foreign = next((letter for letter in text if not "!" <= letter <= "~"), None)
    if foreign is not None:
        raise ImageError(
            f"{text[:80]!r} holds the character U+{ord(foreign):04X}: an image is named in plain ASCII without spaces"
        )
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ImageError(f"{text[:80]!r} ends with no sha256 digest: want @sha256: and 64 digits of 0-9a-f")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise ImageError(f"{text[:80]!r} has the tag {tag[:40]!r}: want letters, digits, '_', '.' and '-', at most 128")
    registry, repository = _split(f"{head}{slash}{last}")
    _check_registry(registry, text)
    for part in repository.split("/"):
        if not _PART.fullmatch(part):
            raise ImageError(
                f"{text[:80]!r} has the path part {part[:40]!r}: want a-z and 0-9, between them '.', '_', '__' or '-'"
            )
    if len(registry) + 1 + len(repository) > _NAME_CHARACTERS:
        raise ImageError(f"the name of an image has at most {_NAME_CHARACTERS} characters, {text[:40]!r}… has more")
    if not at and not colon and _BARE_ID.fullmatch(text):
        raise ImageError(f"{text!r} is the id of an image and not its name: want repository@sha256:…")
    return ImageRef(registry, repository, tag, digest)


def _split(name: str) -> tuple[str, str]:
    """Registry and repository. The first part is a host only when it cannot be the first part of a path."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = DEFAULT_REGISTRY, name
    if first == _LEGACY_DEFAULT:
        first = DEFAULT_REGISTRY
    if first == DEFAULT_REGISTRY and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _check_registry(registry: str, text: str) -> None:
    host, colon, port = registry.partition(":")
    if not _HOST.fullmatch(host) or len(host) > _HOST_CHARACTERS:
        raise ImageError(f"{text[:80]!r} names the registry {host[:60]!r}: want a DNS name or IPv4 address in lower case")
    if colon and not (_PORT.fullmatch(port) and int(port) <= 65535):
        raise ImageError(f"{text[:80]!r} names port {port[:20]!r} of its registry: want 1 to 65535")


def parse_pattern(text: str) -> ImagePattern:
    """A repository, one image by digest, or ``<registry or path>/*`` for all repositories below. Raises ImageError."""
    if text.endswith("/*"):
        # two more parts make the text before them a registry wherever it can be one
        ref = parse(f"{text[:-2]}/x/x")
        return ImagePattern(ref.registry, ref.repository.removesuffix("x/x").removesuffix("/"), below=True)
    if "*" in text:
        raise ImageError(f"{text[:80]!r}: * stands for whole path parts, and only at the end, such as registry.example/team/*")
    ref = parse(text)
    if ref.tag:
        raise ImageError(
            f"{text[:80]!r} has the tag {ref.tag!r}: name the repository, which allows its tags, or one image by digest"
        )
    return ImagePattern(ref.registry, ref.repository, ref.digest)


def canonical(text: str) -> str:
    """What a pod names; ``text`` itself when it names no image, which :func:`faults` tells."""
    try:
        return str(parse(text))
    except ImageError:
        return text


def faults(text: str, template: TemplateSpec, name: str) -> Iterator[str]:
    """Why an image may not run under the template called ``name``: no digest where one is required, not on the list."""
    try:
        ref = parse(text)
    except ImageError as error:
        yield str(error)
        return
    if not allowed(ref, template):
        listed = ", ".join(template.bounds.images) or "only its default image"
        languages = ", ".join(language.name for language in template.languages)
        more = f"; spec.language: {languages}" if languages else ""
        yield f"{text} is not allowed by template {name} ({listed}{more})"
    if template.bounds.require_digest and not ref.digest:
        yield f"{text} has no digest, and template {name} requires one (…@sha256:…)"


def allowed(ref: ImageRef, template: TemplateSpec) -> bool:
    """The template's own images and those of its languages as they are named there, and what a pattern of its bounds matches."""
    if str(ref) in {canonical(text) for _, text in _own(template)}:
        return True
    return any(parse_pattern(pattern).matches(ref) for pattern in template.bounds.images)


def template_faults(template: TemplateSpec) -> Iterator[str]:
    """What is wrong with the images of the template itself, by field."""
    for number, pattern in enumerate(template.bounds.images):
        try:
            parse_pattern(pattern)
        except ImageError as error:
            yield f"spec.bounds.images[{number}]: {error}"
    if template.bounds.signatures.keys and not template.bounds.require_digest:
        yield "spec.bounds.requireDigest: must be true with signatures, which are of digests"
    for field, text in _own(template):
        try:
            ref = parse(text)
        except ImageError as error:
            yield f"{field}: {error}"
            continue
        if template.bounds.require_digest and not ref.digest:
            yield f"{field}: {text} has no digest: name it as repository@sha256:…, or set spec.bounds.requireDigest to false"


def _own(template: TemplateSpec) -> Iterator[tuple[str, str]]:
    """Field and image of all that the template names."""
    yield "spec.agentImage", template.agent_image
    yield "spec.defaults.image", template.defaults.image
    yield from ((f"spec.languages[{number}].image", language.image) for number, language in enumerate(template.languages))
