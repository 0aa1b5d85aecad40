"""How a preview session travels: once as a query parameter, from then on as a cookie. Pure, on the bytes of a request.

``__Host-`` makes browsers refuse the cookie unless it is Secure, for the whole path and without a Domain: a neighbour below the
same base domain cannot plant one. Chromium and Firefox take ``http://*.localhost`` for secure, so development needs no TLS.
"""

from __future__ import annotations

from sandbox_protocol.http1 import Head, Sized, request_body

PARAMETER = b"sandbox_token"
COOKIE = b"__Host-sandbox-preview"


def split_token(target: bytes) -> tuple[str | None, bytes]:
    """The token in a request target, and the target without it; everything else stays byte for byte."""
    path, question, query = target.partition(b"?")
    if not question or PARAMETER not in query:
        return None, target
    kept, token = [], None
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if name == PARAMETER:
            token = value.decode("latin-1")
        else:
            kept.append(part)
    if token is None:
        return None, target
    # "//host" would be read as another origin by whoever follows the redirect, and browsers take a backslash for a slash
    path = b"/" + path.lstrip(b"/\\")
    return token, path + b"?" + b"&".join(kept) if kept else path


def cookie_token(value: bytes) -> str | None:
    """The session in one Cookie header."""
    for pair in value.split(b";"):
        name, _, token = pair.strip().partition(b"=")
        if name == COOKIE:
            return token.decode("latin-1")
    return None


def without_session(value: bytes) -> bytes:
    """A Cookie header as the app may see it; empty when nothing is left."""
    if COOKIE not in value:
        return value
    pairs = [pair.strip() for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if pair and pair.partition(b"=")[0] != COOKIE)


def is_preflight(request: Head) -> bool:
    """Whether a browser may have sent it on its own, before a request of a page of another origin: these carry no cookie and no
    body (Fetch standard, "CORS-preflight fetch")."""
    asks = request.get(b"origin") is not None and request.get(b"access-control-request-method") is not None
    body = request_body(request)
    alone = isinstance(body, Sized) and body.done and request.get(b"cookie") is None and request.get(b"authorization") is None
    return request.method == b"OPTIONS" and asks and alone


def set_cookie(token: str, seconds: int) -> bytes:
    """Value of Set-Cookie. SameSite=None and Partitioned: the preview lives in a frame of another site, App Studio's."""
    attributes = b"Path=/; Max-Age=%d; Secure; HttpOnly; SameSite=None; Partitioned" % max(0, seconds)
    return b"%s=%s; %s" % (COOKIE, token.encode("latin-1"), attributes)


def apps_cookie(value: bytes) -> bytes | None:
    """A Set-Cookie of the app as the browser may see it: None for one that would replace our session; without Domain, which
    would plant it on every other preview below the base domain. Of a cookie without a name browsers send the value alone, which
    may look like ours."""
    first, *attributes = value.split(b";")
    if first.lstrip(b"= \t").partition(b"=")[0].strip().lower() == COOKIE.lower():
        return None
    kept = [part for part in attributes if part.partition(b"=")[0].strip().lower() != b"domain"]
    return b";".join([first, *kept])
