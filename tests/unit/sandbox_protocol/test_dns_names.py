from __future__ import annotations

import pytest

from sandbox_protocol.dns_names import name_fault, namespace_fault


@pytest.mark.parametrize("name", ["shop", "a", "0", "a-b.c-d", "x" * 63, ".".join(["x" * 62] * 4)])
def test_what_kubernetes_takes_is_a_name(name: str) -> None:
    assert name_fault(name) == ""


NO_NAMES = [
    "",
    ".",
    "..",
    "a/b",
    "a%2fb",
    "A",
    "-a",
    "a-",
    "a..b",
    "a.",
    "ä",
    "a\n",
    "a b",
    "a?b",
    "a#b",
    "a\\b",
    "a,b",
    "x" * 254,
    5,
    None,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_it_does_not_take_is_none_and_told_in_one_line(name: object) -> None:
    assert name_fault(name)
    assert name_fault(name).isprintable()
    assert namespace_fault(name)


def test_a_namespace_is_one_label() -> None:
    assert namespace_fault("team-a") == ""
    assert namespace_fault("team.a")
    assert namespace_fault("x" * 64)
