"""What Kubernetes accepts as a name (RFC 1123), for whoever puts one into a path.

An API server decodes ``%2F`` before it splits a path, so escaping alone keeps no name within its segment.
"""

from __future__ import annotations

import re
from typing import Any

from sandbox_protocol.entry_names import shown

LABEL_CHARACTERS = 63
NAME_CHARACTERS = 253

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def name_fault(name: Any) -> str:
    """Why this cannot be the name of an object (a DNS subdomain); empty when it can."""
    if fault := _text_fault(name, NAME_CHARACTERS):
        return fault
    if all(_LABEL.fullmatch(part) for part in name.split(".")):
        return ""
    rule = "lower-case letters, digits, '-' and '.' are allowed, each part between dots begins and ends with a letter or digit"
    return f"{shown(name)!r} is not a name: {rule}"


def namespace_fault(name: Any) -> str:
    """Why this cannot be the name of a namespace (a DNS label); empty when it can."""
    if fault := _text_fault(name, LABEL_CHARACTERS):
        return fault
    if _LABEL.fullmatch(name):
        return ""
    rule = "lower-case letters, digits and '-' are allowed, and it begins and ends with a letter or digit"
    return f"{shown(name)!r} is not a namespace: {rule}"


def _text_fault(name: Any, most: int) -> str:
    if not isinstance(name, str):
        return f"{shown(repr(name))} is not a name: it has to be text"
    if not name:
        return "a name is missing"
    return f"{shown(name)!r} is not a name: it has {len(name)} characters, {most} are allowed" if len(name) > most else ""
