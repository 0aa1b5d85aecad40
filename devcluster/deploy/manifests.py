"""The shipped manifests, rendered by kubectl's kustomize and adapted to this cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from devcluster.deploy.overlay import Language, Mirrors, Object, Signatures, Site, adapt
from devcluster.images.building import images_cache
from devcluster.images.definition import LANGUAGES, OPERATOR, RUNNER
from devcluster.images.loading import read_references
from devcluster.images.signing import public_pem, signature, signing_key
from devcluster.kubectl import kubectl
from devcluster.mirrors.serving import read_published
from devcluster.settings import REPOSITORY, State

FOLDERS = ("crds", "deploy/base", "templates", "deploy/gvisor", "deploy/creators")
# What the operator's kinds become known by, and the namespace of all others, come before; a template is checked against its CRD.
_FIRST = ("CustomResourceDefinition", "Namespace")
_LAST = ("SandboxTemplate",)


def site(state: State) -> Site:
    """Images that are loaded, those of languages too, signatures of those that sandboxes run, and mirrors that run."""
    references = read_references(state)
    images = {f"sandbox-{image.name}": references[image.name] for image in (OPERATOR, RUNNER) if image.name in references}
    published: dict[str, Any] | None = read_published(state)
    mirrors = Mirrors(published["npm"], published["pypi"], published["cidr"], tuple(published["ports"])) if published else None
    key = signing_key(images_cache() / "signing.pem")
    languages = [
        Language(image.name, references[image.name], image.description) for image in LANGUAGES if image.name in references
    ]
    run = [images[f"sandbox-{RUNNER.name}"]] if f"sandbox-{RUNNER.name}" in images else []
    signed = dict(signature(key, reference) for reference in [*run, *(language.image for language in languages)])
    return Site(images, mirrors, Signatures(public_pem(key), signed), languages)


def render(state: State) -> list[Object]:
    """Objects as shipped, each once, in an order in which they can be applied."""
    found: dict[tuple[str, str, str], Object] = {}
    for folder in FOLDERS:
        for item in yaml.safe_load_all(kubectl(state, "kustomize", str(Path(REPOSITORY) / folder))):
            if item:
                found.setdefault((item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]), item)
    return sorted(found.values(), key=lambda item: phase(item["kind"]))


def phase(kind: str) -> int:
    """0 before 1 before 2."""
    return 0 if kind in _FIRST else 2 if kind in _LAST else 1


def mounted_from_elsewhere(objects: Sequence[Object], deployment: Object) -> list[tuple[str, str]]:
    """Kind and name of what a Deployment mounts and the manifests do not hold: made by a running part of the operator.

    A pod that starts before it exists is retried with a back-off of up to two minutes, so whoever applies waits first.
    """
    shipped = {(item["kind"], item["metadata"]["name"]) for item in objects}
    found = set()
    for volume in deployment["spec"]["template"]["spec"].get("volumes", []):
        for source in [volume, *volume.get("projected", {}).get("sources", [])]:
            secret, config = source.get("secret"), source.get("configMap")
            if secret and not secret.get("optional"):
                found.add(("Secret", secret.get("secretName") or secret["name"]))
            if config and not config.get("optional"):
                found.add(("ConfigMap", config["name"]))
    return sorted(found - shipped)


def adapted(state: State) -> list[Object]:
    """What this cluster gets."""
    return adapt(render(state), site(state))


def dump(objects: list[Object]) -> str:
    """One YAML stream for kubectl."""
    return yaml.safe_dump_all(objects, sort_keys=False)
