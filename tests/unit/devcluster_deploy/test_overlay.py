"""How the shipped manifests differ on the development cluster."""

import copy
from typing import Any

import pytest

from devcluster.deploy.overlay import CONFIG_MAP, Language, Mirrors, OverlayError, Signatures, Site, adapt

OPERATOR, RUNNER = "localhost/sandbox-operator@sha256:aa", "localhost/sandbox-runner@sha256:bb"
MIRRORS = Mirrors("http://203.0.113.20:4873/", "http://203.0.113.20:3141/index/", "203.0.113.20/32", (4873, 3141))
SITE = Site({"sandbox-operator": OPERATOR, "sandbox-runner": RUNNER}, MIRRORS)


def deployment(image: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": image}], "initContainers": [{"name": "i", "image": image}]}
    return {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}}


def template() -> dict[str, Any]:
    defaults = {
        "image": "sandbox-runner",
        "env": [{"name": "HOME", "value": "/home/sandbox"}, {"name": "PIP_INDEX_URL", "value": "x"}],
    }
    spec = {"agentImage": "sandbox-runner", "defaults": defaults, "egress": {"profile": "none"}}
    return {"kind": "SandboxTemplate", "metadata": {"name": "sandbox-runner"}, "spec": spec}


def adapted(item: dict[str, Any], site: Site = SITE) -> dict[str, Any]:
    return adapt([item], site)[0]


@pytest.mark.parametrize(
    "image", ["sandbox-operator", "localhost/sandbox-operator:dev", "registry.example:5000/x/sandbox-operator@sha256:cc"]
)
def test_every_image_becomes_the_loaded_digest(image: str) -> None:
    pod = adapted(deployment(image))["spec"]["template"]["spec"]
    assert [container["image"] for container in pod["containers"] + pod["initContainers"]] == [OPERATOR, OPERATOR]


def test_an_image_that_is_not_built_here_is_named() -> None:
    with pytest.raises(OverlayError, match="Deployment d names the image busybox"):
        adapt([deployment("busybox")], SITE)


def test_the_template_gets_images_mirrors_and_what_package_managers_read() -> None:
    spec = adapted(template())["spec"]
    assert spec["agentImage"] == spec["defaults"]["image"] == RUNNER
    assert spec["egress"] == {"profile": "mirror", "mirrors": [{"cidr": "203.0.113.20/32", "ports": [4873, 3141]}]}
    environment = {entry["name"]: entry["value"] for entry in spec["defaults"]["env"]}
    assert environment["HOME"] == "/home/sandbox"
    assert environment["NPM_CONFIG_REGISTRY"] == MIRRORS.npm
    assert environment["PIP_INDEX_URL"] == MIRRORS.pypi
    assert environment["PIP_TRUSTED_HOST"] == "203.0.113.20"
    assert len(environment) == len(spec["defaults"]["env"]), "names of env entries are unique"


def test_the_template_asks_for_signatures_by_the_key_that_made_those_in_the_config_map() -> None:
    signed = Signatures("-----BEGIN PUBLIC KEY-----", {"sha256-bb.sig": "line"})
    made = {item["metadata"]["name"]: item for item in adapt([template()], Site(SITE.images, None, signed))}
    keys = [{"name": "development", "publicKey": "-----BEGIN PUBLIC KEY-----"}]
    assert made["sandbox-runner"]["spec"]["bounds"]["signatures"] == {"keys": keys, "offline": True}
    assert made["image-signatures"]["data"] == {"sha256-bb.sig": "line"}
    assert made["image-signatures"]["metadata"]["namespace"] == "sandbox-system"
    assert "bounds" not in adapted(template())["spec"]


def test_the_template_offers_the_images_of_languages_that_are_loaded() -> None:
    go = Language("go", "localhost/sandbox-go@sha256:cc", "Go.")
    assert adapted(template(), Site(SITE.images, None, None, [go]))["spec"]["languages"] == [
        {"name": "go", "image": "localhost/sandbox-go@sha256:cc", "description": "Go."}
    ]
    assert "languages" not in adapted(template())["spec"]


def test_without_mirrors_the_template_keeps_its_egress_and_environment() -> None:
    before = template()["spec"]
    spec = adapted(template(), Site(SITE.images, None))["spec"]
    assert (spec["egress"], spec["defaults"]["env"]) == (before["egress"], before["defaults"]["env"])


def test_the_preview_service_is_opened_on_the_node() -> None:
    service = {"kind": "Service", "metadata": {"name": "preview"}, "spec": {"ports": [{"port": 80}]}}
    assert adapted(service)["spec"] == {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30090}]}


def test_the_configuration_is_made_when_absent_and_completed_when_there() -> None:
    (made,) = (item for item in adapt([], SITE) if item["metadata"]["name"] == CONFIG_MAP)
    assert made["data"] == {"PREVIEW_BASE_DOMAIN": "preview.localhost", "PREVIEW_SCHEME": "http", "PREVIEW_PORT": "8090"}
    shipped = {"kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": {"PREVIEW_SCHEME": "https", "OTHER": "kept"}}
    (completed,) = adapt([shipped], SITE)
    assert completed["data"] == {**made["data"], "OTHER": "kept"}


def test_everything_is_labelled_so_that_removal_finds_it() -> None:
    for item in adapt([template(), deployment("sandbox-operator")], SITE):
        assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "appstudio-sandbox"


def test_the_objects_given_are_left_as_they_were() -> None:
    given = [template(), deployment("sandbox-operator")]
    before = copy.deepcopy(given)
    adapt(given, SITE)
    assert given == before
