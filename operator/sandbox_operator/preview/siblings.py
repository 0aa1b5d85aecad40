"""The ports of one runner count as one origin: a page of one may call the API on another. Pure.

Browsers keep their cookies apart, so opening one port leads once through the others, each of which sets its own session; and they
ask each answer whether a page of another origin may read it, which ours say for pages of the same runner, and for no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

from sandbox_operator.model.preview_token import Claims
from sandbox_operator.preview import rewrite, session
from sandbox_operator.settings import Preview
from sandbox_protocol.http1 import Head, encode_response
from sandbox_protocol.http1_routing import Reply
from sandbox_protocol.refs import Refs, from_public_host

HOPS, GOAL = b"sandbox_hops", b"sandbox_goal"
_TARGET = re.compile(rb"/(?:[!-.0-\[\]-~\x80-\xff][!-~\x80-\xff]*)?")
"""A path with one slash in front: two, or a backslash, would name another host."""
_ALLOWS = frozenset([b"access-control-allow-origin", b"access-control-allow-credentials"])
_REMEMBERED = 512


def next_place(claims: Claims, token: str, target: bytes, public: Preview) -> bytes:
    """Where to go once the session of ``claims.port`` is set, ``target`` being what was asked for there.

    From the port that was asked for through each of the others and back, with the token and what is left of the way; a way that
    names a port which the token does not open is not followed. Each hop shortens it, so it ends.
    """
    goal, hops = _split(target)
    known = {claims.port, *claims.ports}
    if hops is None:
        goal, hops = target, (*claims.ports, claims.port)
    elif not hops or len(set(hops)) < len(hops) or not known.issuperset(hops) or claims.port in hops:
        return b"/"
    where = f"{public.scheme}://{Refs(claims.uid).public_host(hops[0], public.base_domain)}{public.port_suffix}".encode()
    if len(hops) == 1:
        return where + goal
    left = ".".join(map(str, hops[1:])).encode()
    sent = (b"%s=%s" % pair for pair in ((session.PARAMETER, token.encode()), (HOPS, left), (GOAL, _quoted(goal))))
    return where + b"/?" + b"&".join(sent)


def is_hop(target: bytes) -> bool:
    return HOPS + b"=" in target.partition(b"?")[2]


def _split(target: bytes) -> tuple[bytes, tuple[int, ...] | None]:
    query = dict(part.partition(b"=")[::2] for part in target.partition(b"?")[2].split(b"&"))
    if HOPS not in query:
        return target, None
    ports = query[HOPS].split(b".")
    goal = unquote_to_bytes(query.get(GOAL, b"/"))
    if not all(re.fullmatch(rb"[1-9][0-9]{0,4}", port) for port in ports):
        return b"/", ()
    return goal if _TARGET.fullmatch(goal) else b"/", tuple(map(int, ports))


def _quoted(target: bytes) -> bytes:
    return quote_from_bytes(target, safe="").encode()


def origin_of(request: Head, uid: str, host: str, public: Preview) -> bytes | None:
    """The Origin of a request, if it is a page on another port of this very runner."""
    origin = request.get(b"origin")
    if origin is None:
        return None
    scheme, _, place = origin.decode("latin-1").partition("://")
    try:
        refs, port = from_public_host(place, public.base_domain)
    except ValueError:
        return None
    named = refs.public_host(port, public.base_domain)
    same = refs.uid == uid and named != host and (scheme, place.lower()) == (public.scheme, named + public.port_suffix)
    return origin if same else None


def told(reply: Reply, origin: bytes) -> Reply:
    """An answer of ours as a page of ``origin`` may read it."""
    line, _, rest = reply.response.partition(b"\r\n")
    allowed = b"".join(b"%s: %s\r\n" % pair for pair in _allowed(origin))
    return Reply(line + b"\r\n" + allowed + rest, reply.close)


def preflight(request: Head, origin: bytes) -> Reply:
    """The answer to a browser that asks, without a cookie, whether it may: of the app nothing is asked and nothing told."""
    headers = [
        *_allowed(origin),
        (b"Access-Control-Allow-Methods", request.get(b"access-control-request-method") or b"GET"),
        (b"Access-Control-Allow-Headers", request.get(b"access-control-request-headers") or b"content-type"),
        (b"Access-Control-Max-Age", b"600"),
    ]
    return Reply(encode_response(204, b"No Content", headers))


@lru_cache(_REMEMBERED)
def response_for(origin: bytes) -> Callable[[Head], bytes]:
    """The app's answer as a page of ``origin`` may read it, whatever the app says of origins; the same function for the same
    origin, as equal heads are remembered with it."""

    def response(head: Head) -> bytes:
        kept = tuple((name, value) for name, value in head.headers if name.lower() not in _ALLOWS)
        return rewrite.response(Head((*kept, *_allowed(origin)), head.version, status=head.status, reason=head.reason))

    return response


def _allowed(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Vary", b"Origin"),
    ]
