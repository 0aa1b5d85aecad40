from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox_client.errors import ConfigError
from sandbox_client.kubeconfig import in_cluster, load


def config(user: Any = None, cluster: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shopping"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://host:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
        **more,
    }


def write(folder: Path, content: dict[str, Any], name: str = "config") -> Path:
    (folder / name).write_text(yaml.safe_dump(content))
    return folder / name


def test_inline_certificates_are_decoded(tmp_path: Path) -> None:
    pem = base64.b64encode(b"PEM").decode()
    user = {"client-certificate-data": pem, "client-key-data": pem}
    found = load(write(tmp_path, config(user, {"certificate-authority-data": pem})))
    assert (found.server, found.namespace) == ("https://host:6443", "shopping")
    assert (found.ca_data, found.client_cert, found.client_key) == ("PEM", "PEM", "PEM")


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    found = load(write(tmp_path, config({"tokenFile": "token"}, {"certificate-authority": "ca.crt"})))
    assert found.ca_data == "CA"
    assert found.token_file == tmp_path / "token"


def test_a_token_wins_over_a_token_file(tmp_path: Path) -> None:
    found = load(write(tmp_path, config({"token": "t", "tokenFile": "f"})))
    assert (found.token, found.token_file) == ("t", None)


def test_secrets_do_not_show_in_the_repr(tmp_path: Path) -> None:
    key = base64.b64encode(b"very-secret").decode()
    user = {"token": "very-secret", "client-key-data": key, "client-certificate-data": key.replace("x", "y")}
    assert "very-secret" not in repr(
        load(write(tmp_path, config({**user, "client-certificate-data": base64.b64encode(b"pub").decode()})))
    )


def test_an_exec_plugin_keeps_its_arguments_and_environment(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "login",
        "args": ["--cluster", "c"],
        "env": [{"name": "REGION", "value": "north"}],
        "interactiveMode": "Never",
    }
    found = load(write(tmp_path, config({"exec": plugin}))).exec_plugin
    assert found is not None
    assert (found.command, found.args, found.env) == ("login", ("--cluster", "c"), (("REGION", "north"),))


def test_the_first_of_several_files_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path, {"current-context": "one", "users": [{"name": "u", "user": {"token": "first"}}]}, "a")
    second = write(tmp_path, config({"token": "second"}), "b")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path / 'missing'}")
    assert load().token == "first"


def test_another_context_can_be_chosen(tmp_path: Path) -> None:
    content = config({"token": "t"})
    content["contexts"].append({"name": "two", "context": {"cluster": "c", "user": "u"}})
    assert load(write(tmp_path, content), context="two").namespace == "default"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (config(**{"current-context": ""}), "no current-context"),
        (config(**{"current-context": "three"}), "no context 'three'.*it has: one"),
        (config({"username": "u", "password": "p"}), "which Kubernetes removed"),
        (config({"client-certificate-data": "%%%"}), "cannot read client-certificate"),
        (config({"client-certificate": "missing.crt"}), "cannot read client-certificate"),
        (config({"exec": {"command": "x", "apiVersion": "client.authentication.k8s.io/v1alpha1"}}), "is understood"),
        (config({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}), "without command"),
        (config(clusters=[]), "no cluster 'c'"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(write(tmp_path, content))


def test_a_file_that_is_no_yaml_or_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(ConfigError, match="bad"):
        load(tmp_path / "bad")
    (tmp_path / "list").write_text("[]")
    with pytest.raises(ConfigError, match="no mapping"):
        load(tmp_path / "list")
    with pytest.raises(ConfigError, match="missing"):
        load(tmp_path / "missing")


def test_inside_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "namespace").write_text("mine\n")
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)
    assert (found.server, found.namespace, found.token_file) == ("https://[fd00::1]:443", "mine", tmp_path / "token")
