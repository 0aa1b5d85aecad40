import dataclasses
import time
from typing import Any

import pytest

from sandbox_operator.model import preview_keys
from sandbox_operator.model.preview_token import Claims, sign
from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.settings import Preview
from sandbox_protocol.http1 import Head, parse_request
from sandbox_protocol.http1_proxy import Address, Forward, Reply
from sandbox_protocol.refs import Refs

UID = "6f1c1c0e-8a3f-4f57-9d9c-0b8a52f0d3aa"
HOST = Refs(UID).public_host(3000, "preview.localhost")
NOW = int(time.time())
RING = preview_keys.new_ring(NOW)
CLAIMS = Claims(HOST, "alice", ("team",), UID, "demo", "shop", 3000, "j", NOW - 10, NOW + 600)
TOKEN = sign(RING, CLAIMS)


class Cluster:
    """What the gateway knows, to be changed by a test."""

    def __init__(self) -> None:
        self.runner: dict[str, Any] | None = {"metadata": {"uid": UID, "namespace": "demo", "name": "shop"}, "spec": {}}
        self.revoked: dict[str, str] = {}
        self.allow = True
        self.reviews: list[dict[str, Any]] = []
        self.now = float(NOW)

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self.runner if (namespace, name) == ("demo", "shop") else None

    async def ask(self, review: dict[str, Any]) -> dict[str, Any]:
        self.reviews.append(review)
        return {"status": {"allowed": self.allow}}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def access(cluster: Cluster) -> Access:
    return Access(cluster, lambda: cluster.revoked, lambda: preview_keys.public(RING), cluster.ask, clock=lambda: cluster.now)


@pytest.fixture
def gateway(access: Access) -> Gateway:
    async def resolve(host: str) -> Address:
        assert host == f"preview.sandbox-{UID}.svc"
        return "192.0.2.1", 80

    return Gateway(access, Preview("preview.localhost", "http", 8090), resolve)


def request(target: str = "/", *lines: str, host: str = HOST + ":8090", method: str = "GET") -> Head:
    return parse_request("\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1"))


def session(token: str = TOKEN) -> str:
    return f"Cookie: __Host-sandbox-preview={token}"


def status(decision: Forward | Reply) -> int:
    assert isinstance(decision, Reply)
    return int(decision.response[9:12])


async def test_a_signed_url_becomes_a_cookie_and_the_deep_link_stays(gateway: Gateway) -> None:
    decision = await gateway(request(f"/cart?a=1&sandbox_token={TOKEN}&b=2"), "198.51.100.7")
    assert isinstance(decision, Reply)
    assert status(decision) == 302
    assert b"\r\nLocation: /cart?a=1&b=2\r\n" in decision.response
    assert b"Set-Cookie: __Host-sandbox-preview=" in decision.response


async def test_a_session_reaches_its_runner_and_leaves_no_trace_of_itself(gateway: Gateway) -> None:
    spoofed = ["X-Forwarded-For: 10.0.0.1", "X-Sandbox-Port: 7070", "X-Remote-User: admin", "Forwarded: for=1"]
    decision = await gateway(request("/a?x=1", "Cookie: sid=1", session(), *spoofed, "Authorization: Basic app"), "198.51.100.7")
    assert isinstance(decision, Forward)
    assert decision.address == ("192.0.2.1", 80)
    head = parse_request(decision.head)
    assert head.target == b"/a?x=1"
    assert list(head.all(b"cookie")) == [b"sid=1"]
    assert TOKEN.encode() not in decision.head
    assert list(head.all(b"x-sandbox-port")) == [b"3000"]
    assert list(head.all(b"x-forwarded-for")) == [b"198.51.100.7"]
    assert head.get(b"x-forwarded-host") == (HOST + ":8090").encode()
    assert head.get(b"x-remote-user") is None
    assert head.get(b"forwarded") is None
    assert head.get(b"authorization") == b"Basic app"


@pytest.mark.parametrize("host", ["preview.localhost", "evil.example", "3000-abc.preview.localhost", "localhost"])
async def test_other_hosts_are_nothing(gateway: Gateway, host: str) -> None:
    assert status(await gateway(request("/", session(), host=host), "")) == 404


@pytest.mark.parametrize("lines", [[], ["Cookie: a=1"], [session("x")], [session(TOKEN[:-8] + "AAAAAAAA")]])
async def test_without_a_session_there_is_nothing_to_see(gateway: Gateway, lines: list[str]) -> None:
    assert status(await gateway(request("/", *lines), "")) == 401


async def test_a_session_of_one_port_opens_no_other(gateway: Gateway) -> None:
    other = Refs(UID).public_host(8000, "preview.localhost")
    assert status(await gateway(request("/", session(), host=other), "")) == 401


async def test_an_expired_session_is_over(gateway: Gateway, cluster: Cluster) -> None:
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    cluster.now = NOW + 600
    assert status(await gateway(request("/", session()), "")) == 401


async def test_revocation_works_at_once(gateway: Gateway, cluster: Cluster, access: Access) -> None:
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    cluster.revoked[UID] = str(NOW)
    assert status(await gateway(request("/", session()), "")) == 401
    assert status(await gateway(request(f"/?sandbox_token={TOKEN}"), "")) == 401
    assert access.void(CLAIMS) == "revoked"
    assert access.void(dataclasses.replace(CLAIMS, issued=NOW)) is None


@pytest.mark.parametrize("entry", ["soon", "", "-1", "1e3"])
async def test_an_unreadable_revocation_counts_as_one(gateway: Gateway, cluster: Cluster, entry: str) -> None:
    cluster.revoked[UID] = entry
    assert status(await gateway(request("/", session()), "")) == 401


async def test_the_right_is_the_users_and_is_asked_again(gateway: Gateway, cluster: Cluster, access: Access) -> None:
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    [review] = cluster.reviews
    assert review["spec"] == {
        "user": "alice",
        "groups": ["team"],
        "resourceAttributes": {
            "verb": "create",
            "group": "subresources.infrastructure.appstudio.dev",
            "version": "v1alpha1",
            "resource": "sandboxrunners",
            "subresource": "preview",
            "namespace": "demo",
            "name": "shop",
        },
    }
    cluster.allow = False
    cluster.now += 16
    assert status(await gateway(request("/", session()), "")) == 403
    assert access.denied(CLAIMS)


async def test_a_recreated_runner_is_another_one(gateway: Gateway, cluster: Cluster) -> None:
    cluster.runner = {"metadata": {"uid": "00000000-0000-4000-8000-000000000000", "namespace": "demo", "name": "shop"}}
    assert status(await gateway(request("/", session()), "")) == 404


async def test_a_suspended_runner_says_so(gateway: Gateway, cluster: Cluster) -> None:
    assert cluster.runner is not None
    cluster.runner["spec"]["operatingMode"] = "Suspended"
    decision = await gateway(request("/", session(), "Accept: text/html"), "")
    assert status(decision) == 503
    assert isinstance(decision, Reply)
    assert b"suspended" in decision.response


async def test_a_runner_that_does_not_answer_says_why_in_escaped_words(gateway: Gateway, cluster: Cluster) -> None:
    assert cluster.runner is not None
    ready = {"type": "Ready", "status": "False", "reason": "ImagePullBackOff", "message": "<script>alert(1)</script>"}
    cluster.runner["status"] = {"conditions": [ready]}
    decision = await gateway(request("/", session(), "Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable("refused").response
    assert b"ImagePullBackOff" in page
    assert b"<script>" not in page
    assert b'http-equiv="refresh"' in page


async def test_the_token_is_swapped_on_get_only(gateway: Gateway) -> None:
    assert status(await gateway(request(f"/?sandbox_token={TOKEN}", method="POST"), "")) == 405


async def test_the_apps_answer_cannot_touch_our_cookie(gateway: Gateway) -> None:
    decision = await gateway(request("/", session()), "")
    assert isinstance(decision, Forward)
    cookies = (
        (b"Set-Cookie", b"__Host-sandbox-preview=x; Path=/"),
        (b"Set-Cookie", b"sid=2; HttpOnly"),
        (b"Content-Length", b"0"),
    )
    sent = decision.rewrite(Head(cookies, status=200, reason=b"OK"))
    assert b"__Host-sandbox-preview" not in sent
    assert b"Set-Cookie: sid=2; HttpOnly" in sent
