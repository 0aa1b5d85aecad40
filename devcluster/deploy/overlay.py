"""How the shipped manifests differ on the development cluster. Pure: objects in, objects out, nothing changed in place."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devcluster.images.signing import CONFIG_MAP as CONFIG_MAP_OF_SIGNATURES
from devcluster.settings import PREVIEW_LISTEN, PREVIEW_NODE_PORT
from sandbox_protocol.names import SYSTEM_NAMESPACE

Object = dict[str, Any]

PART_OF = (
    "app.kubernetes.io/part-of",
    "appstudio-sandbox",
)  # on every object, so that removal finds what a later version dropped
CONFIG_MAP = "sandbox-config"
PREVIEW_SERVICES = ("preview", "sandbox-preview")


class OverlayError(Exception):
    """The manifests hold something that cannot run here; the message names the object and the next step."""


@dataclass(frozen=True)
class Mirrors:
    """Package mirrors that sandboxes may reach."""

    npm: str
    pypi: str
    cidr: str
    ports: tuple[int, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What npm, pip and tools like them read. Audit and fund would ask services that no sandbox reaches.

        pnpm, yarn 1, yarn 4 and bun each have a variable of their own for npm's registry.
        """
        host = self.npm.split("/")[2].partition(":")[0]
        return {
            "NPM_CONFIG_REGISTRY": self.npm,
            "pnpm_config_registry": self.npm,
            "YARN_REGISTRY": self.npm,
            "YARN_NPM_REGISTRY_SERVER": self.npm,
            "YARN_UNSAFE_HTTP_WHITELIST": host,
            "BUN_CONFIG_REGISTRY": self.npm,
            "NPM_CONFIG_AUDIT": "false",
            "NPM_CONFIG_FUND": "false",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
            "PIP_INDEX_URL": self.pypi,
            "UV_DEFAULT_INDEX": self.pypi,
            "PIP_TRUSTED_HOST": self.pypi.split("/")[2].partition(":")[0],
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }


@dataclass(frozen=True)
class Signatures:
    """Of the images that sandboxes run, by the name that the controller looks for; the key that made them, as PEM."""

    public_key: str
    data: Mapping[str, str]


@dataclass(frozen=True)
class Language:
    """An entry of the template's spec.languages."""

    name: str
    image: str
    description: str


@dataclass(frozen=True)
class Site:
    """What this cluster decides."""

    images: Mapping[str, str]  # image name in the manifests → digest reference
    mirrors: Mirrors | None
    signatures: Signatures | None = None
    languages: Sequence[Language] = ()


def adapt(objects: Sequence[Object], site: Site) -> list[Object]:
    """The manifests for `site`. Raises `OverlayError` when an image would still have to be pulled from somewhere."""
    adapted = [_adapt_one(copy.deepcopy(item), site) for item in objects]
    if not any(item["kind"] == "ConfigMap" and item["metadata"]["name"] == CONFIG_MAP for item in adapted):
        adapted.append(_config_map())
    if site.signatures is not None:
        metadata = {"name": CONFIG_MAP_OF_SIGNATURES, "namespace": SYSTEM_NAMESPACE}
        adapted.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(site.signatures.data)})
    for item in adapted:
        item["metadata"].setdefault("labels", {})[PART_OF[0]] = PART_OF[1]
    return adapted


def _adapt_one(item: Object, site: Site) -> Object:
    kind, name = item["kind"], item["metadata"]["name"]
    if kind == "SandboxTemplate":
        _adapt_template(item["spec"], site, f"{kind} {name}")
    elif kind == "Service" and name in PREVIEW_SERVICES:
        item["spec"]["type"] = "NodePort"
        item["spec"]["ports"][0]["nodePort"] = PREVIEW_NODE_PORT
    elif kind == "ConfigMap" and name == CONFIG_MAP:
        item["data"] = {**item.get("data", {}), **_config_map()["data"]}
    for container in _containers(item):
        container["image"] = _image(container["image"], site, f"{kind} {name}")
    return item


def _adapt_template(spec: Object, site: Site, where: str) -> None:
    spec["agentImage"] = _image(spec["agentImage"], site, where)
    if site.signatures is not None:
        keys = [{"name": "development", "publicKey": site.signatures.public_key}]
        spec.setdefault("bounds", {})["signatures"] = {"keys": keys, "offline": True}
    defaults = spec["defaults"]
    defaults["image"] = _image(defaults["image"], site, where)
    if site.languages:
        spec["languages"] = [vars(language) for language in site.languages]
    if site.mirrors is not None:
        kept = [entry for entry in defaults.get("env", []) if entry["name"] not in site.mirrors.environment]
        defaults["env"] = kept + [{"name": name, "value": value} for name, value in site.mirrors.environment.items()]
        spec["egress"] = {"profile": "mirror", "mirrors": [{"cidr": site.mirrors.cidr, "ports": list(site.mirrors.ports)}]}


def _containers(item: Object) -> Iterator[Object]:
    pod = item.get("spec", {}).get("template", {}).get("spec", {}) if item["kind"] in ("Deployment", "Job", "DaemonSet") else {}
    for field in ("initContainers", "containers"):
        yield from pod.get(field, [])


def _image(image: str, site: Site, where: str) -> str:
    """By the last part of the name, whatever registry and tag the manifest has before and after it."""
    name = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    if name not in site.images:
        raise OverlayError(f"{where} names the image {image}, which is not built here; known: {', '.join(sorted(site.images))}")
    return site.images[name]


def _config_map() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": SYSTEM_NAMESPACE},
        # browsers resolve *.localhost to this machine, where the cluster's preview port is forwarded to
        "data": {"PREVIEW_BASE_DOMAIN": "preview.localhost", "PREVIEW_SCHEME": "http", "PREVIEW_PORT": str(PREVIEW_LISTEN[1])},
    }
