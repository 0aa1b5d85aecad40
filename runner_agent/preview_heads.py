"""Heads between the preview's host and the app: what it is told of where it is seen, and where its redirects lead. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from runner_agent import injection
from runner_agent.frameworks import World
from sandbox_protocol import names
from sandbox_protocol.http1 import Head, encode_block, encode_response

PORT_HEADER = b"x-sandbox-port"
OWN_PORTS = frozenset({names.CONTROL_PORT, names.LAUNCHER_PORT, names.PREVIEW_PORT})
_FORWARDED = frozenset([b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"])
_ORIGIN = re.compile(rb"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
_LABEL = re.compile(rb"([1-9][0-9]{0,4})-([a-z2-7]{26}\..+)", re.IGNORECASE)
"""A public host: port, and what all ports of one runner share."""
_LOCAL = re.compile(rb"(?:https?:)?//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::([0-9]{1,5}))?(?=[/?#]|$)", re.IGNORECASE)
_SLASHES = b"/\\\t "
_NEXT_OWN = (b"/_next", b"/__next")


def rewritten(request: Head, port: int, world: World = "local", framework: str = "", *, page: bool = False) -> bytes:
    """The header block as the app sees it.

    What a page of another port of the same runner sends comes from ``http://localhost:<that port>``, as at home. In the local
    world what comes from the app's own page comes from ``http://localhost:<port>``, and no X-Forwarded-Host or -Proto contradicts
    it, so a framework's check against forgery passes whatever it compares (Django: Origin and Host; SvelteKit: Origin and the URL
    that it was asked for; React Router: Origin and X-Forwarded-Host). In the other worlds Origin, Host or X-Forwarded-Host agree
    by themselves. A foreign Origin stays foreign. ``page`` is one that will be changed: it comes whole and not compressed.
    """
    host = request.get(b"host") or b""
    scheme = request.get(b"x-forwarded-proto") or b"http"
    localhost = b"http://localhost:%d" % port
    own = is_at(request.get(b"origin") or b"", host)
    # Django does not know that it is seen by https, and compares Origin with what it knows
    downgraded = world == "public" and own and framework == "django" and scheme == b"https"
    if own and (world == "local" or (world == "forwarded" and _is_nexts_own(request))):
        at_home, silent = localhost, True
    elif downgraded:
        at_home, silent = b"http://" + host, True
    else:
        at_home, silent = b"", False

    def dropped(name: bytes) -> bool:
        return (
            name in (PORT_HEADER, injection.HEADER) or (silent and name in _FORWARDED) or (page and name in injection.CONDITIONS)
        )

    headers = []
    for name, value in request.end_to_end(dropped):
        match name.lower():
            case b"host" if world != "public":
                headers.append((name, localhost[7:]))
            case b"origin" | b"referer" if at_home and is_at(value, host):
                headers.append((name, at_home + value[len(_origin(value)) :]))
            case b"origin" | b"referer" if (other := sibling(value, host)) is not None and other != port:
                headers.append((name, b"http://localhost:%d" % other + value[len(_origin(value)) :]))
            case _:
                headers.append((name, value))
    if not silent:
        if request.get(b"x-forwarded-host") is None:
            headers.append((b"X-Forwarded-Host", host))
        if request.get(b"x-forwarded-port") is None:
            headers.append((b"X-Forwarded-Port", _port_of(host, scheme)))
    if page:
        headers.append((b"Accept-Encoding", b"identity"))
    return encode_block([*headers, *_upgrade(request)])


def sibling(url: bytes, host: bytes) -> int | None:
    """The app's port that an origin means, if it is one of the same runner as the public ``host``."""
    other, here = _LABEL.fullmatch(_origin(url).partition(b"://")[2]), _LABEL.fullmatch(host)
    if other is None or here is None or other[2].lower() != here[2].lower():
        return None
    return int(other[1])


def is_at(url: bytes, host: bytes) -> bool:
    return _origin(url).partition(b"://")[2].lower() == host.lower()


def public_origin(request: Head) -> bytes:
    return b"%s://%s" % (request.get(b"x-forwarded-proto") or b"http", request.get(b"host") or b"")


@lru_cache(32)
def response_of(port: int, origin: bytes = b"") -> Callable[[Head], bytes]:
    """The response head of the app on ``port``, seen at the public ``origin``; the same function for the same two, as equal heads
    are remembered with it.

    An app that does not know of a proxy in front (Flask's own server, Django's, Express unless it trusts one) writes ``http:``
    where it is seen by https: pages are told to follow such URLs by https, styles and forms included.
    """
    secure = origin.startswith(b"https:")

    def response(head: Head) -> bytes:
        headers = [
            (name, mended(value, port, origin) if name.lower() == b"location" else value) for name, value in head.end_to_end()
        ]
        if secure and (head.get(b"content-type") or b"").lstrip().lower().startswith(b"text/html"):
            headers.append((b"Content-Security-Policy", b"upgrade-insecure-requests"))
        return encode_response(head.status, head.reason, [*headers, *(_upgrade(head) if head.status == 101 else ())])

    return response


def mended(location: bytes, port: int, origin: bytes) -> bytes:
    """A redirect to an address under which the app knows itself leads the browser to the right public place: to a path on the
    same host, or for another port to that port's host. So does one to the public host by the other scheme. A path begins with one
    slash: two would name another host, also where browsers make them of a backslash, or by leaving out a tab."""
    scheme, _, host = origin.partition(b"://")
    if host and is_at(location, host):
        return b"/" + location[len(_origin(location)) :].lstrip(_SLASHES)
    here = _LOCAL.match(location)
    if here is None:
        return location
    path = b"/" + location[here.end() :].lstrip(_SLASHES)
    if here[1] is None or int(here[1]) == port:
        return path
    label = _LABEL.fullmatch(host)
    if label is None or not 1024 <= int(here[1]) <= 65535 or int(here[1]) in OWN_PORTS:
        return location
    return b"%s://%d-%s%s" % (scheme, int(here[1]), label[2], path)


def _is_nexts_own(request: Head) -> bool:
    """Its dev server lets only known origins ask for its own parts and its socket."""
    return request.upgrade is not None or request.target.startswith(_NEXT_OWN)


def _origin(url: bytes) -> bytes:
    match = _ORIGIN.match(url)
    return match[0] if match is not None else b""


def _port_of(host: bytes, scheme: bytes) -> bytes:
    given = host.rpartition(b":")[2]
    return given if given.isdigit() and b":" in host else b"443" if scheme == b"https" else b"80"


def _upgrade(head: Head) -> list[tuple[bytes, bytes]]:
    protocol = head.upgrade
    return [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)] if protocol else []
