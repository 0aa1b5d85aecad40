"""Previews through the real gateway and the real agent, byte by byte: what a browser would hide is said and read here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox_client import blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory

APP = (Path(__file__).parent / "preview_app.py").read_text()
MB = 1 << 20


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Browser:
    """One connection to the gateway, with the session's cookie."""

    def __init__(self, host: str, port: int, cookie: str = "") -> None:
        self.host, self.port, self.cookie = host, port, cookie
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")

    def send(self, method: str, target: str, *lines: str, body: bytes = b"", version: str = "1.1") -> None:
        session = [f"Cookie: app=1; {self.cookie}"] if self.cookie else []
        head = [f"{method} {target} HTTP/{version}", f"Host: {self.host}:{self.port}", *session, *lines, "", ""]
        self.socket.sendall("\r\n".join(head).encode() + body)

    def head(self) -> Answer:
        status = int(self.file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, b"")

    def answer(self) -> Answer:
        """A whole one whose length is announced, or that ends with the connection."""
        answer = self.head()
        length = answer.headers.get("content-length")
        answer.body = self.file.read() if length is None else self.file.read(int(length))
        return answer

    def ask(self, method: str, target: str, *lines: str, body: bytes = b"", version: str = "1.1") -> Answer:
        self.send(method, target, *lines, body=body, version=version)
        return self.answer()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def ended(self) -> bool:
        """Whether the other side ends the connection within a quarter of a minute, whatever it still says."""
        self.socket.settimeout(15)
        try:
            while self.file.read1(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


@dataclass
class Site:
    sandbox: blocking.Sandbox

    @contextlib.contextmanager
    def visit(self, *, session: bool = True) -> Iterator[Browser]:
        """A new connection, with a new session of its own or with none."""
        url = urlsplit(self.sandbox.preview().url)
        browser = Browser(str(url.hostname), url.port or 80)
        try:
            if session:
                swapped = browser.ask("GET", f"/?{url.query}")
                assert swapped.status == 302
                browser.cookie = swapped.headers["set-cookie"].partition(";")[0]
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def site(make_runner: RunnerFactory) -> Site:
    sandbox = make_runner("raw", {"command": ["python3", "-u", "preview_app.py"]})
    sandbox.sync({"preview_app.py": APP})
    sandbox.wait_app()
    return Site(sandbox)


def gateway_rss(cluster: Cluster) -> dict[str, int]:
    """Bytes, by pod."""
    pods = cluster.get("pods", "--namespace", "sandbox-system", "--selector", "app.kubernetes.io/name=sandbox-preview")["items"]
    rss = {}
    for name in (pod["metadata"]["name"] for pod in pods):
        status = cluster.kubectl("exec", "--namespace", "sandbox-system", name, "--", "cat", "/proc/1/status")
        rss[name] = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return rss


def kernel_buffers(connections: int) -> int:
    """Bytes that Linux may keep for them at most, sent and not read. It grows them to that within the first megabytes, or not."""
    return connections * sum(int(Path(f"/proc/sys/net/ipv4/tcp_{side}mem").read_text().split()[2]) for side in "rw")


def test_a_slow_client_slows_a_download_of_a_gigabyte_and_the_gateway_stays_small(site: Site, cluster: Cluster) -> None:
    before = gateway_rss(cluster)
    with site.visit() as browser, site.visit() as other:
        browser.send("GET", "/big?1024")
        assert browser.head().headers["content-length"] == str(1024 * MB)
        browser.file.read(4 * MB)
        time.sleep(2)  # the client takes nothing
        sent = json.loads(other.ask("GET", "/sent").body)
        assert sent < kernel_buffers(connections=3) + 16 * MB  # the rest waits in the app
        stalled = gateway_rss(cluster)
        left = 1020 * MB
        while left:
            left -= len(browser.file.read1(min(left, MB)))
        assert browser.ask("GET", "/echo").status == 200  # the connection goes on
    after = gateway_rss(cluster)
    growth = max(seen.get(pod, 0) - rss for seen in (stalled, after) for pod, rss in before.items())
    print(f"\ngateway RSS before {before}, stalled {stalled}, after {after}")
    assert growth < 24 * MB


def test_an_upload_of_any_size_arrives_whole(site: Site) -> None:
    body = bytes(range(256)) * (64 * MB // 256)
    with site.visit() as browser:
        answer = browser.ask("PUT", "/upload", f"Content-Length: {len(body)}", body=body)
        assert json.loads(answer.body) == hashlib.sha256(body).hexdigest()


def test_an_answer_before_the_end_of_an_upload_is_not_lost_to_a_reset(site: Site) -> None:
    for _ in range(5):
        with site.visit() as browser:
            browser.send("PUT", "/early", f"Content-Length: {256 * MB}")
            with contextlib.suppress(OSError):
                for _ in range(32):
                    browser.socket.sendall(bytes(MB))
            answer = browser.answer()
            assert (answer.status, answer.body) == (413, b"too much")


def test_expect_continue_is_answered_by_the_app(site: Site) -> None:
    with site.visit() as browser:
        browser.send("PUT", "/upload", "Content-Length: 2", "Expect: 100-continue")
        assert browser.head().status == 100
        browser.socket.sendall(b"hi")
        assert json.loads(browser.answer().body) == hashlib.sha256(b"hi").hexdigest()


def test_events_arrive_while_the_stream_is_open(site: Site) -> None:
    with site.visit() as browser:
        browser.send("GET", "/events", "Accept: text/event-stream")
        assert browser.head().headers["content-type"] == "text/event-stream"
        seen = b""
        times: list[float] = []
        while len(times) < 3:
            seen += browser.file.read1(1000)
            if seen.count(b"data:") > len(times):
                times.append(time.monotonic())
        assert times[2] - times[0] > 0.2  # as they were made, not at once in the end


def test_trailers_pass(site: Site) -> None:
    with site.visit() as browser:
        browser.send("GET", "/trailers")
        assert browser.head().headers["transfer-encoding"] == "chunked"
        rest = b"".join(browser.file.readline() for _ in range(5))
        assert rest == b"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"


def test_a_range_is_the_app_s_own(site: Site) -> None:
    with site.visit() as browser:
        answer = browser.ask("GET", "/range", "Range: bytes=2-4")
        assert (answer.status, answer.headers["content-range"], answer.body) == (206, "bytes 2-4/10", b"234")


def test_head_announces_a_length_and_sends_nothing(site: Site) -> None:
    with site.visit() as browser:
        browser.send("HEAD", "/range")
        assert browser.head().headers["content-length"] == "10"
        assert browser.ask("GET", "/range").body == b"0123456789"


def test_a_redirect_to_localhost_leads_back_to_the_preview(site: Site) -> None:
    with site.visit() as browser:
        assert browser.ask("GET", "/redirect").headers["location"] == "/there?x=1"


@pytest.mark.parametrize(("version", "lines"), [("1.0", ()), ("1.1", ("Connection: close",))])
def test_a_client_that_asks_once_is_answered_and_let_go(site: Site, version: str, lines: tuple[str, ...]) -> None:
    with site.visit() as browser:
        browser.send("GET", "/echo", *lines, version=version)
        answer = browser.head()
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert json.loads(browser.file.read())["target"] == "/echo"


def test_the_app_sees_its_own_cookies_a_local_origin_and_none_of_our_secrets(site: Site) -> None:
    with site.visit() as browser:
        public = f"http://{browser.host}:{browser.port}"
        seen = json.loads(browser.ask("POST", "/echo", f"Origin: {public}", f"Referer: {public}/form", "Content-Length: 0").body)
        headers = {name.lower(): value for name, value in seen["headers"]}
        assert headers["cookie"] == "app=1"
        assert headers["origin"] == f"http://{headers['host']}"
        assert headers["referer"] == f"http://{headers['host']}/form"
        assert browser.cookie.partition("=")[2] not in json.dumps(seen)
        first, second = (json.loads(browser.ask("GET", "/echo").body)["headers"] for _ in range(2))
        ids = [dict(headers)["X-Request-Id"] for headers in (first, second)]
        assert len(set(ids)) == 2


def test_a_preflight_needs_no_session_and_shows_nothing_else(site: Site) -> None:
    with site.visit(session=False) as browser:
        asked = ("Origin: https://elsewhere.example", "Access-Control-Request-Method: PUT")
        answer = browser.ask("OPTIONS", "/api", *asked)
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["access-control-allow-origin"] == "https://elsewhere.example"
        assert "x-secret" not in answer.headers
        assert browser.ask("OPTIONS", "/api").status == 401
        assert browser.ask("GET", "/api", *asked).status == 401


def test_a_websocket_and_a_stream_end_when_the_preview_is_revoked(site: Site) -> None:
    with site.visit() as upgraded, site.visit() as streaming, site.visit() as idle:
        upgraded.send("GET", "/ws", "Connection: Upgrade", "Upgrade: echo")
        assert upgraded.head().status == 101
        upgraded.socket.sendall(b"hello")
        assert upgraded.file.read(5) == b"HELLO"
        streaming.send("GET", "/events")
        assert streaming.head().status == 200
        site.sandbox.revoke_previews()
        assert upgraded.ended()
        assert streaming.ended()
        assert idle.ask("GET", "/echo").status == 401


def test_a_lost_right_ends_a_websocket(site: Site, cluster: Cluster, namespace: str) -> None:
    account = cluster.user(namespace, "passing", "edit")
    with blocking.Client(account) as passing, Site(passing.sandbox(site.sandbox.name)).visit() as browser:
        browser.send("GET", "/ws", "Connection: Upgrade", "Upgrade: echo")
        assert browser.head().status == 101
        cluster.kubectl("delete", "rolebinding", "passing", "--namespace", namespace)
        browser.socket.settimeout(40)
        assert browser.file.read1(1) == b""


def test_a_burst_of_small_requests_is_answered_in_order(site: Site) -> None:
    with site.visit() as browser:
        for number in range(300):
            browser.send("GET", f"/echo?{number}")
        for number in range(300):
            assert json.loads(browser.answer().body)["target"] == f"/echo?{number}"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /echo HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"GET /echo HTTP/1.1\nHost: %s\n%s\n\n\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: %s\r\n%s\r\nX : y\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: %s\r\n%s\r\n folded\r\n\r\n",
        b"GET http://other/ HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n",
    ],
)
def test_what_two_readers_could_read_differently_never_reaches_the_app(site: Site, sent: bytes) -> None:
    with site.visit() as browser:
        browser.socket.sendall(sent % (browser.host.encode(), b"Cookie: " + browser.cookie.encode()))
        assert browser.head().status == 400
        assert browser.ended()


def test_a_deleted_runner_s_preview_is_gone_while_it_is_being_deleted(make_runner: RunnerFactory) -> None:
    sandbox = make_runner("leaving")
    sandbox.sync({"index.html": "x"})
    sandbox.wait_app()
    with Site(sandbox).visit() as browser:
        assert browser.ask("GET", "/index.html").status == 200
        sandbox.delete()
        deadline = time.monotonic() + 5
        while (answer := browser.ask("GET", "/index.html")).status != 404 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer.status == 404
