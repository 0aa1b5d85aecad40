"""The one way a JSON object becomes a record: camelCase outside, snake_case inside, wrong types named by their path."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all spec records. Unknown fields are dropped, as the API server prunes them: a newer CRD may have more."""


R = TypeVar("R", bound=Record)


class MalformedError(ValueError):
    """``path`` is the JSON path of the wrong value, such as ``spec.env[0].name``."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def read(cls: type[R], value: Any, root: str = "spec") -> R:
    """Raises :class:`MalformedError`. Null means absent, as everywhere in the Kubernetes API."""
    try:
        return msgspec.convert(_without_null(value) or {}, cls)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise MalformedError(root + path.rstrip("`"), message) from error


def write(record: Record) -> dict[str, Any]:
    """JSON object, without what equals its default."""
    return dict(msgspec.to_builtins(record))


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    return value
