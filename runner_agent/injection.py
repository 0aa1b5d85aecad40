"""Scripts of ours in the app's pages: which requests ask for a page, what is asked of the app, and where a script goes. Pure.

A script stands right behind ``<head>``, so that nothing of a page is held back but its first few bytes. Only documents get one:
what a script fetches, such as the fragments of htmx or Turbo, is the app's own business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from runner_agent import content_policy
from runner_agent.page_begin import is_wide, place
from sandbox_protocol.http1 import Head

HEADER = b"x-sandbox-inject"
"""Names of scripts, by comma; from the gateway, which read them in the session."""
PATH = b"/.sandbox/"
"""What lies below it on a preview with scripts is answered by us."""
_DESTINATIONS = frozenset([b"document", b"iframe", b"frame"])
_FETCHED_BY_SCRIPT = (b"x-requested-with", b"hx-request", b"turbo-frame", b"x-turbo-request-id")
CONDITIONS = frozenset(
    [b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range", b"accept-encoding"],
)
"""Not asked of the app for a page that is changed: what it would answer is about other bytes, or compressed."""
_OF_THE_APPS_BYTES = frozenset(
    [b"etag", b"last-modified", b"accept-ranges", b"content-md5", b"digest", b"content-digest", b"repr-digest"]
)
_VARY = (b"Vary", b"Sec-Fetch-Dest")
"""A page that is kept is no answer to a script that asks for the same URL."""
_POLICIES = frozenset([b"content-security-policy", b"content-security-policy-report-only"])
_LOOKED_AT = 16 * 1024
"""Bytes of a page in which a place for the script is looked for, anew with each piece that comes."""
_SNIFFED = re.compile(
    rb"\s*<(?:!--|(?:!doctype\s+html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[\s>])",
    re.IGNORECASE,
)
"""How an answer without a type begins that browsers take for a page (MIME Sniffing Standard, 7.1)."""
_UNTOLD = re.compile(rb"\s*(?:<[!a-z0-9-]{0,10})?", re.IGNORECASE)
_SNIFFED_BYTES = 1445
"""In which they look for that."""
_CHARSET = re.compile(rb";\s*charset\s*=\s*[\"']?([^\"'\s;]+)", re.IGNORECASE)
_WIDE = frozenset(
    b"utf-16 utf-16le utf-16be unicode unicodefeff unicodefffe csunicode ucs-2 iso-10646-ucs-2".split(),
)
"""Names of UTF-16 (Encoding Standard, 4.2). Every other encoding of the web writes ``<script>`` as ASCII does."""


@dataclass(frozen=True, slots=True)
class Script:
    """``source`` is a path on the preview's host; attributes are ours and hold no quotes."""

    source: bytes
    attributes: tuple[tuple[bytes, bytes], ...] = ()

    def tag(self, nonce: bytes) -> bytes:
        given = b"".join(b' %s="%s"' % pair for pair in self.attributes)
        once = b' nonce="%s"' % nonce if nonce else b""
        return b'<script src="%s"%s%s></script>' % (self.source, given, once)


def asks_for_page(request: Head) -> bool:
    """Whether a browser goes to a page with this request, itself or in a frame. Without Fetch Metadata, which browsers leave out
    on plain HTTP, the words of Accept tell, unless a script's library names itself."""
    if request.method != b"GET" or request.version == 0 or request.upgrade is not None:
        return False
    destination = request.get(b"sec-fetch-dest")
    if destination is not None or request.get(b"sec-fetch-mode") is not None:
        return destination in _DESTINATIONS and request.get(b"sec-fetch-mode") in (b"navigate", None)
    by_script = any(request.get(name) is not None for name in _FETCHED_BY_SCRIPT)
    return (request.get(b"accept") or b"").lstrip().startswith(b"text/html") and not by_script


def is_ours(target: bytes, request: Head) -> bool:
    """Whether we answer to ``target``, asked for with the headers of ``request``, and not the app."""
    return target.startswith(PATH) and request.get(HEADER) is not None


def wants_scripts(request: Head) -> bool:
    """A part of a page (Range) is no page."""
    return request.get(HEADER) is not None and asks_for_page(request) and request.get(b"range") is None


def injected(response: Head, scripts: tuple[Script, ...], origin: bytes) -> Insertion | None:
    """What changes this answer, None when it is no page that a browser shows. ``origin`` is the preview's.

    Each script is told (``data-failed``) when the page stands for an error of the app."""
    kinds = list(response.all(b"content-type"))
    kind = kinds[0].partition(b";")[0].strip().lower() if kinds else b""
    sniffed = not kind and b"nosniff" not in (response.get(b"x-content-type-options") or b"").lower()
    charset = _CHARSET.search(kinds[0]) if kinds else None
    wide = len(kinds) > 1 or (charset is not None and charset[1].lower() in _WIDE)
    shown = response.status // 100 in (2, 4, 5) and response.status not in (204, 205, 206)
    coded = any(coding != b"identity" for coding in response.tokens(b"content-encoding"))
    saved = (response.get(b"content-disposition") or b"").lstrip().lower().startswith(b"attachment")
    if not (kind == b"text/html" or sniffed) or not shown or coded or wide or saved or not scripts:
        return None
    if response.status >= 500:
        scripts = tuple(replace(script, attributes=(*script.attributes, (b"data-failed", b"1"))) for script in scripts)
    return Insertion(scripts, origin, sniffed=sniffed)


class Insertion:
    """One page: :meth:`head` first, then its bytes as they come. Nothing is held back once the place is found.

    ``sniffed``: it has no type, and is a page only if it begins like one.
    """

    def __init__(self, scripts: tuple[Script, ...], origin: bytes, *, sniffed: bool = False) -> None:
        self._sniffed = sniffed
        self._scripts = scripts
        self._origin = origin
        self._nonce = b""
        self._begin: bytearray | None = bytearray()

    def head(self, head: Head) -> Head:
        policies = [value for name, value in head.headers if name.lower() in _POLICIES]
        if policies:
            self._nonce = content_policy.nonce_for(policies)
        headers = tuple(
            (name, content_policy.extended(value, self._origin + PATH, self._nonce) if name.lower() in _POLICIES else value)
            for name, value in head.headers
            if name.lower() not in _OF_THE_APPS_BYTES
        )
        return replace(head, headers=(*headers, _VARY))

    def feed(self, data: bytes) -> bytes:
        if self._begin is None:
            return data
        self._begin += data
        if self._sniffed and len(self._begin) < _SNIFFED_BYTES and _UNTOLD.fullmatch(self._begin):
            return b""
        enough = len(self._begin) >= _LOOKED_AT
        at = place(bytes(self._begin[:_LOOKED_AT]), ended=enough)
        return b"" if at is None and not enough else self._insert(at)

    def end(self) -> bytes:
        return b"" if self._begin is None else self._insert(place(bytes(self._begin), ended=True))

    def _insert(self, at: int | None) -> bytes:
        page, self._begin = bytes(self._begin or b""), None
        if not page or at is None or is_wide(page) or (self._sniffed and not _SNIFFED.match(page[:_SNIFFED_BYTES])):
            return page
        return page[:at] + b"".join(script.tag(self._nonce) for script in self._scripts) + page[at:]
