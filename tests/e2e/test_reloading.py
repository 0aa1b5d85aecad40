"""Pages of many kinds in a real Chromium, before and after an edit: what our script must not break, what must not stop it.

Needs no cluster (:mod:`tests.harness.stack`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from demo.browser import chromium
from runner_agent.settings import AppSettings
from tests.harness.preview import Visitor, browserlike
from tests.harness.stack import Stack, browser_flags, free_port, stack

TAG = re.compile(rb'<script src="/\.sandbox/reload\.js" data-seen="[^"]*"(?: nonce="[^"]*")?></script>')
APP = r"""
import gzip, hashlib, http.server, os, threading, time
GO = threading.Event()
HASH = "'sha256-RFWPLDbv2BY+rCkDzsE+0fr8ylGr2R2faWMhq4lfEQc='"
POLICIES = {
    "nonce": "script-src 'nonce-abc'; connect-src 'none'",
    "hash": f"script-src {HASH} 'strict-dynamic'; object-src 'none'",
    "none": "default-src 'none'",
    "sandbox": "sandbox allow-scripts allow-same-origin; default-src 'self'",
    "types": "require-trusted-types-for 'script'; trusted-types 'none'; script-src 'self'",
    "two": "default-src 'none'; script-src 'nonce-abc', script-src 'self'; connect-src 'none'",
    "inline": "script-src 'unsafe-inline'",
}
LARGE = b"<p hidden>" + b"x " * 500
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def word(self):
        return open("word.txt").read()
    def answer(self, body, kind="text/html", status=200, **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    def do_HEAD(self):
        self.do_GET()
    def do_GET(self):
        page = f"<!doctype html><html><head><title>t</title></head><h1>{self.word()}</h1>"
        path = self.path.partition("?")[0]
        if path.startswith("/policy/"):
            self.answer(page, Content_Security_Policy=POLICIES[path[8:]])
        elif path == "/meta":
            policy = '<meta http-equiv=content-security-policy content="default-src %s">' % "'none'"
            self.answer(f"<!doctype html><head>{policy}</head><h1>{self.word()}</h1>")
        elif path == "/frames":
            self.answer(page + "".join(f"<iframe src=/frame/{n}></iframe>" for n in range(8)))
        elif path == "/wide":
            self.answer(page.encode("utf-16le"), "text/html; charset=utf-16le")
        elif path == "/marked":
            self.answer(page.encode("utf-16"))
        elif path == "/xhtml":
            begin = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head>'
            self.answer(f"{begin}<body><h1>{self.word()}</h1></body></html>", "application/xhtml+xml")
        elif path == "/gzip":
            self.answer(gzip.compress(page.encode()), Content_Encoding="gzip")
        elif path == "/tagged":
            tag = '"' + hashlib.sha256(page.encode()).hexdigest() + '"'
            if self.headers["If-None-Match"] == tag:
                self.answer("", status=304, ETag=tag)
            else:
                self.answer(page, ETag=tag, Cache_Control="no-cache")
        elif path == "/large":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page) + 10_000 * len(LARGE)))
            self.end_headers()
            self.wfile.write(page.encode())
            for _ in range(10):
                self.wfile.write(LARGE * 1000)
        elif path == "/flushed":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"<!doctype html><head><link>", b"</head><h1>late</h1>"):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.flush()
                GO.wait(20)
            self.wfile.write(b"0\r\n\r\n")
        elif path == "/go":
            GO.set()
            self.answer("went", "text/plain")
        elif self.headers["Range"]:
            self.answer(page.encode()[:9], status=206, Content_Range=f"bytes 0-8/{len(page)}")
        else:
            self.answer(page, ETag='"1"')
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


@pytest.fixture(params=[("preview.localhost", "http"), ("apps.example.org", "https")], ids=["http", "https"])
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    domain, scheme = request.param
    async with stack(AppSettings(("python3", "app.py"), free_port()), domain=domain, scheme=scheme) as made:
        await made.sync({"app.py": APP, "word.txt": "before"})
        await made.ready()
        yield made


@pytest.fixture
async def plain() -> AsyncIterator[Stack]:
    async with stack(AppSettings(("python3", "app.py"), free_port())) as made:
        await made.sync({"app.py": APP, "word.txt": "before"})
        await made.ready()
        yield made


@pytest.fixture
async def browser(here: Stack) -> AsyncIterator[Browser]:
    async with chromium(*browser_flags(here)) as made:
        yield made


async def test_an_edit_is_seen_under_every_policy_and_in_whatever_an_app_sends(here: Stack, browser: Browser) -> None:
    kinds = [f"/policy/{name}" for name in ("nonce", "hash", "none", "sandbox", "types", "two", "inline")]
    pages = []
    for path in [*kinds, "/meta", "/tagged"]:
        page = await (await browser.new_context()).new_page()  # each with connections of its own
        await page.goto(here.url(path))
        await expect(page.locator("h1")).to_have_text("before")
        pages.append(page)
    await here.sync({"word.txt": "after"})
    for page in pages:
        await expect(page.locator("h1"), page.url).to_have_text("after")


async def test_frames_hold_no_connection_and_are_loaded_anew_with_their_page(here: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(here.url("/frames"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    assert await page.evaluate("fetch('/go').then(answer => answer.text())") == "went"
    await here.sync({"word.txt": "after"})
    await expect(page.locator("h1")).to_have_text("after")
    await expect(page.frame_locator("iframe >> nth=7").locator("h1")).to_have_text("after")
    assert sum("/.sandbox/changed" in url for url in asked) <= 2


@pytest.mark.parametrize("path", ["/wide", "/marked", "/xhtml", "/gzip"])
async def test_a_page_that_gets_no_script_is_shown_as_it_is(here: Stack, browser: Browser, path: str) -> None:
    page = await browser.new_page()
    await page.goto(here.url(path))
    await expect(page.locator("h1")).to_have_text("before")
    assert "sandbox" not in await page.content()


async def test_what_a_page_fetches_is_the_app_s_own_also_where_the_same_page_is_kept(here: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(here.url("/tagged"))
    fetched = await page.evaluate(
        "fetch('/tagged').then(async answer => [await answer.text(), answer.headers.get('etag') !== null])"
    )
    assert "sandbox" not in fetched[0]
    assert fetched[1]


async def test_a_policy_in_the_html_that_forbids_the_question_is_met_and_not_asked_again_and_again(
    here: Stack, browser: Browser
) -> None:
    page = await browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    await page.goto(here.url("/meta"))
    hidden = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true})"
    change = "document.dispatchEvent(new Event('visibilitychange'))"
    await page.evaluate(f"{hidden % 'true'}; {change}; {hidden % 'false'}; {change}")  # ends the question, and asks another
    await page.wait_for_timeout(2000)  # nothing can be waited for, here and below: there must not be more
    met = len(errors)
    assert any("connect" in text.lower() for text in errors)
    await page.wait_for_timeout(6000)
    assert len(errors) == met


async def test_a_large_page_comes_whole(here: Stack, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(here.url("/large"))
    assert await page.evaluate("document.querySelectorAll('p').length") == 10_000
    await expect(page.locator("h1")).to_have_text("before")


async def visited(http: aiohttp.ClientSession, here: Stack, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    visitor = Visitor(here.url())
    await visitor.enter(http)
    async with http.get(f"{visitor.origin}{path}", headers={**visitor.headers, **headers}, auto_decompress=False) as answer:
        return answer, await answer.read()


async def test_without_its_script_a_page_is_byte_for_byte_the_app_s(plain: Stack) -> None:
    async with browserlike() as http:
        for path in ("/", "/large"):
            _, bare = await visited(http, plain, path)
            answer, page = await visited(http, plain, path, **NAVIGATION)
            assert answer.headers.get("ETag") is answer.headers.get("Content-Length") is None
            assert len(TAG.findall(page)) == 1
            assert TAG.sub(b"", page) == bare


async def test_parts_heads_and_fragments_are_the_app_s_own(plain: Stack) -> None:
    async with browserlike() as http:
        part, begin = await visited(http, plain, "/", **NAVIGATION, Range="bytes=0-8")
        assert (part.status, begin, part.headers["Content-Range"].partition("/")[0]) == (206, b"<!doctype", "bytes 0-8")
        fragment, body = await visited(http, plain, "/", Accept="text/html", **{"HX-Request": "true"})
        assert (b"sandbox" in body, fragment.headers["ETag"]) == (False, '"1"')
        visitor = Visitor(plain.url())
        await visitor.enter(http)
        async with http.head(f"{visitor.origin}/", headers={**visitor.headers, **NAVIGATION}) as head:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(body)))


async def test_the_head_of_a_page_that_is_still_being_made_arrives_before_its_rest(plain: Stack) -> None:
    async with browserlike() as http, asyncio.timeout(15):
        visitor = Visitor(plain.url())
        await visitor.enter(http)
        async with http.get(f"{visitor.origin}/flushed", headers={**visitor.headers, **NAVIGATION}) as answer:
            begin = b""
            while b"<link>" not in begin:
                begin += await answer.content.readany()
            assert TAG.search(begin)
            assert b"late" not in begin
            async with http.get(f"{visitor.origin}/go", headers=visitor.headers) as went:
                assert await went.read() == b"went"
            assert b"<h1>late</h1>" in await answer.read()
