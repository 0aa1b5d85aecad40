"""Where real frameworks take themselves to be, in a real Chromium: absolute URLs, redirects, forms that are guarded, sessions
in Secure cookies, a login by OAuth. At ``*.localhost`` by http, and by https at a domain that nothing privileges.

Needs no cluster (:mod:`tests.harness.stack`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, expect

from demo.browser import chromium
from runner_agent.settings import AppSettings, ProcessSettings
from tests.harness import frameworks
from tests.harness.stack import Stack, browser_flags, free_port, stack

Place = tuple[str, str]

FASTAPI = """
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware
app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="x", https_only=True)
@app.get("/")
def root():
    return HTMLResponse("<h1>here</h1>")
@app.api_route("/where", methods=["GET", "POST"])
def where(request: Request):
    return {"url": str(request.url_for("there"))}
@app.get("/there/")
def there(request: Request):
    return HTMLResponse(f"<h1>{request.session.get('name')}</h1>")
@app.post("/login")
def login(request: Request):
    request.session["name"] = "alice"
    return RedirectResponse(request.url_for("there"), 303)
"""
DJANGO = """
import os, sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
settings.configure(
    DEBUG=True, SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies", SESSION_COOKIE_SECURE=True, CSRF_COOKIE_SECURE=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if os.environ.get("TRUSTS") else None,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware"],
)
def where(request):
    return JsonResponse({"url": request.build_absolute_uri("/there/")})
def root(request):
    form = f"<form method=post action=/login><input type=hidden name=csrfmiddlewaretoken value={get_token(request)}>"
    return HttpResponse(f"<h1>here</h1>{form}<button>Log in</button></form>")
def login(request):
    request.session["name"] = "alice"
    return HttpResponseRedirect(request.build_absolute_uri("/there/"))
def there(request):
    return HttpResponse(f"<h1>{request.session.get('name')}</h1>")
urlpatterns = [path("", root), path("where", where), path("login", login), path("there/", there)]
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
FLASK = """
import os
from flask import Flask, redirect, session, url_for
app = Flask(__name__)
app.config.update(SECRET_KEY="x", SESSION_COOKIE_SECURE=True)
@app.get("/")
def root():
    there = url_for("there", _external=True)
    form = f"<form method=post action={url_for('login', _external=True)}><button>Log in</button></form>"
    return f"<h1>here</h1>{form}<a href={there}>on</a>"
@app.get("/where")
def where():
    return {"url": url_for("there", _external=True)}
@app.post("/login")
def login():
    session["name"] = "alice"
    return redirect(url_for("there", _external=True))
@app.get("/there/")
def there():
    return f"<h1>{session.get('name')}</h1>"
app.run(port=int(os.environ["PORT"]))
"""
EXPRESS = """
import express from 'express';
import session from 'express-session';
const app = express();
app.set('trust proxy', true);
app.use(session({ secret: 'x', resave: false, saveUninitialized: false, cookie: { secure: true } }));
const url = (request) => `${request.protocol}://${request.host}/there/`;
app.get('/', (_, answer) => answer.send('<h1>here</h1><form method=post action=/login><button>Log in</button></form>'));
app.all('/where', (request, answer) => answer.json({ url: url(request), name: request.hostname }));
app.post('/login', (request, answer) => { request.session.name = 'alice'; answer.redirect(303, url(request)); });
app.get('/there/', (request, answer) => answer.send(`<h1>${request.session.name}</h1>`));
app.listen(process.env.PORT, '127.0.0.1');
"""
AUTH = """
import express from 'express';
import { ExpressAuth, getSession } from '@auth/express';
const inside = `http://127.0.0.1:${process.env.PROVIDER}`;
const config = {
  secret: 'x'.repeat(32), trustHost: true,
  providers: [{
    id: 'played', name: 'Played', type: 'oauth', clientId: 'app', clientSecret: 's', checks: ['state'],
    authorization: `${process.env[`PREVIEW_URL_${process.env.PROVIDER}`]}/authorize`, token: `${inside}/token`,
    userinfo: `${inside}/me`, profile: (person) => person,
  }],
};
const app = express();
app.set('trust proxy', true);
app.use('/auth', ExpressAuth(config));
app.get('/', async (request, answer) => {
  const session = await getSession(request, config);
  answer.send(`<!doctype html><h1>${session?.user?.name ?? 'nobody'}</h1>`);
});
app.listen(process.env.PORT, '127.0.0.1');
"""
PROVIDER = """
import express from 'express';
const app = express();
app.get('/', (_, answer) => answer.send('a provider'));
app.get('/authorize', (request, answer) => {
  const back = new URL(request.query.redirect_uri);
  if (back.origin !== process.env.PREVIEW_URL) return answer.status(400).send(`not registered: ${back}`);
  back.searchParams.set('code', 'c');
  back.searchParams.set('state', request.query.state);
  answer.redirect(back.href);
});
app.post('/token', (_, answer) => answer.json({ access_token: 'a', token_type: 'bearer' }));
app.get('/me', (_, answer) => answer.json({ id: '1', name: 'alice', email: 'alice@example.org' }));
app.listen(process.env.PORT, '127.0.0.1');
"""


@pytest.fixture(params=[("preview.localhost", "http"), ("apps.example.org", "https")], ids=["http", "https"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@asynccontextmanager
async def opened(place: Place, source: str, name: str, *command: str, **env: str) -> AsyncIterator[tuple[Stack, Page]]:
    port = free_port()
    words = ("env", *(f"{key}={value}" for key, value in env.items()), *command) if env else command
    app = AppSettings(tuple(word.replace("{port}", str(port)) for word in words), port)
    async with stack(app, domain=place[0], scheme=place[1]) as here, chromium(*browser_flags(here)) as browser:
        if name.endswith(".mjs"):
            (here.tree / "node_modules").symlink_to(await asyncio.to_thread(frameworks.node_modules))
        await here.sync({name: source})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url())
        await expect(page.locator("h1")).to_have_text("here")
        yield here, page


async def where(page: Page, method: str) -> str:
    found = await page.evaluate(f"fetch('/where', {{method: '{method}'}}).then(answer => answer.json())")
    return str(found["url"])


async def logs_in(here: Stack, page: Page) -> None:
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/there/")
    assert page.url == f"{here.origin()}/there/"
    await expect(page.locator("h1")).to_have_text("alice")
    cookies = [cookie for cookie in await page.context.cookies() if "sandbox" not in cookie["name"]]
    assert cookies
    assert all(cookie["secure"] for cookie in cookies)


async def test_fastapi_knows_its_address_redirects_to_it_and_keeps_a_secure_session(place: Place) -> None:
    command = (str(frameworks.python()), "-m", "uvicorn", "app:app", "--port", "{port}")
    async with opened(place, FASTAPI, "app.py", *command) as (here, page):
        for method in ("GET", "POST"):
            assert await where(page, method) == f"{here.origin()}/there/"
        form = "<form method=post action=/login><button>Log in</button></form>"
        await page.evaluate(f"document.body.insertAdjacentHTML('beforeend', '{form}')")
        await logs_in(here, page)
        await page.goto(f"{here.origin()}/there")  # the router redirects to the absolute URL with a slash
        assert page.url == f"{here.origin()}/there/"


@pytest.mark.parametrize("trusts", ["", "1"], ids=["as-it-comes", "trusts-the-header"])
async def test_django_takes_a_guarded_form_and_keeps_a_secure_session(place: Place, trusts: str) -> None:
    command = (str(frameworks.python()), "manage.py", "runserver", "127.0.0.1:{port}", "--noreload")
    async with opened(place, DJANGO, "manage.py", *command, TRUSTS=trusts) as (here, page):
        seen = await where(page, "GET")
        if trusts:  # else it does not know that it is seen by https, and pages are told to follow its URLs by https
            assert seen == f"{here.origin()}/there/"
        assert seen.partition("://")[2] == f"{here.origin()}/there/".partition("://")[2]
        await logs_in(here, page)


async def test_flask_redirects_and_links_to_where_it_is_seen_and_keeps_a_secure_session(place: Place) -> None:
    async with opened(place, FLASK, "app.py", str(frameworks.python()), "app.py") as (here, page):
        assert (await where(page, "GET")).partition("://")[2] == f"{here.origin()}/there/".partition("://")[2]
        await logs_in(here, page)
        await page.goto(here.origin())
        await page.get_by_role("link", name="on").click()
        await page.wait_for_url("**/there/")
        assert page.url == f"{here.origin()}/there/"


async def test_express_that_trusts_its_proxy_knows_its_address_and_keeps_a_secure_session(place: Place) -> None:
    async with opened(place, EXPRESS, "server.mjs", "node", "server.mjs") as (here, page):
        for method in ("GET", "POST"):
            assert await where(page, method) == f"{here.origin()}/there/"
        host = here.origin().partition("://")[2].partition(":")[0]
        assert await page.evaluate("fetch('/where').then(answer => answer.json()).then(found => found.name)") == host
        if place[1] == "https":  # by http it sets no Secure cookie, whoever asks
            await logs_in(here, page)


async def test_a_login_by_auth_js_at_a_provider_on_another_port_comes_back_to_the_preview(place: Place) -> None:
    port, provider = free_port(), free_port()
    other = ProcessSettings("provider", ("node", "provider.mjs"), provider)
    app = AppSettings(("env", f"PROVIDER={provider}", "node", "server.mjs"), port, processes=(other,))
    async with stack(app, domain=place[0], scheme=place[1]) as here, chromium(*browser_flags(here)) as browser:
        (here.tree / "node_modules").symlink_to(await asyncio.to_thread(frameworks.node_modules))
        await here.sync({"server.mjs": AUTH, "provider.mjs": PROVIDER})
        await here.ready()
        page = await browser.new_page()
        await page.goto(here.url(ports=(provider,)))
        await expect(page.locator("h1")).to_have_text("nobody")
        await page.goto(f"{here.origin()}/auth/signin")
        await page.get_by_role("button").click()
        await page.wait_for_url(f"{here.origin()}/**")
        await page.goto(here.origin())
        await expect(page.locator("h1")).to_have_text("alice")
