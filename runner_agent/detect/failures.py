"""Why an install failed, read from its lines."""

from __future__ import annotations

import re
from collections.abc import Sequence

SHOWN = 40
"""Lines that a record keeps."""
_LOOKED_AT = 2000
"""Characters of a line, which an install's own programs print as long as they like: what names an error stands at its begin."""
_FIRST = re.compile(
    r"npm (error|ERR!)|ERESOLVE|ERR_PNPM|^\s*error\b|\bERROR:|error: |gyp ERR!|Error:|✖|fatal: |"
    r"^[^➤]*➤ YN0+[1-9]\d*: .*(?:fail|error|can't|cannot|doesn't)|"
    r"prebuild-install warn|Traceback \(most recent call last\)|No module named",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"\b(EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|"
    r"ETIMEDOUT|ESOCKETTIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|ERR_SOCKET_TIMEOUT)\b|"
    r"network (timeout|error|connectivity)|socket hang up|Temporary failure in name resolution|"
    r"NameResolutionError|ReadTimeoutError|"
    r"ConnectTimeoutError|NewConnectionError|Connection (refused|reset|aborted|timed out)|"
    r"E(429|50[234])\b|IncompleteRead|ProtocolError|fetch failed",
    re.IGNORECASE,
)
_OVERLOADED = (re.compile(r"\b(502|503|504|429)\b"), re.compile(r"Gateway|Unavailable|Too Many|Time-?out", re.IGNORECASE))
"""A mirror that says so: number and words, in either order."""
_NOT_NETWORK = re.compile(
    r"ERESOLVE|ETARGET|E404|E401|E403|EBADENGINE.*error|command failed|gyp ERR!|ELIFECYCLE|"
    r"No matching distribution found|ResolutionImpossible|"
    r"ERR_PNPM_NO_MATCHING|ERR_PNPM_OUTDATED|metadata-generation-failed|subprocess-exited-with-error|"
    r"EUSAGE|EINTEGRITY|ENOSPC|EDQUOT",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"(https?://)[^\s/@:]+(:[^\s/@]*)?@|((?:_authToken|_auth|_password)\s*=\s*)\S+|"
    r"\b(npm_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,})"
)
"""Credentials in addresses and settings, and tokens by their form."""


def from_first_error(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines that say why: from the first error on, or the last ones when none looks like an error."""
    clean = [without_secrets(line) for line in lines]
    first = next((i for i, line in enumerate(clean) if _FIRST.search(line[:_LOOKED_AT])), None)
    if first is None:
        return tuple(clean[-SHOWN:])
    return tuple(clean[first : first + SHOWN])


def network_failed(lines: Sequence[str]) -> bool:
    """Whether another try may go better though nothing is changed: the network failed, and no other cause is named."""
    begins = [line[:_LOOKED_AT] for line in lines]
    return any(map(_is_of_the_network, begins)) and not any(_NOT_NETWORK.search(line) for line in begins)


def _is_of_the_network(line: str) -> bool:
    return _NETWORK.search(line) is not None or all(part.search(line) for part in _OVERLOADED)


def without_secrets(line: str) -> str:
    return _SECRET.sub(lambda match: f"{match[1] or match[3] or ''}***{'@' if match[1] else ''}", line)
