from __future__ import annotations

import pytest

from sandbox_operator.kube.resources import NAMESPACES, RUNNERS, SECRETS


def test_paths_of_core_and_group_namespaced_and_not() -> None:
    assert SECRETS.path("a", "b") == "/api/v1/namespaces/a/secrets/b"
    assert SECRETS.path() == "/api/v1/secrets"
    assert NAMESPACES.path(None, "x") == "/api/v1/namespaces/x"
    assert RUNNERS.path("a", "b", "status").endswith("/namespaces/a/sandboxrunners/b/status")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a%2fb", "../secrets"])
def test_a_name_that_would_change_the_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        SECRETS.path("a", name)
    with pytest.raises(ValueError, match="not a name"):
        SECRETS.path(name, "a")


def test_odd_but_legal_names_are_encoded() -> None:
    assert SECRETS.path("a", "b?c#d e") == "/api/v1/namespaces/a/secrets/b%3Fc%23d%20e"
