"""What a request looks like to the agent, and a response to the browser. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox_operator.preview import session
from sandbox_protocol.http1 import Head, encode_request, encode_response

_FORWARDED = (b"x-forwarded-", b"x-sandbox-", b"x-remote-")


def request(head: Head, target: bytes, port: int, scheme: str, peer: str) -> bytes:
    """``head`` for the agent: without our session and without what only a proxy may say; with what this one says."""
    headers = [
        (name, kept)
        for name, value in head.end_to_end(_only_a_proxy_says)
        if (kept := session.without_session(value) if name.lower() == b"cookie" else value) or name.lower() != b"cookie"
    ]
    host = head.get(b"host") or b""
    headers += [
        (b"X-Sandbox-Port", b"%d" % port),
        (b"X-Forwarded-Host", host),
        (b"X-Forwarded-Proto", scheme.encode()),
        (b"X-Forwarded-For", peer.encode("ascii", "replace")),
        *_upgrade(head),
    ]
    return encode_request(head.method, target, headers)


def response(head: Head) -> bytes:
    """``head`` for the browser."""
    headers = []
    for name, value in head.end_to_end():
        if name.lower() == b"set-cookie":
            kept = session.apps_cookie(value)
            if kept is not None:
                headers.append((name, kept))
        else:
            headers.append((name, value))
    return encode_response(head.status, head.reason, [*headers, *(_upgrade(head) if head.status == 101 else ())])


def redirect(target: bytes, cookie: bytes) -> bytes:
    """To the same page without the token. Nothing keeps the answer, and the next page does not learn the URL it came from."""
    headers: Mapping[bytes, bytes] = {
        b"Location": target,
        b"Set-Cookie": cookie,
        b"Cache-Control": b"no-store",
        b"Referrer-Policy": b"no-referrer",
        b"Content-Length": b"0",
    }
    return encode_response(302, b"Found", headers.items())


def _only_a_proxy_says(name: bytes) -> bool:
    return name == b"forwarded" or name.startswith(_FORWARDED)


def _upgrade(head: Head) -> list[tuple[bytes, bytes]]:
    protocol = head.upgrade
    return [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)] if protocol else []
