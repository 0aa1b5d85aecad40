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
    }
    return jwt.encode(payload, key.key, algorithm=_ALGORITHM, headers={"kid": key.key_id})


def verify(ring: Ring, token: str, host: str, now: float) -> Claims:
    """The claims of a token for ``host`` (without port), or TokenError. ``ring`` may be the public one."""
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
            audience=host,
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "strict_aud": True},
        )
    except jwt.InvalidTokenError as error:
        raise TokenError(type(error).__name__) from error
    claims = replace(_claims(payload), kid=key["kid"])
    if now >= claims.expires:
        raise TokenError("expired")
    if claims.issued > now + LEEWAY_SECONDS:
        raise TokenError("issued in the future")
    if _host_of(claims, host) != host:
        raise TokenError("made for another host")
    return claims


def _host_of(claims: Claims, host: str) -> str:
    try:
        return Refs(claims.uid).public_host(claims.port, host.partition(".")[2])
    except ValueError as error:
        raise TokenError("not of a runner") from error


def _claims(payload: dict[str, Any]) -> Claims:
    texts = [payload[name] for name in ("aud", "sub", "uid", "ns", "name", "jti")]
    numbers = [payload[name] for name in ("port", "iat", "exp")]
    groups = payload["groups"]
    well_formed = (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int for number in numbers)
        and isinstance(groups, list)
        and all(isinstance(group, str) for group in groups)
    )
    if not well_formed:
        raise TokenError("claims of the wrong type")
    aud, sub, uid, ns, name, jti = texts
    port, issued, expires = numbers
    return Claims(aud, sub, tuple(groups), uid, ns, name, port, jti, issued, expires)
