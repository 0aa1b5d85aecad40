"""The key ring that signs preview tokens: Ed25519 keys as a JWKS, the first one signs. Pure: time comes in, rings go out.

The private ring lives in a Secret that the API server reads; the public one in a ConfigMap that the gateway reads, so that who
meets browsers cannot sign. A retired key stays in the ring until the longest token it signed has expired.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Ring = dict[str, Any]
"""``{"keys": [JWK, …]}``; each JWK carries ``iat``, the Unix time it was made at, beside the members of RFC 8037."""

MAX_AGE_SECONDS = 30 * 24 * 3600
OVERLAP_SECONDS = 2 * 24 * 3600
"""Longer than the longest preview (24 h), so that rotation ends nobody's session."""
_PUBLIC = ("kty", "crv", "x", "kid", "alg", "use", "iat")


def new_ring(now: float) -> Ring:
    """A ring of one fresh key."""
    return {"keys": [_new_key(now)]}


def rotate(ring: Ring, now: float, max_age: float = MAX_AGE_SECONDS, overlap: float = OVERLAP_SECONDS) -> Ring:
    """``ring`` as it should be at ``now`` (Unix seconds): a new first key once the present one is ``max_age`` old, and no key
    that stopped signing more than ``overlap`` ago. Returns an equal ring when nothing is due."""
    keys = list(ring["keys"])
    if not keys or now - keys[0]["iat"] >= max_age:
        keys.insert(0, _new_key(now))
    # a key stops signing when the one before it in the list is made
    kept = keys[:1] + [key for newer, key in itertools.pairwise(keys) if now - newer["iat"] < overlap]
    return {"keys": kept}


def public(ring: Ring) -> Ring:
    """``ring`` without what signs."""
    return {"keys": [{name: key[name] for name in _PUBLIC} for key in ring["keys"]]}


def _new_key(now: float) -> dict[str, Any]:
    private = Ed25519PrivateKey.generate()
    x = _base64url(private.public_key().public_bytes_raw())
    # RFC 7638: the required members only, in this order, without white space
    thumbprint = hashlib.sha256(json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":")).encode()).digest()
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": x,
        "d": _base64url(private.private_bytes_raw()),
        "kid": _base64url(thumbprint),
        "alg": "EdDSA",
        "use": "sig",
        "iat": int(now),
    }


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
