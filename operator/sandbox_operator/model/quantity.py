"""Kubernetes' notations for amounts and times: ``500m``, ``1Gi``, ``1h30m``."""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    **{
        suffix: Decimal(10) ** power
        for suffix, power in {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}.items()
    },
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([eE][+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)")
_DURATION = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")


def parse_quantity(text: str | int) -> Decimal:
    """The amount in its base unit (bytes, cores). ValueError for what ``resource.ParseQuantity`` would refuse."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{str(text)[:40]!r} is not a quantity: want a number with an optional suffix, such as 500m or 1Gi")
    number, exponent, suffix = match.groups()
    return Decimal(number + (exponent or "")) * _SUFFIXES[suffix or ""]


def parse_duration(text: str) -> int:
    """Seconds of a duration such as ``90s``, ``30m`` or ``1h30m``; ValueError for anything else, and for nothing or zero."""
    match = _DURATION.fullmatch(text)
    seconds = sum(int(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True) if part) if match else 0
    if seconds == 0:
        raise ValueError(f"{text[:40]!r} is not a duration: want hours, minutes and seconds, such as 30m or 1h30m")
    return seconds
