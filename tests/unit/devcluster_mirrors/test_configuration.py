"""What the mirrors are told."""

import json
from pathlib import Path

from devcluster.mirrors import configuration
from devcluster.mirrors.installing import NPM_SOURCE
from devcluster.settings import MIRROR_ADDRESS


def test_nobody_publishes_to_the_npm_mirror_or_makes_an_account() -> None:
    told = json.loads(configuration.verdaccio(Path("/cache"), "https://registry.example/"))
    (rules,) = told["packages"].values()
    assert rules["access"] == "$all"
    assert rules["publish"] == rules["unpublish"] == "nobody"
    assert told["auth"]["htpasswd"]["max_users"] == -1
    assert [uplink["url"] for uplink in told["uplinks"].values()] == ["https://registry.example/"]


def test_proxpi_uses_the_machines_indexes_and_certificates() -> None:
    settings = {"index-url": "https://index.example/simple", "extra-index-url": "https://one.example/ https://two.example/"}
    told = configuration.proxpi_environment(Path("/cache"), settings, Path("/bundle.crt"))
    assert told["PROXPI_INDEX_URL"] == "https://index.example/simple"
    assert told["PROXPI_EXTRA_INDEX_URLS"] == "https://one.example/,https://two.example/"
    assert told["REQUESTS_CA_BUNDLE"] == "/bundle.crt"


def test_proxpi_keeps_its_own_default_where_the_machine_says_nothing() -> None:
    told = configuration.proxpi_environment(Path("/cache"), {}, None)
    assert told.keys().isdisjoint({"PROXPI_INDEX_URL", "PROXPI_EXTRA_INDEX_URLS", "REQUESTS_CA_BUNDLE"})


def test_proxpi_never_sends_a_pod_to_the_upstream() -> None:
    told = configuration.proxpi_environment(Path("/cache"), {}, None)
    assert float(told["PROXPI_DOWNLOAD_TIMEOUT"]) >= 300


def test_what_is_published_is_one_address_and_its_ports() -> None:
    told = configuration.published()
    assert told["cidr"] == f"{MIRROR_ADDRESS}/32"
    assert told["ports"] == [4873, 3141]
    assert told["npm"] == f"http://{MIRROR_ADDRESS}:4873/"
    assert told["pypi"] == f"http://{MIRROR_ADDRESS}:3141/index/"


def test_the_npm_lock_has_hashes_for_everything_and_addresses_for_nothing() -> None:
    packages = json.loads((NPM_SOURCE / "package-lock.json").read_text())["packages"]
    installed = {name: entry for name, entry in packages.items() if name}
    assert installed
    assert [name for name, entry in installed.items() if "integrity" not in entry] == []
    assert [name for name, entry in installed.items() if "resolved" in entry] == []
