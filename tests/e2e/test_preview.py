"""The preview as a person's browser meets it."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Page, expect

from sandbox_client import blocking
from tests.harness.cluster import Cluster
from tests.harness.fixtures import RunnerFactory

COOKIE = "__Host-sandbox-preview"


def below(url: str, path: str) -> str:
    """The same signed URL for another place in the app."""
    origin, _, token = url.partition("/?")
    return f"{origin}{path}{'&' if '?' in path else '?'}{token}"


async def test_the_app_is_seen_and_the_token_leaves_the_address_bar(page: Page, board: blocking.Sandbox) -> None:
    preview = board.preview()
    await page.goto(preview.url)
    await expect(page.locator("h1")).to_have_text("What are we building today?")
    assert page.url == preview.url.partition("?")[0]
    assert "sandbox_token" not in await page.evaluate("document.referrer + performance.getEntriesByType('navigation')[0].name")


async def test_a_deep_link_is_kept(page: Page, board: blocking.Sandbox) -> None:
    await page.goto(below(board.preview().url, "/echo?item=42&name=a%20b") + "#part")
    assert page.url.endswith("/echo?item=42&name=a%20b#part")
    seen = json.loads(await page.locator("body").inner_text())
    assert seen["path"] == "/echo?item=42&name=a%20b"


async def test_our_cookie_is_kept_from_the_app_and_from_its_scripts(
    page: Page, context: BrowserContext, board: blocking.Sandbox
) -> None:
    await page.goto(board.preview().url)
    await expect(page.locator("#state")).to_have_text("live")
    mine = next(cookie for cookie in await context.cookies(page.url) if cookie["name"] == COOKIE)
    assert (mine["httpOnly"], mine["secure"], mine["path"]) == (True, True, "/")
    assert not mine["domain"].startswith(".")
    assert COOKIE not in await page.evaluate("document.cookie")
    answer = await page.evaluate("fetch('/echo').then(answer => answer.text())")
    assert COOKIE not in answer
    assert mine["value"] not in answer


async def test_the_app_s_own_cookies_work(page: Page, board: blocking.Sandbox) -> None:
    await page.goto(board.preview().url)
    await expect(page.locator("footer")).to_contain_text("Visit 1")
    await page.reload()
    await expect(page.locator("footer")).to_contain_text("Visit 2")
    assert "visits=" in await page.evaluate("document.cookie")


async def test_the_app_s_websocket_works_between_two_pages(page: Page, context: BrowserContext, board: blocking.Sandbox) -> None:
    url = board.preview().url
    other = await context.new_page()
    await page.goto(url)
    await other.goto(url)
    await expect(other.locator("#state")).to_have_text("live")
    await expect(page.locator("#state")).to_have_text("live")
    await page.get_by_label("Message").fill("from one page")
    await page.get_by_role("button", name="Send").click()
    await expect(other.locator("#messages li").last).to_have_text("from one page")


async def test_without_a_token_there_is_no_app(page: Page, board: blocking.Sandbox) -> None:
    answer = await page.goto(board.preview().url.partition("?")[0])
    assert answer is not None
    assert answer.status in (401, 403)
    assert "What are we building" not in await page.content()


async def test_a_session_of_one_runner_does_not_open_another(
    page: Page, board: blocking.Sandbox, runner: blocking.Sandbox
) -> None:
    runner.sync({"index.html": "<h1>another</h1>"})
    runner.wait_app()
    await page.goto(board.preview().url)
    answer = await page.goto(runner.preview().url.partition("?")[0])
    assert answer is not None
    assert answer.status in (401, 403)
    # nor does a token made for one host on the other
    token = board.preview().url.partition("?")[2]
    answer = await page.goto(f"{runner.preview().url.partition('?')[0]}?{token}")
    assert answer is not None
    assert answer.status in (401, 403)
    assert "another" not in await page.locator("body").inner_text()


async def test_revoking_ends_an_open_session(page: Page, board: blocking.Sandbox) -> None:
    await page.goto(board.preview().url)
    await expect(page.locator("h1")).to_have_text("What are we building today?")
    board.revoke_previews()
    answer = await page.reload()
    assert answer is not None
    assert answer.status in (401, 403)
    await page.goto(board.preview().url)
    await expect(page.locator("h1")).to_have_text("What are we building today?")


async def test_the_right_taken_away_ends_the_session(
    page: Page, cluster: Cluster, namespace: str, board: blocking.Sandbox
) -> None:
    account = cluster.user(namespace, "leaver", "edit")
    with blocking.Client(account) as leaver:
        url = leaver.sandbox(board.name).preview().url
    await page.goto(url)
    await expect(page.locator("h1")).to_have_text("What are we building today?")
    cluster.kubectl("delete", "rolebinding", "leaver", "--namespace", namespace)
    # the gateway asks again while the session lasts; the page asks until it is told
    await page.wait_for_function(
        "fetch('/echo', {cache: 'no-store'}).then(answer => answer.status === 403 || answer.status === 401)"
    )


async def test_a_waiting_page_says_why_and_becomes_the_app_by_itself(page: Page, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("later")
    await page.goto(sandbox.preview().url)
    await expect(page.locator("body")).to_contain_text("sync", ignore_case=True)
    sandbox.sync({"index.html": "<!doctype html><h1>Here it is</h1>"})
    await expect(page.locator("h1")).to_have_text("Here it is", timeout=30_000)


async def test_a_crashed_app_shows_its_last_words(page: Page, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("crashing", {"command": ["sh", "-c", "echo 'no such module: left-pad' >&2; exit 1"]})
    sandbox.sync({"x": "y"})
    await page.goto(sandbox.preview().url)
    await expect(page.locator("body")).to_contain_text("no such module: left-pad", timeout=30_000)


async def test_a_suspended_runner_says_so(page: Page, make_runner: RunnerFactory) -> None:
    sandbox = make_runner("asleep")
    url = sandbox.preview().url
    sandbox.suspend()
    sandbox.wait_ready(condition="Suspended")
    await page.goto(url)
    await expect(page.locator("body")).to_contain_text("suspended", ignore_case=True)


FORM = """
import http.server, os, secrets, threading, time, urllib.parse

TOKEN = secrets.token_hex(8)
PAGE = '''<!doctype html><h1>Form</h1><form method=post action=/order>
<input type=hidden name=token value=%s><input name=what aria-label=what><button>Order</button></form>
<output id=ticks></output><output id=state></output><script>
const source = new EventSource('/ticks')
source.onmessage = event => ticks.textContent = event.data
source.onopen = () => state.textContent = 'open'
source.onerror = () => state.textContent = 'lost'
</script>''' % TOKEN


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/ticks":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for number in range(10**6):
                self.wfile.write(b"data: %d\\n\\n" % number)
                self.wfile.flush()
                time.sleep(0.1)
        kind = ("Content-Type", "text/html")
        self.reply(200, PAGE.encode(), kind, ("Set-Cookie", f"csrf={TOKEN}; HttpOnly; SameSite=Lax"))

    def do_POST(self):
        sent = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        origin = self.headers["Origin"].partition("://")[2]
        compared = self.headers.get("X-Forwarded-Host") or self.headers["Host"]
        good = sent["token"] == [TOKEN] and f"csrf={TOKEN}" in self.headers["Cookie"]
        if not (good and origin == compared == self.headers["Host"]):
            return self.reply(403, f"forged: {dict(self.headers)}".encode())
        where = f"http://{self.headers['Host']}/ordered?{urllib.parse.urlencode({'what': sent['what'][0]})}"
        self.reply(303, b"", ("Location", where))


http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def form(make_runner: RunnerFactory) -> blocking.Sandbox:
    """Checks its forms as frameworks do: a token in form and cookie, Origin against Host and X-Forwarded-Host."""
    sandbox = make_runner("form", {"command": ["python3", "-u", "form.py"]})
    sandbox.sync({"form.py": FORM})
    sandbox.wait_app()
    return sandbox


async def test_a_form_that_is_guarded_against_forgery_can_be_sent(page: Page, form: blocking.Sandbox) -> None:
    await page.goto(form.preview().url)
    origin = page.url
    await page.get_by_label("what").fill("tea & cake")
    await page.get_by_role("button", name="Order").click()
    await page.wait_for_url("**/ordered?*")
    assert page.url == f"{origin}ordered?what=tea+%26+cake"  # the app redirected to its own local address


async def test_events_arrive_in_the_page_and_end_when_somebody_else_revokes(page: Page, form: blocking.Sandbox) -> None:
    await page.goto(form.preview().url)
    await expect(page.locator("#ticks")).not_to_be_empty()
    first = await page.locator("#ticks").inner_text()
    await expect(page.locator("#ticks")).not_to_have_text(first)
    form.revoke_previews()
    await expect(page.locator("#state")).to_have_text("lost", timeout=15_000)
    answer = await page.reload()
    assert answer is not None
    assert answer.status == 401


async def test_a_bookmarked_signed_url_that_is_over_keeps_the_session(page: Page, form: blocking.Sandbox) -> None:
    old = form.preview().url
    form.revoke_previews()
    await page.goto(form.preview().url)
    answer = await page.goto(below(old, "/kept?x=1"))
    assert answer is not None
    assert answer.status == 200
    assert page.url.endswith("/kept?x=1")
