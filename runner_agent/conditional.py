"""Conditions and ranges of a request for a file, as RFC 9110 (§8.8.3, §13.1, §14) reads them. Pure."""

from __future__ import annotations

import re

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)


class UnsatisfiableError(Exception):
    """The range begins behind the end of the file: 416."""


def none_match(header: str | None, tag: str | None) -> bool:
    """Whether ``If-None-Match`` names ``tag`` (without quotes), so that the answer is 304. Weak comparison (§13.1.2)."""
    if header is None or tag is None:
        return False
    return header.strip() == "*" or tag in _TAG.findall(header)


def byte_range(header: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """``(first, last)`` to send, None for the whole.

    One range is served. Several, another unit, and what is no range are ignored, as §14.2 allows; so is a range of another
    version of the file (``If-Range`` by strong comparison; a date is no version here). UnsatisfiableError as named.
    """
    if header is None or (if_range is not None and if_range.strip() != f'"{tag}"'):
        return None
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "" or max(len(found[1]), len(found[2])) > 19:
        return None
    first, last = found[1], found[2]
    if not first:
        if int(last) == 0 or size == 0:
            raise UnsatisfiableError
        return max(0, size - int(last)), size - 1
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise UnsatisfiableError
    return int(first), min(int(last), size - 1) if last else size - 1
