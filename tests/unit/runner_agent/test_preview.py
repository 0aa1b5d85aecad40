from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner_agent.activity import Activity
from runner_agent.logs import LogBook
from runner_agent.preview import Preview, rewritten
from runner_agent.process import Supervisor
from runner_agent.settings import Settings
from sandbox_protocol.http1 import Head, parse_request
from sandbox_protocol.http1_proxy import Forward, Reply

HOST = "3000-abc.preview.localhost:8090"


@dataclass
class Workspace:
    revision: str | None = None


@dataclass
class Scene:
    preview: Preview
    logbook: LogBook = field(default_factory=LogBook)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    settings, logbook = Settings(data=tmp_path), LogBook()
    return Scene(Preview(settings, Supervisor(settings, Workspace(), logbook), logbook, Activity()), logbook)


def request(*lines: str) -> Head:
    return parse_request("\r\n".join(["GET /a?b HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode())


def test_the_app_sees_localhost_and_who_was_asked_for() -> None:
    head = parse_request(rewritten(request("X-Sandbox-Port: 3000", f"Origin: http://{HOST}"), 3000))
    assert head.get(b"host") == b"localhost:3000"
    assert head.get(b"origin") == b"http://localhost:3000"
    assert head.get(b"x-forwarded-host") == HOST.encode()
    assert head.get(b"x-sandbox-port") is None


def test_a_foreign_origin_stays_foreign() -> None:
    head = parse_request(rewritten(request("Origin: https://evil.example"), 3000))
    assert head.get(b"origin") == b"https://evil.example"


def test_an_upgrade_is_asked_of_the_app_as_well() -> None:
    head = parse_request(
        rewritten(request("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k"), 3000)
    )
    assert head.upgrade == b"websocket"
    assert head.get(b"sec-websocket-key") == b"k"


@pytest.mark.parametrize(
    ("port", "code"), [("7070", 403), ("7071", 403), ("7080", 403), ("80", 400), ("0", 400), ("65536", 400), ("x", 400)]
)
async def test_ports_that_are_not_the_apps_are_refused(scene: Scene, port: str, code: int) -> None:
    decision = await scene.preview(request(f"X-Sandbox-Port: {port}"), "")
    assert isinstance(decision, Reply)
    assert decision.response.startswith(b"HTTP/1.1 %d" % code)


async def test_two_ports_are_refused(scene: Scene) -> None:
    decision = await scene.preview(request("X-Sandbox-Port: 8000", "X-Sandbox-Port: 9000"), "")
    assert isinstance(decision, Reply)
    assert decision.response.startswith(b"HTTP/1.1 400")


async def test_the_waiting_page_stays_small_whatever_the_app_prints(scene: Scene) -> None:
    scene.logbook.write("stdout", (b"<" * 500 + b"\n") * 20 + b"the last line\n")
    decision = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable("refused").response.partition(b"\r\n\r\n")[2]
    assert len(page) <= 4096
    assert b"the last line" in page


async def test_another_port_of_the_app_is_reached(scene: Scene) -> None:
    decision = await scene.preview(request("X-Sandbox-Port: 8000"), "")
    assert isinstance(decision, Forward)
    assert decision.address == ("127.0.0.1", 8000)


async def test_the_waiting_page_says_why_with_the_last_lines_escaped(scene: Scene) -> None:
    scene.logbook.write("stderr", b"<script>boom</script>\n")
    decision = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable("refused").response
    assert page.startswith(b"HTTP/1.1 503")
    assert b"Waiting for the first files" in page
    assert b"&lt;script&gt;boom" in page
    assert b"<script>" not in page
    assert b'http-equiv="refresh"' in page
    assert len(page) < 4096


async def test_a_program_gets_a_status_instead_of_a_page(scene: Scene) -> None:
    decision = await scene.preview(request("Accept: */*"), "")
    assert isinstance(decision, Forward)
    answer = decision.unavailable("refused").response
    assert b'"kind": "Status"' in answer
    assert b"Retry-After: 1" in answer
