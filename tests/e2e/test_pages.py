"""Pages in a real Chromium, at ``*.localhost`` and by https at a domain that nothing privileges: reload, addresses, ports.

Needs no cluster (:mod:`tests.harness.stack`).
"""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, Page, expect

from demo.browser import chromium
from runner_agent.settings import AppSettings, ProcessSettings
from tests.harness.stack import Stack, browser_flags, free_port, stack

FOLLOWING = "<!doctype html><head><script src='/x/@vite/client'></script></head>"
OWN_CLIENT = "<script>self.own = new WebSocket(location.origin.replace('http', 'ws'))</script>"
WITH_CLIENT = """
import base64, hashlib, http.server, os, pathlib, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if key := self.headers.get("Sec-WebSocket-Key"):
            self.send_response(101)
            self.send_header("Upgrade", "websocket")
            self.send_header("Connection", "Upgrade")
            accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
            self.end_headers()
            self.rfile.read()
            return
        body = pathlib.Path("page.html").read_bytes()
        self.send_response(500 if b"broken" in body else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
BUNDLER = """
import http.server, json, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        script = pathlib.Path("main.js").read_bytes()
        broken = self.path == "/main.js" and script == b"broken"
        body = script if self.path == "/main.js" else b"<!doctype html><body><script src='/main.js' defer></script>"
        body = json.dumps({"message": "\\x1b[31mSyntaxError: <b> in main.js\\x1b[0m"}).encode() if broken else body
        self.send_response(500 if broken else 200)
        self.send_header("Content-Type", "text/javascript" if self.path == "/main.js" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
PLACES = [("preview.localhost", "http"), ("apps.example.org", "https")]
SERVER = """
import http.server, os, time
WORD = "before"
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(60)
        body = f"<!doctype html><title>t</title><h1>{WORD}</h1><p>{self.headers['Host']} {os.environ.get('PREVIEW_URL')}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Security-Policy", "default-src 'none'; script-src 'nonce-abc'; connect-src *")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(303)
        self.send_header("Location", f"http://{self.headers['Host']}/done?{sent.decode()}")
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(params=PLACES, ids=lambda place: place[1])
async def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


def static(*more: ProcessSettings) -> AppSettings:
    port = free_port()
    return AppSettings(("python3", "-m", "http.server", str(port)), port, processes=more)


def server(*more: ProcessSettings) -> AppSettings:
    return AppSettings(("python3", "app.py"), free_port(), processes=more)


async def test_an_edit_of_a_static_page_is_seen_without_a_hand(place: tuple[str, str]) -> None:
    domain, scheme = place
    async with stack(static(), domain=domain, scheme=scheme) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"index.html": "<!doctype html><head></head><h1>one</h1>"})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url())
        await expect(page.locator("h1")).to_have_text("one")
        for word in ("two", "three"):
            await here.sync({"index.html": f"<!doctype html><h1>{word}</h1>"})
            await expect(page.locator("h1")).to_have_text(word)


async def test_what_was_synced_before_a_page_s_own_client_was_connected_is_seen() -> None:
    async with stack(static()) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"index.html": FOLLOWING + "<h1>one</h1>"})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url())
        await here.sync({"index.html": FOLLOWING + "<h1>two</h1>"})
        await expect(page.locator("h1")).to_have_text("two")


async def test_a_page_that_follows_edits_itself_is_left_alone_while_its_client_is_connected() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        page = await following(here, browser, "one")
        await page.evaluate("self.kept = true")
        await here.sync({"page.html": FOLLOWING + OWN_CLIENT + "<h1>two</h1>"})
        await page.wait_for_timeout(1500)  # nothing can be waited for: its own client would show this edit
        assert await page.evaluate("self.kept === true")


async def test_what_was_synced_while_connections_were_broken_is_seen_by_a_page_that_follows_edits_itself() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        page = await following(here, browser, "one")
        async with page.expect_event("requestfailed"):
            await page.context.set_offline(True)
        await here.sync({"page.html": FOLLOWING + OWN_CLIENT + "<h1>two</h1>"})
        await page.context.set_offline(False)
        await expect(page.locator("h1")).to_have_text("two", timeout=15_000)


async def test_a_page_whose_own_client_never_connects_again_is_loaded_anew() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        page = await following(here, browser, "one")
        async with page.expect_event("requestfailed"):
            await page.context.set_offline(True)
        async with page.expect_request(lambda request: "/changed?" in request.url):
            await page.context.set_offline(False)
        await here.sync({"page.html": FOLLOWING + OWN_CLIENT + "<h1>two</h1>"})
        await expect(page.locator("h1")).to_have_text("two", timeout=15_000)


async def test_a_page_that_stands_for_an_error_is_loaded_anew_though_it_follows_edits_itself() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        page = await following(here, browser, "broken")
        await here.sync({"page.html": FOLLOWING + OWN_CLIENT + "<h1>mended</h1>"})
        await expect(page.locator("h1")).to_have_text("mended")


async def following(here: Stack, browser: Browser, word: str) -> Page:
    """An open page whose own client is connected, and which our script knows to be."""
    await here.sync({"app.py": WITH_CLIENT, "page.html": FOLLOWING + OWN_CLIENT + f"<h1>{word}</h1>"})
    await here.ready()
    page = await browser.new_page()
    async with page.expect_websocket():
        await page.goto(here.url())
    await expect(page.locator("h1")).to_have_text(word)
    await page.evaluate("new Promise((resolve) => (self.own.onopen = resolve, self.own.readyState === 1 && resolve()))")
    return page


async def test_a_page_that_stays_empty_says_why_its_script_does_not_come_and_the_next_edit_mends_it() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"app.py": BUNDLER, "main.js": "broken"})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url())
        await expect(page.locator("main[role=status]")).to_contain_text("/main.js with 500")
        await expect(page.locator("main[role=status] pre")).to_have_text("SyntaxError: <b> in main.js")
        await here.sync({"main.js": "document.body.append('mended')"})
        await expect(page.locator("body")).to_have_text("mended")


async def test_without_the_wish_a_page_stays_as_the_app_made_it(place: tuple[str, str]) -> None:
    domain, scheme = place
    async with stack(static(), domain=domain, scheme=scheme) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"index.html": "<!doctype html><head></head><h1>one</h1>"})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url(inject=()))
        assert await page.locator("script").count() == 0


async def test_an_edit_of_a_server_a_broken_one_and_its_mending_are_seen(place: tuple[str, str]) -> None:
    domain, scheme = place
    async with stack(server(), domain=domain, scheme=scheme) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"app.py": SERVER})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url())
        await expect(page.locator("h1")).to_have_text("before")
        await here.sync({"app.py": SERVER.replace("before", "after")})
        await expect(page.locator("h1")).to_have_text("after")
        await here.sync({"app.py": SERVER.replace("WORD =", "WORD == (")})
        await expect(page.locator("body")).to_contain_text("SyntaxError", timeout=15_000)
        await here.sync({"app.py": SERVER.replace("before", "mended")})
        await expect(page.locator("h1")).to_have_text("mended", timeout=15_000)


async def test_the_app_knows_where_it_is_seen_and_its_redirects_lead_there(place: tuple[str, str]) -> None:
    domain, scheme = place
    async with stack(server(), domain=domain, scheme=scheme) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"app.py": SERVER})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url("/a?b=c"))
        host = here.origin().partition("://")[2]
        await expect(page.locator("p")).to_have_text(f"{host} {here.origin()}")
        answer = await page.evaluate("fetch('/form', {method: 'POST', body: 'x=1'}).then(answer => answer.url)")
        assert answer == f"{here.origin()}/done?x=1"


async def test_requests_wait_while_we_restart_the_app() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"app.py": SERVER})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url(inject=()))
        await here.sync({"app.py": SERVER.replace("before", "after")})
        read = "fetch('/').then(answer => answer.text())"
        sent = "fetch('/', {method: 'POST', body: 'x=1'}).then(answer => [answer.status, answer.url])"
        seen, posted = await asyncio.gather(page.evaluate(read), page.evaluate(sent))
        assert "after" in seen
        assert posted == [200, f"{here.origin()}/done?x=1"]  # its body waited as well


async def test_a_page_that_does_not_begin_shows_why_instead_of_nothing() -> None:
    async with stack(server()) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"app.py": SERVER})
        await here.ready()
        page = await browser.new_page()
        answer = await page.goto(here.url("/slow"))
        assert answer is not None
        assert answer.status == 503
        assert "The app does not answer this request" in await answer.text()


async def test_a_page_calls_the_api_on_another_port(place: tuple[str, str]) -> None:
    domain, scheme = place
    api = ProcessSettings("api", ("python3", "app.py"), free_port())
    async with stack(static(api), domain=domain, scheme=scheme) as here, chromium(*browser_flags(here)) as browser:
        await here.sync({"index.html": "<!doctype html><h1>page</h1>", "app.py": SERVER})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url("/index.html?deep=1", ports=(api.port or 0,)) + "#part")
        assert page.url == f"{here.origin()}/index.html?deep=1#part"
        other = here.origin(api.port)
        read = f"fetch('{other}/', {{credentials: 'include'}}).then(answer => answer.text())"
        assert "before" in await page.evaluate(read)
        sent = f"fetch('{other}/x', {{method: 'PUT', headers: {{'x-a': '1'}}}}).then(answer => answer.status)"
        assert await page.evaluate(sent) == 401  # without credentials it says why, and is no opaque error
