"""Order of the preview's keys during a rotation: known to every gateway before it signs anything. Pure.

The gateway mounts the public keys, and the kubelet brings a changed ConfigMap to a pod within about two minutes. So a new key is
published at once, and stands second in the signing Secret, where the first one signs, until it has settled.
"""

from __future__ import annotations

import json
from typing import Any

from sandbox_operator.model import preview_keys

Ring = dict[str, Any]

SETTLE_SECONDS = 600


def read(text: str | None) -> Ring | None:
    """The ring of a Secret's ``keys.json``, newest key first; None when it is missing or no ring."""
    try:
        keys = json.loads(text or "")["keys"]
        return {"keys": sorted(keys, key=lambda key: -key["iat"])} if all(key["d"] and key["kid"] for key in keys) else None
    except (ValueError, KeyError, TypeError):
        return None


def due(ring: Ring | None, now: float) -> Ring:
    """The ring as it should be at ``now``, newest key first."""
    return preview_keys.new_ring(now) if ring is None or not ring["keys"] else preview_keys.rotate(ring, now)


def signing(ring: Ring, now: float) -> str:
    """``keys.json`` of the Secret."""
    keys = ring["keys"]
    if len(keys) > 1 and now - keys[0]["iat"] < SETTLE_SECONDS:
        keys = [keys[1], keys[0], *keys[2:]]
    return json.dumps({"keys": keys})


def verification(ring: Ring) -> str:
    """``keys.json`` of the ConfigMap."""
    return json.dumps(preview_keys.public(ring))
