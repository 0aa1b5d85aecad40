from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sandbox_operator.apiserver.authn import RequestHeaderConfig, User, authenticate, common_name, config_from
from sandbox_protocol.errors import StatusError

CONFIG_MAP: dict[str, Any] = {
    "data": {
        "requestheader-client-ca-file": "-----BEGIN CERTIFICATE-----\n…",
        "requestheader-allowed-names": '["front-proxy-client"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }
}
CONFIG = config_from(CONFIG_MAP)
ANY_NAME = RequestHeaderConfig(CONFIG.client_ca, frozenset(), ("X-Remote-User",), (), (), ())


def cert(name: str) -> dict[str, Any]:
    return {"subject": ((("organizationName", "kubernetes"),), (("commonName", name),))}


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


ALICE = headers(("X-Remote-User", "alice"))


def test_a_user_comes_with_groups_uid_and_unescaped_extra() -> None:
    sent = headers(
        ("x-remote-user", "alice"),
        ("X-Remote-Group", "dev"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Uid", "42"),
        ("X-Remote-Extra-Example.com%2fScopes", "a"),
        ("X-Remote-Extra-Example.com%2fScopes", "b"),
    )
    assert authenticate(CONFIG, cert("front-proxy-client"), sent) == User(
        "alice", ("dev", "system:authenticated"), "42", (("example.com/scopes", ("a", "b")),)
    )


@pytest.mark.parametrize(
    ("config", "peer", "sent"),
    [
        pytest.param(CONFIG, None, ALICE, id="forged headers without a certificate"),
        pytest.param(CONFIG, {}, ALICE, id="forged headers with an unverified certificate"),
        pytest.param(CONFIG, cert("alice"), ALICE, id="a certificate of another name"),
        pytest.param(
            CONFIG, {"subject": ((("organizationName", "front-proxy-client"),),)}, ALICE, id="the name in another field"
        ),
        pytest.param(CONFIG, cert("front-proxy-client"), headers(), id="no user"),
        pytest.param(CONFIG, cert("front-proxy-client"), headers(("X-Remote-User", "")), id="an empty user"),
        pytest.param(CONFIG, cert("front-proxy-client"), headers(("X-Remote-Group", "system:masters")), id="only a group"),
        pytest.param(None, cert("front-proxy-client"), ALICE, id="no configuration yet"),
        pytest.param(ANY_NAME, None, ALICE, id="any name allowed, but no certificate"),
    ],
)
def test_everybody_else_is_unauthorized(
    config: RequestHeaderConfig | None, peer: dict[str, Any] | None, sent: CIMultiDictProxy[str]
) -> None:
    with pytest.raises(StatusError) as refused:
        authenticate(config, peer, sent)
    assert (refused.value.code, refused.value.reason) == (401, "Unauthorized")


def test_an_empty_list_of_names_allows_every_name_of_the_ca() -> None:
    assert authenticate(ANY_NAME, cert("whoever"), ALICE) == User("alice")


def test_header_names_come_from_the_configuration() -> None:
    config = RequestHeaderConfig("ca", frozenset(), ("X-First", "X-Second"), (), (), ())
    assert authenticate(config, cert("a"), headers(("X-Second", "bob"), ("X-Remote-User", "alice"))) == User("bob")


@pytest.mark.parametrize(
    "change",
    [
        {"requestheader-client-ca-file": ""},
        {"requestheader-client-ca-file": "no certificate"},
        {"requestheader-username-headers": "[]"},
        {"requestheader-allowed-names": '"front-proxy-client"'},
        {"requestheader-allowed-names": "[1]"},
    ],
)
def test_an_incomplete_configuration_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="requestheader"):
        config_from({"data": {**CONFIG_MAP["data"], **change}})


def test_the_common_name_is_read_only_from_a_verified_certificate() -> None:
    assert common_name(cert("x")) == "x"
    assert common_name({}) is None
    assert common_name(None) is None


@pytest.mark.parametrize("header", ["X-Remote-User", "X-Remote-Group", "X-Remote-Uid", "X-Remote-Extra-Scopes"])
def test_a_user_whose_name_is_no_text_is_nobody(header: str) -> None:
    """aiohttp gives bytes that are no UTF-8 as lone surrogates, which no JSON can carry to a review or to an agent."""
    sent = CIMultiDict({"X-Remote-User": "alice"})
    sent[header] = "a\udcff"
    with pytest.raises(StatusError, match="not UTF-8") as refused:
        authenticate(CONFIG, cert("front-proxy-client"), CIMultiDictProxy(sent))
    assert refused.value.code == 401


@pytest.mark.parametrize("header", ["X-Remote-User", "X-Remote-Uid"])
def test_two_users_in_one_request_are_nobody(header: str) -> None:
    sent = headers(("X-Remote-User", "alice"), ("X-Remote-Uid", "1"), (header, "root"))
    with pytest.raises(StatusError, match="more than one user"):
        authenticate(CONFIG, cert("front-proxy-client"), sent)
