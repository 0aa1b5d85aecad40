import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_operator.apiserver.target import PREFIX, Target, parse
from sandbox_protocol.errors import StatusError


def test_a_verb_of_a_runner_is_found_in_the_path() -> None:
    assert parse(f"{PREFIX}/namespaces/team/sandboxrunners/shop/sync") == Target("team", "shop", "sync")


def test_what_follows_the_verb_stays_as_it_was_sent() -> None:
    path = f"{PREFIX}/namespaces/team/sandboxrunners/shop.v1/proxy/a%2Fb//../c"
    assert parse(path) == Target("team", "shop.v1", "proxy", "/a%2Fb//../c")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        PREFIX,
        f"{PREFIX}/namespaces/team/sandboxrunners/shop",
        f"{PREFIX}/namespaces/team/sandboxrunners",
        f"{PREFIX}/namespaces/team/pods/shop/log",
        f"{PREFIX}/sandboxrunners/shop/log/a/b",
        f"/apis/other/v1/namespaces/team/sandboxrunners/shop/log{PREFIX}",
        f"http://host{PREFIX}/namespaces/team/sandboxrunners/shop/log",
        f"/{PREFIX}/namespaces/team/sandboxrunners/shop/log",
        f"{PREFIX}/namespaces/../sandboxrunners/shop/log",
        f"{PREFIX}/namespaces/%2e%2e/sandboxrunners/shop/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/..%2f..%2fsecrets/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop%2Flog/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop%00/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop%3Fx/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop%0a/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop%252f/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/Shop/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/sh\u00f6p/log",
        f"{PREFIX}/namespaces/team/sandboxrunners//log",
        f"{PREFIX}/namespaces//sandboxrunners/shop/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/shop/",
        f"{PREFIX}/namespaces/{'a' * 64}/sandboxrunners/shop/log",
        f"{PREFIX}/namespaces/team/sandboxrunners/{'a' * 254}/log",
    ],
)
def test_a_path_that_names_no_verb_of_a_runner_is_not_found(path: str) -> None:
    with pytest.raises(StatusError) as refused:
        parse(path)
    assert refused.value.code == 404


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=40))
def test_no_segment_can_become_two_or_leave_the_alphabet_of_dns(namespace: str, name: str, verb: str) -> None:
    try:
        found = parse(f"{PREFIX}/namespaces/{namespace}/sandboxrunners/{name}/{verb}")
    except StatusError:
        return
    for segment in (found.namespace, found.name, found.verb):
        assert set(segment) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert segment not in {".", ".."}
        assert segment.isascii()
