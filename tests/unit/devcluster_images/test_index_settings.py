"""The machine's package index reaches a build, and only that."""

from pathlib import Path

import pytest

from devcluster.images import index_settings
from devcluster.images.index_settings import parse_pip_config, render_npmrc, render_pip_conf

LISTING = """global.index-url='https://global.example/simple'
:env:.index-url='https://user:pass@index.example/simple'
:env:.cert='/etc/ssl/certs/ca-certificates.crt'
:env:.default-timeout='180'
:env:.find-links='/opt/wheels'
"""


def test_the_environment_wins_over_files_as_in_pip() -> None:
    assert parse_pip_config(LISTING)["index-url"] == "https://user:pass@index.example/simple"


def test_only_what_reaches_an_index_is_passed_on() -> None:
    text = render_pip_conf(parse_pip_config(LISTING), has_bundle=True)
    assert text.splitlines() == [
        "[global]",
        "index-url = https://user:pass@index.example/simple",
        "timeout = 180",
        "cert = /run/secrets/ca.crt",
    ]


def test_a_machine_without_settings_gives_an_empty_section() -> None:
    assert render_pip_conf(parse_pip_config(""), has_bundle=False) == "[global]\n"


def test_the_secret_file_is_readable_by_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_settings, "pip_settings", lambda python: {"index-url": "https://user:pass@index.example/"})
    secrets = index_settings.write_build_secrets(tmp_path, "python3")
    assert secrets["pip.conf"].stat().st_mode & 0o777 == 0o600
    assert "user:pass" in secrets["pip.conf"].read_text()


def test_npm_is_told_the_registry_and_the_bundle_and_asks_nothing_else() -> None:
    lines = render_npmrc("https://npm.example/", has_bundle=True).splitlines()
    assert lines[:2] == ["registry=https://npm.example/", "cafile=/run/secrets/ca.crt"]
    assert "registry=" not in render_npmrc("", has_bundle=False)
