import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from sandbox_operator.apiserver import headers


def proxy(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "cookie",
        "X-Remote-User",
        "x-remote-extra-scopes",
        "Impersonate-User",
        "Impersonate-Extra-x",
        "X-Sandbox-Port",
        "X-Forwarded-For",
        "Forwarded",
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Authorization",
        "Host",
        "Content-Length",
        "Audit-ID",
    ],
)
def test_nothing_that_carries_a_right_or_belongs_to_one_hop_reaches_the_app(name: str) -> None:
    assert name not in headers.to_app(proxy((name, "x"), ("Accept", "*/*")))


def test_other_headers_reach_the_app_as_often_as_they_were_sent() -> None:
    sent = headers.to_app(proxy(("X-A", "1"), ("X-A", "2"), ("Range", "bytes=0-1")))
    assert sent.getall("X-A") == ["1", "2"]
    assert sent["Range"] == "bytes=0-1"


def test_headers_named_in_connection_stay_on_their_hop() -> None:
    assert list(headers.to_app(proxy(("Connection", "close, X-Once"), ("X-Once", "1"), ("X-Twice", "2")))) == ["X-Twice"]


@pytest.mark.parametrize(
    "name", ["Set-Cookie", "WWW-Authenticate", "Access-Control-Allow-Origin", "Strict-Transport-Security", "Alt-Svc"]
)
def test_the_app_gets_no_right_on_the_api_servers_origin(name: str) -> None:
    assert name not in headers.from_app(proxy((name, "x")))


def test_the_apps_pages_are_sandboxed_whatever_it_says() -> None:
    kept = headers.from_app(
        proxy(("content-security-policy", "default-src *"), ("X-Content-Type-Options", "sniff"), ("ETag", "1"))
    )
    assert kept.getall("Content-Security-Policy") == ["sandbox"]
    assert kept.getall("X-Content-Type-Options") == ["nosniff"]
    assert kept["ETag"] == "1"


def test_only_listed_headers_pass_and_each_once() -> None:
    kept = headers.only(proxy(("etag", "1"), ("ETag", "2"), ("Set-Cookie", "x"), ("Server", "y")), headers.AGENT_RESPONSE)
    assert list(kept.items()) == [("ETag", "1")]
