"""What stands between an app and a browser: pages that get a script, policies, heads, redirects, cookies, the waiting page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

from runner_agent import content_policy, injection, log_lines, preview_heads, preview_page
from runner_agent.frameworks import World
from runner_agent.injection import Insertion, Script
from sandbox_operator.model.preview_token import Claims
from sandbox_operator.preview import session, siblings
from sandbox_operator.settings import Preview
from sandbox_protocol import refs, waiting_page
from sandbox_protocol.http1 import HEAD_BYTES, ProtocolError, head_end, parse_request, parse_response, response_body
from sandbox_protocol.http1_change import Changing
from tests.fuzz.target import cuts, target

_SCRIPTS = (Script(b"/.sandbox/fuzz.js", ((b"data-seen", b"1.a.0"),)),)
_TAG = re.compile(rb'<script src="/\.sandbox/fuzz\.js" data-seen="1\.a\.0"(?: nonce="[A-Za-z0-9+/_=-]*")?></script>')
_UID = "0f0e0d0c-0b0a-4908-8706-050403020100"
_PUBLIC = Preview("apps.test", "https", 443)
_HOST = refs.Refs(_UID).public_host(3000, "apps.test").encode()
_ORIGIN = b"https://" + _HOST
_SOURCE = _ORIGIN + injection.PATH


def _unchanged_but_for(made: bytes, page: bytes) -> bool:
    """Whether ``made`` is ``page`` with at most one script of ours in it."""
    tags = [found for found in _TAG.finditer(made) if made[: found.start()] + made[found.end() :] == page]
    return made == page or bool(tags)


@target
def page_script(data: bytes) -> None:
    """A page; one that begins with NUL NUL came without a type. No exception; the same in whatever pieces; without our script it
    is byte for byte what the app sent; nothing is kept once its place is found."""
    sniffed, page = data[:2] == b"\0\0", data.removeprefix(b"\0\0")
    results = []
    for pieces in ([page], list(cuts(page)), [page[at : at + 1] for at in range(min(len(page), 512))] + [page[512:]]):
        insertion = Insertion(_SCRIPTS, _ORIGIN, sniffed=sniffed)
        results.append(b"".join(insertion.feed(piece) for piece in pieces if piece) + insertion.end())
        assert insertion.feed(b"x") == b"x"
    assert results[0] == results[1] == results[2]
    assert _unchanged_but_for(results[0], page)


def _dechunked(data: bytes) -> bytes:
    made, at = b"", 0
    while True:
        size, _, _ = data[at:].partition(b"\r\n")
        at += len(size) + 2
        if not int(size, 16):
            assert data[at:] == b"\r\n"
            return made
        made += data[at : at + int(size, 16)]
        at += int(size, 16) + 2


@target
def page_answer(data: bytes) -> None:
    """A server's answer to a request for a page. ProtocolError only; what is not HTML of one type, plain and whole, is passed on
    untouched; a page is changed by no more than our script, and announced without what is true of the app's bytes only."""
    try:
        end = head_end(data)
        if end < 0:
            return
        response = parse_response(data[:end])
        body = response_body(response, b"GET")
        change = injection.injected(response, _SCRIPTS, _ORIGIN)
        if change is None:
            return
        kinds = list(response.all(b"content-type"))
        assert not kinds or kinds[0].split(b";")[0].strip().lower() in (b"text/html", b"")
        assert set(response.tokens(b"content-encoding")) <= {b"identity"}
        assert response.get(b"content-range") is None or response.status != 206
        head, changing, sent, page = change.head(response), Changing(change, body), b"", data[end:]
        assert not {name.lower() for name, _ in head.headers} & {b"etag", b"last-modified", b"content-md5"}
        took = 0
        for piece in cuts(page):
            count, made = changing.take(piece)
            took, sent = took + count, sent + made
            if changing.body.done:
                break
        if not changing.body.done:
            changing.body.eof()
            sent += changing.end()
    except ProtocolError:
        return
    if sent and response.get(b"transfer-encoding") is None:
        assert _unchanged_but_for(_dechunked(sent), page[:took])


def _sources(policy: bytes, *names: bytes) -> list[bytes] | None:
    """The list that counts for the first of the directives that is there, as a browser reads it (CSP 3, 2.2.1)."""
    directives: dict[bytes, list[bytes]] = {}
    for token in policy.split(b";"):
        words = token.split()
        if words:
            directives.setdefault(words[0].lower(), words[1:])
    return next((directives[name] for name in names if name in directives), None)


def _loads(policy: bytes, nonce: bytes) -> bool:
    """Whether a script of ours that stands in the page loads under one policy (CSP 3, 6.7.1)."""
    listed = _sources(policy, b"script-src-elem", b"script-src", b"default-src")
    if listed is None or (nonce and b"'nonce-%s'" % nonce in listed):
        return True
    lower = [word.lower() for word in listed]
    return b"'strict-dynamic'" not in lower and bool({b"'self'", b"*", _SOURCE} & set(lower))


@target
def page_policy(data: bytes) -> None:
    """Lines, each the value of a Content-Security-Policy. No exception; our script loads and asks; no source is lost, and none
    but ours and one nonce comes to scripts and connections; every other directive is what it was."""
    lines = [line for line in re.sub(rb"[^\t\x20-\x7e\x80-\xff\n]", b"", data).split(b"\n")[:4] if line.strip()]
    nonce = content_policy.nonce_for(lines)
    assert re.fullmatch(rb"[A-Za-z0-9+/_=-]*", nonce)
    for line in lines:
        made = content_policy.extended(line, _SOURCE, nonce)
        assert content_policy.extended(made, _SOURCE, nonce) == made
        before = [policy for policy in line.split(b",") if policy.strip(b"; \t")]
        after = made.split(b",") if made else []
        for old, new in zip(before, after, strict=True):
            _extended(old, new, nonce)


def _extended(old: bytes, new: bytes, nonce: bytes) -> None:
    ours = {_SOURCE, b"'nonce-%s'" % nonce}
    assert _loads(new, nonce)
    asks = _sources(new, b"connect-src", b"default-src")
    assert asks is None or {b"'self'", b"*", _SOURCE} & {word.lower() for word in asks}
    for name in {token.split()[0].lower() for token in old.split(b";") if token.split()}:
        was, now = set(_sources(old, name) or ()), set(_sources(new, name) or ())
        if name in (b"script-src", b"script-src-elem", b"connect-src"):
            assert {word for word in was - now if word.lower() != b"'none'"} == set()
            assert now - was <= ours
        else:
            assert now == was
    for name in (b"script-src", b"connect-src"):
        fallen, now = set(_sources(old, name, b"default-src") or ()), set(_sources(new, name, b"default-src") or ())
        assert now - fallen <= ours


_WORLDS: tuple[World, ...] = ("public", "local", "forwarded")


@target
def heads_for_an_app(data: bytes) -> None:
    """The first byte chooses what the app is told, then a request's head. ProtocolError only. What the app gets is a request with
    one Host, nothing that is ours, and an Origin that is its own only where it was; a page asks for itself whole."""
    choice, raw = data[:1] or b"\0", data[1 : HEAD_BYTES - 4] + b"\r\n\r\n"
    try:
        request = parse_request(raw[: head_end(raw)])
    except ProtocolError:
        return
    world, framework = _WORLDS[choice[0] % 3], "django" if choice[0] & 8 else ""
    block = preview_heads.rewritten(request, 3000, world, framework, page=bool(choice[0] & 16))
    seen = parse_request(b"%s %s HTTP/1.1" % (request.method, request.target) + block)
    names = {name.lower() for name, _ in seen.headers}
    assert not names & {b"x-sandbox-port", b"x-sandbox-inject"}
    hosts = list(seen.all(b"host"))
    assert hosts == [request.get(b"host") if world == "public" else b"localhost:3000"]
    given, got = list(request.all(b"origin")), list(seen.all(b"origin"))
    host = (request.get(b"host") or b"").lower()
    for before, after in zip(given, got, strict=False):
        foreign = before.partition(b"://")[2].lower() != host and preview_heads.sibling(before, host) is None
        if b"/" not in before.partition(b"://")[2] and foreign:
            assert before == after
    if choice[0] & 16:
        assert list(seen.all(b"accept-encoding")) == [b"identity"]
        assert not names & {b"if-none-match", b"if-modified-since", b"if-range"}


@target
def redirects_of_an_app(data: bytes) -> None:
    """The value of a Location. No exception; it is what it was, or leads to a path of this preview, or to another port's of the
    same runner, as a browser reads it: without its tabs, and a backslash for a slash."""
    location = re.sub(rb"[^\t\x20-\x7e\x80-\xff]", b"", data).strip(b" \t")
    made = preview_heads.mended(location, 3000, _ORIGIN)
    if made == location:
        return
    read = made.replace(b"\t", b"").replace(b"\\", b"/").decode("latin-1").strip()
    if read.startswith("/"):
        assert not read.startswith("//")
        return
    there = urlsplit(read)
    found, port = refs.from_public_host(there.hostname or "", "apps.test")
    assert (there.scheme, found.uid) == ("https", _UID)
    assert port not in preview_heads.OWN_PORTS
    assert "@" not in there.netloc


_CLAIMS = Claims(_HOST.decode(), "a", (), _UID, "n", "r", 3000, "j", 1, 2, ports=(4000, 5000))


@target
def way_through_ports(data: bytes) -> None:
    """The target of a request with a token. No exception; each place to go is a path of ours, or the host of a port that the
    token names; the way ends after each port was met once."""
    target = re.sub(rb"[^!-~\x80-\xff]", b"", b"/" + data)
    allowed = {refs.Refs(_UID).public_host(port, "apps.test"): port for port in (3000, 4000, 5000)}
    claims = _CLAIMS
    for _ in range(5):
        token, clean = session.split_token(target)
        assert token is None or (clean.startswith(b"/") and not clean.startswith((b"//", b"/\\")))
        to = siblings.next_place(claims, "t.t.t", clean, _PUBLIC)
        assert re.fullmatch(rb"[!-~\x80-\xff]+", to)
        if to.startswith(b"/"):
            assert not to.startswith((b"//", b"/\\"))
            return
        where = urlsplit(to.decode("latin-1"))
        assert where.scheme == "https"
        assert where.netloc in allowed
        target = to[len(b"https://") + len(where.netloc) :]
        if session.split_token(target)[0] is None:
            assert re.match(rb"/(?![/\\])", target)
            return
        port = allowed[where.netloc]
        others = tuple(each for each in (3000, 4000, 5000) if each != port)
        claims = Claims(where.netloc, "a", (), _UID, "n", "r", port, "j", 1, 2, ports=others)
    raise AssertionError("it never ends")


@target
def cookies_of_an_app(data: bytes) -> None:
    """A value of Cookie and of Set-Cookie. No exception; the app reads no session of ours, and can set neither that cookie, in
    whatever way its name is written, nor one for other hosts."""
    value = re.sub(rb"[^\t\x20-\x7e\x80-\xff]", b"", data)
    kept = session.without_session(value)
    assert session.cookie_token(kept) is None
    assert session.without_session(kept) == kept
    made = session.apps_cookie(value)
    if made is None:
        return
    pair, *attributes = made.split(b";")
    name, equals, content = pair.partition(b"=")
    # without a name, browsers send the content alone (RFC 6265bis, 5.8.3)
    sent = (name if equals and name.strip(b" \t") else content if equals else name).strip(b" \t").partition(b"=")[0].strip(b" \t")
    assert sent.lower() != session.COOKIE.lower()
    assert not [each for each in attributes if each.partition(b"=")[0].strip(b" \t").lower() == b"domain"]


class _Shape(HTMLParser):
    """The elements of a page with their attributes, and what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.said: dict[str, str] = {}
        self._in = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attributes)))
        self._in = tag

    def handle_data(self, data: str) -> None:
        self.said[self._in] = self.said.get(self._in, "") + data


def _shape(text: str, lines: list[str]) -> _Shape:
    look = preview_page.Look(
        3000, "web", web=False, state="BackOff", reason="CrashLoop", message=text, command=text, lines=lines, why=text
    )
    made = preview_page.page(look, 10.0, b"fuzz").html()
    assert len(made) <= waiting_page.PAGE_BYTES + 16 * 1024  # without lines: a head, a message and a command
    shape = _Shape()
    shape.feed(made.decode())
    shape.close()
    return shape


@target
def waiting_page_lines(data: bytes) -> None:
    """What an app prints, is called, and says of itself, half characters included. No exception; nothing of it is more than
    text of a page, whose elements are those that it has with harmless words; no terminal code and no long line is left."""
    for text in ("x" + data.decode("utf-8", "replace"), "x" + data.decode("utf-8", "surrogateescape")):
        lines = [line for line in text.split("\n") if log_lines.plain(line).strip()][:20]
        for line in lines:
            shown = log_lines.plain(line)
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", shown)
            assert len(shown) <= 300
        found, harmless = _shape(text, lines), _shape("x", ["x"] * len(lines))
        assert [each for each in found.elements if each[0] != "p"] == [each for each in harmless.elements if each[0] != "p"]
