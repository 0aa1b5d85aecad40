"""Who saw what, in lines of JSON: sessions always, each request if asked for. Never a token, a cookie or a query."""

from __future__ import annotations

import logging

from sandbox_operator.model.preview_token import Claims
from sandbox_protocol.http1 import Head

_LOG = logging.getLogger(__name__)


def session(event: str, request: Head, peer: str, claims: Claims) -> None:
    """``event`` is "session begun" or why it was refused."""
    _LOG.info(event, extra={"fields": _fields(request, peer) | _who(claims)})


def request(request: Head, peer: str, status: int, session: object) -> None:
    """One answered request; for an upgrade, its beginning."""
    who = _who(session) if isinstance(session, Claims) else {}
    _LOG.info("request", extra={"fields": _fields(request, peer) | {"code": status} | who})


def _fields(request: Head, peer: str) -> dict[str, object]:
    path = request.target.partition(b"?")[0]
    return {
        "request": request.id.decode("latin-1"),
        "peer": peer,
        "method": request.method.decode("latin-1"),
        "host": (request.get(b"host") or b"").decode("latin-1"),
        "path": path.decode("latin-1"),
    }


def _who(claims: Claims) -> dict[str, object]:
    return {"user": claims.user, "namespace": claims.namespace, "name": claims.name, "uid": claims.uid, "jti": claims.jti}
