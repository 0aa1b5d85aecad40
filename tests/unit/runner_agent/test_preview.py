import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runner_agent import frameworks, preview, probe
from runner_agent.activity import Activity
from runner_agent.frameworks import World
from runner_agent.logs import LogBook
from runner_agent.page_reloads import PageReloads
from runner_agent.preview import Preview
from runner_agent.preview_heads import mended, response_of, rewritten
from runner_agent.settings import AppSettings, ProcessSettings, Settings
from runner_agent.supervisor import Supervisor
from runner_agent.whereabouts import Where
from sandbox_protocol import waiting_page
from sandbox_protocol.http1 import Head, parse_request, parse_response
from sandbox_protocol.http1_routing import HANGS, Forward, Reply

HOST = "3000-abc.preview.localhost:8090"


@dataclass
class Workspace:
    revision: str | None = None


async def nothing_to_touch(_: Sequence[str]) -> None:
    pass


@dataclass
class Scene:
    preview: Preview
    supervisor: Supervisor
    logbook: LogBook = field(default_factory=LogBook)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    app = AppSettings(processes=(ProcessSettings("api", ("node", "api.js"), 4000),))
    settings, logbook = Settings(data=tmp_path, app=app), LogBook()
    supervisor = Supervisor(settings, Workspace(), logbook, nothing_to_touch)
    reloads = PageReloads(supervisor, Workspace(), logbook)
    return Scene(Preview(settings, supervisor, logbook, Activity(), reloads), supervisor, logbook)


def request(*lines: str) -> Head:
    return parse_request("\r\n".join(["GET /a?b HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode())


def seen(head: Head) -> Head:
    """What the app reads."""
    return parse_request(b"GET /a?b HTTP/1.1" + rewritten(head, 3000))


def test_the_app_sees_localhost_and_who_was_asked_for() -> None:
    head = seen(request("X-Sandbox-Port: 3000"))
    assert head.get(b"host") == b"localhost:3000"
    assert head.get(b"x-forwarded-host") == HOST.encode()
    assert head.get(b"x-sandbox-port") is None


def test_a_foreign_origin_stays_foreign() -> None:
    head = seen(request("Origin: https://evil.example", "Referer: https://evil.example/page"))
    assert head.get(b"origin") == b"https://evil.example"
    assert head.get(b"referer") == b"https://evil.example/page"
    assert head.get(b"x-forwarded-host") == HOST.encode()


def test_a_request_from_the_app_s_own_page_passes_any_framework_s_check_against_forgery() -> None:
    forwarded = [f"X-Forwarded-Host: {HOST}", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"]
    head = seen(request(f"Origin: https://{HOST}", f"Referer: https://{HOST}/cart?x=1", *forwarded))
    assert head.get(b"host") == b"localhost:3000"
    assert head.get(b"origin") == b"http://localhost:3000"
    assert head.get(b"referer") == b"http://localhost:3000/cart?x=1"
    assert head.get(b"x-forwarded-host") is None  # Rails and Next.js compare Origin with it
    assert head.get(b"x-forwarded-proto") is None
    assert head.get(b"x-forwarded-for") == b"192.0.2.1"


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        (b"http://localhost:3000/a?b#c", b"/a?b#c"),
        (b"http://localhost:3000", b"/"),
        (b"http://LOCALHOST:3000?x", b"/?x"),
        (b"//127.0.0.1:3000/a", b"/a"),
        (b"http://[::1]:3000/a", b"/a"),
        (b"http://localhost:3000//evil.example", b"/evil.example"),
        (b"http://localhost:3000/\\evil.example", b"/evil.example"),
        (b"http://localhost:3000/\t/evil.example", b"/evil.example"),
        (b"http://localhost:30001/a", b"http://localhost:30001/a"),
        (b"http://localhost:3000@evil.example/", b"http://localhost:3000@evil.example/"),
        (b"http://localhost:8000/a", b"http://localhost:8000/a"),
        (b"https://example.org/", b"https://example.org/"),
        (b"/a", b"/a"),
        (b"a", b"a"),
    ],
)
def test_a_redirect_to_the_app_s_own_address_stays_on_the_preview_s_host(location: bytes, sent: bytes) -> None:
    head = Head(((b"Location", location), (b"Content-Length", b"0")), status=302, reason=b"Found")
    assert parse_response(response_of(3000)(head)).get(b"location") == sent


def test_an_upgrade_is_asked_of_the_app_as_well() -> None:
    head = seen(request("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: k"))
    assert head.upgrade == b"websocket"
    assert head.get(b"sec-websocket-key") == b"k"


@pytest.mark.parametrize(
    ("port", "code"), [("7070", 403), ("7071", 403), ("7080", 403), ("80", 400), ("0", 400), ("65536", 400), ("x", 400)]
)
async def test_ports_that_are_not_the_apps_are_refused(scene: Scene, port: str, code: int) -> None:
    decision = await scene.preview(request(f"X-Sandbox-Port: {port}"), "")
    assert isinstance(decision, Reply)
    assert decision.response.startswith(b"HTTP/1.1 %d" % code)


async def test_an_app_is_asked_where_it_really_is(scene: Scene) -> None:
    scene.preview._supervisor.web.where = Where("::1", 4321, tls=True)
    decision = await scene.preview(request("X-Sandbox-Port: 3000"), "")
    assert isinstance(decision, Forward)
    assert decision.address == ("::1", 4321, probe.unverified())
    assert parse_request(b"GET / HTTP/1.1" + decision.block).get(b"host") == b"localhost:4321"


async def test_two_ports_are_refused(scene: Scene) -> None:
    decision = await scene.preview(request("X-Sandbox-Port: 8000", "X-Sandbox-Port: 9000"), "")
    assert isinstance(decision, Reply)
    assert decision.response.startswith(b"HTTP/1.1 400")


async def test_the_waiting_page_stays_small_whatever_the_app_prints(scene: Scene) -> None:
    scene.logbook.write("web", "stdout", (b"<" * 500 + b"\n") * 20 + b"the last line\n")
    decision = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable(request("Accept: text/html"), "refused").response.partition(b"\r\n\r\n")[2]
    assert len(page) <= waiting_page.PAGE_BYTES
    assert b"the last line" in page


async def test_another_port_of_the_app_is_reached(scene: Scene) -> None:
    decision = await scene.preview(request("X-Sandbox-Port: 8000"), "")
    assert isinstance(decision, Forward)
    assert decision.address == ("127.0.0.1", 8000)


async def test_the_waiting_page_of_a_processes_port_tells_of_that_process(scene: Scene) -> None:
    scene.logbook.write("web", "stderr", b"of web\n")
    scene.logbook.write("api", "stderr", b"of api\n")
    decision = await scene.preview(request("X-Sandbox-Port: 4000", "Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable(request("Accept: text/html"), "refused").response
    assert b"Process api: waiting for the first files" in page
    assert b"of api" in page
    assert b"of web" not in page


async def test_the_waiting_page_says_why_with_the_last_lines_escaped(scene: Scene) -> None:
    scene.logbook.write("web", "stderr", b"<script>boom</script>\n")
    decision = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable(request("Accept: text/html"), "refused").response
    assert page.startswith(b"HTTP/1.1 503")
    assert b"Waiting for the first files" in page
    assert b"&lt;script&gt;boom" in page
    assert b"<script>" not in page
    assert b'http-equiv="refresh"' in page
    assert len(page) <= waiting_page.PAGE_BYTES


async def test_last_lines_are_whole_for_a_program_and_announced_to_nobody_on_the_page(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "the app ended with exit code 3; tried again in 1 s. Last lines:\nno such module"
    crashed = {"type": "AppReady", "status": "False", "reason": "CrashLoop", "message": message}
    monkeypatch.setattr(Supervisor, "condition", lambda _: crashed)
    decision = await scene.preview(request(), "")
    assert isinstance(decision, Forward)
    page, status = (decision.unavailable(request(f"Accept: {kind}"), "refused").response for kind in ("text/html", "*/*"))
    assert b"tried again in 1 s.</p>" in page
    assert b"Last lines:\\nno such module" in status


async def test_a_program_gets_a_status_instead_of_a_page(scene: Scene) -> None:
    decision = await scene.preview(request("Accept: */*"), "")
    assert isinstance(decision, Forward)
    answer = decision.unavailable(request("Accept: */*"), "refused").response
    assert b'"kind": "Status"' in answer
    assert b"Retry-After: 1" in answer


def told(head: Head, world: World, framework: str = "", port: int = 3000) -> Head:
    return parse_request(b"POST /a HTTP/1.1" + rewritten(head, port, world, framework))


FROM_HTTPS = [f"X-Forwarded-Host: {HOST}", "X-Forwarded-Proto: https"]
OWN = [f"Origin: https://{HOST}", f"Referer: https://{HOST}/cart", *FROM_HTTPS]


@pytest.mark.parametrize("lines", [FROM_HTTPS, OWN])
def test_an_app_that_lets_any_host_in_is_told_the_public_one_whoever_asks(lines: list[str]) -> None:
    head = told(request(*lines), "public")
    assert head.get(b"host") == head.get(b"x-forwarded-host") == HOST.encode()
    assert (head.get(b"x-forwarded-proto"), head.get(b"x-forwarded-port")) == (b"https", b"8090")
    assert head.get(b"origin") in (None, f"https://{HOST}".encode())


def test_django_compares_origin_with_the_scheme_that_it_knows() -> None:
    head = told(request(*OWN), "public", "django")
    assert (head.get(b"host"), head.get(b"origin")) == (HOST.encode(), f"http://{HOST}".encode())
    assert head.get(b"x-forwarded-proto") is None


def test_next_is_told_a_local_host_and_where_it_is_seen() -> None:
    head = told(request(*OWN), "forwarded")
    assert head.get(b"host") == b"localhost:3000"
    assert head.get(b"x-forwarded-host") == HOST.encode()
    assert head.get(b"origin") == f"https://{HOST}".encode()
    socket = told(request(*OWN, "Connection: Upgrade", "Upgrade: websocket"), "forwarded")
    assert socket.get(b"origin") == b"http://localhost:3000"


@pytest.mark.parametrize("world", ["public", "local", "forwarded"])
def test_a_page_on_another_port_comes_from_that_port_at_home(world: World) -> None:
    api = f"4000-{ID}.preview.localhost:8090"
    head = parse_request(b"\r\n".join([b"GET / HTTP/1.1", b"Host: " + api.encode(), f"Origin: http://{SEEN}".encode(), b"", b""]))
    assert told(head, world, port=4000).get(b"origin") == b"http://localhost:3000"


def test_a_page_that_will_be_changed_comes_whole_and_not_compressed() -> None:
    lines = ["Accept-Encoding: gzip, br", 'If-None-Match: "1"', "X-Sandbox-Inject: reload"]
    head = parse_request(b"GET / HTTP/1.1" + rewritten(request(*lines), 3000, page=True))
    assert list(head.all(b"accept-encoding")) == [b"identity"]
    assert head.get(b"if-none-match") is head.get(b"x-sandbox-inject") is None


ID = "n4obydukh5hvphm4bofff4gtvi"
SEEN = f"3000-{ID}.preview.localhost:8090"


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://localhost/a", "/a"),
        ("https://localhost:3000/a", "/a"),
        ("http://localhost:4000/a?b#c", f"https://4000-{ID}.preview.localhost:8090/a?b#c"),
        ("http://127.0.0.1:4000", f"https://4000-{ID}.preview.localhost:8090/"),
        ("http://[::1]:4000//x", f"https://4000-{ID}.preview.localhost:8090/x"),
        (f"http://{SEEN}/a", "/a"),
        (f"https://{SEEN}//evil.example", "/evil.example"),
        ("http://localhost:7070/", "http://localhost:7070/"),
        ("http://localhost:80/", "http://localhost:80/"),
        ("http://localhost:99999/", "http://localhost:99999/"),
        ("http://localhost.evil.example/", "http://localhost.evil.example/"),
        ("https://example.org/", "https://example.org/"),
    ],
)
def test_a_redirect_to_any_local_address_leads_to_the_right_public_place(location: str, sent: str) -> None:
    assert mended(location.encode(), 3000, f"https://{SEEN}".encode()) == sent.encode()


@pytest.mark.parametrize(
    ("framework", "command", "name"),
    [
        ("", ("npx", "vite", "--port", "3000"), "vite"),
        ("", ("/workspace/node_modules/.bin/next", "dev"), "next"),
        ("", (".venv/bin/python", "manage.py", "runserver"), "django"),
        ("Nuxt", ("npm", "run", "dev"), "nuxt"),
        ("", ("node", "server.js"), ""),
        ("", ("sh", "-c", "ng serve --open"), "ng"),
    ],
)
def test_a_framework_is_known_by_its_word_or_its_command(framework: str, command: tuple[str, ...], name: str) -> None:
    assert frameworks.word(framework, command) == name


def test_a_process_is_told_where_each_port_is_seen() -> None:
    made = frameworks.environment(f"https://{{port}}-{ID}.apps.example", 3000, [3000, 4000])
    assert made["PREVIEW_URL"] == made["PREVIEW_URL_3000"] == f"https://3000-{ID}.apps.example"
    assert made["PREVIEW_URL_4000"] == f"https://4000-{ID}.apps.example"
    assert made["RAILS_DEVELOPMENT_HOSTS"] == f"3000-{ID}.apps.example,4000-{ID}.apps.example"
    assert frameworks.environment("", 3000, []) == {}


async def test_a_script_and_its_questions_are_answered_on_a_preview_that_asks_for_them(scene: Scene) -> None:
    def asked(path: str, *lines: str) -> Head:
        return parse_request("\r\n".join([f"GET {path} HTTP/1.1", f"Host: {HOST}", *lines, "", ""]).encode())

    inject = "X-Sandbox-Inject: reload"
    script = await scene.preview(asked("/.sandbox/reload.js", inject), "")
    assert isinstance(script, Reply)
    assert b"text/javascript" in script.response
    told = await scene.preview(asked("/.sandbox/changed?seen=old.x.0", inject), "")
    assert isinstance(told, Reply)
    assert b'"new": true' in told.response or b'"new": false' in told.response
    assert isinstance(await scene.preview(asked("/.sandbox/other", inject), ""), Reply)
    assert isinstance(await scene.preview(asked("/.sandbox/reload.js"), ""), Forward)  # the app's own path else


async def test_a_script_of_ours_is_not_the_app_s_though_it_is_asked_for_with_the_same_headers(scene: Scene) -> None:
    scene.supervisor.web.ready = True
    decision = await scene.preview(request("X-Sandbox-Inject: reload"), "10.0.0.1")
    assert isinstance(decision, Forward)
    assert decision.still is not None
    assert decision.still(b"/other.js")
    assert not decision.still(b"/.sandbox/reload.js")
    plain = await scene.preview(request(), "10.0.0.1")
    assert isinstance(plain, Forward)
    assert plain.still is not None
    assert plain.still(b"/.sandbox/of-the-app")


async def test_only_a_get_of_a_page_is_given_up_when_it_hangs(scene: Scene) -> None:
    for lines, seconds in (
        (["Accept: text/html"], 10.0),
        (["Accept: text/event-stream"], None),
        (["Sec-Fetch-Mode: cors"], None),
    ):
        decision = await scene.preview(request(*lines), "")
        assert isinstance(decision, Forward)
        assert decision.hangs == seconds


async def test_a_page_that_hung_has_more_time_when_it_is_looked_at_again(scene: Scene) -> None:
    decision = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(decision, Forward)
    page = decision.unavailable(request("Accept: text/html"), HANGS).response
    assert b"The app does not answer this request" in page
    again = await scene.preview(request("Accept: text/html"), "")
    assert isinstance(again, Forward)
    assert again.hangs == 30.0


@pytest.mark.parametrize(
    ("scheme", "kind", "told_so"), [("https", "text/html", True), ("http", "text/html", False), ("https", "a/b", False)]
)
def test_a_page_seen_by_https_follows_the_app_s_own_http_urls_by_https(scheme: str, kind: str, told_so: bool) -> None:
    head = Head(((b"Content-Type", kind.encode()), (b"Content-Security-Policy", b"img-src *")), status=200, reason=b"OK")
    seen = parse_response(response_of(3000, f"{scheme}://{SEEN}".encode())(head))
    assert (b"upgrade-insecure-requests" in seen.all(b"content-security-policy")) == told_so
    assert b"img-src *" in seen.all(b"content-security-policy")


async def test_a_request_waits_while_we_restart_the_app_and_no_longer_than_it_takes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = scene.supervisor.web
    process.restarting_by_us = True
    asked = asyncio.create_task(scene.preview(request(), ""))
    await asyncio.sleep(0.01)
    assert not asked.done()
    process.stand("BackOff", "CrashLoop")  # it failed: the page tells
    assert isinstance(await asked, Forward)
    process.restarting_by_us = True
    process.stand("Starting")
    monkeypatch.setattr(preview, "HOLD_SECONDS", 0.01)
    assert isinstance(await scene.preview(request(), ""), Forward)


async def test_no_more_requests_wait_than_there_are_places(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "_MOST_HELD", 0)
    scene.supervisor.web.restarting_by_us = True
    assert isinstance(await scene.preview(request(), ""), Forward)
