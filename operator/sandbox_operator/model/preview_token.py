"""Preview tokens: who may see which port of which runner, where, until when. Signed by the API server, read by the gateway.

A token says nothing that its reader does not check again: the host is recomputed from UID and port, so no token aims elsewhere,
and the right itself is asked of the cluster while the session lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jwt
from jwt import PyJWK

from sandbox_operator.model.preview_keys import Ring
from sandbox_protocol.refs import Refs

_ALGORITHM = "EdDSA"
_REQUIRED = ["aud", "sub", "groups", "uid", "ns", "name", "port", "jti", "iat", "exp"]
LEEWAY_SECONDS = 30
"""Between the clocks of two nodes: a token may be read this much before it was issued, by the reader's clock."""
SCRIPTS = frozenset(["reload"])
"""Names that a token may carry: the header that says them to the agent is made of them."""
MOST_PORTS = 8
"""Beside its own: what a runner may declare."""
MAX_BYTES = 8192
"""A user in hundreds of groups stays below; cookies above 4 kB are refused by browsers anyway."""


class TokenError(Exception):
    """A token that proves nothing; the message says why and never quotes the token."""


@dataclass(frozen=True, slots=True)
class Claims:
    """``host`` is the public host without port; ``issued`` and ``expires`` are Unix seconds; ``kid`` names
    the key that proved it."""

    host: str
    user: str
    groups: tuple[str, ...]
    uid: str
    namespace: str
    name: str
    port: int
    jti: str
    issued: int
    expires: int
    kid: str = ""
    inject: tuple[str, ...] = ()
    """Scripts of ours that its pages get, by name."""
    ports: tuple[int, ...] = ()
    """Other ports of the same runner that it opens as well, so that a page may call the API beside it."""


def sign(ring: Ring, claims: Claims) -> str:
    """With the first key of the private ``ring``."""
    key = PyJWK(ring["keys"][0], algorithm=_ALGORITHM)
    payload = {
        "aud": claims.host,
        "sub": claims.user,
        "groups": list(claims.groups),
        "uid": claims.uid,
        "ns": claims.namespace,
        "name": claims.name,
        "port": claims.port,
        "jti": claims.jti,
        "iat": claims.issued,
        "exp": claims.expires,
        **({"ports": list(claims.ports)} if claims.ports else {}),
        **({"inject": list(claims.inject)} if claims.inject else {}),
    }
    return jwt.encode(payload, key.key, algorithm=_ALGORITHM, headers={"kid": key.key_id})


def verify(ring: Ring, token: str, host: str, now: float) -> Claims:
    """The claims of a token for ``host`` (without port), or TokenError. ``ring`` may be the public one.

    Its audience is one host; it is good for those of its ``ports`` too, and the claims are then of the host that was asked for.
    """
    if len(token) > MAX_BYTES:
        raise TokenError("too long")
    if not token.isascii():
        raise TokenError("not ASCII")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in ring["keys"] if key["kid"] == kid), None)
        if key is None:
            raise TokenError("signed with an unknown key")
        # Times are compared below with the caller's clock; PyJWT would take its own.
        payload = jwt.decode(
            token,
            PyJWK(key, algorithm=_ALGORITHM).key,
            algorithms=[_ALGORITHM],
            # compared below with what UID and port make, which is stricter
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
        )
    except jwt.InvalidTokenError as error:
        raise TokenError(type(error).__name__) from error
    claims = replace(_claims(payload), kid=key["kid"])
    if now >= claims.expires:
        raise TokenError("expired")
    if claims.issued > now + LEEWAY_SECONDS:
        raise TokenError("issued in the future")
    return _at(claims, host)


def _at(claims: Claims, host: str) -> Claims:
    """As they are at ``host``: theirs, or that of another of their ports."""
    base = host.partition(".")[2]
    try:
        hosts = {Refs(claims.uid).public_host(port, base): port for port in (claims.port, *claims.ports)}
    except ValueError as error:
        raise TokenError("not of a runner") from error
    if host not in hosts or hosts.get(claims.host) != claims.port:
        raise TokenError("made for another host")
    if hosts[host] == claims.port:
        return claims
    others = tuple(port for port in (claims.port, *claims.ports) if port != hosts[host])
    return replace(claims, host=host, port=hosts[host], ports=others)


def _claims(payload: dict[str, Any]) -> Claims:
    texts = [payload[name] for name in ("aud", "sub", "uid", "ns", "name", "jti")]
    numbers = [payload[name] for name in ("port", "iat", "exp")]
    groups, inject, ports = payload["groups"], payload.get("inject", []), payload.get("ports", [])
    well_formed = (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int for number in numbers)
        and isinstance(groups, list)
        and all(isinstance(group, str) for group in groups)
        and isinstance(inject, list)
        and all(isinstance(name, str) and name in SCRIPTS for name in inject)
        and isinstance(ports, list)
        and len(ports) <= MOST_PORTS
        and all(type(port) is int for port in ports)
    )
    if not well_formed:
        raise TokenError("claims of the wrong type")
    aud, sub, uid, ns, name, jti = texts
    port, issued, expires = numbers
    return Claims(aud, sub, tuple(groups), uid, ns, name, port, jti, issued, expires, inject=tuple(inject), ports=tuple(ports))
