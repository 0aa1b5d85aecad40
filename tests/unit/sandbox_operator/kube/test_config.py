from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
import yaml

from sandbox_operator.kube import config


def kubeconfig(path: Path, user: dict[str, object], *, server: str = "http://127.0.0.1:1", context: str = "c") -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": context,
                "clusters": [{"name": "k", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            }
        )
    )
    return path


def test_a_token_is_taken_from_the_kubeconfig(tmp_path: Path) -> None:
    made = config.load({"KUBECONFIG": str(kubeconfig(tmp_path / "c", {"token": "t"}, server="http://h:1/"))})
    assert (made.server, made.token.current(), made.tls) == ("http://h:1", "t", None)


def test_files_are_found_beside_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    made = config.load({"KUBECONFIG": str(kubeconfig(tmp_path / "c", {"tokenFile": "token"}))})
    assert made.token.current() == "from-file"


def test_the_first_file_of_several_wins(tmp_path: Path) -> None:
    first, second = kubeconfig(tmp_path / "1", {"token": "1"}), kubeconfig(tmp_path / "2", {"token": "2"})
    assert config.load({"KUBECONFIG": f"{first}:{second}"}).token.current() == "1"


@pytest.mark.parametrize("plugin", ["exec", "auth-provider"])
def test_credential_plugins_are_refused_by_name(tmp_path: Path, plugin: str) -> None:
    with pytest.raises(config.ConfigError, match=plugin):
        config.load({"KUBECONFIG": str(kubeconfig(tmp_path / "c", {plugin: {}}))})


def test_a_missing_context_says_so(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="no context 'other'"):
        config.load({"KUBECONFIG": str(kubeconfig(tmp_path / "c", {}, context="other"))})


def test_no_way_to_a_cluster_says_what_to_set() -> None:
    with pytest.raises(config.ConfigError, match="set KUBECONFIG"):
        config.load({})


def test_in_the_cluster_the_token_is_read_again_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file = tmp_path / "token"
    file.write_text("one")
    token = config.Token(file=file)
    assert token.current() == "one"
    file.write_text("two")
    assert token.current() == "one"
    now += config.TOKEN_AGE_SECONDS + 1
    assert token.current() == "two"


def test_in_the_cluster_a_missing_service_account_is_named(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="automountServiceAccountToken"):
        config.in_cluster("10.0.0.1", "443", tmp_path)


def test_pem_data_wins_over_a_file(tmp_path: Path) -> None:
    entry = {"client-key-data": base64.b64encode(b"data").decode(), "client-key": "absent"}
    assert config._pem(entry, "client-key", tmp_path) == b"data"
