"""Hosts that a program wanted and could not reach, read from its lines."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FAILED = re.compile(
    r"EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ETIMEDOUT|ECONNRESET|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT|ERR_PNPM_META_FETCH|"
    r"Temporary failure in name resolution|Name or service not known|Could not resolve|"
    r"Couldn't resolve|No address associated with hostname|"
    r"NameResolutionError|getaddrinfo|no such host|dns error|Failed to establish a new connection|Max retries exceeded|"
    r"Connection refused|Connection timed out|"
    r"Network is unreachable|failed to lookup address|fetch failed|FetchError|failed to fetch",
    re.IGNORECASE,
)
_NAME = r"((?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62})"
_HOSTS = (
    re.compile(rf"(?:EAI_AGAIN|ENOTFOUND|ETIMEDOUT|ECONNREFUSED)\s+{_NAME}", re.IGNORECASE),
    re.compile(rf"(?:host[=:]?\s*|resolve (?:host:? )?|lookup |getaddrinfo )['\"(]*{_NAME}", re.IGNORECASE),
    re.compile(rf"https?://(?:[^\s/@]*@)?{_NAME}", re.IGNORECASE),
)
_LINES, _LOOKED_AT = 400, 2000
"""Lines, and characters of each: an app prints both as long as it likes."""
_OWN = re.compile(r"(.*\.)?localhost|.*\.(svc|local|internal)|.*\.svc\..*", re.IGNORECASE)


def wanted(lines: Iterable[str]) -> tuple[str, ...]:
    """Host names, each once, in the order in which they failed: a look-up or a connection to them was refused. At most 5."""
    found: list[str] = []
    for line in (line[:_LOOKED_AT] for line in list(lines)[-_LINES:]):
        if not _FAILED.search(line):
            continue
        for pattern in _HOSTS:
            if match := pattern.search(line):
                host = match[1].lower()
                if host not in found and not _OWN.fullmatch(host):
                    found.append(host)
                break
    return tuple(found[:5])


def sentence(lines: Iterable[str]) -> str:
    """What a person reads beside such lines; "" when no host was wanted in vain."""
    hosts = wanted(lines)
    return f"wants {' and '.join(hosts)}, which this sandbox may not reach" if hosts else ""
