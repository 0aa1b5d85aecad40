"""Content-Security-Policy, as far as a script of ours needs a place in the app's. Pure.

Nothing is taken away from a policy, and no more is added than a source for the one path where our scripts lie, or a nonce where
the policy goes by these.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable

_NONCE = re.compile(rb"'nonce-([A-Za-z0-9+/_=-]{1,200})'")
_BY_VALUE = re.compile(rb"'(?:nonce-|sha(?:256|384|512)-)[A-Za-z0-9+/_=-]+'|'strict-dynamic'", re.IGNORECASE)
_SCRIPTS = (b"script-src-elem", b"script-src", b"default-src")
_CONNECTIONS = (b"connect-src", b"default-src")


def nonce_for(policies: Iterable[bytes]) -> bytes:
    """For our tag: the app's own for this answer, else a new one if a policy goes by value; empty where a source will do."""
    by_value = False
    for policy in _parts(b",".join(policies), b","):
        listed = _effective(_directives(policy), _SCRIPTS)[1]
        if listed is not None:
            if match := _NONCE.search(listed):
                return match[1]
            by_value = by_value or _BY_VALUE.search(listed) is not None
    return secrets.token_urlsafe(16).encode() if by_value else b""


def extended(header: bytes, source: bytes, nonce: bytes) -> bytes:
    """The header's value (one policy or several) under which scripts below ``source`` load and connect to there."""
    made = (_extended(policy, source, nonce) for policy in _parts(header, b","))
    return b", ".join(policy for policy in made if policy)


def _extended(policy: bytes, source: bytes, nonce: bytes) -> bytes:
    directives = _directives(policy)
    name, listed = _effective(directives, _SCRIPTS)
    if listed is not None:
        by_value = _BY_VALUE.search(listed) is not None
        added = b"'nonce-%s'" % nonce if by_value else source
        directives[b"script-src" if name == b"default-src" else name] = _with(listed, added)
    name, listed = _effective(directives, _CONNECTIONS)
    if listed is not None:
        directives[b"connect-src"] = _with(listed, source)
    return b"; ".join(b" ".join(part for part in pair if part) for pair in directives.items())


def _with(listed: bytes, added: bytes) -> bytes:
    """``'none'`` counts only where it is alone. What is allowed already is not said twice."""
    sources = [word for word in listed.split() if word.lower() != b"'none'"]
    own = not added.startswith(b"'") and (b"'self'" in [word.lower() for word in sources] or b"*" in sources)
    return b" ".join(sources if own or added in sources else [*sources, added])


def _directives(policy: bytes) -> dict[bytes, bytes]:
    """Of a name that comes twice the first counts."""
    found: dict[bytes, bytes] = {}
    for part in _parts(policy, b";"):
        name, _, value = part.partition(b" ")
        found.setdefault(name.lower(), value.strip())
    return found


def _effective(directives: dict[bytes, bytes], names: Iterable[bytes]) -> tuple[bytes, bytes | None]:
    return next(((name, directives[name]) for name in names if name in directives), (b"", None))


def _parts(text: bytes, separator: bytes) -> list[bytes]:
    return [b" ".join(part.split()) for part in text.split(separator) if part.strip()]
