"""Strings of a template: plain, one whole ``${expression}``, or text with expressions in it (kro's rules).

A whole one keeps its type; one in text must give a string. ``${`` inside a quoted CEL string does not begin or end anything.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """``start`` is the offset of ``${`` in the string it was found in."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Text:
    """Literals and expressions in turn."""

    parts: tuple[str | Expression, ...]

    @property
    def whole(self) -> Expression | None:
        """The expression, when it is all there is."""
        part = self.parts[0] if len(self.parts) == 1 else None
        return part if isinstance(part, Expression) else None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part for part in self.parts if isinstance(part, Expression))


class UnterminatedError(ValueError):
    """A ``${`` without its ``}``; ``start`` is its offset."""

    def __init__(self, start: int) -> None:
        super().__init__(f"'${{' at offset {start} is never closed")
        self.start = start


def parse(text: str) -> Text:
    parts: list[str | Expression] = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        if start > position:
            parts.append(text[position:start])
        end = _closing(text, start + 2)
        if end < 0:
            raise UnterminatedError(start)
        parts.append(Expression(text[start + 2 : end].strip(), start))
        position = end + 1
    if position < len(text) or not parts:
        parts.append(text[position:])
    return Text(tuple(parts))


def _closing(text: str, position: int) -> int:
    """Offset of the brace that ends the expression beginning at ``position``, or -1."""
    depth = 0
    quote = ""
    while position < len(text):
        character = text[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            if depth == 0:
                return position
            depth -= 1
        position += 1
    return -1


def names_in(expression: str) -> set[str]:
    """Identifiers that begin a reference: what is neither quoted, nor after a dot. A superset of what is really used."""
    found: set[str] = set()
    position = 0
    while position < len(expression):
        character = expression[position]
        if character in "'\"":
            position = _after_string(expression, position)
        elif character.isidentifier():
            start = position
            while position < len(expression) and (expression[position].isalnum() or expression[position] == "_"):
                position += 1
            before = expression[:start].rstrip()
            if not before.endswith((".", ".?")):
                found.add(expression[start:position])
        else:
            position += 1
    return found


def _after_string(text: str, position: int) -> int:
    quote = text[position]
    position += 1
    while position < len(text) and text[position] != quote:
        position += 2 if text[position] == "\\" else 1
    return position + 1
