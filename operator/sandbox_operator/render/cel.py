"""One CEL expression, compiled and evaluated, with the library's habits turned into errors of ours.

Google's cel-cpp returns a run-time failure as a value of type ERROR, and has no Python form for an optional; both are caught
here. Optionals, strings, lists and encoders are what kro offers too, so that a template means the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cel_expr_python import cel

_EXTENSIONS = ("optional", "strings", "lists", "encoders")
_CONFIG = cel.NewEnvConfigFromYaml("extensions:\n" + "".join(f"- name: {name}\n" for name in _EXTENSIONS))
_POSITION = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


class CelError(ValueError):
    """``column`` counts from 1 within ``line`` of the expression; both are 0 for what only shows when it runs."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message if not line else f"{message} (line {line}, column {column})")
        self.line = line
        self.column = column


class Environment:
    """Compiles expressions over ``variables``, whose types are not known before run time."""

    def __init__(self, variables: Iterable[str]) -> None:
        self._env = cel.NewEnv(config=_CONFIG, variables=dict.fromkeys(variables, cel.Type.DYN))

    def compile(self, text: str) -> Program:
        try:
            return Program(self._env.compile(text))
        except RuntimeError as error:
            raise _compile_error(str(error)) from error


class Program:
    def __init__(self, expression: Any) -> None:
        self._expression = expression

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """A plain JSON value. Raises :class:`CelError`."""
        result = self._expression.eval(data=dict(variables))
        try:
            value = result.plain_value()
        except (TypeError, SystemError) as error:
            raise CelError(
                "the result holds an optional value: end it with .orValue(…), or spell it [?…] or {?key: …}"
            ) from error
        if result.type() == cel.Type.ERROR:
            raise CelError(str(value).partition(": ")[2] or str(value))
        return _json(value)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise CelError("the result holds a map whose keys are not strings")
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise CelError(f"the result is of type {type(value).__name__}, which JSON does not have: convert it with string(…)")


def _compile_error(text: str) -> CelError:
    match = _POSITION.search(text)
    if match is None:
        return CelError(text.partition(": ")[2] or text)
    return CelError(match[3], int(match[1]), int(match[2]))
