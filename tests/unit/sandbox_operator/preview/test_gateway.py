import dataclasses
import time
from collections.abc import Callable
from typing import Any

import pytest

from sandbox_operator.model import preview_keys
from sandbox_operator.model.preview_token import Claims, sign
from sandbox_operator.preview.access import Access
from sandbox_operator.preview.gateway import Gateway
from sandbox_operator.settings import Preview
from sandbox_protocol.http1 import Head, parse_request
from sandbox_protocol.http1_routing import Address, Forward, Reply
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
        self.silent = False
        self.ring = preview_keys.public(RING)
        self.reviews: list[dict[str, Any]] = []
        self.now = float(NOW)

    def get(self, namespace: str | None, name: str) -> dict[str, Any] | None:
        return self.runner if (namespace, name) == ("demo", "shop") else None

    def by_uid(self, uid: str) -> dict[str, Any] | None:
        return self.runner if self.runner is not None and self.runner["metadata"]["uid"] == uid else None

    async def ask(self, review: dict[str, Any]) -> dict[str, Any]:
        self.reviews.append(review)
        if self.silent:
            raise TimeoutError
        return {"status": {"allowed": self.allow}}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def access(cluster: Cluster) -> Access:
    return Access(cluster, lambda: cluster.revoked, lambda: cluster.ring, cluster.ask, clock=lambda: cluster.now)


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
    head = parse_request(b"GET /a?x=1 HTTP/1.1" + decision.block)
    assert list(head.all(b"cookie")) == [b"sid=1"]
    assert TOKEN.encode() not in decision.block
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
    fresh = dataclasses.replace(CLAIMS, issued=NOW, kid=RING["keys"][0]["kid"])
    assert access.void(fresh) is None


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
    assert access.lost(CLAIMS)


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
    page = decision.unavailable(request("/", "Accept: text/html"), "refused").response
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


PREFLIGHT = ("Origin: https://elsewhere.example", "Access-Control-Request-Method: PUT")


async def test_a_preflight_reaches_the_app_and_its_answer_says_nothing_but_the_rules(gateway: Gateway) -> None:
    decision = await gateway(request("/api", *PREFLIGHT, method="OPTIONS"), "192.0.2.9")
    assert isinstance(decision, Forward)
    assert decision.head_only
    assert decision.still is None
    assert decision.session is None
    told = (
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Vary", b"Origin"),
        (b"Set-Cookie", b"sid=1"),
        (b"X-Secret", b"x"),
        (b"Content-Length", b"500"),
    )
    sent = decision.rewrite(Head(told, status=200, reason=b"OK"))
    assert sent == b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nVary: Origin\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ("GET", PREFLIGHT),
        ("POST", PREFLIGHT),
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("OPTIONS", (*PREFLIGHT, "Cookie: sid=1")),
        ("OPTIONS", (*PREFLIGHT, "Authorization: Basic x")),
        ("OPTIONS", (*PREFLIGHT, "Content-Length: 1")),
        ("OPTIONS", (*PREFLIGHT, "Transfer-Encoding: chunked")),
    ],
)
async def test_nothing_but_a_preflight_passes_without_a_session(gateway: Gateway, method: str, lines: tuple[str, ...]) -> None:
    assert status(await gateway(request("/", *lines, method=method), "")) == 401


@pytest.mark.parametrize(
    "change", [{"spec": {"operatingMode": "Suspended"}}, {"metadata": {"uid": UID, "deletionTimestamp": "x"}}]
)
async def test_a_preflight_learns_nothing_of_a_runner_that_does_not_run(
    gateway: Gateway, cluster: Cluster, change: dict[str, Any]
) -> None:
    assert cluster.runner is not None
    cluster.runner |= change
    assert status(await gateway(request("/", *PREFLIGHT, method="OPTIONS"), "")) == 401
    cluster.runner = None
    assert status(await gateway(request("/", *PREFLIGHT, method="OPTIONS"), "")) == 401


async def test_a_bookmark_with_an_old_token_keeps_the_session_that_is_good(gateway: Gateway) -> None:
    old = sign(RING, dataclasses.replace(CLAIMS, expires=NOW - 1))
    decision = await gateway(request(f"/cart?sandbox_token={old}&a=1", session()), "")
    assert isinstance(decision, Reply)
    assert status(decision) == 302
    assert b"\r\nLocation: /cart?a=1\r\n" in decision.response
    assert b"Set-Cookie" not in decision.response
    assert status(await gateway(request(f"/cart?sandbox_token={old}"), "")) == 401


async def test_a_runner_that_is_being_deleted_is_gone(gateway: Gateway, cluster: Cluster) -> None:
    assert cluster.runner is not None
    cluster.runner["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status(await gateway(request("/", session()), "")) == 404


async def test_a_silent_api_server_ends_no_session_at_once_and_begins_none(gateway: Gateway, cluster: Cluster) -> None:
    cluster.silent = True
    decision = await gateway(request("/", session(), "Accept: text/html"), "")
    assert status(decision) == 503
    assert isinstance(decision, Reply)
    assert b"Retry-After: 2" in decision.response
    cluster.silent = False
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    cluster.silent = True
    cluster.now += 16
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    cluster.now += 1  # not asked for each request: one attempt in two seconds
    asked = len(cluster.reviews)
    assert isinstance(await gateway(request("/", session()), ""), Forward)
    assert len(cluster.reviews) == asked
    cluster.now = NOW + 15 + 60
    assert status(await gateway(request("/", session()), "")) == 503


async def test_a_right_that_was_refused_has_no_grace(gateway: Gateway, cluster: Cluster) -> None:
    cluster.allow = False
    assert status(await gateway(request("/", session()), "")) == 403
    cluster.silent = True
    cluster.now += 16
    assert status(await gateway(request("/", session()), "")) == 503


async def test_an_old_key_is_good_until_it_leaves_the_ring_and_then_no_more(gateway: Gateway, cluster: Cluster) -> None:
    rotated = preview_keys.rotate(RING, NOW, max_age=0)
    cluster.ring = preview_keys.public(rotated)
    decision = await gateway(request("/", session()), "")
    assert isinstance(decision, Forward)
    assert decision.still is not None
    cluster.ring = preview_keys.public({"keys": rotated["keys"][:1]})
    assert status(await gateway(request("/", session()), "")) == 401
    assert status(await gateway(request(f"/?sandbox_token={TOKEN}"), "")) == 401
    new = sign(rotated, CLAIMS)
    assert isinstance(await gateway(request("/", session(new)), ""), Forward)


def revoke(cluster: Cluster) -> None:
    cluster.revoked[UID] = str(NOW)


def suspend(cluster: Cluster) -> None:
    assert cluster.runner is not None
    cluster.runner["spec"]["operatingMode"] = "Suspended"


def delete(cluster: Cluster) -> None:
    cluster.runner = None


def retire_the_key(cluster: Cluster) -> None:
    cluster.ring = {"keys": []}


def let_the_review_age(cluster: Cluster) -> None:
    cluster.now += 15


def let_the_session_end(cluster: Cluster) -> None:
    cluster.now = NOW + 600


@pytest.mark.parametrize("change", [revoke, suspend, delete, retire_the_key, let_the_review_age, let_the_session_end])
async def test_a_remembered_decision_holds_until_something_it_depends_on_changes(
    gateway: Gateway, cluster: Cluster, access: Access, change: Callable[[Cluster], None]
) -> None:
    decision = await gateway(request("/", session()), "")
    assert isinstance(decision, Forward)
    assert decision.still is not None
    assert decision.still(b"/a")
    access.changed()
    assert decision.still(b"/a")  # asked anew, and found as it was
    change(cluster)
    access.changed()
    assert not decision.still(b"/a")


async def test_a_remembered_decision_is_none_about_a_token_in_the_url(gateway: Gateway) -> None:
    decision = await gateway(request("/", session()), "")
    assert isinstance(decision, Forward)
    assert decision.still is not None
    assert not decision.still(b"/a?sandbox_token=x")


async def test_a_runner_has_so_many_requests_at_once_and_is_told_when_no_more(gateway: Gateway) -> None:
    decision = await gateway(request("/", session()), "")
    assert isinstance(decision, Forward)
    assert decision.still is not None
    decision.load.open = 256
    assert not decision.still(b"/")
    refused = await gateway(request("/", session()), "")
    assert status(refused) == 429
    assert isinstance(refused, Reply)
    assert b"256" in refused.response
    assert b"Retry-After: 2" in refused.response


API = Refs(UID).public_host(4000, "preview.localhost")
BOTH = sign(RING, dataclasses.replace(CLAIMS, ports=(4000,), inject=("reload",)))
NAVIGATES = "Sec-Fetch-Mode: navigate"


def location(decision: Forward | Reply) -> str:
    assert isinstance(decision, Reply)
    return decision.response.partition(b"\r\nLocation: ")[2].partition(b"\r\n")[0].decode()


async def test_opening_one_port_leads_once_through_the_others_and_back_to_the_deep_link(gateway: Gateway) -> None:
    target, host, visited = f"/cart?a=1&sandbox_token={BOTH}", HOST + ":8090", []
    for _ in range(2):
        decision = await gateway(request(target, NAVIGATES, host=host), "")
        assert status(decision) == 302
        assert isinstance(decision, Reply)
        assert b"Set-Cookie: __Host-sandbox-preview=" in decision.response
        host, _, rest = location(decision).removeprefix("http://").partition("/")
        target = "/" + rest
        visited.append(host)
    assert visited == [API + ":8090", HOST + ":8090"]
    assert target == "/cart?a=1"


async def test_a_program_that_opens_a_url_is_led_nowhere_else(gateway: Gateway) -> None:
    assert location(await gateway(request(f"/cart?sandbox_token={BOTH}"), "")) == "/cart"
    assert location(await gateway(request(f"/cart?sandbox_token={TOKEN}", NAVIGATES), "")) == "/cart"


@pytest.mark.parametrize(
    ("hops", "goal"),
    [
        ("3000", "//evil.example/"),
        ("3000", "https://evil.example/"),
        ("3000", "/\\evil.example"),
        ("3000", "/%0d%0aX:%20y"),
        ("5000.3000", "/"),
        ("3000.3000", "/"),
        ("4000.3000", "/"),
        ("x", "/"),
        ("", "/"),
    ],
)
async def test_a_way_that_somebody_made_up_ends_on_our_own_hosts(gateway: Gateway, hops: str, goal: str) -> None:
    target = f"/?sandbox_token={BOTH}&sandbox_hops={hops}&sandbox_goal={goal}"
    assert location(await gateway(request(target, NAVIGATES, host=API), "")) in ("/", f"http://{HOST}:8090/")


def headers(decision: Forward | Reply) -> bytes:
    assert isinstance(decision, Reply)
    return decision.response.partition(b"\r\n\r\n")[0]


async def test_a_page_on_another_port_of_the_runner_may_read_answers_and_refusals(gateway: Gateway) -> None:
    origin = f"Origin: http://{HOST}:8090"
    allowed = f"Access-Control-Allow-Origin: http://{HOST}:8090".encode()
    assert allowed in headers(await gateway(request("/", origin, host=API), ""))
    asks = ["Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a"]
    preflight = await gateway(request("/", origin, *asks, host=API, method="OPTIONS"), "")
    assert status(preflight) == 204
    assert b"Access-Control-Allow-Methods: PUT" in headers(preflight)
    decision = await gateway(request("/", origin, session(BOTH), host=API), "")
    assert isinstance(decision, Forward)
    seen = decision.rewrite(Head(((b"Access-Control-Allow-Origin", b"http://localhost:3000"),), status=200, reason=b"OK"))
    assert seen.count(b"Access-Control-Allow-Origin") == 1
    assert allowed in seen


@pytest.mark.parametrize(
    "origin", ["http://evil.example", f"https://{HOST}:8090", f"http://{HOST}", f"http://{API}:8090", "null"]
)
async def test_no_other_page_may(gateway: Gateway, origin: str) -> None:
    assert b"Access-Control" not in headers(await gateway(request("/", f"Origin: {origin}", host=API), ""))


async def test_only_a_session_says_which_scripts_a_page_gets(gateway: Gateway) -> None:
    for token, said in ((BOTH, [b"reload"]), (TOKEN, [])):
        decision = await gateway(request("/", session(token), "X-Sandbox-Inject: other"), "")
        assert isinstance(decision, Forward)
        assert list(parse_request(b"GET / HTTP/1.1" + decision.block).all(b"x-sandbox-inject")) == said
