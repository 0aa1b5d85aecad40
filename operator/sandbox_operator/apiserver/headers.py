"""Which headers cross us, in both directions. Allow-lists for the agent; for the app, everything but what could carry a right.

Pure. The user's credentials end here: what speaks to an agent is our own token, and what speaks to the app carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping

# To and from the agent. Length and transfer coding are set by the HTTP library for each hop.
AGENT_REQUEST = ("Content-Type", "Content-Encoding", "If-Match", "Accept")
AGENT_RESPONSE = ("ETag", "Content-Length", "Retry-After", "Accept-Ranges", "Content-Range", "Upload-Offset")

# RFC 9110 §7.6.1; names listed in Connection itself are dropped too.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Credentials of the caller or of this server, and names by which the app could be made to believe in a user. The agent's own
# X-Sandbox-* headers are set by us alone. Expect is answered by each hop for itself.
_APP_REQUEST_DROPPED = HOP_BY_HOP | {
    "forwarded",
    "via",
    "authorization",
    "cookie",
    "host",
    "content-length",
    "expect",
    "impersonate-user",
    "audit-id",
}
# X-Forwarded-* and the like name the caller's address and the API server's; the agent writes its own.
_APP_REQUEST_DROPPED_PREFIXES = ("x-remote-", "impersonate-", "x-sandbox-", "x-forwarded-")
# Set-Cookie would plant the app's cookies on the Kubernetes API's origin; the rest are rights that only that origin may give.
_APP_RESPONSE_DROPPED = HOP_BY_HOP | {
    "set-cookie",
    "set-cookie2",
    "www-authenticate",
    "strict-transport-security",
    "public-key-pins",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "service-worker-allowed",
    "clear-site-data",
    "alt-svc",
    "audit-id",
}
# The app's pages must never run as pages of the Kubernetes API's origin: no scripts, a unique origin, the type as it is said.
SANDBOXED = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


def only(headers: MultiMapping[str], allowed: Iterable[str]) -> CIMultiDict[str]:
    """The allowed ones, each once: a header that we pass on is never a list."""
    return CIMultiDict((name, headers[name]) for name in allowed if name in headers)


def to_app(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Request headers for the app behind the ``proxy`` verb."""
    dropped = _APP_REQUEST_DROPPED | _named_in_connection(headers)
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and not name.lower().startswith(_APP_REQUEST_DROPPED_PREFIXES)
    )


def from_app(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Response headers of the app behind the ``proxy`` verb, made harmless on the API server's origin."""
    dropped = _APP_RESPONSE_DROPPED | _named_in_connection(headers) | {name.lower() for name in SANDBOXED}
    kept = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)
    kept.update(SANDBOXED)
    return kept


def _named_in_connection(headers: CIMultiDictProxy[str]) -> frozenset[str]:
    return frozenset(token.strip().lower() for value in headers.getall("Connection", ()) for token in value.split(","))
