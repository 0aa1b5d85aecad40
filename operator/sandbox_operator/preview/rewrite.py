"""What a request looks like to the agent, and a response to the browser. Pure."""

from __future__ import annotations

from sandbox_operator.preview import session
from sandbox_protocol.http1 import Head, encode_block, encode_response

_FORWARDED = (b"x-forwarded-", b"x-sandbox-", b"x-remote-")
_OURS = frozenset([b"forwarded", b"x-request-id", b"x-real-ip"])
_PREFLIGHT = (b"access-control-", b"vary", b"allow")


def request(head: Head, port: int, scheme: str, peer: str, inject: tuple[str, ...] = ()) -> bytes:
    """The header block for the agent: without our session and without what only a proxy may say; with what this one says, such as
    which scripts of ours a page gets (``inject``)."""
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
        *([(b"X-Sandbox-Inject", ", ".join(inject).encode())] if inject else ()),
        *_upgrade(head),
    ]
    return encode_block(headers)


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


def preflight(head: Head) -> bytes:
    """The app's answer to a preflight, as whoever asked without a session may see it: what it allows, and nothing else."""
    headers = [(name, value) for name, value in head.headers if name.lower().startswith(_PREFLIGHT)]
    length = [] if head.status == 204 else [(b"Content-Length", b"0")]
    return encode_response(head.status, head.reason, [*headers, *length])


def redirect(target: bytes, cookie: bytes | None) -> bytes:
    """To the same page without the token. Nothing keeps the answer, and the next page does not learn the URL it came from."""
    headers = [
        (b"Location", target),
        (b"Cache-Control", b"no-store"),
        (b"Referrer-Policy", b"no-referrer"),
        (b"Content-Length", b"0"),
    ]
    return encode_response(302, b"Found", headers if cookie is None else [*headers, (b"Set-Cookie", cookie)])


def _only_a_proxy_says(name: bytes) -> bool:
    return name in _OURS or name.startswith(_FORWARDED)


def _upgrade(head: Head) -> list[tuple[bytes, bytes]]:
    protocol = head.upgrade
    return [(b"Connection", b"Upgrade"), (b"Upgrade", protocol)] if protocol else []
