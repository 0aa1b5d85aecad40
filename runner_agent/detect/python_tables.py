"""TOML of manifests, and the names in it, of whatever form somebody gave them."""

from __future__ import annotations

import re
import tomllib
from typing import Any


def toml(content: bytes | None) -> dict[str, Any]:
    try:
        return tomllib.loads((content or b"").decode("utf-8", "replace"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def not_toml(content: bytes) -> str | None:
    """What is wrong with a manifest, in words that follow its name."""
    try:
        tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return f"is not TOML: {error}"
    except RecursionError:
        return "is not TOML: it is nested too deep"
    return None


def table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def name_of(requirement: str) -> str:
    match = re.match(r"\s*([A-Za-z0-9][\w.-]*)", requirement)
    return re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""


def squeezed(line: str) -> str:
    return re.sub(r"\s", "", line).lower()
